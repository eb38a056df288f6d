//! Arguments of `hz`.

use std::time::Duration;

use clap::ValueEnum;
use clap_complete::ArgValueCompleter;
use cli::metrics::Address;
use cli::{complete, duration};

use crate::attach::Waking;

/// Maximum number of intervals in a report. Each keeps its histograms.
const MAX_WINDOW: u64 = 60;
/// Minimum length of an interval.
const MIN_EVERY: Duration = Duration::from_millis(10);
/// Maximum length of an interval.
const MAX_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Arguments of `hz`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Hz {
    /// The table's name
    #[arg(add = ArgValueCompleter::new(complete::tables))]
    pub name: String,

    /// Time between two reports
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "1s")]
    pub every: Duration,

    /// Report over the last N intervals instead of one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MAX_WINDOW))]
    pub window: u64,

    /// End after N intervals
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// End after this time: 300ms, 2s, 1m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,

    /// Output format: json is one document at the end, jsonl a line for each interval and one for
    /// the summary
    #[arg(long, value_enum, default_value_t = RateFormat::Text, env = "TABLECAST_HZ_FORMAT")]
    pub format: RateFormat,

    /// Fail if the table does not exist within this time: 300ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,

    /// Measure a table of this user, by name or number, instead of your own and root's
    #[arg(long, value_name = "USER|UID", value_parser = cli::user, add = ArgValueCompleter::new(complete::owners))]
    pub owner: Option<u32>,

    /// Wake-up options
    #[command(flatten)]
    pub waking: Waking,

    /// Serve metrics for Prometheus at `http://ADDR/metrics`, like watch
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<Address>,
}

const HELP: &str = "\
Commits are counted by version number, so that a refresh that spans several commits counts all of them, as well as \
commits without rows (a takeover, the end). Such commits cannot be measured one by one: they count for rates and means. \
Minimum, maximum, standard deviation and quantiles cover commits that were refreshed one by one. A row that changes \
twice within a refresh counts once, so the means of rows are lower bounds if there are more commits than refreshes. The \
delay is the time from the last commit of a refresh until this process has applied it.";

/// Output format.
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
