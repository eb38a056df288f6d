//! How long something takes: batches of it, each timed as one, and of these the median and the 99th percentile.

use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// What one run found out about one way of doing something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// Which way.
    pub subject: String,
    /// In nanoseconds, unless the case says something else.
    pub median: f64,
    /// Of the batches.
    pub p99: f64,
}

impl Figure {
    /// Of measurements in any order.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(subject: impl Into<String>, mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize];
        Self {
            subject: subject.into(),
            median: at(0.5),
            p99: at(0.99),
        }
    }
}

/// How many batches make a figure, at most.
const BATCHES: usize = 400;
/// How long one way is measured, about.
const TIME: Duration = Duration::from_millis(600);

/// Times `batch`, which does something `count` times, until there is enough of it; of each batch the time of one.
pub fn batches(subject: impl Into<String>, count: usize, mut batch: impl FnMut()) -> Figure {
    batch();
    let begun = Instant::now();
    let mut samples = Vec::with_capacity(BATCHES);
    while samples.len() < BATCHES && (samples.len() < 5 || begun.elapsed() < TIME) {
        let start = Instant::now();
        batch();
        samples.push(start.elapsed().as_nanos() as f64 / count as f64);
    }
    Figure::of(subject, samples)
}

/// Binds this process to one of the machine's cores.
///
/// # Panics
/// If that is refused.
pub fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core % cores_online()).expect("a core's number");
    sched_setaffinity(Pid::from_raw(0), &cores).expect("a process may choose its core");
}

fn cores_online() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
