//! The machine: its cores, what it calls itself, and limits of the system that a case needs raised.

use std::fs;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

/// Binds this thread, and what it starts, to one of the machine's cores.
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

/// Processor, cores, kernel.
pub fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name"));
    let processor =
        processor.unwrap_or("a processor without a name").trim_start_matches([' ', '\t', ':']);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{processor}, {} cores, Linux {}", cores_online(), kernel.trim())
}

/// Raises this process's limit of open files to the system's maximum.
pub fn raise_open_files() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _as_many_as_there_were = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

const QUEUES_MAX: &str = "/proc/sys/fs/mqueue/queues_max";

/// The system's limit of message queues, raised as long as this value lives, where root runs the
/// benchmark.
pub struct MoreQueues(Option<String>);

impl MoreQueues {
    /// Raises it to `queues`, unless it is greater, or may not be.
    pub fn raise(queues: usize) -> Self {
        let before = fs::read_to_string(QUEUES_MAX).unwrap_or_default();
        let enough = before.trim().parse::<usize>().is_ok_and(|now| now >= queues);
        if enough || fs::write(QUEUES_MAX, queues.to_string()).is_err() {
            return Self(None);
        }
        Self(Some(before))
    }
}

/// Returns the maximum number of message queues of all users; root may exceed it.
pub fn queues_max() -> f64 {
    let text = fs::read_to_string(QUEUES_MAX).unwrap_or_default();
    text.trim().parse().unwrap_or(f64::NAN)
}

impl Drop for MoreQueues {
    fn drop(&mut self) {
        if let Some(before) = &self.0
            && let Err(error) = fs::write(QUEUES_MAX, before)
        {
            eprintln!("{QUEUES_MAX} was {} and stays raised: {error}", before.trim());
        }
    }
}
