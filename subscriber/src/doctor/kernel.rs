//! Checks of the kernel version, refused system calls, resource limits and the pid namespace.

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::eventfd::EventFd;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use procfs::sys::kernel::Version;
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::check::Report;
use super::namespace::Namespace;

/// Oldest supported kernel: the first with open-file-description locks.
const LEAST: (u8, u8) = (3, 15);
/// First kernel with pidfds.
const PIDFD: (u8, u8) = (5, 3);

/// Descriptors that a subscriber needs, with a margin for the program's own.
const LEAST_FILES: u64 = 16;
/// Below this a warning: a publisher has one descriptor for each subscriber that sleeps in a queue.
const FEW_FILES: u64 = 256;

/// Below this a warning: room for a table of a million rows of a hundred bytes.
const SMALL_SPACE: u64 = 1 << 30;

/// Kernel version and limits.
pub struct Kernel {
    version: Option<(u8, u8)>,
    /// Refused system calls with their errors.
    refused: Vec<(&'static str, Errno)>,
    files: u64,
    address_space: u64,
    file_size: u64,
    pids: Namespace,
}

impl Kernel {
    /// Reads the version and limits.
    pub fn look() -> Self {
        let limit = |resource| getrlimit(resource).map_or(RLIM_INFINITY, |(soft, _)| soft);
        let version = Version::current().ok();
        Self {
            version: version.map(|version| (version.major, version.minor)),
            refused: refused(),
            files: limit(Resource::RLIMIT_NOFILE),
            address_space: limit(Resource::RLIMIT_AS),
            file_size: limit(Resource::RLIMIT_FSIZE),
            pids: Namespace::look("pid"),
        }
    }

    /// Returns the results of the checks.
    pub fn checks(&self) -> Vec<Report> {
        vec![
            self.release(),
            self.calls(),
            self.open_files(),
            space(
                "address space",
                self.address_space,
                "tables are mapped as a whole",
                "ulimit -v unlimited (LimitAS=infinity of a unit)",
            ),
            space(
                "file size",
                self.file_size,
                "a table is a file",
                "ulimit -f unlimited (LimitFSIZE=infinity of a unit)",
            ),
            self.processes(),
        ]
    }

    fn release(&self) -> Report {
        let check = "kernel";
        let Some(version @ (major, minor)) = self.version else {
            return Report::warning(
                check,
                "its version is not told by /proc",
                "mount -t proc proc /proc",
            );
        };
        let found = format!("Linux {major}.{minor}");
        if version < LEAST {
            let found = format!("{found}: no locks of open files (3.15)");
            return Report::problem(check, found, "choose Linux 5.3 or later");
        }
        if version < PIDFD {
            let found = format!(
                "{found}: no descriptors of processes (5.3): a death is seen by the next look, and `watch -- COMMAND` does not work"
            );
            return Report::warning(check, found, "choose Linux 5.3 or later");
        }
        Report::ok(check, found)
    }

    fn calls(&self) -> Report {
        let check = "system calls";
        if self.refused.is_empty() {
            return Report::ok(check, "none that is needed is refused");
        }
        let told = |(call, errno): &(&str, Errno)| format!("{call} ({})", errno.desc());
        let refused: Vec<String> = self.refused.iter().map(told).collect();
        let refused = refused.join(", ");
        let names: Vec<&str> = self.refused.iter().map(|(call, _)| *call).collect();
        let advice = format!(
            "let the sandbox allow {} (SystemCallFilter=@system-service of a unit, docker run --security-opt seccomp=)",
            names.join(", ")
        );
        if names == ["pidfd_open"] {
            let found = format!(
                "refused: {refused}: a death is seen by the next look, and `watch -- COMMAND` does not work"
            );
            return Report::warning(check, found, advice);
        }
        let found = format!("refused: {refused}: a subscriber cannot wait");
        Report::problem(check, found, advice)
    }

    fn open_files(&self) -> Report {
        let (check, files) = ("open files", self.files);
        let advice = "ulimit -n 65536 (LimitNOFILE= of a unit, docker run --ulimit nofile=)";
        match files {
            RLIM_INFINITY => Report::ok(check, "no limit"),
            ..LEAST_FILES => Report::problem(
                check,
                format!("{files} a process: not enough for a table"),
                advice,
            ),
            LEAST_FILES..FEW_FILES => Report::warning(
                check,
                format!("{files} a process: a publisher needs one for each subscriber"),
                advice,
            ),
            _ => Report::ok(check, format!("{files} a process")),
        }
    }

    fn processes(&self) -> Report {
        let check = "pid namespace";
        match self.pids {
            Namespace::Unknown => Report::ok(check, "not known, as /proc does not tell"),
            Namespace::Machine => Report::ok(check, "the machine's"),
            Namespace::Shared | Namespace::Own => Report::ok(
                check,
                "a container's: whoever is outside of it is not woken by --wake signal, and a death there is seen by the next look",
            ),
        }
    }
}

/// Checks a limit on the size of tables.
fn space(check: &str, limit: u64, why: &str, advice: &str) -> Report {
    use crate::format::cells::bytes;
    match limit {
        RLIM_INFINITY => Report::ok(check, "no limit"),
        ..SMALL_SPACE => {
            Report::warning(check, format!("{} a process: {why}", bytes(limit)), advice)
        }
        limit => Report::ok(check, format!("{} a process", bytes(limit))),
    }
}

/// Tries the system calls that a waiting subscriber needs. Returns those refused.
fn refused() -> Vec<(&'static str, Errno)> {
    let process = pidfd_open(getpid(), PidfdFlags::empty());
    let process = process.map_err(|errno| Errno::from_raw(errno.raw_os_error()));
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC);
    let tried = [
        ("pidfd_open", process.err()),
        (
            "epoll_create1",
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).err(),
        ),
        ("eventfd2", EventFd::new().err()),
        ("timerfd_create", timer.err()),
    ];
    tried
        .into_iter()
        .filter_map(|(call, errno)| Some((call, errno?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    fn good() -> Kernel {
        Kernel {
            version: Some((6, 18)),
            refused: vec![],
            files: 1024,
            address_space: RLIM_INFINITY,
            file_size: RLIM_INFINITY,
            pids: Namespace::Machine,
        }
    }

    #[test]
    fn good_machine_gets_no_advice() {
        for report in good().checks() {
            assert_eq!((report.state, report.advice), (State::Ok, None));
        }
    }

    #[test]
    fn old_kernels_are_reported() {
        for (version, state) in [
            (Some((3, 14)), State::Problem),
            (Some((3, 15)), State::Warning),
            (Some((5, 2)), State::Warning),
            (Some((5, 3)), State::Ok),
            (Some((10, 0)), State::Ok),
            (None, State::Warning),
        ] {
            let kernel = Kernel { version, ..good() };
            assert_eq!(kernel.release().state, state, "{version:?}");
        }
    }

    #[test]
    fn refused_calls_are_named() {
        for (refused, state) in [
            (vec![("pidfd_open", Errno::EPERM)], State::Warning),
            (vec![("eventfd2", Errno::ENOSYS)], State::Problem),
            (
                vec![
                    ("pidfd_open", Errno::EPERM),
                    ("epoll_create1", Errno::EPERM),
                ],
                State::Problem,
            ),
        ] {
            let names: Vec<&str> = refused.iter().map(|(call, _)| *call).collect();
            let kernel = Kernel { refused, ..good() };
            let report = kernel.calls();
            assert_eq!(report.state, state);
            let advice = report.advice.unwrap();
            for name in names {
                assert!(report.found.contains(name) && advice.contains(name));
            }
        }
    }

    #[test]
    fn low_limits_are_reported() {
        for (files, state) in [
            (4, State::Problem),
            (64, State::Warning),
            (1024, State::Ok),
            (RLIM_INFINITY, State::Ok),
        ] {
            let kernel = Kernel { files, ..good() };
            assert_eq!(kernel.open_files().state, state, "{files}");
        }
        for (limit, state) in [(1 << 20, State::Warning), (1 << 40, State::Ok)] {
            let kernel = Kernel {
                address_space: limit,
                file_size: limit,
                ..good()
            };
            let checks = kernel.checks();
            let of_space = checks
                .iter()
                .filter(|report| ["address space", "file size"].contains(&&*report.check));
            assert_eq!(
                of_space.map(|report| report.state).collect::<Vec<_>>(),
                [state, state]
            );
        }
    }
}
