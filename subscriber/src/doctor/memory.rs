//! Checks of `/dev/shm` (type, mode, space, inodes), huge pages, and the memory limit of this
//! process.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::stat;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, access};

use super::check::Report;
use super::group::Group;
use crate::format::cells::bytes;

const DIRECTORY: &str = "/dev/shm";
const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/// Docker's default size of `/dev/shm`, filled by a table of a million small rows.
const SMALL: u64 = 64 << 20;
/// Space needed by an empty table of `publisher serve` and its first rows.
const LEAST: u64 = 1 << 20;
/// Below this a warning. Each table takes three inodes: region, registry and lock.
const FEW_INODES: u64 = 100;
const LEAST_INODES: u64 = 4;
/// Memory that a program uses before it has any rows.
const LITTLE_MEMORY: u64 = 16 << 20;

const ENLARGE: &str = "mount -o remount,size=1g /dev/shm; of a container: docker run --shm-size=1g, an emptyDir with medium: Memory";

/// State of memory.
pub struct Memory {
    directory: Result<Directory, Errno>,
    huge_pages: Option<String>,
    group: Option<Group>,
}

/// State of `/dev/shm`.
#[derive(Clone)]
struct Directory {
    is_tmpfs: bool,
    mode: u32,
    owner: u32,
    is_ours: bool,
    /// Size in bytes, or 0 for no limit.
    size: u64,
    free: u64,
    /// Number of inodes, or 0 for no limit.
    inodes: u64,
    free_inodes: u64,
}

impl Memory {
    /// Reads the state.
    pub fn look() -> Self {
        Self {
            directory: Directory::look(),
            huge_pages: fs::read_to_string(HUGE_PAGES).ok(),
            group: Group::look(),
        }
    }

    /// Returns the results of the checks. `largest` is the memory of the largest table, in bytes.
    pub fn checks(&self, largest: u64) -> Vec<Report> {
        let mut reports = match &self.directory {
            Ok(directory) => vec![
                directory.kind(),
                directory.mode(),
                directory.space(),
                directory.inodes(),
            ],
            Err(errno) => vec![Report::problem(
                DIRECTORY,
                format!("there is none: {}", errno.desc()),
                "mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
            )],
        };
        reports.push(self.huge_pages());
        reports.push(memory_limit(self.group.as_ref(), largest));
        reports
    }

    /// Reports the setting for huge pages. It is only informative.
    fn huge_pages(&self) -> Report {
        let chosen = self.huge_pages.as_deref().and_then(|text| {
            let (_, chosen) = text.split_once('[')?;
            Some(chosen.split_once(']')?.0)
        });
        let found = match chosen {
            None => "this kernel has none for shared memory".to_owned(),
            Some("never") => "none in shared memory (never), as by default".to_owned(),
            Some(chosen) => format!("in shared memory: {chosen}"),
        };
        Report::ok("huge pages", found)
    }
}

impl Directory {
    fn look() -> Result<Self, Errno> {
        let path = Path::new(DIRECTORY);
        let (system, status) = (statfs(path)?, stat(path)?);
        let block = u64::try_from(system.block_size()).unwrap_or(0);
        Ok(Self {
            is_tmpfs: system.filesystem_type() == TMPFS_MAGIC,
            mode: status.st_mode & 0o7777,
            owner: status.st_uid,
            is_ours: access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok(),
            size: system.blocks().saturating_mul(block),
            free: system.blocks_available().saturating_mul(block),
            inodes: system.files(),
            free_inodes: system.files_free(),
        })
    }

    fn kind(&self) -> Report {
        match self.is_tmpfs {
            true => Report::ok(DIRECTORY, "a tmpfs"),
            false => Report::warning(
                DIRECTORY,
                "no tmpfs: tables would be kept on a disk, or cannot be made",
                "mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
            ),
        }
    }

    fn mode(&self) -> Report {
        let (mode, owner) = (self.mode, self.owner);
        let found = format!("{mode:o}, of user {owner}");
        let advice = "chmod 1777 /dev/shm";
        let check = "/dev/shm mode";
        match mode {
            _ if !self.is_ours => Report::problem(
                check,
                format!("{found}: this user can make nothing there"),
                advice,
            ),
            0o1777 => Report::ok(check, found),
            mode if mode & 0o1002 == 0o0002 => Report::warning(
                check,
                format!("{found}: anybody can remove the tables of others"),
                advice,
            ),
            _ => Report::warning(check, format!("{found}: not everybody can publish"), advice),
        }
    }

    fn space(&self) -> Report {
        let check = "/dev/shm space";
        let found = match self.size {
            0 => "no limit but memory".to_owned(),
            size => format!("{}, {} of it free", bytes(size), bytes(self.free)),
        };
        match self.size {
            0 => Report::ok(check, found),
            _ if self.free < LEAST => Report::problem(
                check,
                format!("{found}: no room for a table"),
                format!("remove tables (publisher rm NAME), or {ENLARGE}"),
            ),
            size if size <= SMALL => {
                Report::warning(check, format!("{found}: little for tables"), ENLARGE)
            }
            size if self.free < size / 10 => {
                Report::warning(check, format!("{found}: nearly full"), ENLARGE)
            }
            _ => Report::ok(check, found),
        }
    }

    fn inodes(&self) -> Report {
        let (check, advice) = (
            "/dev/shm inodes",
            "mount -o remount,nr_inodes=100k /dev/shm",
        );
        let found = format!("{} of {} free", self.free_inodes, self.inodes);
        match (self.inodes, self.free_inodes) {
            (0, _) => Report::ok(check, "no limit"),
            (_, ..LEAST_INODES) => {
                Report::problem(check, format!("{found}: not enough for a table"), advice)
            }
            (_, LEAST_INODES..FEW_INODES) => {
                Report::warning(check, format!("{found}: each table takes three"), advice)
            }
            _ => Report::ok(check, found),
        }
    }
}

fn memory_limit(group: Option<&Group>, largest: u64) -> Report {
    let check = "memory limit";
    let Some(group) = group else {
        return Report::ok(check, "no cgroup has one");
    };
    let free = group.limit.saturating_sub(group.used);
    let found = format!(
        "{} in the cgroup {}, {} of it free",
        bytes(group.limit),
        group.path,
        bytes(free)
    );
    let advice = "the kernel kills who exceeds it: raise it (systemctl set-property UNIT MemoryMax=, docker update --memory)";
    if free < largest {
        let largest = bytes(largest);
        let found = format!("{found}: less than a copy of the largest table takes, {largest}");
        return Report::warning(check, found, advice);
    }
    if free < LITTLE_MEMORY {
        return Report::warning(check, format!("{found}: little for a table"), advice);
    }
    Report::ok(check, found)
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    const GOOD: Directory = Directory {
        is_tmpfs: true,
        mode: 0o1777,
        owner: 0,
        is_ours: true,
        size: 8 << 30,
        free: 7 << 30,
        inodes: 1_000_000,
        free_inodes: 999_000,
    };

    fn state_of(directory: Result<Directory, Errno>, check: &str) -> (State, String) {
        let memory = Memory {
            directory,
            huge_pages: None,
            group: None,
        };
        let reports = memory.checks(0);
        let report = reports.iter().find(|report| report.check == check);
        let report = report.unwrap();
        assert_eq!(
            report.advice.is_none(),
            report.state == State::Ok,
            "{report:?}"
        );
        (report.state, report.found.clone())
    }

    #[test]
    fn missing_directory_and_disk_are_reported() {
        for check in [
            "/dev/shm",
            "/dev/shm mode",
            "/dev/shm space",
            "/dev/shm inodes",
        ] {
            assert_eq!(state_of(Ok(GOOD), check).0, State::Ok, "{check}");
        }
        let missing = state_of(Err(Errno::ENOENT), "/dev/shm");
        assert_eq!(missing.0, State::Problem);
        let disk = Directory {
            is_tmpfs: false,
            ..GOOD
        };
        assert_eq!(state_of(Ok(disk), "/dev/shm").0, State::Warning);
    }

    #[test]
    fn restrictive_or_unsafe_mode_is_reported() {
        for (mode, is_ours, state, word) in [
            (0o1777, true, State::Ok, "1777"),
            (0o777, true, State::Warning, "remove"),
            (0o755, true, State::Warning, "not everybody"),
            (0o755, false, State::Problem, "this user"),
        ] {
            let directory = Directory {
                mode,
                is_ours,
                ..GOOD
            };
            let found = state_of(Ok(directory), "/dev/shm mode");
            assert_eq!(found.0, state);
            assert!(found.1.contains(word), "{found:?}");
        }
    }

    #[test]
    fn low_space_and_inodes_are_reported() {
        for (size, free, state) in [
            (0, 0, State::Ok),
            (64 << 20, 64 << 20, State::Warning),
            (8 << 30, 100 << 20, State::Warning),
            (8 << 30, 1000, State::Problem),
            (512 << 10, 512 << 10, State::Problem),
            (65 << 20, 60 << 20, State::Ok),
        ] {
            let directory = Directory { size, free, ..GOOD };
            assert_eq!(state_of(Ok(directory), "/dev/shm space").0, state, "{size}");
        }
        for (inodes, free_inodes, state) in [
            (0, 0, State::Ok),
            (1000, 99, State::Warning),
            (1000, 3, State::Problem),
        ] {
            let directory = Directory {
                inodes,
                free_inodes,
                ..GOOD
            };
            assert_eq!(state_of(Ok(directory), "/dev/shm inodes").0, state);
        }
    }

    #[test]
    fn memory_limit_is_compared_with_largest_table() {
        let group = |limit: u64, used: u64| Group {
            path: "/x".to_owned(),
            limit,
            used,
        };
        assert_eq!(memory_limit(None, 1 << 40).state, State::Ok);
        for (limit, used, largest, state) in [
            (1 << 30, 1 << 20, 1 << 20, State::Ok),
            (1 << 30, 1 << 20, 1 << 30, State::Warning),
            (10 << 20, 0, 0, State::Warning),
            (1 << 20, 2 << 20, 0, State::Warning),
        ] {
            let report = memory_limit(Some(&group(limit, used)), largest);
            assert_eq!(report.state, state, "{report:?}");
        }
    }

    #[test]
    fn huge_page_setting_is_reported() {
        let found = |text: Option<&str>| {
            let memory = Memory {
                directory: Ok(GOOD),
                huge_pages: text.map(str::to_owned),
                group: None,
            };
            memory.huge_pages().found
        };
        assert!(found(Some("always within_size advise [never] deny force")).contains("never"));
        assert!(found(Some("always within_size [advise] never")).ends_with("advise"));
        assert!(found(Some("nonsense")).contains("none"));
        assert!(found(None).contains("none"));
    }
}
