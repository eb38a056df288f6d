//! Namespaces of this process, as far as /proc shows them.

use std::ffi::OsStr;

use procfs::process::Process;

/// Inode numbers of the machine's initial namespaces. They are constants of the kernel.
const MACHINE: [(&str, u64); 2] = [("ipc", 0xEFFF_FFFF), ("pid", 0xEFFF_FFFC)];

/// Namespace of this process, of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// The machine's initial namespace.
    Machine,
    /// Another namespace that process 1 shares or may share: a container's.
    Shared,
    /// A namespace that process 1 is not in.
    Own,
    /// Not shown by /proc.
    Unknown,
}

impl Namespace {
    /// Returns the namespace of this process.
    pub fn look(kind: &str) -> Self {
        let own = Process::myself().ok();
        let first = Process::new(1).ok().and_then(|first| number(&first, kind));
        let pids = own.as_ref().and_then(|own| number(own, "pid"));
        let own = own.as_ref().and_then(|own| number(own, kind));
        Self::of(kind, own, first, pids)
    }

    /// Classifies a namespace. `first` is that of process 1, if this user may see it; `pids` is the
    /// pid namespace of this process.
    fn of(kind: &str, own: Option<u64>, first: Option<u64>, pids: Option<u64>) -> Self {
        let is_machines = |kind, number| MACHINE.contains(&(kind, number));
        match (own, first) {
            (None, _) => Self::Unknown,
            (Some(own), _) if is_machines(kind, own) => Self::Machine,
            (Some(own), Some(first)) if own != first => Self::Own,
            // In a container, the pid namespace would not be the machine's.
            (_, None) if pids.is_some_and(|pids| is_machines("pid", pids)) => Self::Own,
            _ => Self::Shared,
        }
    }
}

fn number(process: &Process, kind: &str) -> Option<u64> {
    let namespaces = process.namespaces().ok()?;
    let namespace = namespaces.0.get(OsStr::new(kind))?;
    Some(namespace.identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_classified() {
        let machine = 0xEFFF_FFFF;
        for (own, first, pids, expected) in [
            (Some(machine), Some(machine), None, Namespace::Machine),
            (Some(machine), None, None, Namespace::Machine),
            (Some(7), Some(machine), None, Namespace::Own),
            (Some(7), Some(8), Some(9), Namespace::Own),
            (Some(7), Some(7), Some(0xEFFF_FFFC), Namespace::Shared),
            (Some(7), None, Some(9), Namespace::Shared),
            (Some(7), None, Some(0xEFFF_FFFC), Namespace::Own),
            (None, Some(7), None, Namespace::Unknown),
        ] {
            assert_eq!(Namespace::of("ipc", own, first, pids), expected);
        }
        // The number of another kind's initial namespace does not count.
        let pid = Namespace::of("pid", Some(machine), Some(machine), None);
        assert_eq!(pid, Namespace::Shared);
    }
}
