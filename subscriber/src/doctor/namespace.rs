//! Which namespace this process is in, as far as /proc tells.

use procfs::process::Process;

/// The kernel's number of the machine's own namespace of each kind, which never changes.
const MACHINE: [(&str, u64); 3] = [
    ("ipc", 0xEFFF_FFFF),
    ("pid", 0xEFFF_FFFC),
    ("time", 0xEFFF_FFFA),
];

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
        let number = |process: Option<Process>| {
            let namespaces = process?.namespaces().ok()?;
            let namespace = namespaces.0.get(std::ffi::OsStr::new(kind))?;
            Some(namespace.identifier)
        };
        let own = number(Process::myself().ok());
        Self::of(kind, own, number(Process::new(1).ok()))
    }

    fn of(kind: &str, own: Option<u64>, first: Option<u64>) -> Self {
        match (own, first) {
            (None, _) => Self::Unknown,
            (Some(own), _) if MACHINE.contains(&(kind, own)) => Self::Machine,
            (Some(own), Some(first)) if own != first => Self::Own,
            _ => Self::Shared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_the_machines_a_containers_or_ones_own() {
        let machine = 0xEFFF_FFFF;
        for (own, first, expected) in [
            (Some(machine), Some(machine), Namespace::Machine),
            (Some(machine), None, Namespace::Machine),
            (Some(7), Some(machine), Namespace::Own),
            (Some(7), Some(8), Namespace::Own),
            (Some(7), Some(7), Namespace::Shared),
            (Some(7), None, Namespace::Shared),
            (None, Some(7), Namespace::Unknown),
        ] {
            assert_eq!(Namespace::of("ipc", own, first), expected);
        }
        // Another kind's number is none.
        let pid = Namespace::of("pid", Some(machine), Some(machine));
        assert_eq!(pid, Namespace::Shared);
    }
}
