//! A private /dev/shm and private message queues for a test, and processes with lower limits.

use std::collections::BTreeMap;
use std::io::Error;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

/// Gives this thread, and the threads that it creates later, a private mount namespace with a
/// /dev/shm of `bytes`. Returns true on success. This requires root: without it, the test uses the
/// /dev/shm of the machine and reports that on stderr.
pub fn own_memory(bytes: usize) -> bool {
    own_mount("/dev/shm", "tmpfs", &format!("size={bytes}"))
}

/// Mounts a private file system at `place` for this thread and the threads that it creates later.
/// Requirements and result are those of [`own_memory`].
pub fn own_mount(place: &str, kind: &str, options: &str) -> bool {
    let confine = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        // From here on, no other process sees the mounts of this thread.
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let options = Some(options).filter(|options| !options.is_empty());
        mount(Some(kind), place, Some(kind), MsFlags::empty(), options)
    };
    let confined = confine();
    if let Err(errno) = confined {
        eprintln!("no private {place}: {errno}");
    }
    confined.is_ok()
}

/// Gives this thread, and the threads and processes that it creates later, a private namespace of
/// at most `max` message queues. Requirements and result are those of [`own_memory`].
pub fn own_queues(max: u32) -> bool {
    let confined = unshare(CloneFlags::CLONE_NEWIPC)
        .map_err(std::io::Error::from)
        .and_then(|()| std::fs::write("/proc/sys/fs/mqueue/queues_max", max.to_string()));
    if let Err(error) = &confined {
        eprintln!("no private queues: {error}");
    }
    confined.is_ok()
}

/// Mounts the queues of [`own_queues`] at `place`, visible only in the mount namespace of
/// [`own_memory`].
///
/// # Panics
/// If the mount is refused although both namespaces exist.
pub fn show_queues(place: &Path) {
    let none = None::<&str>;
    mount(none, place, Some("mqueue"), MsFlags::empty(), none).expect("a mount of private queues");
}

/// Runs `program` to its end in a new pid namespace and returns its exit code. Prints the pid that
/// the program has outside the namespace; inside, its pid is one that another process also has
/// outside.
///
/// # Errors
/// The refused system call.
pub fn run_in_new_pids(program: &mut Command) -> Result<i32, Error> {
    unshare(CloneFlags::CLONE_NEWPID)?;
    let mut child = program.spawn()?;
    println!("{}", child.id());
    Ok(child.wait()?.code().unwrap_or(1))
}

/// A memory cgroup for one test, of either cgroup version. Dropping it removes the group; its
/// processes must have ended.
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// Creates a group whose processes may use `bytes` in total.
    ///
    /// # Errors
    /// The refused operation.
    pub fn new(bytes: usize) -> std::io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (parent, limit) = own_memory_group()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tablecast-{}-{number}", std::process::id());
        let group = Self(parent.join(name));
        std::fs::create_dir(&group.0)?;
        std::fs::write(group.0.join(limit), bytes.to_string())?;
        Ok(group)
    }

    /// Moves a process into the group. Memory that the process used earlier does not count.
    ///
    /// # Errors
    /// The refused operation.
    pub fn admit(&self, process: u32) -> std::io::Result<()> {
        std::fs::write(self.0.join("cgroup.procs"), process.to_string())
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Returns the memory cgroup of this process, and the name of the file that holds a group's limit.
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

/// Replaces this process with `program` under a limit: `files=N` open files, `queues=BYTES` for
/// message queues, `space=BYTES` of address space, `file=BYTES` of file size, `refused=CALL,…` for
/// a sandbox, or `unprivileged`, which root needs so that the limits of the system apply to it.
///
/// # Errors
/// The refused operation.
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

/// Makes the kernel refuse system calls with EPERM from now on, as a sandbox does, for this process
/// and the programs that it executes.
///
/// # Errors
/// The refused operation, or a call that this function does not know.
fn refuse(calls: &str) -> std::io::Result<()> {
    let number = |call: &str| match call {
        "mq_open" => Ok(nix::libc::SYS_mq_open),
        "pidfd_open" => Ok(nix::libc::SYS_pidfd_open),
        "epoll_create1" => Ok(nix::libc::SYS_epoll_create1),
        "timerfd_create" => Ok(nix::libc::SYS_timerfd_create),
        "linkat" => Ok(nix::libc::SYS_linkat),
        other => Err(Error::other(format!("the number of {other} is not known"))),
    };
    let rules: Result<BTreeMap<i64, Vec<SeccompRule>>, Error> =
        calls.split(',').map(|call| Ok((number(call)?, vec![]))).collect();
    let refusal = SeccompAction::Errno(nix::errno::Errno::EPERM as u32);
    let machine = TargetArch::try_from(std::env::consts::ARCH).map_err(Error::other)?;
    let filter = SeccompFilter::new(rules?, SeccompAction::Allow, refusal, machine);
    let program = BpfProgram::try_from(filter.map_err(Error::other)?).map_err(Error::other)?;
    seccompiler::apply_filter(&program).map_err(Error::other)
}
