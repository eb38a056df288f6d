//! Checks of message queues: permission, limits, and the processes that they reach. A failure is
//! only a warning, because the wake kind `auto` falls back to the futex.

use std::fs;

use common::admin::queue_directory;
use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, mq_close, mq_open, mq_unlink};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::stat::Mode;

use super::Report;

/// Bytes of RLIMIT_MSGQUEUE that a subscriber's queue takes.
const QUEUE_BYTES: u64 = 224;
/// Number of further queues below which there is a warning.
const FEW: u64 = 16;
/// Inode number of the machine's initial IPC namespace, a constant of the kernel.
const INITIAL_IPC: &str = "ipc:[4026531839]";
/// Inode number of the machine's initial pid namespace, a constant of the kernel.
const INITIAL_PID: &str = "pid:[4026531836]";
/// Effect on a subscriber without a queue.
const FUTEX: &str = "sleep on the futex";

pub fn checks() -> Vec<Report> {
    let directory = queue_directory();
    let mut is_foreign = false;
    let created = try_to_create(|name| {
        let shown = directory.as_ref().map(|path| path.join(name));
        is_foreign = shown.is_some_and(|shown| fs::symlink_metadata(shown).is_err());
    });
    let at = directory.as_ref().map(|path| path.display().to_string());
    let file_system = match &at {
        Some(path) if is_foreign => {
            format!("at {path}, with the queues of another IPC namespace")
        }
        Some(path) => format!("at {path}"),
        None => {
            "not mounted, so orphaned queues cannot be listed: mount -t mqueue none /dev/mqueue"
                .to_owned()
        }
    };
    let shown = directory.filter(|_| !is_foreign);
    let used = shown.and_then(|path| Some(fs::read_dir(path).ok()?.count() as u64));
    let most = fs::read_to_string("/proc/sys/fs/mqueue/queues_max").ok();
    let bytes = getrlimit(Resource::RLIMIT_MSGQUEUE).map_or(RLIM_INFINITY, |(soft, _)| soft);
    vec![
        creation(created),
        limits(most.and_then(|text| text.trim().parse().ok()), used, bytes),
        Report::ok("queue file system", file_system),
        ipc_namespace(),
    ]
}

fn creation(created: Result<(), Errno>) -> Report {
    let check = "message queue";
    let (found, advice) = match created {
        Ok(()) => return Report::ok(check, "can be created"),
        Err(Errno::EMFILE) => (
            "the memory for this user's queues (RLIMIT_MSGQUEUE) is used up",
            "ulimit -q 8388608 (LimitMSGQUEUE= in a unit, docker run --ulimit msgqueue=)",
        ),
        Err(Errno::ENOSPC) => {
            ("the maximum number of queues exists", "sysctl -w fs.mqueue.queues_max=1024")
        }
        Err(Errno::ENOSYS) => (
            "the kernel has no message queues, or a sandbox hides them",
            "let the sandbox allow mq_open, or use a kernel with CONFIG_POSIX_MQUEUE",
        ),
        Err(Errno::EPERM | Errno::EACCES) => (
            "a sandbox refuses mq_open",
            "let it allow mq_open, mq_unlink, mq_timedsend and mq_timedreceive (SystemCallFilter=@ipc in a unit)",
        ),
        Err(errno) => (errno.desc(), "see mq_open(3)"),
    };
    Report::warning(check, format!("{found}: subscribers {FUTEX}"), advice)
}

fn limits(most: Option<u64>, used: Option<u64>, bytes: u64) -> Report {
    let check = "queue limits";
    let Some(most) = most else {
        return Report::ok(check, "unknown: there is no /proc/sys/fs/mqueue");
    };
    let in_use = used.map_or(String::new(), |used| format!(", {used} in use"));
    let of_user = match bytes {
        RLIM_INFINITY => "no limit of bytes".to_owned(),
        bytes => format!("{bytes} bytes per user, enough for {}", bytes / QUEUE_BYTES),
    };
    let found = format!("{most} queues on this machine{in_use}; {of_user}");
    let free = most.saturating_sub(used.unwrap_or(0));
    let (room, advice) = match (free, bytes / QUEUE_BYTES) {
        (..FEW, _) => (free, "sysctl -w fs.mqueue.queues_max=1024"),
        (_, room @ ..FEW) => {
            (room, "ulimit -q 819200 (LimitMSGQUEUE= in a unit, docker run --ulimit msgqueue=)")
        }
        _ => return Report::ok(check, found),
    };
    let found = format!("{found}: room for {room} subscribers, others {FUTEX}");
    Report::warning(check, found, advice)
}

/// Checks which processes the queues reach. In a container, process 1 is in the same IPC namespace.
/// If this user may not look at process 1, the pid namespace shows whether this is a container.
fn ipc_namespace() -> Report {
    let check = "IPC namespace";
    let namespace = |process: &str, kind: &str| {
        let link = fs::read_link(format!("/proc/{process}/ns/{kind}")).ok()?;
        Some(link.to_string_lossy().into_owned())
    };
    let Some(own) = namespace("self", "ipc") else {
        return Report::ok(check, "unknown, because /proc does not show it");
    };
    let is_separate = match namespace("1", "ipc") {
        Some(first) => own != first,
        None => namespace("self", "pid").as_deref() == Some(INITIAL_PID),
    };
    if own == INITIAL_IPC {
        Report::ok(check, "the machine's")
    } else if is_separate {
        Report::warning(
            check,
            format!("separate: queues reach no process outside of it, where subscribers {FUTEX}"),
            "let both sides share one: docker run --ipc=host or --ipc=container:NAME, no PrivateIPC= in a unit",
        )
    } else {
        Report::ok(
            check,
            "a container's: queues reach the processes in it, and the futex wakes all others",
        )
    }
}

/// Creates a queue, calls `look` with its name, and removes it.
fn try_to_create(look: impl FnOnce(&str)) -> Result<(), Errno> {
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
    use super::super::State;
    use super::*;

    #[test]
    fn refused_queue_is_a_warning_that_names_the_cause() {
        for (errno, advice) in [
            (Errno::EMFILE, "ulimit -q"),
            (Errno::ENOSPC, "queues_max"),
            (Errno::ENOSYS, "CONFIG_POSIX_MQUEUE"),
            (Errno::EPERM, "@ipc"),
            (Errno::EINVAL, "mq_open(3)"),
        ] {
            let report = creation(Err(errno));
            assert_eq!(report.state, State::Warning);
            assert!(report.advice.unwrap().contains(advice), "{errno}");
        }
    }

    #[test]
    fn low_limit_is_a_warning_that_names_it() {
        for (most, used, bytes, advice) in [
            (Some(256), Some(250), 819_200, Some("queues_max")),
            (Some(8), None, 819_200, Some("queues_max")),
            (Some(256), Some(0), 1000, Some("ulimit -q")),
            (Some(256), Some(0), RLIM_INFINITY, None),
            (Some(0), Some(9), RLIM_INFINITY, Some("queues_max")),
            (None, None, 0, None),
        ] {
            let report = limits(most, used, bytes);
            assert_eq!(report.state == State::Warning, advice.is_some(), "{report:?}");
            assert!(report.advice.unwrap_or_default().contains(advice.unwrap_or("")));
        }
        assert!(limits(Some(256), Some(10), 819_200).found.contains("enough for 3657"));
    }
}
