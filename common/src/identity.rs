//! Identity of a process that other processes can compare. A pid alone may have been reused.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// The identity of a process, as the process stores it in shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Process id, in the process's own pid namespace.
    pub pid: u32,
    /// Inode of that namespace; 0 if /proc does not have it.
    pub pid_namespace: u64,
    /// Start time in clock ticks since boot; 0 if /proc does not have it.
    pub start_time: u64,
}

impl Identity {
    /// Returns the identity of this process.
    pub fn own() -> Self {
        Self::of(std::process::id())
    }

    /// Returns the identity of a process in the caller's pid namespace.
    pub fn of(pid: u32) -> Self {
        Self { pid, pid_namespace: own_pid_namespace(), start_time: start_time(pid) }
    }

    /// Returns true if `pid` refers to the described process in the caller's pid namespace: the
    /// process runs in that namespace, and its pid was not reused.
    pub fn is_reachable(&self) -> bool {
        self.pid != 0
            && self.pid_namespace == own_pid_namespace()
            && self.start_time == start_time(self.pid)
            && self.start_time != 0
    }

    /// Returns true if the process ran in the caller's pid namespace and has ended.
    pub fn is_gone(&self) -> bool {
        self.pid_namespace == own_pid_namespace() && !self.is_reachable()
    }
}

fn own_pid_namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

/// Returns field 22 of /proc/PID/stat. The process name before it may contain any byte, and ends at
/// the last parenthesis.
fn start_time(pid: u32) -> u64 {
    let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else {
        return 0;
    };
    let stat = String::from_utf8_lossy(&stat);
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    after_name.split(' ').nth(19).and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_is_reachable_and_reused_pid_is_not() {
        let own = Identity::own();
        assert!(own.is_reachable() && !own.is_gone(), "{own:?}");
        let before = Identity { start_time: own.start_time + 1, ..own };
        assert!(before.is_gone(), "{own:?}");
        let elsewhere = Identity { pid_namespace: 1, ..own };
        assert!(!before.is_reachable() && !elsewhere.is_reachable());
    }
}
