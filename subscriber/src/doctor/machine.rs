//! Checks of `/dev/shm`, locks, the kernel, system calls that a sandbox may refuse, and limits of
//! the process.

use std::path::Path;

use common::Error;
use common::admin::probe;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::eventfd::EventFd;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::stat::stat;
use nix::sys::statfs::{Statfs, TMPFS_MAGIC, statfs};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use nix::unistd::{AccessFlags, access};
use procfs::sys::kernel::Version;
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::Report;
use crate::cells::bytes;

const DIRECTORY: &str = "/dev/shm";
const MOUNT: &str = "mount -t tmpfs -o mode=1777 tmpfs /dev/shm";
const ENLARGE: &str = "mount -o remount,size=1g /dev/shm; for a container: docker run --shm-size=1g, or an emptyDir with medium: Memory";
/// The gain was measured with rows of 64 bytes: `huge=always` against `huge=never`.
const HUGE_PAGES: &str = "mount -o remount,huge=always /dev/shm, and a shmem_enabled other than deny: Reader::get of random keys among a million takes 0.7 of the time, but each object takes 2 MiB or more";

/// Docker's default size of `/dev/shm`, which a table of a million small rows fills.
const SMALL_SHM: u64 = 64 << 20;
/// Space that an empty table and its first rows need.
const LEAST_SHM: u64 = 1 << 20;
/// Number of inodes that a table takes: region, registry, key index and lock.
const TABLE_INODES: u64 = 4;
/// Number of free inodes below which there is a warning.
const FEW_INODES: u64 = 100;
/// First kernel with open-file-description locks.
const LEAST_KERNEL: (u8, u8) = (3, 15);
/// First kernel with pidfds.
const PIDFD_KERNEL: (u8, u8) = (5, 3);
/// Number of descriptors that a subscriber needs, with a margin for the program's own.
const LEAST_FILES: u64 = 16;
/// Number of descriptors below which there is a warning: a publisher has one per parked subscriber.
const FEW_FILES: u64 = 256;
/// Limit in bytes below which there is a warning: the size of a table of 500,000 rows of 1 KB.
const SMALL_SPACE: u64 = 1 << 30;

/// Effect of a missing pidfd.
const WITHOUT_PIDFD: &str =
    "deaths are noticed at the next re-check, and `watch -- COMMAND` does not work";

pub fn checks() -> Vec<Report> {
    let mut reports = Vec::new();
    match statfs(Path::new(DIRECTORY)) {
        Ok(system) => reports.extend([kind(&system), mode(), space(&system), inodes(&system)]),
        Err(errno) => {
            let found = format!("does not exist: {}", errno.desc());
            reports.push(Report::problem(DIRECTORY, found, MOUNT));
        }
    }
    reports.push(huge_pages());
    reports.extend(objects_and_locks());
    let version = Version::current().ok();
    let limit = |resource| getrlimit(resource).map_or(RLIM_INFINITY, |(soft, _)| soft);
    reports.extend([
        kernel(version.map(|version| (version.major, version.minor))),
        system_calls(),
        open_files(limit(Resource::RLIMIT_NOFILE)),
        size_limit(
            "address space",
            limit(Resource::RLIMIT_AS),
            "tables are mapped as a whole",
            "ulimit -v unlimited (LimitAS=infinity in a unit)",
        ),
        size_limit(
            "file size",
            limit(Resource::RLIMIT_FSIZE),
            "a table is one file",
            "ulimit -f unlimited (LimitFSIZE=infinity in a unit)",
        ),
    ]);
    reports
}

fn kind(system: &Statfs) -> Report {
    match system.filesystem_type() == TMPFS_MAGIC {
        true => Report::ok(DIRECTORY, "a tmpfs"),
        false => Report::warning(
            DIRECTORY,
            "not a tmpfs: tables are on a disk, or cannot be created",
            MOUNT,
        ),
    }
}

fn mode() -> Report {
    let (check, advice) = ("/dev/shm mode", "chmod 1777 /dev/shm");
    let path = Path::new(DIRECTORY);
    let (mode, owner) = match stat(path) {
        Ok(status) => (status.st_mode & 0o7777, status.st_uid),
        Err(errno) => return Report::problem(check, errno.desc(), advice),
    };
    let found = format!("{mode:o}, owned by user {owner}");
    if access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        let found = format!("{found}: this user cannot create objects there");
        return Report::problem(check, found, advice);
    }
    match mode {
        0o1777 => Report::ok(check, found),
        mode if mode & 0o1002 == 0o0002 => Report::warning(
            check,
            format!("{found}: every user can remove the tables of others"),
            advice,
        ),
        _ => Report::warning(check, format!("{found}: not every user can publish"), advice),
    }
}

fn space(system: &Statfs) -> Report {
    let check = "/dev/shm space";
    let block = u64::try_from(system.block_size()).unwrap_or(0);
    let size = system.blocks().saturating_mul(block);
    let free = system.blocks_available().saturating_mul(block);
    let found = format!("{}, {} of it free", bytes(size), bytes(free));
    match size {
        0 => Report::ok(check, "limited only by memory"),
        _ if free < LEAST_SHM => Report::problem(
            check,
            format!("{found}: no room for a table"),
            format!("remove tables (publisher rm NAME), or {ENLARGE}"),
        ),
        size if size <= SMALL_SHM => {
            Report::warning(check, format!("{found}: little for tables"), ENLARGE)
        }
        size if free < size / 10 => {
            Report::warning(check, format!("{found}: nearly full"), ENLARGE)
        }
        _ => Report::ok(check, found),
    }
}

fn inodes(system: &Statfs) -> Report {
    let (inodes, free) = (system.files(), system.files_free());
    let limit = if inodes == 0 { RLIM_INFINITY } else { free };
    let found = format!("{free} of {inodes} free");
    let reasons = ["not enough for a table", "each table takes four"];
    let advice = "mount -o remount,nr_inodes=100k /dev/shm";
    graded("/dev/shm inodes", found, limit, [TABLE_INODES, FEW_INODES], reasons, advice)
}

/// Names the option of the mount that decides whether tables are on huge pages.
fn huge_pages() -> Report {
    let check = "huge pages";
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let setting = read("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    let mounts = read("/proc/self/mounts");
    let is_forced = setting.contains("[force]");
    match huge_option(&mounts) {
        _ if setting.is_empty() => Report::ok(check, "the kernel has none for shared memory"),
        _ if is_forced => Report::ok(check, "used for all shared memory: shmem_enabled is force"),
        Some(option) if !setting.contains("[deny]") => {
            Report::ok(check, format!("{DIRECTORY} is mounted with huge={option}"))
        }
        _ => Report { advice: Some(HUGE_PAGES.to_owned()), ..Report::ok(check, "not used") },
    }
}

/// Returns the value of the option `huge` of `/dev/shm`, unless it is `never`.
fn huge_option(mounts: &str) -> Option<&str> {
    let mut last_first = mounts.lines().rev().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = last_first.find(|fields| fields.get(1) == Some(&DIRECTORY))?;
    let option = mount.get(3)?.split(',').find_map(|option| option.strip_prefix("huge="));
    option.filter(|option| *option != "never")
}

/// Returns a problem if less than the first bound is `available`, and a warning if less than the
/// second one is. RLIM_INFINITY means that there is no limit.
fn graded(
    check: &str,
    found: String,
    available: u64,
    bounds: [u64; 2],
    reasons: [&str; 2],
    advice: &str,
) -> Report {
    let [problem, warning] = reasons.map(|reason| format!("{found}: {reason}"));
    match available {
        RLIM_INFINITY => Report::ok(check, "no limit"),
        _ if available < bounds[0] => Report::problem(check, problem, advice),
        _ if available < bounds[1] => Report::warning(check, warning, advice),
        _ => Report::ok(check, found),
    }
}

/// Creates, links and locks an object, as publishers and subscribers do.
fn objects_and_locks() -> Vec<Report> {
    let probe = probe();
    let mut reports = vec![match &probe.objects {
        Ok(()) => Report::ok("objects", "can be created, named and removed"),
        Err(error) => refused("objects", error),
    }];
    reports.extend(probe.locks.map(|seen| match seen {
        Ok(true) => Report::ok("locks", "are seen by other processes"),
        Ok(false) => Report::problem(
            "locks",
            "a lock is not seen by other processes, so nobody knows which publishers are alive",
            MOUNT,
        ),
        Err(error) => refused("locks", &error),
    }));
    reports
}

fn refused(check: &str, error: &Error) -> Report {
    match error {
        Error::Limit { limit, remedy, .. } => {
            Report::problem(check, format!("the limit is reached: {limit}"), *remedy)
        }
        Error::PermissionDenied { action, .. } => Report::problem(
            check,
            format!("no permission to {action} an object in /dev/shm"),
            "chmod 1777 /dev/shm, and let the sandbox allow openat with O_TMPFILE, linkat and fcntl",
        ),
        error => Report::problem(
            check,
            error.to_string(),
            format!("{MOUNT}; mount -t proc proc /proc; Linux 3.15 or later is required"),
        ),
    }
}

fn kernel(version: Option<(u8, u8)>) -> Report {
    let (check, advice) = ("kernel", "use Linux 5.3 or later");
    let Some(version @ (major, minor)) = version else {
        let found = "the version is unknown, because /proc is not mounted";
        return Report::warning(check, found, "mount -t proc proc /proc");
    };
    let found = format!("Linux {major}.{minor}");
    match version {
        _ if version < LEAST_KERNEL => {
            Report::problem(check, format!("{found}: no open-file-description locks"), advice)
        }
        _ if version < PIDFD_KERNEL => {
            Report::warning(check, format!("{found}: no pidfds: {WITHOUT_PIDFD}"), advice)
        }
        _ => Report::ok(check, found),
    }
}

/// Tries the system calls that a waiting subscriber needs.
fn system_calls() -> Report {
    let check = "system calls";
    let process = pidfd_open(getpid(), PidfdFlags::empty()).err();
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC);
    let tried = [
        ("pidfd_open", process.map(|errno| Errno::from_raw(errno.raw_os_error()))),
        ("epoll_create1", Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).err()),
        ("eventfd2", EventFd::new().err()),
        ("timerfd_create", timer.err()),
    ];
    let refused = tried
        .iter()
        .filter_map(|(call, errno)| Some((*call, format!("{call} ({})", (*errno)?.desc()))));
    let (names, errors): (Vec<&str>, Vec<String>) = refused.unzip();
    if names.is_empty() {
        return Report::ok(check, "all required calls are allowed");
    }
    let advice = format!(
        "let the sandbox allow {} (SystemCallFilter=@system-service in a unit, docker run --security-opt seccomp=)",
        names.join(", ")
    );
    let errors = errors.join(", ");
    match names[..] {
        ["pidfd_open"] => {
            Report::warning(check, format!("refused: {errors}: {WITHOUT_PIDFD}"), advice)
        }
        _ => Report::problem(check, format!("refused: {errors}: a subscriber cannot wait"), advice),
    }
}

fn open_files(limit: u64) -> Report {
    let found = format!("{limit} per process");
    let reasons = ["not enough for a table", "a publisher needs one for each subscriber"];
    let advice = "ulimit -n 65536 (LimitNOFILE= in a unit, docker run --ulimit nofile=)";
    graded("open files", found, limit, [LEAST_FILES, FEW_FILES], reasons, advice)
}

fn size_limit(check: &str, limit: u64, why: &str, advice: &str) -> Report {
    let found = format!("{} per process", bytes(limit));
    graded(check, found, limit, [0, SMALL_SPACE], ["", why], advice)
}

#[cfg(test)]
mod tests {
    use common::{Schema, UntypedPublisher, inspect};

    use super::super::State;
    use super::*;

    #[test]
    fn table_takes_the_stated_number_of_inodes() {
        let name = format!("doctor-inodes-{}", std::process::id());
        let schema = Schema::parse("id:u8", None).unwrap();
        let publisher = UntypedPublisher::builder(&name, schema).open().unwrap();
        let table = inspect(&name, None).unwrap();
        let ids = [table.region_id, table.registry_id].map(|id| format!("{id:016x}"));
        let objects = std::fs::read_dir(DIRECTORY).unwrap();
        let names = objects.map(|object| object.unwrap().file_name().into_string().unwrap());
        let of_table = names.filter(|object| {
            object.ends_with(&name) || ids.iter().any(|id| object.contains(id.as_str()))
        });
        assert_eq!(of_table.count() as u64, TABLE_INODES);
        publisher.close().unwrap();
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
            assert_eq!(kernel(version).state, state, "{version:?}");
        }
    }

    #[test]
    fn option_of_the_last_mount_decides_about_huge_pages() {
        let mounts = |options: &[&str]| -> String {
            options.iter().map(|option| format!("tmpfs /dev/shm tmpfs rw,{option} 0 0\n")).collect()
        };
        assert_eq!(huge_option(&mounts(&["huge=always", "size=1k,huge=advise"])), Some("advise"));
        for off in [mounts(&["huge=always", "size=1k"]), mounts(&["huge=never"]), String::new()] {
            assert_eq!(huge_option(&off), None, "{off}");
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
            assert_eq!(open_files(files).state, state, "{files}");
        }
    }

    #[test]
    fn refused_operation_is_a_problem_with_advice() {
        let object = || "/x".to_owned();
        for (error, advice) in [
            (Error::Limit { object: object(), limit: "a limit", remedy: "raise it" }, "raise it"),
            (Error::PermissionDenied { object: object(), action: "link" }, "chmod 1777 /dev/shm"),
            (
                Error::System {
                    object: object(),
                    action: "link",
                    source: std::io::ErrorKind::NotFound.into(),
                },
                "/proc",
            ),
        ] {
            let report = refused("objects", &error);
            assert_eq!(report.state, State::Problem);
            assert!(report.advice.unwrap().contains(advice), "{error}");
        }
    }
}
