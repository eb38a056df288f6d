//! Processes of a case, and what they use.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeSpec;
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::Result;

/// Text before the name of the table of links, in the first message of a bridge.
const LINKS: &str = "links: subscriber watch ";

/// A process of the binary `bridge`. It ends with this value, and removes its tables.
pub struct Bridge {
    child: Child,
    links: String,
}

impl Bridge {
    /// Starts a bridge, and waits until it has a session.
    ///
    /// # Errors
    /// The binary is not next to this program, or refuses to start.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["__role", "bridge"])
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stderr = BufReader::new(child.stderr.take().ok_or("no stderr")?);
        let links = links(&mut stderr);
        // The bridge must not wait for a reader of its messages.
        thread::spawn(move || {
            for line in stderr.lines().map_while(std::result::Result::ok) {
                if line.starts_with("error") {
                    eprintln!("{line}");
                }
            }
        });
        Ok(Self { child, links: links? })
    }

    /// Exports tables to the importers that connect to `endpoint`.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn export(how: &str, endpoint: &str, tables: &[&str]) -> Result<Self> {
        Self::start(&[&["export", "--host", "bench", how, endpoint], tables].concat())
    }

    /// Imports a table under another name.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn import(endpoint: &str, table: &str, name: &str) -> Result<Self> {
        let table = format!("bench/{table}");
        Self::start(&["import", "--connect", endpoint, &table, "--as", name])
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the name of its table of links.
    pub fn links(&self) -> &str {
        &self.links
    }
}

/// Reads messages until one has the name of the table of links.
fn links(stderr: &mut BufReader<ChildStderr>) -> Result<String> {
    let mut text = String::new();
    loop {
        let begin = text.len();
        if stderr.read_line(&mut text)? == 0 {
            return Err(format!("a bridge ended: {text}").into());
        }
        if let Some((_, name)) = text[begin..].trim_end().split_once(LINKS) {
            return Ok(name.to_owned());
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ended = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _status = self.child.wait();
    }
}

/// This program in a [role](crate::roles). It ends with this value.
pub struct Other {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// Its first line.
    ready: String,
}

impl Other {
    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// The process does not start.
    pub fn start(role: &[&str]) -> Result<Self> {
        Self::start_with(role, "")
    }

    /// Starts it with these threads of zenoh; empty for zenoh's default.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_with(role: &[&str], threads: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("__role")
            .args(role)
            .envs((!threads.is_empty()).then_some(("ZENOH_RUNTIME", threads)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut other = Self { child, stdin, stdout, ready: String::new() };
        other.ready = other.line()?;
        Ok(other)
    }

    /// Returns its first line.
    pub fn ready(&self) -> &str {
        &self.ready
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the time at which it saw a commit or message, in nanoseconds.
    ///
    /// # Errors
    /// The process ended.
    pub fn time_of(&mut self, number: u64) -> Result<u64> {
        Ok(self.times_of(number)?.0)
    }

    /// Waits until the process has seen a number, or a later one. Returns the time at which it did,
    /// and the time at which it was committed to the table that the process reads.
    ///
    /// # Errors
    /// The process ended.
    pub fn times_of(&mut self, number: u64) -> Result<(u64, u64)> {
        loop {
            let line = self.line()?;
            let mut numbers = line.split(' ').map(str::parse::<u64>);
            let (Some(seen), Some(at)) = (numbers.next(), numbers.next()) else {
                return Err("a line without a time".into());
            };
            let (seen, at) = (seen?, at?);
            if seen >= number {
                return Ok((at, numbers.next().transpose()?.unwrap_or(at)));
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err("a process of the benchmark ended".into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.stdin = None;
        let _status = self.child.wait();
    }
}

/// Returns the time of the monotonic clock, which all processes share, in nanoseconds.
///
/// # Panics
/// There is no monotonic clock.
pub fn now_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC.now().expect("a monotonic clock"))
}

fn nanoseconds(time: TimeSpec) -> u64 {
    u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the CPU time that a process has used, in nanoseconds.
///
/// # Errors
/// The process has ended.
pub fn cpu_ns(id: u32) -> Result<u64> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(id)?))?;
    Ok(nanoseconds(clock.now()?))
}

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Private memory that is not part of a file.
    pub private: f64,
    /// All memory, with an equal share of what several processes use.
    pub share: f64,
}

/// Returns the memory of a process.
///
/// # Errors
/// The process has ended.
pub fn memory(id: u32) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.unwrap_or(f64::NAN) * 1024.0
    };
    Ok(Memory { private: field("Anonymous:"), share: field("Pss:") })
}

/// Returns a free address on this host.
///
/// # Errors
/// There is no free port.
pub fn free_endpoint() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Returns processor, cores and kernel of this machine.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let name = processor.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name.unwrap_or("unknown processor").trim_start_matches([' ', '\t', ':']);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{name}, {cores} cores, Linux {}", kernel.trim())
}
