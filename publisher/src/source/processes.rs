//! The processes of this machine, as /proc shows them to this user.
//!
//! A process that vanishes while it is read, or that this user may not see (hidepid), has no row.
//! No privileges are needed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable, bytes_of};
use cli::service::Readiness;
use cli::{CliError, status};
use common::{Error, Row, Schema, Text, Timestamp, UntypedPublisher};
use nix::time::{ClockId, clock_gettime};
use procfs::ProcResult;
use procfs::process::{Stat, all_processes};

use super::{Progress, Snapshot, Source, SourceError};

const NANOS_A_SECOND: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct Process {
    #[row(key)]
    pub pid: u32,
    /// Id of the parent, or of the process that adopted it.
    pub parent: u32,
    /// Name of the program, as truncated by the kernel.
    pub name: Text<32>,
    /// State: `R` running, `S` sleeping, `D` waiting for a disk, `Z` zombie, …
    pub state: Text<4>,
    pub threads: u32,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Processor time used, in ns.
    pub cpu_time_ns: u64,
    pub start: Timestamp,
}

impl Process {
    /// Returns the process that `stat` describes. The machine booted at `boot_ns`.
    fn new(stat: &Stat, boot_ns: i64) -> Self {
        let since_boot = i64::try_from(nanos(stat.starttime)).unwrap_or(i64::MAX);
        Self {
            pid: u32::try_from(stat.pid).unwrap_or_default(),
            parent: u32::try_from(stat.ppid).unwrap_or_default(),
            name: Text::truncated(&stat.comm),
            state: Text::truncated(stat.state.encode_utf8(&mut [0; 4])),
            threads: u32::try_from(stat.num_threads).unwrap_or_default(),
            resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
            cpu_time_ns: nanos(stat.utime.saturating_add(stat.stime)),
            start: Timestamp::from_nanos(boot_ns.saturating_add(since_boot)),
        }
    }
}

fn nanos(ticks: u64) -> u64 {
    let nanos = u128::from(ticks) * u128::from(NANOS_A_SECOND);
    u64::try_from(nanos / u128::from(procfs::ticks_per_second().max(1))).unwrap_or(u64::MAX)
}

/// Adopts the boot time `now` if the clock was set since `boot_ns` was determined. A change of less
/// than a second comes from slewing, or from the time between two readings; following it would
/// change every row on each poll.
fn follow_clock(boot_ns: &mut i64, now: i64) {
    if boot_ns.abs_diff(now) >= NANOS_A_SECOND {
        *boot_ns = now;
    }
}

/// Returns the wall-clock time at which the machine booted, in ns.
fn boot_ns() -> nix::Result<i64> {
    let nanos = |clock| {
        let time = Duration::from(clock_gettime(clock)?);
        nix::Result::Ok(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
    };
    let now = nanos(ClockId::CLOCK_REALTIME)?;
    Ok(now.saturating_sub(nanos(ClockId::CLOCK_BOOTTIME)?))
}

/// The source of all processes, read at an interval.
pub struct Processes {
    schema: Arc<Schema>,
    boot_ns: i64,
    every: Duration,
    due: Instant,
    /// True if the last poll failed, which is reported once per streak.
    has_failed: bool,
    has_published: bool,
}

impl Processes {
    /// Creates a source that reads the processes at the interval `every`.
    pub fn new(every: Duration) -> Result<Self, CliError> {
        all_processes().map_err(|error| CliError::new(5, format!("cannot read /proc: {error}")))?;
        let boot_ns = boot_ns()
            .map_err(|errno| CliError::new(1, format!("cannot read the clock: {errno}")))?;
        Ok(Self {
            schema: Arc::new(Schema::of::<Process>()?),
            boot_ns,
            every,
            due: Instant::now(),
            has_failed: false,
            has_published: false,
        })
    }

    fn read(&self) -> ProcResult<Snapshot> {
        let stats = all_processes()?.filter_map(|process| process.ok()?.stat().ok());
        let rows = stats.flat_map(|stat| bytes_of(&Process::new(&stat, self.boot_ns)).to_vec());
        Ok(Snapshot::of(Arc::clone(&self.schema), rows.collect()))
    }

    /// Publishes the current processes. Returns a message if not all of them could be published.
    fn update(&mut self, publisher: &mut UntypedPublisher) -> common::Result<Option<String>> {
        if let Ok(now) = boot_ns() {
            follow_clock(&mut self.boot_ns, now);
        }
        let snapshot = match self.read() {
            Ok(snapshot) if !snapshot.is_empty() => snapshot,
            // This process always exists, so no descriptor was left to read it.
            Ok(_) => return Ok(Some("cannot read any process in /proc".to_owned())),
            Err(error) => return Ok(Some(format!("cannot read /proc: {error}"))),
        };
        match snapshot.publish(publisher) {
            // Memory may become available again.
            Err(error @ Error::Limit { .. }) => Ok(Some(error.to_string())),
            other => {
                self.has_published |= other.is_ok();
                other
            }
        }
    }
}

impl Source for Processes {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn due(&self) -> Option<Instant> {
        Some(self.due)
    }

    fn poll(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, SourceError> {
        let now = Instant::now();
        if now >= self.due {
            // Skips missed polls instead of catching up.
            self.due = now + self.every;
            let message = self.update(publisher)?;
            let had_failed = std::mem::replace(&mut self.has_failed, message.is_some());
            if let Some(message) = message.filter(|_| !had_failed) {
                status(format_args!("processes: {message}"));
            }
        }
        Ok(Progress::Waiting)
    }

    fn readiness(&self) -> Readiness {
        Readiness { is_ready: self.has_published, reloads: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read() {
        let source = Processes::new(Duration::from_secs(1)).unwrap();
        let pid = std::process::id();
        let snapshot = source.read().unwrap();
        let mut processes = snapshot.rows().map(bytemuck::pod_read_unaligned::<Process>);
        let process = processes.find(|process| process.pid == pid).unwrap();
        assert_eq!(process.parent, std::os::unix::process::parent_id());
        assert!(process.threads >= 1 && process.resident_bytes > 0, "{process:?}");
        let age = Timestamp::now().as_nanos() - process.start.as_nanos();
        assert!((0..600_000_000_000).contains(&age), "{process:?}");
    }

    #[test]
    fn start_follows_a_set_clock_and_ignores_a_slewed_one() {
        let before = boot_ns().unwrap();
        let mut boot_ns = before;
        for slewed in [-999_999_999, -1, 0, 1, 999_999_999] {
            follow_clock(&mut boot_ns, before + slewed);
            assert_eq!(boot_ns, before, "{slewed}");
        }
        for set in [before + 1_000_000_000, before, i64::MIN, i64::MAX, before] {
            follow_clock(&mut boot_ns, set);
            assert_eq!(boot_ns, set);
        }
    }

    #[test]
    fn row_has_the_documented_fields() {
        assert_eq!(
            Schema::of::<Process>().unwrap().to_string(),
            "pid:u32,parent:u32,name:text(32),state:text(4),threads:u32,resident_bytes:u64,cpu_time_ns:u64,start:timestamp"
        );
    }
}
