//! Which namespace this process is in, as far as /proc tells.

use std::ffi::OsStr;

use procfs::process::Process;

/// The kernel's number of the machine's own namespace of each kind, which never changes.
const MACHINE: [(&str, u64); 2] = [("ipc", 0xEFFF_FFFF), ("pid", 0xEFFF_FFFC)];

/// One of a kind, as this process has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// That of the machine.
    Machine,
    /// One that process 1 is in, too, or may be: a container's.
    Shared,
    /// One that process 1 is not in.
    Own,
    /// /proc does not tell.
    Unknown,
}

impl Namespace {
    /// Of this process.
    pub fn look(kind: &str) -> Self {
        let own = Process::myself().ok();
        let first = Process::new(1).ok().and_then(|first| number(&first, kind));
        let pids = own.as_ref().and_then(|own| number(own, "pid"));
        let own = own.as_ref().and_then(|own| number(own, kind));
        Self::of(kind, own, first, pids)
    }

    /// `first`: that of process 1, if this user may see it. `pids`: the pid namespace of this process.
    fn of(kind: &str, own: Option<u64>, first: Option<u64>, pids: Option<u64>) -> Self {
        let is_machines = |kind, number| MACHINE.contains(&(kind, number));
        match (own, first) {
            (None, _) => Self::Unknown,
            (Some(own), _) if is_machines(kind, own) => Self::Machine,
            (Some(own), Some(first)) if own != first => Self::Own,
            // A container would have pids of its own.
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
    fn a_namespace_is_the_machines_a_containers_or_ones_own() {
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
        // Another kind's number is none.
        let pid = Namespace::of("pid", Some(machine), Some(machine), None);
        assert_eq!(pid, Namespace::Shared);
    }
}
