//! What `hz` takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::args::{Waking, user};
use crate::metrics::Address;
use crate::shell::duration;

/// The most intervals that a report is about: each keeps histograms of half a megabyte.
const MAX_WINDOW: usize = 60;
/// The shortest interval.
const MIN_EVERY: Duration = Duration::from_millis(10);
/// The longest one.
const MAX_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// What `hz` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Hz {
    /// The table's name
    pub name: String,

    /// How often to report
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "1s")]
    pub every: Duration,

    /// Report of the last N intervals together, and not of one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = window)]
    pub window: usize,

    /// End after so many intervals
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// End after so long: 300ms, 2s, 1m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,

    /// How to print: json is one document at the end, jsonl a line for each interval and one for the summary
    #[arg(long, value_enum, default_value_t = RateFormat::Text, env = "TABLECAST_HZ_FORMAT")]
    pub format: RateFormat,

    /// Draw the delay over time: p50, p99 and the longest of each interval, as SVG. Written at the end, also by Ctrl-C
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,

    /// Fail if there is no table within this time: 300ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,

    /// Measure a table of this user, by name or number, instead of your own and root's
    #[arg(long, value_name = "USER|UID", value_parser = user)]
    pub owner: Option<u32>,

    /// How to be woken
    #[command(flatten)]
    pub waking: Waking,

    /// Serve metrics for Prometheus at `http://ADDR/metrics`, as of watch
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<Address>,
}

const HELP: &str = "\
Commits are counted by their numbers: also those that came together with others, within one refresh, and those that \
carry no rows but other news (a takeover, the end). What came together cannot be told apart otherwise: it counts for \
rates and means, and the least, the most, the standard deviation and the quantiles are of commits that were seen one by \
one. A row that changed twice within a refresh counts once. The delay is the time from a commit until this process had \
applied it, of the last commit of each refresh. Means of rows are therefore lower bounds where commits outnumber \
refreshes.";

/// A format's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RateFormat {
    /// For people
    Text,
    /// One document, at the end
    Json,
    /// A line of JSON for each interval, and one for the summary
    Jsonl,
}

fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time < MIN_EVERY => Err("it cannot be less than 10ms".to_owned()),
        time if time > MAX_EVERY => Err("it cannot be more than a day".to_owned()),
        time => Ok(time),
    }
}

fn window(text: &str) -> Result<usize, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (1..=MAX_WINDOW).contains(number))
        .ok_or_else(|| {
            format!("write a whole number from 1 to {MAX_WINDOW}; for more, make --every longer")
        })
}
