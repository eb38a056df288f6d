//! A soak test: successive publishers, and readers that use every read function, pinned to
//! processors, stopped, continued and killed at random, for any length of time. `cargo run
//! --release -p tests --bin soak -- --seconds 60`
//!
//! Every row that a reader reads is checked ([`checked_rows`](crate::checked_rows)): no torn row,
//! no partly visible transaction, no version that goes back. Versions start near the end of their
//! range, so that the tags use all of their bits; the director patches the region of a first
//! publisher for this. The director runs this same program for each process.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::internals::{MAX_VERSION, header};
use common::{Error, Publisher, Subscriber};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::checked_rows::{Account, Ledger, check};
use crate::clean::command;
use crate::process::Process;
use crate::table::Table;
use crate::{LIMIT, until};

/// Number of accounts of the ledger.
const SIZE: usize = 200;
/// Distance of the first version from the end of the range: more than a soak of a day can commit.
const FROM_THE_END: u64 = 1 << 40;
/// The ways to read the table.
const WAYS: [&str; 4] = ["refresh", "wait", "attach", "latest"];
/// Interval at which a process reports its progress.
const REPORT: Duration = Duration::from_millis(50);
/// Maximum time between two signals, and maximum time that a process is stopped.
const LONGEST_PAUSE_US: u64 = 30_000;

/// Results of a soak.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Publishers that were killed. After each of them, another one took over.
    pub publishers_killed: u64,
    /// Readers that were killed.
    pub readers_killed: u64,
    /// Processes that were stopped and continued.
    pub stopped: u64,
    /// Rows that were read and checked.
    pub rows: u64,
    /// Reads that saw a later version than the one before.
    pub versions: u64,
    /// Reads that returned `Outrun`, which is not a failure.
    pub outrun: u64,
    /// Commits, takeovers included.
    pub commits: u64,
}

/// Restricts this process to the `number`-th of its processors.
fn pin(number: usize) {
    let own = Pid::from_raw(0);
    let Ok(all) = sched_getaffinity(own) else {
        return;
    };
    let may: Vec<usize> =
        (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap_or(false)).collect();
    let mut one = CpuSet::new();
    if let Some(cpu) = may.get(number % may.len().max(1))
        && one.set(*cpu).is_ok()
        && let Err(errno) = sched_setaffinity(own, &one)
    {
        eprintln!("not pinned: {errno}");
    }
}

/// Returns a flag that is set at the end of stdin.
fn told_to_end() -> Arc<AtomicBool> {
    let end = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&end);
    std::thread::spawn(move || {
        let _end = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    end
}

/// Commits to the ledger at full speed until stdin ends. First checks the rows that its predecessor
/// left.
///
/// # Errors
/// A description of the violated invariant.
pub fn publish(name: &str, cpu: usize, seed: u64) -> Result<(), String> {
    pin(cpu);
    let end = told_to_end();
    let failed = |error: Error| error.to_string();
    let open = || Publisher::<Account>::builder(name).capacity(SIZE + 1).open();
    let mut publisher = open().map_err(failed)?;
    let rows: Vec<Account> = publisher.iter().collect::<Result<_, _>>().map_err(failed)?;
    if !rows.is_empty() {
        check(&rows).map_err(|what| format!("taken over: {what}"))?;
    }
    println!("open");
    let mut ledger = Ledger::of(&publisher, SIZE, seed);
    while !end.load(Ordering::Relaxed) {
        ledger.commit(&mut publisher).map_err(failed)?;
    }
    publisher.close_and_keep().map_err(failed)
}

/// Reads the ledger in one of four ways, and regularly reports the number of rows, versions and
/// outruns.
///
/// # Errors
/// A description of the violated invariant.
pub fn read(name: &str, cpu: usize, way: &str) -> Result<(), String> {
    pin(cpu);
    let end = told_to_end();
    let failed = |error: Error| error.to_string();
    let open = || Subscriber::<Account>::builder(name).open_within(LIMIT);
    let mut copy = open().map_err(failed)?;
    let (mut rows, mut versions, mut outrun) = (0, 0, 0_u64);
    let (mut reported, mut newest, mut id) = (Instant::now(), 0, 0);
    while !end.load(Ordering::Relaxed) {
        let before = copy.version();
        let fresh = match way {
            "attach" => open().map(|new| copy = new),
            "wait" => copy.wait(Some(REPORT)).map(drop),
            _ => copy.refresh().map(drop),
        };
        match fresh {
            Ok(()) if copy.version() < before => {
                return Err(format!("version {} after {before}", copy.version()));
            }
            Ok(()) if copy.version() > before && !copy.is_empty() => {
                let whole = check(copy.iter());
                rows += whole.map_err(|what| format!("at version {}: {what}", copy.version()))?;
                versions += 1;
            }
            Ok(()) => {}
            Err(Error::Outrun { .. }) => outrun += 1,
            Err(error) => return Err(failed(error)),
        }
        if way == "latest" {
            id = (id + 1) % (SIZE as u64 + 1);
            match copy.latest(&id) {
                Ok(Some(row)) if !row.is_whole() || row.id != id => {
                    return Err(format!("torn row: {row:?}"));
                }
                Ok(row) => rows += u64::from(row.is_some()),
                Err(Error::Outrun { .. }) => outrun += 1,
                Err(error) => return Err(failed(error)),
            }
            if let Ok(Some(ledger)) = copy.latest(&0) {
                if ledger.version < newest {
                    return Err(format!("the ledger went back from {newest} to {ledger:?}"));
                }
                newest = ledger.version;
            }
        }
        if reported.elapsed() > REPORT {
            reported = Instant::now();
            println!("{rows} {versions} {outrun}");
        }
    }
    println!("{rows} {versions} {outrun}");
    Ok(())
}

/// One process of a soak.
struct Part {
    process: Process,
    number: usize,
}

/// Directs a soak. `program` is the binary of its processes.
pub struct Soak {
    table: Table,
    program: PathBuf,
    dice: SmallRng,
    outcome: Outcome,
}

impl Soak {
    /// Prepares a table whose versions start near the end of their range.
    ///
    /// # Panics
    /// If that fails.
    pub fn new(program: PathBuf, seed: u64) -> Self {
        let table = Table::new("soak");
        let builder = Publisher::<Account>::builder(table.name());
        drop(builder.capacity(SIZE + 1).open().expect("a table"));
        let path = format!("/dev/shm/tablecast.table.{}", table.name());
        let region = File::options().write(true).open(path).expect("the table's region");
        let commit = MAX_VERSION - FROM_THE_END;
        region
            .write_all_at(&commit.to_le_bytes(), header::COMMIT as u64 * 8)
            .expect("the word of the commit");
        Self { table, program, dice: SmallRng::seed_from_u64(seed), outcome: Outcome::default() }
    }

    fn publisher(&mut self) -> Part {
        let seed: u64 = self.dice.random();
        let mut command = command(&self.program);
        command.args(["publish", self.table.name(), "0", &seed.to_string()]);
        let mut process = Process::start(&mut command);
        assert_eq!(process.line(), "open");
        Part { process, number: 0 }
    }

    fn reader(&self, number: usize) -> Part {
        let mut command = command(&self.program);
        let cpu = (number + 1).to_string();
        command.args(["read", self.table.name(), &cpu, WAYS[number % WAYS.len()]]);
        Part { process: Process::start(&mut command), number }
    }

    fn count(&mut self, reader: &Part) {
        let told = reader.process.stdout();
        let whole = told.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let last = whole.lines().last().unwrap_or("0 0 0");
        let counts: Vec<u64> = last.split(' ').flat_map(str::parse).collect();
        if let [rows, versions, outrun] = counts[..] {
            self.outcome.rows += rows;
            self.outcome.versions += versions;
            self.outcome.outrun += outrun;
        }
    }

    /// Runs the soak for `time` with `readers` readers.
    ///
    /// # Panics
    /// If an invariant is violated.
    pub fn run(mut self, time: Duration, readers: usize) -> Outcome {
        let begun = Instant::now();
        let mut publisher = self.publisher();
        let mut readers: Vec<Part> = (0..readers).map(|number| self.reader(number)).collect();
        while begun.elapsed() < time {
            self.pause();
            match self.dice.random_range(0..8) {
                0 => {
                    publisher.process.kill();
                    self.outcome.publishers_killed += 1;
                    publisher = self.publisher();
                }
                1 => {
                    let at = self.dice.random_range(0..readers.len());
                    readers[at].process.kill();
                    self.outcome.readers_killed += 1;
                    self.count(&readers[at]);
                    readers[at] = self.reader(readers[at].number);
                }
                2..5 => self.stop(&publisher.process),
                _ => {
                    let at = self.dice.random_range(0..readers.len());
                    self.stop(&readers[at].process);
                }
            }
            for part in readers.iter_mut().chain([&mut publisher]) {
                let stderr = part.process.stderr();
                assert!(part.process.is_running(), "a process ended: {stderr}");
            }
        }
        for mut reader in readers {
            reader.process.finish();
            self.count(&reader);
        }
        publisher.process.finish();
        let last = Subscriber::<Account>::open(self.table.name()).expect("the table was kept");
        check(last.iter()).expect("the last table is consistent");
        self.outcome.commits = last.version() - (MAX_VERSION - FROM_THE_END);
        drop(last);
        self.clear();
        self.outcome
    }

    fn pause(&mut self) {
        let pause = self.dice.random_range(0..LONGEST_PAUSE_US);
        std::thread::sleep(Duration::from_micros(pause));
    }

    fn stop(&mut self, process: &Process) {
        process.stop();
        self.pause();
        process.signal(Signal::SIGCONT);
        self.outcome.stopped += 1;
    }

    /// Removes the table and checks that nothing is left.
    fn clear(&self) {
        self.table.remember();
        common::remove(self.table.name()).expect("the table has no publisher");
        until("no object is left", || self.table.orphans().is_empty());
    }
}
