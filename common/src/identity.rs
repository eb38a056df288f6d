//! Who a process is, in words that another process can compare: its pid alone may have been given to another.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// A process, as it writes itself into what it publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Process id, in its own pid namespace.
    pub pid: u32,
    /// Inode of that namespace; 0 where /proc does not tell.
    pub pid_namespace: u64,
    /// Start time in clock ticks since boot; 0 where /proc does not tell.
    pub start_time: u64,
}

impl Identity {
    /// This process.
    pub fn own() -> Self {
        let pid = std::process::id();
        Self {
            pid,
            pid_namespace: own_pid_namespace(),
            start_time: start_time(pid),
        }
    }

    /// Whether the pid means that same process here: it is of this pid namespace, and was not reused.
    pub fn is_reachable(&self) -> bool {
        self.pid != 0
            && self.pid_namespace == own_pid_namespace()
            && self.start_time == start_time(self.pid)
            && self.start_time != 0
    }

    /// Returns true if the process was of this pid namespace, and has ended.
    pub fn is_gone(&self) -> bool {
        self.pid_namespace == own_pid_namespace() && !self.is_reachable()
    }
}

fn own_pid_namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

/// Field 22 of /proc/PID/stat. The name before it may hold anything, but ends at the last parenthesis.
fn start_time(pid: u32) -> u64 {
    let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else {
        return 0;
    };
    let stat = String::from_utf8_lossy(&stat);
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    after_name
        .split(' ')
        .nth(19)
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_reaches_itself_and_no_reused_pid() {
        let own = Identity::own();
        assert!(own.is_reachable() && !own.is_gone(), "{own:?}");
        let before = Identity {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(before.is_gone(), "{own:?}");
        assert!(
            !Identity {
                start_time: own.start_time + 1,
                ..own
            }
            .is_reachable()
        );
        assert!(
            !Identity {
                pid_namespace: 1,
                ..own
            }
            .is_reachable()
        );
    }
}
