//! A /dev/shm and message queues of a test's own, and processes that may have less than others.

use std::collections::BTreeMap;
use std::io::Error;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

/// Gives this thread, and those that it makes from now on, a /dev/shm of `bytes` in a mount namespace of its own. Only root
/// may: elsewhere the machine's own is used, which is said on stderr. Whether it was done.
pub fn own_memory(bytes: usize) -> bool {
    own_mount("/dev/shm", "tmpfs", &format!("size={bytes}"))
}

/// Gives this thread, and those that it makes from now on, a file system of its own at `place`. As for [`own_memory`].
pub fn own_mount(place: &str, kind: &str, options: &str) -> bool {
    let confine = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        // Nothing that is mounted from here on is seen by others.
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let options = Some(options).filter(|options| !options.is_empty());
        mount(Some(kind), place, Some(kind), MsFlags::empty(), options)
    };
    let confined = confine();
    if let Err(errno) = confined {
        eprintln!("no {place} of its own: {errno}");
    }
    confined.is_ok()
}

/// Gives this thread, and those and the processes that it makes from now on, message queues of their own, of which there can
/// be `max`. As for [`own_memory`].
pub fn own_queues(max: u32) -> bool {
    let confined = unshare(CloneFlags::CLONE_NEWIPC)
        .map_err(std::io::Error::from)
        .and_then(|()| std::fs::write("/proc/sys/fs/mqueue/queues_max", max.to_string()));
    if let Err(error) = &confined {
        eprintln!("no queues of its own: {error}");
    }
    confined.is_ok()
}

/// Mounts the queues of [`own_queues`] at `place`, for who is in the mount namespace of [`own_memory`] alone.
///
/// # Panics
/// If that is refused to who may have both.
pub fn show_queues(place: &Path) {
    let none = None::<&str>;
    mount(none, place, Some("mqueue"), MsFlags::empty(), none).expect("a mount of its own queues");
}

/// Runs `program` in a pid namespace of its own, to its end, and returns its exit code. Says in a line which pid it has outside; inside it has
/// that of another process.
///
/// # Errors
/// What was refused.
pub fn play_new_pids(program: &mut Command) -> Result<i32, Error> {
    unshare(CloneFlags::CLONE_NEWPID)?;
    let mut child = program.spawn()?;
    println!("{}", child.id());
    Ok(child.wait()?.code().unwrap_or(1))
}

/// A memory cgroup of a test's own, of either version. It goes when this is dropped; its processes must have ended.
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// One whose processes may use `bytes` together.
    ///
    /// # Errors
    /// What was refused.
    pub fn new(bytes: usize) -> std::io::Result<Self> {
        let (parent, limit) = own_memory_group()?;
        let group = Self(parent.join(format!("tablecast-{}", std::process::id())));
        std::fs::create_dir(&group.0)?;
        std::fs::write(group.0.join(limit), bytes.to_string())?;
        Ok(group)
    }

    /// Makes a process one of it. What it has used before does not count.
    ///
    /// # Errors
    /// What was refused.
    pub fn admit(&self, process: u32) -> std::io::Result<()> {
        std::fs::write(self.0.join("cgroup.procs"), process.to_string())
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// The memory cgroup of this process, and the file of a group's limit.
fn own_memory_group() -> std::io::Result<(PathBuf, &'static str)> {
    let groups = std::fs::read_to_string("/proc/self/cgroup")?;
    let of = |mark: &str| groups.lines().find_map(|line| line.split_once(mark));
    let (root, (_, path), limit) = match (of(":memory:"), of("0::")) {
        (Some(group), _) => ("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"),
        (None, Some(group)) => ("/sys/fs/cgroup", group, "memory.max"),
        (None, None) => return Err(Error::other("there are no memory cgroups")),
    };
    Ok((PathBuf::from(format!("{root}{path}")), limit))
}

/// Becomes `program` with less than it would have: `files=N` open files, `queues=BYTES` for message queues, `space=BYTES` of
/// addresses, `file=BYTES` of a file, `refused=CALL,…` for a sandbox, or `unprivileged`, which even root needs to be held by the limits of the system.
///
/// # Errors
/// What was refused.
pub fn become_limited(limit: &str, program: &mut Command) -> Error {
    let applied = match limit.split_once('=') {
        Some(("files", count)) => {
            let count = count.parse().unwrap_or(0);
            setrlimit(Resource::RLIMIT_NOFILE, count, count).map_err(Error::from)
        }
        Some(("queues", bytes)) => {
            let bytes = bytes.parse().unwrap_or(0);
            setrlimit(Resource::RLIMIT_MSGQUEUE, bytes, bytes).map_err(Error::from)
        }
        Some(("space", bytes)) => {
            let bytes = bytes.parse().unwrap_or(0);
            setrlimit(Resource::RLIMIT_AS, bytes, bytes).map_err(Error::from)
        }
        Some(("file", bytes)) => {
            let bytes = bytes.parse().unwrap_or(0);
            setrlimit(Resource::RLIMIT_FSIZE, bytes, bytes).map_err(Error::from)
        }
        Some(("refused", calls)) => refuse(calls),
        _ => remove_capability_from_bounding_set(CapabilitySet::SYS_RESOURCE).map_err(Error::from),
    };
    applied.err().unwrap_or_else(|| program.exec())
}

/// Has the kernel refuse system calls from now on, as a sandbox does (EPERM), to this process and what it becomes.
///
/// # Errors
/// What was refused, and a call that is not known here.
fn refuse(calls: &str) -> std::io::Result<()> {
    let number = |call: &str| match call {
        "mq_open" => Ok(nix::libc::SYS_mq_open),
        "pidfd_open" => Ok(nix::libc::SYS_pidfd_open),
        "epoll_create1" => Ok(nix::libc::SYS_epoll_create1),
        "timerfd_create" => Ok(nix::libc::SYS_timerfd_create),
        "linkat" => Ok(nix::libc::SYS_linkat),
        other => Err(Error::other(format!("the number of {other} is not known"))),
    };
    let rules: Result<BTreeMap<i64, Vec<SeccompRule>>, Error> = calls
        .split(',')
        .map(|call| Ok((number(call)?, vec![])))
        .collect();
    let refusal = SeccompAction::Errno(nix::errno::Errno::EPERM as u32);
    let machine = TargetArch::try_from(std::env::consts::ARCH).map_err(Error::other)?;
    let filter = SeccompFilter::new(rules?, SeccompAction::Allow, refusal, machine);
    let program = BpfProgram::try_from(filter.map_err(Error::other)?).map_err(Error::other)?;
    seccompiler::apply_filter(&program).map_err(Error::other)
}
