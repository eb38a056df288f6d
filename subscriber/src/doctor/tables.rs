//! Checks of tables: unreadable ones, silent or dead publishers, and orphans.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use common::admin::{DIRECTORY, orphans};
use common::{Error, PublisherState, TableInfo, inspect, tables};
use nix::unistd::{AccessFlags, access, geteuid};

use super::check::Report;
use crate::format::cells::milliseconds;
use crate::list;

/// State of all tables.
pub struct Tables {
    seen: Result<Vec<Seen>, Error>,
    left: Result<usize, Error>,
    asked: Option<String>,
}

/// State of one table.
struct Seen {
    name: String,
    /// Owner and permissions, if the table exists.
    owned: Option<(u32, u32)>,
    looked: Result<Looked, Error>,
    /// Result of reading the table with `--owner`, if its owner is not trusted by default.
    by_owner: Option<Result<(), Error>>,
}

/// State of a readable table.
struct Looked {
    publisher: &'static str,
    pid: u32,
    /// None if the publisher is in another time namespace.
    heard_ago: Option<Duration>,
    /// True if the publisher is alive and its input has ended.
    input_ended: bool,
    input_ended_ago: Option<Duration>,
    allocated: u64,
    /// True if this user may register for wake-ups.
    registers: bool,
}

impl Tables {
    /// Reads the state of all tables, and of `asked`.
    pub fn look(asked: Option<&str>) -> Self {
        let names = tables().map(|mut names| {
            names.extend(asked.map(str::to_owned));
            names.sort_unstable();
            names.dedup();
            names
        });
        Self {
            seen: names.map(|names| names.into_iter().map(Seen::look).collect()),
            left: orphans().map(|left| left.len()),
            asked: asked.map(str::to_owned),
        }
    }

    /// Returns the memory of the largest table, in bytes.
    pub fn largest(&self) -> u64 {
        let seen = self.seen.iter().flatten();
        let looked = seen.filter_map(|seen| seen.looked.as_ref().ok());
        looked.map(|looked| looked.allocated).max().unwrap_or(0)
    }

    /// Returns the results of the checks.
    pub fn checks(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        match &self.seen {
            Ok(seen) => {
                let told = |seen: &Seen| seen.check(self.asked.as_deref() == Some(&seen.name));
                let told: Vec<Report> = seen.iter().filter_map(told).collect();
                let well = seen.len() - told.len();
                let found = match (well, told.len()) {
                    (0, 0) => "there are none".to_owned(),
                    (well, 0) => format!("all are well: {well}"),
                    (0, _) => "see below".to_owned(),
                    (well, _) => format!("well: {well}, others below"),
                };
                reports.push(Report::ok("tables", found));
                reports.extend(told);
            }
            Err(error) => reports.push(Report::problem(
                "tables",
                error.to_string(),
                "mount a tmpfs at /dev/shm",
            )),
        }
        reports.push(match &self.left {
            Ok(0) => Report::ok("leftovers", "none that this user can see"),
            Ok(count) => Report::warning(
                "leftovers",
                format!("of dead processes, and of no table: {count} (subscriber ls)"),
                "publisher rm --orphans",
            ),
            Err(error) => Report::warning(
                "leftovers",
                error.to_string(),
                "run as root, or as the owner",
            ),
        });
        reports
    }
}

impl Seen {
    fn look(name: String) -> Self {
        let region = format!("{DIRECTORY}/tablecast.table.{name}");
        let owned = fs::symlink_metadata(region).ok();
        let owned = owned.map(|status| (status.uid(), status.mode() & 0o7777));
        let looked = inspect(&name, None).map(Looked::of);
        let by_owner = match (&looked, owned) {
            (Err(Error::WrongOwner { found, .. }), _) => {
                Some(inspect(&name, Some(*found)).map(drop))
            }
            _ => None,
        };
        Self {
            name,
            owned,
            looked,
            by_owner,
        }
    }

    /// Returns the result for this table, or `None` if it is well and was not named on the command
    /// line.
    fn check(&self, is_asked: bool) -> Option<Report> {
        let check = format!("table {}", self.name);
        let looked = match &self.looked {
            Ok(looked) => looked,
            Err(error) => return self.unread(&check, error, is_asked),
        };
        let name = &self.name;
        let pid = looked.pid;
        let for_time = |time: Option<Duration>| match time {
            Some(time) => milliseconds(time.as_millis() as f64),
            None => "a time that is unknown".to_owned(),
        };
        let ago = for_time(looked.heard_ago);
        let report = match looked.publisher {
            "silent" => Report::warning(
                &check,
                format!(
                    "its publisher, process {pid}, has not said for {ago} that it is well: it is stopped or hangs"
                ),
                format!("continue it (kill -CONT {pid}), or end it and start another one"),
            ),
            "gone" => Report::warning(
                &check,
                format!("its publisher died {ago} ago; the rows are there"),
                format!(
                    "start a publisher of {name}, which takes it over, or remove it: {}",
                    self.removal()
                ),
            ),
            "alive" if looked.input_ended => Report::warning(
                &check,
                format!(
                    "its publisher, process {pid}, is alive, and its input ended {} ago: the rows are no longer updated",
                    for_time(looked.input_ended_ago)
                ),
                format!(
                    "restart what feeds it together with the publisher; publisher serve {name} --exit-at-eof ends with its input"
                ),
            ),
            _ if !looked.registers => Report::warning(
                &check,
                format!(
                    "{}: this user may read it and not register to be woken",
                    self.owned()
                ),
                "its publisher makes it again: restart it",
            ),
            state if looked.heard_ago.is_none() => {
                let owned = self.owned();
                let found = format!(
                    "{owned}, its publisher {state}, in another time namespace: ages and delays are unknown, and whether it hangs"
                );
                return Some(Report::ok(&check, found));
            }
            state => Report::ok(&check, format!("{}, its publisher {state}", self.owned())),
        };
        (is_asked || report.advice.is_some()).then_some(report)
    }

    /// Returns the reason why the table cannot be read. It is only a problem if the table was named
    /// on the command line: users may keep tables private.
    fn unread(&self, check: &str, error: &Error, is_asked: bool) -> Option<Report> {
        let owned = self.owned();
        let open =
            "its publisher may open it: publisher serve --mode 640 --group GROUP, or --mode 644";
        let (found, advice) = match (error, &self.by_owner) {
            (Error::NotFound { .. }, _) if is_asked => (
                "there is none".to_owned(),
                "start its publisher, in this /dev/shm; subscriber ls shows which there are"
                    .to_owned(),
            ),
            // The table was removed while this check ran.
            (Error::NotFound { .. }, _) => return None,
            (Error::WrongOwner { found, .. }, Some(Ok(()))) => {
                let report = Report::ok(check, format!("{owned}, who may let this user read it"));
                let advice = format!("if you trust that user: --owner {found}");
                return Some(report.advising(advice));
            }
            (Error::WrongOwner { .. }, Some(Err(Error::PermissionDenied { .. })))
            | (Error::PermissionDenied { .. }, _) => (
                format!("{owned}: this user may not read it"),
                open.to_owned(),
            ),
            (Error::Corrupt { reason, .. }, _) => {
                let found = format!("{owned}, damaged or no table: {reason}");
                let advice = self.removal();
                return Some(Report::problem(check, found, advice));
            }
            (error, _) => (error.to_string(), "subscriber info tells more".to_owned()),
        };
        Some(match is_asked {
            true => Report::problem(check, found, advice),
            false => Report::warning(check, found, advice),
        })
    }

    /// Returns the command that removes the table.
    fn removal(&self) -> String {
        let owner = self
            .owned
            .map_or_else(|| geteuid().as_raw(), |(owner, _)| owner);
        list::remedy(&self.name, owner)
    }

    fn owned(&self) -> String {
        match self.owned {
            Some((user, mode)) => format!("of user {user}, mode {mode:o}"),
            None => "not there any more".to_owned(),
        }
    }
}

impl Looked {
    fn of(table: TableInfo) -> Self {
        let registry = format!("{DIRECTORY}/tablecast.subs.{:016x}", table.registry_id);
        let registers = access(Path::new(&registry), AccessFlags::R_OK | AccessFlags::W_OK).is_ok();
        let (publisher, pid) = list::publisher(&table);
        Self {
            publisher,
            pid: pid.unwrap_or(table.publisher_pid),
            heard_ago: table.heartbeat_ago,
            input_ended: table.input_ended && table.publisher.is_alive(),
            input_ended_ago: list::input_ended_ago(&table),
            allocated: table.allocated_bytes,
            // A dead publisher's successor creates a new registry.
            registers: registers || !matches!(table.publisher, PublisherState::Alive { .. }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    fn seen(looked: Result<Looked, Error>) -> Seen {
        Seen {
            name: "prices".to_owned(),
            owned: Some((1001, 0o600)),
            looked,
            by_owner: None,
        }
    }

    fn looked(publisher: &'static str) -> Looked {
        Looked {
            publisher,
            pid: 7,
            heard_ago: Some(Duration::from_secs(9)),
            input_ended: false,
            input_ended_ago: None,
            allocated: 1000,
            registers: true,
        }
    }

    fn wrong_owner() -> Error {
        Error::WrongOwner {
            object: "/x".to_owned(),
            found: 1001,
            expected: 0,
        }
    }

    fn denied() -> Error {
        Error::PermissionDenied {
            object: "/x".to_owned(),
            action: "open",
        }
    }

    #[test]
    fn healthy_table_is_reported_only_if_named() {
        for state in ["alive", "closed"] {
            let table = seen(Ok(looked(state)));
            assert_eq!(table.check(false), None);
            let report = table.check(true).unwrap();
            assert_eq!(report.state, State::Ok);
            assert!(report.found.contains("of user 1001, mode 600"));
        }
    }

    #[test]
    fn silent_and_dead_publishers_are_warnings() {
        for (state, words) in [
            ("silent", ["9.0 s", "kill -CONT 7"]),
            ("gone", ["9.0 s ago", "publisher rm --owner 1001 prices"]),
        ] {
            let report = seen(Ok(looked(state))).check(false).unwrap();
            assert_eq!(report.state, State::Warning);
            assert!(report.found.contains(words[0]), "{report:?}");
            assert!(report.advice.unwrap().contains(words[1]));
        }
        let fed_no_more = Looked {
            input_ended: true,
            input_ended_ago: Some(Duration::from_secs(70)),
            ..looked("alive")
        };
        let report = seen(Ok(fed_no_more)).check(false).unwrap();
        assert_eq!(report.state, State::Warning);
        assert!(report.found.contains("input ended 1 min 10 s ago"));
        let other_clock = Looked {
            heard_ago: None,
            ..looked("alive")
        };
        let report = seen(Ok(other_clock)).check(false).unwrap();
        assert_eq!(report.state, State::Ok);
        assert!(report.found.contains("another time namespace"));
        let unregistered = Looked {
            registers: false,
            ..looked("alive")
        };
        let report = seen(Ok(unregistered)).check(false).unwrap();
        assert_eq!(report.state, State::Warning);
    }

    #[test]
    fn unreadable_table_is_a_problem_if_named() {
        let missing = || Error::NotFound {
            table: "prices".to_owned(),
        };
        assert_eq!(seen(Err(missing())).check(false), None);
        assert_eq!(
            seen(Err(missing())).check(true).unwrap().state,
            State::Problem
        );
        let of_other = |by_owner| Seen {
            by_owner: Some(by_owner),
            ..seen(Err(wrong_owner()))
        };
        for (table, word) in [
            (seen(Err(denied())), "--mode 640"),
            (of_other(Err(denied())), "--mode 640"),
        ] {
            let report = table.check(false).unwrap();
            assert_eq!(report.state, State::Warning);
            assert!(report.advice.unwrap().contains(word));
            assert_eq!(table.check(true).unwrap().state, State::Problem);
        }
        let trusted = of_other(Ok(())).check(true).unwrap();
        assert_eq!(trusted.state, State::Ok);
        assert!(trusted.advice.unwrap().contains("--owner 1001"));
        let damaged = Error::Corrupt {
            object: "/x".to_owned(),
            reason: "it is too short".to_owned(),
        };
        let report = seen(Err(damaged)).check(false).unwrap();
        assert_eq!(report.state, State::Problem);
        assert!(
            report
                .advice
                .unwrap()
                .contains("publisher rm --owner 1001 prices")
        );
    }

    #[test]
    fn healthy_tables_are_counted_and_largest_is_found() {
        let tables = Tables {
            seen: Ok(vec![
                seen(Ok(looked("alive"))),
                seen(Ok(Looked {
                    allocated: 5000,
                    ..looked("gone")
                })),
            ]),
            left: Ok(2),
            asked: None,
        };
        assert_eq!(tables.largest(), 5000);
        let said: Vec<(String, State)> = tables
            .checks()
            .into_iter()
            .map(|report| (report.found, report.state))
            .collect();
        assert_eq!(said[0], ("well: 1, others below".to_owned(), State::Ok));
        assert_eq!(said[1].1, State::Warning);
        assert!(said[2].0.contains("no table: 2"), "{said:?}");
    }
}
