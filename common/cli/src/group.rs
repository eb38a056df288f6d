//! Terminates all processes that a command started.
//!
//! Usually the command leads a process group, and its processes are the members of the group. A
//! command that may use the terminal stays in the group of this program while that is in the
//! foreground, because only the foreground group receives Ctrl-C and Ctrl-Z and may read from the
//! terminal. There its processes are found by their parents, so a process whose parent has exited
//! is not found.
//!
//! In both cases each process receives SIGTERM, and SIGKILL if it still runs after a while.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use procfs::process::{Process, Stat, all_processes};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpgrp, kill_process_group, pidfd_open, pidfd_send_signal,
};
use rustix::termios::tcgetpgrp;

/// Time between two searches for new processes while the command is being terminated.
const INTERVAL: Duration = Duration::from_millis(20);

/// The process group of a command.
#[derive(Clone, Copy, Debug)]
pub enum Group {
    /// The command leads a separate group.
    Own,
    /// The command is in the group of this program, and its processes are found by their parents.
    OfThisProgram,
}

impl Group {
    /// Chooses the group for a command that is about to start and may use the terminal.
    pub fn choose(command: &mut Command) -> Self {
        if is_in_foreground() { Self::OfThisProgram } else { Self::separate(command) }
    }

    /// Makes a command that is about to start the leader of a separate group.
    pub fn separate(command: &mut Command) -> Self {
        command.process_group(0);
        Self::Own
    }

    /// Terminates the command and all processes that it started, by SIGKILL after `patience`. The
    /// caller must not have waited for the command yet, so that its process id is not reused.
    pub fn terminate(self, command: Pid, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut running = BTreeMap::new();
        // Opened separately, because `/proc` may be missing.
        if let Ok(process) = pidfd_open(command, PidfdFlags::empty()) {
            ask_to_end(&process);
            running.insert(command.as_raw_pid(), process);
        }
        loop {
            for stat in self.members(command, &running) {
                if let Some(process) = open(&stat) {
                    ask_to_end(&process);
                    running.insert(stat.pid, process);
                }
            }
            running.retain(|_, process| !has_ended(process));
            if running.is_empty() {
                return;
            }
            if Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(INTERVAL);
        }
        if let Self::Own = self {
            let _ended = kill_process_group(command, Signal::KILL);
        }
        for process in running.values() {
            let _ended = pidfd_send_signal(process, Signal::KILL);
        }
    }

    /// Returns the running processes of the command that are not in `known`.
    fn members(self, command: Pid, known: &BTreeMap<i32, OwnedFd>) -> Vec<Stat> {
        let command = command.as_raw_pid();
        let all = all_processes().into_iter().flatten();
        let mut found: Vec<Stat> = all.filter_map(|process| process.ok()?.stat().ok()).collect();
        // A parent precedes its children, unless the process ids started again within the same 10 ms.
        // Such a child is found by the next pass.
        found.sort_unstable_by_key(|stat| (stat.starttime, stat.pid));
        let mut family: BTreeSet<i32> = known.keys().copied().chain([command]).collect();
        found.retain(|stat| {
            let belongs = match self {
                Self::Own => stat.pgrp == command,
                Self::OfThisProgram => stat.pid == command || family.contains(&stat.ppid),
            };
            if !belongs || ['Z', 'X'].contains(&stat.state) {
                return false;
            }
            family.insert(stat.pid);
            !known.contains_key(&stat.pid)
        });
        found
    }
}

fn is_in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()))
}

fn ask_to_end(process: &OwnedFd) {
    // These fail only for a process that has exited. A stopped process handles SIGTERM only after
    // SIGCONT.
    let _ended = pidfd_send_signal(process, Signal::TERM);
    let _ended = pidfd_send_signal(process, Signal::CONT);
}

/// Opens a process that was seen in `/proc`. Returns `None` if it has exited since.
fn open(seen: &Stat) -> Option<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(seen.pid)?, PidfdFlags::empty()).ok()?;
    // The process id may have been reused before the process was opened.
    let now = Process::new(seen.pid).ok()?.stat().ok()?;
    (now.starttime == seen.starttime).then_some(process)
}

fn has_ended(process: &OwnedFd) -> bool {
    let mut events = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut events, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
