//! Checks of message queues: permission, limits and reach. A failure is never a problem, because
//! wake-up `auto` falls back to the futex.

use std::fs;
use std::path::PathBuf;

use common::admin::queue_directory;
use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, mq_close, mq_open, mq_unlink};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::stat::Mode;

use super::check::Report;
use super::namespace::Namespace;

/// Bytes of RLIMIT_MSGQUEUE that a subscriber's queue takes.
const QUEUE_BYTES: u64 = 224;
/// Below this number of possible queues a warning.
const FEW: u64 = 16;

/// Consequence for a subscriber without a queue.
const FUTEX: &str = "sleep on the futex";

/// State of message queues.
pub struct Queues {
    made: Result<(), Errno>,
    most: Option<u64>,
    /// Number of existing queues, if visible.
    used: Option<u64>,
    own_bytes: u64,
    directory: Option<PathBuf>,
    /// True if the directory belongs to another IPC namespace.
    is_foreign: bool,
    namespace: Namespace,
}

impl Queues {
    /// Reads the state, and tries to create a queue.
    pub fn look() -> Self {
        let most = fs::read_to_string("/proc/sys/fs/mqueue/queues_max").ok();
        let directory = queue_directory();
        let limit = getrlimit(Resource::RLIMIT_MSGQUEUE);
        let mut is_foreign = false;
        let made = try_to_make(|name| {
            let shown = directory.as_ref().map(|path| path.join(name));
            is_foreign = shown.is_some_and(|shown| fs::symlink_metadata(shown).is_err());
        });
        let shown = directory.as_ref().filter(|_| !is_foreign);
        let listed = shown.and_then(|path| fs::read_dir(path).ok());
        Self {
            made,
            most: most.and_then(|text| text.trim().parse().ok()),
            used: listed.map(|entries| entries.count() as u64),
            own_bytes: limit.map_or(RLIM_INFINITY, |(soft, _)| soft),
            is_foreign,
            directory,
            namespace: Namespace::look("ipc"),
        }
    }

    /// Returns the results of the checks.
    pub fn checks(&self) -> Vec<Report> {
        vec![self.making(), self.limits(), self.visible(), self.reach()]
    }

    fn making(&self) -> Report {
        let check = "message queue";
        let (found, advice) = match self.made {
            Ok(()) => return Report::ok(check, "one can be made"),
            Err(Errno::EMFILE) => (
                "the memory of this user's queues (RLIMIT_MSGQUEUE) is used up, or its descriptors are",
                "ulimit -q 8388608 (LimitMSGQUEUE= of a unit, docker run --ulimit msgqueue=)",
            ),
            Err(Errno::ENOSPC) => (
                "there are as many as there can be",
                "sysctl -w fs.mqueue.queues_max=1024",
            ),
            Err(Errno::ENOSYS) => (
                "this kernel has none, or a sandbox hides them (mq_open: function not implemented)",
                "let the sandbox allow mq_open, or choose a kernel with CONFIG_POSIX_MQUEUE",
            ),
            Err(Errno::EPERM | Errno::EACCES) => (
                "a sandbox refuses mq_open",
                "let it allow mq_open, mq_unlink, mq_timedsend and mq_timedreceive (SystemCallFilter=@ipc of a unit)",
            ),
            Err(errno) => (errno.desc(), "see mq_open(3)"),
        };
        Report::warning(check, format!("{found}: subscribers {FUTEX}"), advice)
    }

    /// Checks how many subscribers can have a queue.
    fn limits(&self) -> Report {
        let check = "queue limits";
        let Some(most) = self.most else {
            return Report::ok(check, "not told by this kernel (/proc/sys/fs/mqueue)");
        };
        let of_bytes = self.own_bytes / QUEUE_BYTES;
        let used = self.used.unwrap_or(0);
        let left = most.saturating_sub(used);
        let in_use = self
            .used
            .map_or(String::new(), |used| format!(", {used} in use"));
        let of_user = match self.own_bytes {
            RLIM_INFINITY => "no limit of bytes".to_owned(),
            bytes => format!("{bytes} bytes a user, enough for {of_bytes}"),
        };
        let found = format!("{most} queues on this machine{in_use}; {of_user}");
        if left < FEW {
            return Report::warning(
                check,
                format!("{found}: room for {left} subscribers, all others {FUTEX}"),
                "sysctl -w fs.mqueue.queues_max=1024",
            );
        }
        if of_bytes < FEW {
            return Report::warning(
                check,
                format!("{found}: room for {of_bytes} subscribers, all others {FUTEX}"),
                "ulimit -q 819200 (LimitMSGQUEUE= of a unit, docker run --ulimit msgqueue=)",
            );
        }
        Report::ok(check, found)
    }

    fn visible(&self) -> Report {
        let check = "queue file system";
        match &self.directory {
            Some(path) if self.is_foreign => Report::ok(
                check,
                format!(
                    "at {}, with the queues of another IPC namespace",
                    path.display()
                ),
            ),
            Some(path) => Report::ok(check, format!("at {}", path.display())),
            None => Report::ok(
                check,
                "not mounted: queues that are left behind cannot be seen",
            )
            .advising("mount -t mqueue none /dev/mqueue"),
        }
    }

    fn reach(&self) -> Report {
        let check = "IPC namespace";
        let advice = "let both sides share one: docker run --ipc=host or --ipc=container:NAME, no PrivateIPC= in a unit";
        match self.namespace {
            Namespace::Unknown => Report::ok(check, "not known, as /proc does not tell"),
            Namespace::Machine => Report::ok(check, "the machine's"),
            Namespace::Shared => Report::ok(
                check,
                "not the machine's, but a container's: queues reach those within, others are woken by the futex",
            ),
            Namespace::Own => Report::warning(
                check,
                format!("of its own: queues reach nobody outside of it, where subscribers {FUTEX}"),
                advice,
            ),
        }
    }
}

/// Creates and removes a queue. Calls `look` with its name in between.
fn try_to_make(look: impl FnOnce(&str)) -> Result<(), Errno> {
    let name = format!("/tablecast.doctor.{}", std::process::id());
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDONLY | MQ_OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let queue = mq_open(name.as_str(), flags, mode, Some(&MqAttr::new(0, 1, 1, 0)))?;
    look(&name[1..]);
    let closed = mq_close(queue);
    mq_unlink(name.as_str()).and(closed)
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    fn good() -> Queues {
        Queues {
            made: Ok(()),
            most: Some(256),
            used: Some(10),
            own_bytes: 819_200,
            directory: Some("/dev/mqueue".into()),
            is_foreign: false,
            namespace: Namespace::Machine,
        }
    }

    #[test]
    fn refused_queue_is_a_warning_that_names_the_cause() {
        let good = good();
        assert!(good.checks().iter().all(|report| report.state == State::Ok));
        for (errno, word) in [
            (Errno::EMFILE, "ulimit -q"),
            (Errno::ENOSPC, "queues_max"),
            (Errno::ENOSYS, "CONFIG_POSIX_MQUEUE"),
            (Errno::EPERM, "@ipc"),
            (Errno::EINVAL, "mq_open(3)"),
        ] {
            let queues = Queues {
                made: Err(errno),
                ..self::good()
            };
            let report = queues.making();
            assert_eq!(report.state, State::Warning);
            assert!(report.advice.unwrap().contains(word), "{errno}");
            assert!(report.found.contains("futex"));
        }
    }

    #[test]
    fn low_limit_is_a_warning_that_names_it() {
        for (most, used, own_bytes, word) in [
            (Some(256), Some(250), 819_200, Some("queues_max")),
            (Some(8), None, 819_200, Some("queues_max")),
            (Some(256), Some(0), 1000, Some("ulimit -q")),
            (Some(256), Some(0), RLIM_INFINITY, None),
            (Some(0), Some(9), RLIM_INFINITY, Some("queues_max")),
            (None, None, 0, None),
        ] {
            let report = Queues {
                most,
                used,
                own_bytes,
                ..good()
            }
            .limits();
            assert_eq!(report.state == State::Warning, word.is_some(), "{report:?}");
            let advice = report.advice.unwrap_or_default();
            assert!(advice.contains(word.unwrap_or("")), "{advice}");
        }
        assert!(good().limits().found.contains("enough for 3657"));
    }

    #[test]
    fn separate_namespace_is_a_warning() {
        for (namespace, state) in [
            (Namespace::Machine, State::Ok),
            (Namespace::Shared, State::Ok),
            (Namespace::Unknown, State::Ok),
            (Namespace::Own, State::Warning),
        ] {
            let report = Queues {
                namespace,
                ..good()
            }
            .reach();
            assert_eq!(report.state, state, "{report:?}");
        }
        let foreign = Queues {
            is_foreign: true,
            ..good()
        };
        assert!(foreign.visible().found.contains("another IPC namespace"));
        let unseen = Queues {
            directory: None,
            ..good()
        };
        let report = unseen.visible();
        assert!(report.state == State::Ok && report.advice.is_some());
    }
}
