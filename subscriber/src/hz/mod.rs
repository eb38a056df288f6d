//! `hz`: measures how often and how much a table changes, and the delay until changes arrive.
//!
//! 1. Each refresh records the number of its commits (by version number), its rows and its delay.
//! 2. At the end of an interval, its `Measure` is reported and added to that of the session.
//!
//! Commits that arrive in one refresh cannot be measured separately: they count for rates and
//! means, but not for minimum, maximum and quantiles.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use clap_complete::ArgValueCompleter;
use cli::metrics::Address;
use cli::{CliError, Shutdown, complete, duration};
use common::{Cause, UntypedSubscriber};

use crate::attach::{self, Waking};
use crate::follow::Follower;
use crate::output::{self, Output};

mod measure;

use measure::{Measure, Period, Printer};

/// Maximum number of intervals in a report, which bounds memory: each keeps its histograms.
const MAX_WINDOW: u64 = 60;
const MIN_EVERY: Duration = Duration::from_millis(10);
const MAX_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The table's name
    #[arg(add = ArgValueCompleter::new(complete::tables))]
    name: String,

    /// Time between two reports
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "1s")]
    every: Duration,

    /// Report over the last N intervals instead of one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MAX_WINDOW))]
    window: u64,

    /// End after N intervals
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after this time: 300ms, 2s, 1m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,

    /// Output format: json is one document at the end, jsonl a line for each interval and one for
    /// the summary
    #[arg(long, value_enum, default_value_t = RateFormat::Text, env = "TABLECAST_HZ_FORMAT")]
    format: RateFormat,

    /// Fail if the table does not exist within this time: 300ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,

    /// Measure a table of this user, by name or number, instead of your own and root's
    #[arg(long, value_name = "USER|UID", value_parser = cli::user, add = ArgValueCompleter::new(complete::owners))]
    owner: Option<u32>,

    #[command(flatten)]
    waking: Waking,

    /// Serve metrics for Prometheus at `http://ADDR/metrics`, like watch
    #[arg(long, value_name = "ADDR")]
    metrics: Option<Address>,
}

const HELP: &str = "\
Commits are counted by version number, so that a refresh that spans several commits counts all of them, as well as \
commits without rows (a takeover, the end). Such commits cannot be measured one by one: they count for rates and means. \
Minimum, maximum, standard deviation and quantiles cover commits that were refreshed one by one. A row that changes \
twice within a refresh counts once, so the means of rows are lower bounds if there are more commits than refreshes. The \
delay is the time from the last commit of a refresh until this process has applied it.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RateFormat {
    /// Text for people
    Text,
    /// One document at the end
    Json,
    /// One line of JSON for each interval, and one for the summary
    Jsonl,
}

fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time < MIN_EVERY => Err("it cannot be less than 10ms".to_owned()),
        time if time > MAX_EVERY => Err("it cannot be more than a day".to_owned()),
        time => Ok(time),
    }
}

/// Measures until `stop` is requested or a limit in `args` is reached.
pub fn run(args: &Args, stop: &Shutdown, output: Output) -> Result<(), CliError> {
    let builder = UntypedSubscriber::builder(&args.name);
    let builder = attach::options(builder, args.owner, &args.waking);
    let metrics = args.metrics.as_ref();
    let follower = Follower::attach(&args.name, &builder, args.timeout, metrics, stop)?;
    let mut printer = Printer::begin(args.format, &args.name, output)?;
    let Some(follower) = follower else {
        return Ok(printer.end_without_table()?);
    };
    let now = Instant::now();
    let rates = Rates {
        args,
        follower,
        printer,
        begun: now,
        interval_begun: now,
        due: now + args.every,
        intervals: 0,
        interval: Measure::default(),
        window: VecDeque::new(),
        all: Measure::default(),
    };
    rates.measure(stop)
}

struct Rates<'a> {
    args: &'a Args,
    follower: Follower,
    printer: Printer,
    begun: Instant,
    interval_begun: Instant,
    /// End of the current interval.
    due: Instant,
    intervals: u64,
    interval: Measure,
    /// The last intervals, at most `--window`, which a report covers.
    window: VecDeque<Measure>,
    /// The whole session.
    all: Measure,
}

impl Rates<'_> {
    fn measure(mut self, stop: &Shutdown) -> Result<(), CliError> {
        self.follower.begin();
        let end = self.args.duration.and_then(|time| self.begun.checked_add(time));
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
            let time = if asleep { until.saturating_duration_since(now) } else { Duration::ZERO };
            if output::wait(stop, &[self.follower.table().as_fd()], Some(time))? {
                break;
            }
        }
        self.take_interval(Instant::now());
        let (count, table) = (self.intervals, self.follower.table());
        Ok(self.printer.print(Period::Summary, count, &self.all, table)?)
    }

    /// Refreshes the table and records the result. Returns false if nothing changed.
    fn refresh(&mut self) -> Result<bool, CliError> {
        let Some(commits) = self.follower.refresh()? else {
            self.interval.record_outrun();
            return Ok(true);
        };
        let (table, changes) = (self.follower.table(), self.follower.table().changes());
        if commits > 0 {
            let rows = changes.len() as u64;
            let bytes = rows * table.schema().row_size() as u64;
            self.interval.record(commits, rows, bytes, table.delay());
            if let Some(committed) = table.committed() {
                self.interval.record_commit_time(table.version(), committed);
            }
        }
        Ok(commits > 0 || changes.cause() != Cause::Nothing)
    }

    fn end_interval(&mut self, now: Instant) -> Result<(), CliError> {
        let interval = self.take_interval(now);
        self.intervals += 1;
        // Intervals that passed while this process was suspended are skipped.
        self.due = (self.due + self.args.every).max(now);
        self.window.push_back(interval);
        if self.window.len() as u64 > self.args.window {
            self.window.pop_front();
        }
        let mut window = Measure::default();
        self.window.iter().for_each(|interval| window.add(interval));
        let (count, table) = (self.intervals, self.follower.table());
        Ok(self.printer.print(Period::Interval, count, &window, table)?)
    }

    /// Returns the measure of the interval that ends `now`, and adds it to the session.
    fn take_interval(&mut self, now: Instant) -> Measure {
        let interval = self.interval.take(now - self.interval_begun);
        self.interval_begun = now;
        self.all.add(&interval);
        interval
    }
}
