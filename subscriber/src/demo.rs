//! The subscriber's half of `publisher demo`: follows a table of processes and draws its copy in the terminal.
//!
//! The publisher's binary runs itself again in this role. It goes with any table; of one that has `cpu_time_ns`, the
//! rows whose value grows fastest come first. Where stdout is no terminal, a line a second is written instead.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::{Cause, Error, PublisherState, UntypedSubscriber};

use crate::attach::{attach_when_published, builder};
use crate::output::{self, Output};
use crate::shell::{Failure, Stop};
use activity::Activity;
use log::Log;
use screen::Screen;

mod activity;
mod log;
mod screen;

/// How long the table may take to appear.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);

/// Somewhere to show the table.
trait View {
    /// How long from one picture to the next, at least if there is news, and at most if there is none.
    fn interval(&self) -> (Duration, Duration);

    /// Shows the table as it is.
    fn draw(&mut self, table: &UntypedSubscriber, activity: &Activity) -> std::io::Result<()>;
}

/// Follows table `name` and draws it, until its publisher closes it, `stop` is asked for, or `seconds` are over.
///
/// # Errors
/// No such table within 10 s, or one that cannot be read.
pub fn run_demo(name: &str, stop: Stop, seconds: Option<f64>) -> Result<(), Failure> {
    let Some(mut table) = attach_when_published(&builder(name, None), Some(ATTACH_TIMEOUT), &stop)?
    else {
        return Ok(());
    };
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let end = time.and_then(|time| Instant::now().checked_add(time));
    let mut activity = Activity::new(table.schema());
    let output = Output::stdout(&stop)?;
    let followed = if output.is_terminal() {
        let mut screen = Screen::open(output)?;
        follow(&mut table, &mut activity, &mut screen, &stop, end)
    } else {
        let mut log = Log::new(output);
        follow(&mut table, &mut activity, &mut log, &stop, end)
    };
    followed?;
    Output::stdout(&stop)?.text(&log::summary(&table, &activity))
}

fn follow(
    table: &mut UntypedSubscriber,
    activity: &mut Activity,
    view: &mut dyn View,
    stop: &Stop,
    end: Option<Instant>,
) -> Result<(), Failure> {
    let _news = table.as_fd();
    let (least, most) = view.interval();
    let (mut drawn, mut dirty) = (None::<Instant>, true);
    loop {
        let asleep = match table.refresh() {
            Ok(changes) => changes.cause() == Cause::Nothing,
            Err(Error::Outrun { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        let now = Instant::now();
        if !asleep {
            activity.note(table, now);
            dirty = true;
        }
        let pause = if dirty { least } else { most };
        if drawn.is_none_or(|drawn| now - drawn >= pause) {
            view.draw(table, activity)?;
            (drawn, dirty) = (Some(now), false);
        }
        let closed = matches!(table.publisher_state(), PublisherState::Closed { .. });
        if closed || end.is_some_and(|end| now >= end) {
            return Ok(());
        }
        let next = drawn.unwrap_or(now) + if dirty { least } else { most };
        let next = end.map_or(next, |end| next.min(end));
        let time = match asleep {
            true => next.saturating_duration_since(Instant::now()),
            false => Duration::ZERO,
        };
        if output::wait(stop, &[table.as_fd()], Some(time))? {
            return Ok(());
        }
    }
}
