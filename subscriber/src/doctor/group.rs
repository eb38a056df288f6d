//! The memory cgroup (version 1 or 2) that limits this process most: its own or an ancestor.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::process::Process;

/// Version 1 reports "no limit" as a huge number; limits from this value on count as none.
const UNLIMITED: u64 = 1 << 62;

/// Cgroup with a memory limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Path below the mount point.
    pub path: String,
    /// Memory limit of the group, in bytes.
    pub limit: u64,
    /// Memory in use, without reclaimable pages, in bytes.
    pub used: u64,
}

/// File names of a cgroup version.
#[derive(Clone, Copy)]
struct Files {
    limit: &'static str,
    used: &'static str,
    /// Line of `memory.stat` with reclaimable memory.
    reclaimable: &'static str,
}

const FIRST: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file ",
};
const SECOND: Files = Files {
    limit: "memory.max",
    used: "memory.current",
    reclaimable: "inactive_file ",
};

impl Group {
    /// Returns the group with the least free memory, or `None` if no limit is known.
    pub fn look() -> Option<Self> {
        let process = Process::myself().ok()?;
        let groups = process.cgroups().ok()?;
        let of_memory = |name: &String| name == "memory";
        let first = groups
            .0
            .iter()
            .find(|group| group.controllers.iter().any(of_memory));
        let second = groups.0.iter().find(|group| group.hierarchy == 0);
        let (group, files, kind) = match (first, second) {
            (Some(group), _) => (group, FIRST, "cgroup"),
            (None, group) => (group?, SECOND, "cgroup2"),
        };
        let mounts = process.mountinfo().ok()?;
        let mount = mounts.0.iter().find(|mount| {
            mount.fs_type == kind
                && (kind == "cgroup2" || mount.super_options.contains_key("memory"))
        })?;
        tightest(&mount.mount_point, &group.pathname, files)
    }
}

/// Returns the tightest of the group `path` below `root` and its ancestors.
fn tightest(root: &Path, path: &str, files: Files) -> Option<Group> {
    let own: PathBuf = root.join(path.trim_start_matches('/'));
    // In a container, the process's own group may be mounted as the root.
    let own = if own.is_dir() { own } else { root.to_owned() };
    let groups = own.ancestors().take_while(|group| group.starts_with(root));
    groups
        .filter_map(|group| read(root, group, files))
        .min_by_key(|group| group.limit.saturating_sub(group.used))
}

fn read(root: &Path, directory: &Path, files: Files) -> Option<Group> {
    let number = |name: &str| {
        let text = fs::read_to_string(directory.join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let limit = number(files.limit).filter(|limit| *limit < UNLIMITED)?;
    let statistics = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
    let reclaimable = statistics
        .lines()
        .find_map(|line| line.strip_prefix(files.reclaimable)?.parse().ok())
        .unwrap_or(0);
    let below = directory.strip_prefix(root).unwrap_or(directory);
    Some(Group {
        path: format!("/{}", below.display()),
        limit,
        used: number(files.used)?.saturating_sub(reclaimable),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cgroup hierarchy in plain files, removed when dropped.
    struct Hierarchy(PathBuf);

    impl Hierarchy {
        fn new(test: &str, groups: &[(&str, &str, u64)], files: Files) -> Self {
            let name = format!("tablecast-cgroups-{test}-{}", std::process::id());
            let root = std::env::temp_dir().join(name);
            for (path, limit, used) in groups {
                let group = root.join(path);
                fs::create_dir_all(&group).unwrap();
                fs::write(group.join(files.limit), limit).unwrap();
                fs::write(group.join(files.used), format!("{used}\n")).unwrap();
                let reclaimable = format!("anon 5\n{}100\n", files.reclaimable);
                fs::write(group.join("memory.stat"), reclaimable).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Hierarchy {
        fn drop(&mut self) {
            let _gone_already = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn tightest_ancestor_is_found() {
        let groups = [
            ("", "max\n", 9000),
            ("a", "5000\n", 4100),
            ("a/b", "9000\n", 300),
            ("a/b/c", "max\n", 200),
        ];
        let root = Hierarchy::new("second", &groups, SECOND);
        let found = tightest(&root.0, "/a/b/c", SECOND).unwrap();
        assert_eq!(
            (found.path.as_str(), found.limit, found.used),
            ("/a", 5000, 4000)
        );
        // In a container, the process's own group is the root.
        assert_eq!(
            tightest(&root.0.join("a"), "/a/x", SECOND).unwrap().limit,
            5000
        );
        assert_eq!(tightest(&root.0, "/", SECOND), None);
    }

    #[test]
    fn version_1_huge_limit_means_unlimited() {
        let groups = [("", "9223372036854771712\n", 9000), ("a", "7000\n", 100)];
        let root = Hierarchy::new("first", &groups, FIRST);
        assert_eq!(tightest(&root.0, "/a", FIRST).unwrap().limit, 7000);
        assert_eq!(tightest(&root.0, "/", FIRST), None);
        assert_eq!(tightest(&root.0, "/a", SECOND), None);
    }
}
