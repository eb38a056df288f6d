//! Checks of object creation (unnamed files, linked when complete) and of open-file-description
//! locks, which show whether a process lives. The code is that of publishers and subscribers.

use common::Error;
use common::admin::{Probe, probe};

use super::check::Report;

/// Results of both probes.
pub struct Locks {
    objects: Result<(), Error>,
    locks: Option<Result<bool, Error>>,
}

impl Locks {
    /// Creates, locks and removes an object.
    pub fn look() -> Self {
        let Probe { objects, locks, .. } = probe();
        Self { objects, locks }
    }

    /// Returns the results of the checks.
    pub fn checks(&self) -> Vec<Report> {
        let unnamed = match &self.objects {
            Ok(()) => Report::ok("objects", "can be made, named and removed"),
            Err(error) => refusal("objects", error),
        };
        let locks = self.locks.as_ref().map(|seen| match seen {
            Ok(true) => Report::ok("locks", "are seen by others"),
            Ok(false) => Report::problem(
                "locks",
                "a lock is not seen by others: nobody would know who lives",
                "mount a tmpfs of this machine at /dev/shm",
            ),
            Err(error) => refusal("locks", error),
        });
        [Some(unnamed), locks].into_iter().flatten().collect()
    }
}

/// Returns the report for a refused operation.
fn refusal(check: &str, error: &Error) -> Report {
    match error {
        Error::Limit { limit, remedy, .. } => {
            Report::problem(check, format!("{limit} is used up"), *remedy)
        }
        Error::PermissionDenied { action, .. } => Report::problem(
            check,
            format!("no permission to {action} one in /dev/shm"),
            "chmod 1777 /dev/shm, and let the sandbox allow it (openat with O_TMPFILE, linkat, fcntl)",
        ),
        Error::System { action, source, .. } => Report::problem(
            check,
            format!("cannot {action} one in /dev/shm: {source}"),
            "mount a tmpfs at /dev/shm, and /proc (mount -t proc proc /proc); Linux 3.15 is the least",
        ),
        error => Report::problem(check, error.to_string(), "mount a tmpfs at /dev/shm"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::check::State;
    use super::*;

    #[test]
    fn works_on_this_machine() {
        let reports = Locks::look().checks();
        assert_eq!(reports.len(), 2);
        for report in reports {
            assert_eq!(report.state, State::Ok, "{report:?}");
        }
    }

    #[test]
    fn refused_call_is_a_problem_with_advice() {
        let object = || "/x".to_owned();
        let limit = |remedy| Error::Limit {
            object: object(),
            limit: "a limit",
            remedy,
        };
        let refusals = || {
            [
                (limit("mount a tmpfs there"), "tmpfs"),
                (
                    Error::PermissionDenied {
                        object: object(),
                        action: "link",
                    },
                    "chmod 1777 /dev/shm",
                ),
                (
                    Error::System {
                        object: object(),
                        action: "link",
                        source: io::ErrorKind::NotFound.into(),
                    },
                    "/proc",
                ),
            ]
        };
        for ((first, advice), (second, _)) in refusals().into_iter().zip(refusals()) {
            let unnamed = Locks {
                objects: Err(first),
                locks: None,
            };
            let unlocked = Locks {
                objects: Ok(()),
                locks: Some(Err(second)),
            };
            assert_eq!(unnamed.checks().len(), 1);
            for reports in [unnamed.checks(), unlocked.checks()] {
                let report = reports.last().unwrap();
                assert_eq!(report.state, State::Problem);
                assert!(
                    report.advice.as_ref().unwrap().contains(advice),
                    "{report:?}"
                );
            }
        }
        let unseen = Locks {
            objects: Ok(()),
            locks: Some(Ok(false)),
        };
        assert_eq!(unseen.checks()[1].state, State::Problem);
    }
}
