//! What makes objects whole and says who lives: files without a name that are then linked, and locks of open files. Tried by what
//! publishers and subscribers use themselves.

use common::Error;
use common::region::lock::{self, Span};
use common::region::object::{self, own_user};

use super::check::Report;

/// What was tried.
pub struct Locks {
    linked: Result<(), Error>,
    /// Whether another opening sees the lock.
    seen: Result<bool, Error>,
}

impl Locks {
    /// Makes an object, and removes it.
    pub fn look() -> Self {
        let object = format!("/tablecast.doctor.{}", std::process::id());
        let refused = |action| {
            let object = object.clone();
            move |errno| object::failure(&object, action, errno)
        };
        let file = object::create(&object, 0o600, None);
        let linked = file.and_then(|file| match object::link(&file, &object)? {
            true => Ok(file),
            false => Err(refused("link")(nix::errno::Errno::EEXIST)),
        });
        let file = match linked {
            Ok(file) => file,
            Err(error) => {
                return Self {
                    linked: Err(error),
                    seen: Ok(true),
                };
            }
        };
        let look = || {
            lock::try_lock(&file, Span::WHOLE).map_err(refused("lock"))?;
            let other = object::open(&object, false, own_user(), false)?;
            other.map_or(Ok(false), |other| {
                lock::is_held(&other, Span::WHOLE).map_err(refused("query the lock of"))
            })
        };
        let seen = look();
        Self {
            linked: object::remove(&object),
            seen,
        }
    }

    /// What is to be said.
    pub fn checks(&self) -> Vec<Report> {
        let unnamed = match &self.linked {
            Ok(()) => Report::ok("objects", "can be made, named and removed"),
            Err(error) => refusal("objects", error),
        };
        let locks = match &self.seen {
            _ if self.linked.is_err() => None,
            Ok(true) => Some(Report::ok("locks", "are seen by others")),
            Ok(false) => Some(Report::problem(
                "locks",
                "a lock is not seen by others: nobody would know who lives",
                "mount a tmpfs of this machine at /dev/shm",
            )),
            Err(error) => Some(refusal("locks", error)),
        };
        [Some(unnamed), locks].into_iter().flatten().collect()
    }
}

/// What refused it, and what helps.
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
    use nix::errno::Errno;

    use super::super::check::State;
    use super::*;

    #[test]
    fn this_machine_has_them() {
        let reports = Locks::look().checks();
        assert_eq!(reports.len(), 2);
        for report in reports {
            assert_eq!(report.state, State::Ok, "{report:?}");
        }
    }

    #[test]
    fn what_is_refused_is_a_problem_with_what_helps() {
        for (errno, word) in [
            (Errno::EOPNOTSUPP, "tmpfs"),
            (Errno::ENOSPC, "shm-size"),
            (Errno::EMFILE, "ulimit -n"),
            (Errno::EACCES, "chmod 1777"),
            (Errno::ENOENT, "/proc"),
        ] {
            let error = || object::failure("/x", "link", errno);
            let linked = Locks {
                linked: Err(error()),
                seen: Ok(true),
            };
            let locked = Locks {
                linked: Ok(()),
                seen: Err(error()),
            };
            assert_eq!(linked.checks().len(), 1);
            for reports in [linked.checks(), locked.checks()] {
                let report = reports.last().unwrap();
                assert_eq!(report.state, State::Problem);
                assert!(report.advice.as_ref().unwrap().contains(word), "{report:?}");
            }
        }
        let unseen = Locks {
            linked: Ok(()),
            seen: Ok(false),
        };
        assert_eq!(unseen.checks()[1].state, State::Problem);
    }
}
