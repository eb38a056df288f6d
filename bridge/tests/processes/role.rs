//! Processes that are this program again: a publisher that can be killed, and a router of zenoh.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use common::Publisher;
use nix::sys::signal::Signal;
use zenoh::Wait;

use crate::process::Process;
use crate::table::{Item, Table, commit};
use crate::until;

/// Environment variable with the words of a role.
const ROLE: &str = "BRIDGE_TEST_ROLE";

/// The place where a role begins. Does nothing unless a test started it.
#[test]
fn role() {
    let Ok(words) = std::env::var(ROLE) else {
        return;
    };
    match words.split(' ').collect::<Vec<_>>()[..] {
        ["publish", name] => publish(name),
        ["route", address] => route(address),
        _ => panic!("no such role: {words}"),
    }
    std::process::exit(0);
}

fn start(words: &str) -> Process {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "role::role", "--nocapture"]).env(ROLE, words);
    let process = Process::start(&mut command);
    until("a role has begun", || process.stdout().contains("begun"));
    process
}

/// A process that commits the rows of [`rows_of`](crate::table::rows_of) at full speed.
pub struct Writer(Process);

impl Writer {
    /// Starts it. It takes the table over from a dead publisher.
    pub fn start(table: &Table) -> Self {
        let writer = Self(start(&format!("publish {}", table.name())));
        table.remember();
        writer
    }

    /// Makes it stop committing, and returns the last counter.
    pub fn pause(&mut self) -> u64 {
        self.0.write_line("pause");
        let mut counter = None;
        until("the writer pauses", || {
            let stdout = self.0.stdout();
            counter = stdout.split("paused ").nth(1).and_then(|rest| {
                let (counter, _) = rest.split_once('\n')?;
                counter.parse().ok()
            });
            counter.is_some()
        });
        counter.expect("the condition")
    }

    /// Kills it.
    pub fn kill(self) {
        self.0.signal(Signal::SIGKILL);
    }

    /// Makes it close the table, which removes it.
    pub fn close(mut self) {
        self.0.close_input();
        assert_eq!(self.0.end(), Some(0));
    }
}

impl std::ops::Deref for Writer {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

fn publish(name: &str) {
    let mut publisher = Publisher::<Item>::open(name).expect("the table");
    let mut counter = publisher.iter().next().map_or(0, |row| row.expect("a row").counter);
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            sender.send(line).expect("the writer reads lines");
        }
    });
    println!("\nbegun");
    loop {
        counter += 1;
        commit(&mut publisher, counter).expect("room for the rows");
        match lines.try_recv() {
            Ok(_pause) => break,
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => return publisher.close().expect("the table"),
        }
    }
    println!("paused {counter}");
    while let Err(mpsc::RecvTimeoutError::Timeout) = lines.recv_timeout(Duration::from_millis(200))
    {
        publisher.maintain().expect("the table");
    }
    publisher.close().expect("the table");
}

/// A router of zenoh.
pub struct Router(Process);

impl Router {
    /// Starts a router that listens at an address.
    pub fn start(address: &str) -> Self {
        Self(start(&format!("route {address}")))
    }

    /// Writes the configuration of a bridge that connects to a router. Since zenoh 1.9 a router
    /// forwards nothing from one peer to another.
    pub fn config_of_clients() -> NamedFile {
        NamedFile::new(r#"{ mode: "client" }"#)
    }

    /// Kills it.
    pub fn kill(self) {
        self.0.signal(Signal::SIGKILL);
    }
}

impl std::ops::Deref for Router {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

/// A temporary file. Dropping it removes it.
pub struct NamedFile(PathBuf);

impl NamedFile {
    fn new(content: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("bridge-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).expect("a temporary file");
        Self(path)
    }

    /// Returns its path.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for NamedFile {
    fn drop(&mut self) {
        let _removed = std::fs::remove_file(&self.0);
    }
}

fn route(address: &str) {
    let mut config = zenoh::Config::default();
    for (key, value) in [
        ("mode", r#""router""#),
        ("listen/endpoints", &format!(r#"["tcp/{address}"]"#)),
        ("scouting/multicast/enabled", "false"),
        ("transport/link/tx/lease", "1000"),
    ] {
        config.insert_json5(key, value).expect("a setting of zenoh");
    }
    let session = zenoh::open(config).wait().expect("a router");
    println!("\nbegun");
    let _end = std::io::stdin().read_to_end(&mut Vec::new());
    session.close().wait().expect("a session");
}

/// Random numbers, whose seed is printed.
pub struct Random(u64);

impl Random {
    /// Creates a generator with a random seed, or with that of the variable `TABLECAST_SEED`.
    pub fn new() -> Self {
        let given = std::env::var("TABLECAST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
        println!("TABLECAST_SEED={seed}");
        Self(seed)
    }

    /// Returns a number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The generator splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }
}
