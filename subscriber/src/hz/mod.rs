//! The `hz` command: measures how often and how much a table changes, and the delay until changes
//! arrive.
//!
//! 1. After each refresh its commits (by version number), rows and delay are recorded.
//! 2. At the end of an interval its `measure` becomes a `report` and is added to the measure of the
//!    whole session.
//! 3. Reports are printed to stdout (`print`) and added as points to a `plot`, which is written at
//!    the end.
//!
//! Commits that arrive in one refresh cannot be measured separately: they count for rates and
//! means, but not for minimum, maximum and quantiles.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::{Cause, Error, UntypedSubscriber};

use crate::attach::{self, attach_when_published};
use crate::commits::Commits;
use crate::metrics::Following;
use crate::output::{self, Output};
use crate::publisher_status::News;
use cli::{CliError, Shutdown};

mod args;
mod measure;
mod plot;
mod print;
mod report;
mod text;

pub use args::Hz;
use measure::Measure;
use plot::Plot;
use print::Printer;
use report::{Report, What};

/// Measures until `stop` is requested or a limit in `args` is reached.
///
/// # Errors
/// Fails if the arguments are wrong, the table does not appear in time or the plot cannot be
/// written.
pub fn run(args: &Hz, stop: &Shutdown, output: Output) -> Result<(), CliError> {
    let plot = args.plot.as_deref().map(Plot::create).transpose()?;
    let metrics = Following::serve_at(args.metrics.as_ref(), &args.name)?;
    let builder = attach::woken(attach::builder(&args.name, args.owner), &args.waking);
    let Some(table) = attach_when_published(&builder, args.timeout, stop)? else {
        return Ok(Printer::begin(args.format, &args.name, output)?.nothing()?);
    };
    if let Some(metrics) = &metrics {
        metrics.attached(&table);
    }
    let now = Instant::now();
    let mut rates = Rates {
        args,
        news: News::of(&table),
        commits: Commits::of(&table),
        table,
        metrics,
        printer: Printer::begin(args.format, &args.name, output)?,
        plot,
        begun: now,
        interval_begun: now,
        due: now + args.every,
        intervals: 0,
        interval: Measure::default(),
        before: VecDeque::new(),
        all: Measure::default(),
    };
    let measured = rates.measure(stop);
    let plotted = rates.plot.map_or(Ok(()), |plot| plot.write(&args.name));
    measured.and(plotted)
}

struct Rates<'a> {
    args: &'a Hz,
    table: UntypedSubscriber,
    news: News,
    commits: Commits,
    metrics: Option<Following>,
    printer: Printer,
    plot: Option<Plot>,
    begun: Instant,
    interval_begun: Instant,
    /// End of the current interval.
    due: Instant,
    intervals: u64,
    interval: Measure,
    /// Previous intervals that the next report also covers.
    before: VecDeque<Measure>,
    all: Measure,
}

impl Rates<'_> {
    fn measure(&mut self, stop: &Shutdown) -> Result<(), CliError> {
        self.news.tell_absence(&self.table);
        // The descriptor is only armed by refreshes after its first request, so request it before
        // the first refresh.
        let _news = self.table.as_fd();
        let end = self
            .args
            .duration
            .and_then(|time| self.begun.checked_add(time));
        loop {
            let asleep = !self.refresh()?;
            let now = Instant::now();
            let is_over = end.is_some_and(|end| end <= now);
            if self.due <= now {
                self.end_interval(now)?;
            }
            if is_over || Some(self.intervals) == self.args.count {
                break;
            }
            let until = end.map_or(self.due, |end| end.min(self.due));
            let (news, time) = match asleep {
                true => (
                    vec![self.table.as_fd()],
                    until.saturating_duration_since(now),
                ),
                false => (vec![], Duration::ZERO),
            };
            if output::wait(stop, &news, Some(time))? {
                break;
            }
        }
        self.end()
    }

    /// Refreshes the table and records the result. Returns false if nothing changed.
    fn refresh(&mut self) -> Result<bool, CliError> {
        match self.table.refresh() {
            Ok(_) => {}
            // The local copy is still complete, at its previous version.
            Err(Error::Outrun { .. }) => {
                self.interval.outrun += 1;
                self.metrics.iter().for_each(Following::outrun);
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        }
        let commits = self.commits.since(&self.table);
        self.interval.note(&measure::Refresh {
            version: self.table.version(),
            commits,
            rows: self.table.changes().len() as u64,
            row_bytes: self.table.schema().row_size() as u64,
            delay: self.table.delay(),
            committed: self.table.committed(),
        });
        if let Some(metrics) = &self.metrics {
            metrics.refreshed(&self.table, commits);
        }
        if self.table.changes().cause() == Cause::Nothing {
            self.news.tell_silence(&self.table);
            return Ok(commits > 0);
        }
        self.news.tell(&self.table);
        Ok(true)
    }

    fn end_interval(&mut self, now: Instant) -> Result<(), CliError> {
        self.intervals += 1;
        let mut interval = self.interval.take(now - self.interval_begun);
        self.interval_begun = now;
        // Do not catch up on intervals during which this process slept.
        self.due = (self.due + self.args.every).max(now);
        self.all.add(&interval);
        if let Some(plot) = &mut self.plot {
            plot.add(now - self.begun, &interval);
        }
        self.before.push_back(interval.clone());
        if self.before.len() > self.args.window {
            self.before.pop_front();
        }
        let others = self.before.iter().rev().skip(1);
        others.for_each(|before| interval.add(before));
        let report = self.report(What::Interval, self.intervals, &interval);
        Ok(self.printer.interval(&report)?)
    }

    /// Ends the last, possibly shorter interval and prints the summary.
    fn end(&mut self) -> Result<(), CliError> {
        let now = Instant::now();
        let rest = self.interval.take(now - self.interval_begun);
        self.all.add(&rest);
        if let Some(plot) = &mut self.plot {
            plot.add(now - self.begun, &rest);
        }
        let report = self.report(What::Summary, self.intervals, &self.all);
        Ok(self.printer.summary(&report)?)
    }

    fn report(&self, what: What, intervals: u64, measure: &Measure) -> Report {
        let publisher = self.table.publisher_state().as_str();
        Report::of(what, intervals, measure, &self.table, publisher)
    }
}
