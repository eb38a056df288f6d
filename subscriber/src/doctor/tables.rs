//! Checks whether existing tables have a live publisher and this user can read them, and whether
//! there are orphans.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use common::admin::{DIRECTORY, orphans};
use common::{Error, TableInfo, inspect, tables};
use nix::unistd::{AccessFlags, access, geteuid};

use super::Report;
use crate::cells::milliseconds;
use crate::list;

/// Returns the results for all tables and for orphans. `wanted` is the table that this user must be
/// able to read. Other healthy tables are only counted.
pub fn checks(wanted: Option<&str>) -> Vec<Report> {
    let mut reports = Vec::new();
    match tables() {
        Ok(mut names) => {
            names.extend(wanted.map(str::to_owned));
            names.sort_unstable();
            names.dedup();
            let is_wanted = |name: &String| Some(name.as_str()) == wanted;
            let checked = names.iter().filter_map(|name| check(name, is_wanted(name)));
            let found: Vec<Report> = checked.collect();
            let summary = match (names.len() - found.len(), found.len()) {
                (0, 0) => "none exist".to_owned(),
                (healthy, 0) => format!("healthy: {healthy}"),
                (0, _) => "see below".to_owned(),
                (healthy, _) => format!("healthy: {healthy}, others below"),
            };
            reports.push(Report::ok("tables", summary));
            reports.extend(found);
        }
        Err(error) => {
            reports.push(Report::problem("tables", error.to_string(), "mount a tmpfs at /dev/shm"))
        }
    }
    reports.push(match orphans() {
        Ok(found) if found.is_empty() => Report::ok("orphans", "none that this user can see"),
        Ok(found) => Report::warning(
            "orphans",
            format!("{} objects of dead processes (subscriber ls lists them)", found.len()),
            "publisher rm --orphans",
        ),
        Err(error) => Report::warning("orphans", error.to_string(), "run as root or as the owner"),
    });
    reports
}

/// Returns the result for one table, or `None` if it is healthy and not wanted.
fn check(name: &str, is_wanted: bool) -> Option<Report> {
    match inspect(name, None) {
        Ok(table) => {
            let report = readable(&table);
            (is_wanted || report.advice.is_some()).then_some(report)
        }
        Err(error) => unreadable(name, &error, is_wanted),
    }
}

fn readable(table: &TableInfo) -> Report {
    let name = &table.name;
    let check = format!("table {name}");
    let (state, pid) = list::publisher(table);
    let pid = pid.unwrap_or(table.publisher_pid);
    let age = |time: Option<Duration>| match time {
        Some(time) => milliseconds(time.as_millis() as f64),
        None => "an unknown time".to_owned(),
    };
    let heartbeat = age(table.heartbeat_ago);
    let owned = format!("owned by user {}, mode {:o}", table.owner, table.mode);
    let registry = format!("{DIRECTORY}/tablecast.subs.{:016x}", table.registry_id);
    let may_register =
        || access(Path::new(&registry), AccessFlags::R_OK | AccessFlags::W_OK).is_ok();
    let (found, advice) = match state {
        "silent" => (
            format!(
                "its publisher, process {pid}, has sent no heartbeat for {heartbeat}: it is stopped or hangs"
            ),
            format!("continue it (kill -CONT {pid}), or end it and start another one"),
        ),
        "gone" => (
            format!("its publisher died {heartbeat} ago; the rows are still there"),
            format!(
                "start a publisher of {name}, which takes it over, or remove it: {}",
                list::remedy(name, table.owner)
            ),
        ),
        "alive" if table.input_ended => (
            format!(
                "its publisher, process {pid}, is alive, and its input ended {} ago: the rows are no longer updated",
                age(table.input_ended_ago)
            ),
            format!(
                "restart its input together with the publisher; publisher serve {name} --exit-at-eof ends with its input"
            ),
        ),
        "alive" if !may_register() => (
            format!("{owned}: this user may read it but not register for wake-ups"),
            "restart its publisher, which creates the registry again".to_owned(),
        ),
        _ => {
            let ages = match table.heartbeat_ago {
                Some(_) => "",
                None => ", in another time namespace: ages and delays are unknown",
            };
            return Report::ok(&check, format!("{owned}, its publisher {state}{ages}"));
        }
    };
    Report::warning(&check, found, advice)
}

/// Returns the reason why a table cannot be read. Other users' tables may be private, so this is a
/// problem only if the table is wanted.
fn unreadable(name: &str, error: &Error, is_wanted: bool) -> Option<Report> {
    let check = format!("table {name}");
    let status = fs::symlink_metadata(format!("{DIRECTORY}/tablecast.table.{name}")).ok();
    let owner = status.as_ref().map_or_else(|| geteuid().as_raw(), MetadataExt::uid);
    let owned = match &status {
        Some(status) => format!("owned by user {owner}, mode {:o}", status.mode() & 0o7777),
        None => "removed in the meantime".to_owned(),
    };
    let denied = || {
        let found = format!("{owned}: this user may not read it");
        (found, "start its publisher with --mode 640 --group GROUP, or with --mode 644".to_owned())
    };
    let (found, advice) = match error {
        Error::NotFound { .. } if is_wanted => (
            "does not exist".to_owned(),
            "start its publisher (in a container, it must share this /dev/shm); subscriber ls lists all tables".to_owned(),
        ),
        Error::NotFound { .. } => return None,
        Error::WrongOwner { found, .. } => match inspect(name, Some(*found)) {
            Ok(_) => {
                let report = Report::ok(&check, format!("{owned}, and readable by this user"));
                let advice = Some(format!("if you trust that user: --owner {found}"));
                return Some(Report { advice, ..report });
            }
            Err(Error::PermissionDenied { .. }) => denied(),
            Err(error) => (error.to_string(), "see subscriber info".to_owned()),
        },
        Error::PermissionDenied { .. } => denied(),
        Error::Corrupt { reason, .. } => {
            let found = format!("{owned}, damaged or not a table: {reason}");
            return Some(Report::problem(&check, found, list::remedy(name, owner)));
        }
        error => (error.to_string(), "see subscriber info".to_owned()),
    };
    Some(match is_wanted {
        true => Report::problem(&check, found, advice),
        false => Report::warning(&check, found, advice),
    })
}
