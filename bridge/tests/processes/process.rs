//! Child processes: the program `bridge`, and roles of this program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::table::{Link, Table, links_of};
use crate::until;

/// Returns an address of loopback at which nothing listens.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address").to_string()
}

/// A running child whose outputs are collected. Dropping it kills it, and prints its outputs if the
/// test fails.
pub struct Process {
    name: String,
    child: Child,
    outputs: [Output; 2],
}

struct Output {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::<Mutex<String>>::default();
        let sink = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut lines = BufReader::new(pipe);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                sink.lock().expect("no panic").push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.text.lock().expect("no panic").clone()
    }
}

impl Process {
    /// Starts a command with a clean environment.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TABLECAST_") {
                command.env_remove(name);
            }
        }
        let name = format!("{command:?}");
        command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET").current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let stdout = Output::of(child.stdout.take().expect("a pipe"));
        let stderr = Output::of(child.stderr.take().expect("a pipe"));
        Self { name, child, outputs: [stdout, stderr] }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("a process that still exists");
    }

    /// Returns the text that the process has written to stdout.
    pub fn stdout(&self) -> String {
        self.outputs[0].text()
    }

    /// Returns the text that the process has written to stderr.
    pub fn stderr(&self) -> String {
        self.outputs[1].text()
    }

    /// Returns true if the process has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Writes a line to stdin.
    pub fn write_line(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("stdin is open");
        writeln!(input, "{line}").expect("the child reads its stdin");
    }

    /// Closes stdin.
    pub fn close_input(&mut self) {
        self.child.stdin = None;
    }

    /// Sends SIGSTOP and waits until the process is stopped.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let path = format!("/proc/{}/stat", self.child.id());
        until("a process is stopped", || {
            let stat = std::fs::read_to_string(&path).expect("a process that still exists");
            stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
        });
    }

    /// Sends SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Returns the resident memory that belongs to the process alone, in KiB.
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a process that still exists");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
        kib.expect("a size in KiB")
    }

    /// Waits for the end, and returns the exit code; `None` after a signal.
    ///
    /// # Panics
    /// If it does not end within the limit.
    pub fn end(&mut self) -> Option<i32> {
        until(&format!("{} has ended", self.name), || !self.is_running());
        self.join();
        self.child.wait().expect("a child").code()
    }

    /// Sends SIGTERM, and expects success.
    pub fn finish(mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.end(), Some(0), "{}: {}", self.name, self.stderr());
    }

    fn join(&mut self) {
        for output in &mut self.outputs {
            if let Some(reader) = output.reader.take() {
                reader.join().expect("no panic");
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _dead_already = self.child.kill();
        let status = self.child.wait();
        self.join();
        if std::thread::panicking() {
            eprintln!("\n=== {}\n=== {status:?}", self.name);
            eprintln!("{}{}===", self.stdout(), self.stderr());
        }
    }
}

/// A running `bridge export` or `bridge import`. Dropping it kills it.
pub struct Bridge(Option<Process>);

impl Bridge {
    /// Returns the command `bridge` with these arguments.
    pub fn command(arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bridge"));
        command.args(arguments.split_whitespace());
        command
    }

    /// Starts `bridge` with these arguments, and waits until it has opened its session.
    pub fn start(arguments: &str) -> Self {
        Self::start_command(&mut Self::command(arguments))
    }

    /// Starts a command of [`Bridge::command`] whose other side does not answer yet.
    pub fn begin(command: &mut Command) -> Self {
        Self(Some(Process::start(command)))
    }

    /// Starts a command of [`Bridge::command`], and waits until it has opened its session.
    ///
    /// # Panics
    /// If it ends.
    pub fn start_command(command: &mut Command) -> Self {
        let mut bridge = Self::begin(command);
        until("a bridge has started", || {
            let process = bridge.process_mut();
            assert!(process.is_running(), "{}", process.stderr());
            bridge.links().is_some()
        });
        bridge
    }

    /// Starts an exporter of `tables`, as host `host`, that listens at an address.
    pub fn export(tables: &str, host: &str, address: &str) -> Self {
        Self::start(&format!("export {tables} --host {host} --listen {address}"))
    }

    /// Starts an importer of `origin` as `name`, that connects to an address.
    pub fn import(origin: &str, name: &str, address: &str) -> Self {
        Self::start(&format!("import {origin} --as {name} --connect {address}"))
    }

    /// Returns the name of its table of links.
    pub fn links(&self) -> Option<String> {
        links_of(&self.process().stderr())
    }

    /// Returns the row of its table of links for a local table.
    pub fn link(&self, table: &Table) -> Option<Link> {
        Link::of(&self.links()?, table.name())
    }

    /// Returns true if it exports nothing for lack of a table, and waits for it.
    pub fn is_waiting_for(&self, table: &Table) -> bool {
        self.links().is_some()
            && self.link(table).is_none_or(|link| link.text("state") == "waiting")
    }

    fn process(&self) -> &Process {
        self.0.as_ref().expect("it has not ended")
    }

    fn process_mut(&mut self) -> &mut Process {
        self.0.as_mut().expect("it has not ended")
    }

    /// Ends it by SIGTERM, and expects success.
    pub fn finish(mut self) {
        self.0.take().expect("it has not ended").finish();
    }

    /// Waits for its own end, and returns the exit code and stderr.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut process = self.0.take().expect("it has not ended");
        (process.end(), process.stderr())
    }

    /// Kills it.
    pub fn kill(self) {}
}

impl std::ops::Deref for Bridge {
    type Target = Process;

    fn deref(&self) -> &Process {
        self.process()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let Some(process) = self.0.take() else {
            return;
        };
        let links = links_of(&process.stderr());
        drop(process);
        if let Some(links) = links {
            // Another bridge may have taken it over.
            let _removed = common::remove(&links);
        }
    }
}
