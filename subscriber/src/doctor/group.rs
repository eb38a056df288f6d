//! The memory cgroup that limits this process most: of its own one and of those above, of either version.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::process::Process;

/// A limit that is none: the first version has no other word for it.
const UNLIMITED: u64 = 1 << 62;

/// A group that has a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Where it is.
    pub path: String,
    /// What its processes may use together, in bytes.
    pub limit: u64,
    /// What they use, without what the kernel can take back, in bytes.
    pub used: u64,
}

/// The files of a version.
#[derive(Clone, Copy)]
struct Files {
    limit: &'static str,
    used: &'static str,
    /// The line of `memory.stat` with what can be taken back.
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
    /// The tightest one. None if nothing limits this process, or nobody knows.
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

/// Of the group `path` below `root`, and all above it.
fn tightest(root: &Path, path: &str, files: Files) -> Option<Group> {
    let own: PathBuf = root.join(path.trim_start_matches('/'));
    // A container may see its own group only, as the root.
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

    /// A hierarchy of groups as files, removed when dropped.
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
    fn the_tightest_of_those_above_counts() {
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
        // As a container sees it, whose own group is the root.
        assert_eq!(
            tightest(&root.0.join("a"), "/a/x", SECOND).unwrap().limit,
            5000
        );
        assert_eq!(tightest(&root.0, "/", SECOND), None);
    }

    #[test]
    fn the_first_version_has_a_number_for_no_limit() {
        let groups = [("", "9223372036854771712\n", 9000), ("a", "7000\n", 100)];
        let root = Hierarchy::new("first", &groups, FIRST);
        assert_eq!(tightest(&root.0, "/a", FIRST).unwrap().limit, 7000);
        assert_eq!(tightest(&root.0, "/", FIRST), None);
        assert_eq!(tightest(&root.0, "/a", SECOND), None);
    }
}
