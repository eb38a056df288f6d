//! The subscriber's half of `publisher demo`: follows a table of processes and shows it.
//!
//! The publisher's binary runs itself again in this role. On a terminal this shows the view of
//! `subscriber top`, sorted by processor time; elsewhere it prints one line per second. Both end
//! with a summary.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::{Cause, Error, PublisherState, UntypedSubscriber};

use crate::attach::{attach_when_published, builder};
use crate::output::{self, Output};
use crate::top::{Ends, Followed, Pulse, Session, Wanted, is_dumb};
use cli::{CliError, Shutdown};

mod log;

/// Maximum wait for the table.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// Order of the rows.
const SORT: &str = "cpu_time_ns:desc";
/// Time between two lines.
const LINE: Duration = Duration::from_secs(1);

/// Follows table `name` and shows it until its publisher closes it, `stop` is requested or
/// `seconds` have passed.
///
/// # Errors
/// Fails if the table does not appear within 10 s or cannot be read.
pub fn run_demo(name: &str, stop: Shutdown, seconds: Option<f64>) -> Result<(), CliError> {
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let end = time.and_then(|time| Instant::now().checked_add(time));
    let output = Output::stdout(&stop)?;
    let followed = match output.is_terminal() && !is_dumb() {
        true => draw(name, &stop, output, end)?,
        false => write(name, &stop, output, end)?,
    };
    match followed {
        Some(followed) => Output::stdout(&stop)?.text(&log::summary(&followed)),
        None => Ok(()),
    }
}

fn draw(
    name: &str,
    stop: &Shutdown,
    output: Output,
    end: Option<Instant>,
) -> Result<Option<Followed>, CliError> {
    let wanted = Wanted {
        sort: Some(SORT.to_owned()),
        ..Wanted::default()
    };
    let banner = format!(
        "published by process {}, seen by process {}: this is its own copy, kept by shared memory",
        std::os::unix::process::parent_id(),
        std::process::id()
    );
    let ends = Ends {
        with_table: true,
        at: end,
    };
    let session = Session::open(name, wanted, Some(banner), stop, output)?;
    session.follow(&builder(name, None), ends)
}

fn write(
    name: &str,
    stop: &Shutdown,
    mut output: Output,
    end: Option<Instant>,
) -> Result<Option<Followed>, CliError> {
    let table = attach_when_published(&builder(name, None), Some(ATTACH_TIMEOUT), stop)?;
    let Some(mut table) = table else {
        return Ok(None);
    };
    let mut pulse = Pulse::new(table.version(), Instant::now());
    let _news = table.as_fd();
    let mut next = Instant::now() + LINE;
    loop {
        let asleep = match table.refresh() {
            Ok(changes) => changes.cause() == Cause::Nothing,
            Err(Error::Outrun { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        let now = Instant::now();
        if asleep {
            pulse.tick(now);
        } else {
            pulse.note(&table, now);
        }
        if now >= next {
            log::write(&mut output, &table, &pulse)?;
            next = now + LINE;
        }
        if is_over(&table, end, now) {
            return Ok(Some(Followed { table, pulse }));
        }
        let next = end.map_or(next, |end| next.min(end));
        let time = match asleep {
            true => next.saturating_duration_since(Instant::now()),
            false => Duration::ZERO,
        };
        if output::wait(stop, &[table.as_fd()], Some(time))? {
            return Ok(Some(Followed { table, pulse }));
        }
    }
}

fn is_over(table: &UntypedSubscriber, end: Option<Instant>, now: Instant) -> bool {
    let is_closed = matches!(table.publisher_state(), PublisherState::Closed { .. });
    is_closed || end.is_some_and(|end| now >= end)
}
