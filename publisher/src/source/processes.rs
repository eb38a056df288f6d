//! The processes of this machine, as /proc shows them to this user.
//!
//! A process that vanishes while it is read, or that this user may not see (hidepid), has no row. No
//! privileges are needed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable, bytes_of};
use cli::service::Readiness;
use cli::{CliError, status};
use common::{Error, Row, Schema, Text, Timestamp, UntypedPublisher};
use nix::time::{ClockId, clock_gettime};
use procfs::ProcResult;
use procfs::process::{Stat, all_processes};

use super::{CapacityPolicy, Progress, Snapshot, Source, SourceError};

const NANOS_A_SECOND: u128 = 1_000_000_000;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct Process {
    /// Process id.
    #[row(key)]
    pub pid: u32,
    /// Id of the parent, or of the process that adopted it.
    pub parent: u32,
    /// Name of the program, as truncated by the kernel.
    pub name: Text<32>,
    /// State: `R` running, `S` sleeping, `D` waiting for a disk, `Z` zombie, …
    pub state: Text<4>,
    /// Number of threads.
    pub threads: u32,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Processor time used, in ns.
    pub cpu_time_ns: u64,
    /// Start time.
    pub start: Timestamp,
}

/// Units of the kernel's figures.
struct Units {
    ticks_a_second: u64,
    page_bytes: u64,
    /// Wall-clock time at which the machine booted, in ns.
    boot_ns: i64,
}

/// Minimum change of the boot time, in ns, that means that the clock was set. A smaller change comes
/// from slewing, or from the time between two readings; following it would change every row on each
/// poll.
const CLOCK_STEP_NS: u64 = 1_000_000_000;

impl Units {
    fn of_this_machine() -> nix::Result<Self> {
        Ok(Self {
            ticks_a_second: procfs::ticks_per_second().max(1),
            page_bytes: procfs::page_size(),
            boot_ns: boot_ns()?,
        })
    }

    /// Adopts the boot time if the clock was set since the last call.
    fn follow_clock(&mut self, boot_ns: i64) {
        if self.boot_ns.abs_diff(boot_ns) >= CLOCK_STEP_NS {
            self.boot_ns = boot_ns;
        }
    }

    fn nanos(&self, ticks: u64) -> u64 {
        let nanos = u128::from(ticks) * NANOS_A_SECOND / u128::from(self.ticks_a_second);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    fn process(&self, stat: &Stat) -> Process {
        let since_boot = i64::try_from(self.nanos(stat.starttime)).unwrap_or(i64::MAX);
        Process {
            pid: u32::try_from(stat.pid).unwrap_or_default(),
            parent: u32::try_from(stat.ppid).unwrap_or_default(),
            name: Text::truncated(&stat.comm),
            state: Text::truncated(stat.state.encode_utf8(&mut [0; 4])),
            threads: u32::try_from(stat.num_threads).unwrap_or_default(),
            resident_bytes: stat.rss.saturating_mul(self.page_bytes),
            cpu_time_ns: self.nanos(stat.utime.saturating_add(stat.stime)),
            start: Timestamp::from_nanos(self.boot_ns.saturating_add(since_boot)),
        }
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
    units: Units,
    every: Duration,
    room: CapacityPolicy,
    due: Instant,
    /// True if the last poll failed, which is reported once per streak.
    has_failed: bool,
    has_published: bool,
}

impl Processes {
    /// Creates a source that reads the processes at the interval `every`.
    ///
    /// # Errors
    /// Fails if /proc or the clock cannot be read.
    pub fn new(every: Duration, room: CapacityPolicy) -> Result<Self, CliError> {
        all_processes().map_err(|error| CliError::new(5, format!("cannot read /proc: {error}")))?;
        let units = Units::of_this_machine()
            .map_err(|errno| CliError::new(1, format!("cannot read the clock: {errno}")))?;
        Ok(Self {
            schema: Arc::new(Schema::of::<Process>()?),
            units,
            every,
            room,
            due: Instant::now(),
            has_failed: false,
            has_published: false,
        })
    }

    /// Returns the schema of the rows.
    pub fn schema(&self) -> Schema {
        Schema::clone(&self.schema)
    }

    fn read(&self) -> ProcResult<Snapshot> {
        let stats = all_processes()?.filter_map(|process| process.ok()?.stat().ok());
        let mut snapshot = Snapshot::new(Arc::clone(&self.schema));
        stats.for_each(|stat| snapshot.push(bytes_of(&self.units.process(&stat))));
        Ok(snapshot)
    }

    /// Publishes the current processes. Returns a message if not all of them could be published.
    fn update(&mut self, publisher: &mut UntypedPublisher) -> common::Result<Option<String>> {
        if let Ok(boot_ns) = boot_ns() {
            self.units.follow_clock(boot_ns);
        }
        let snapshot = match self.read() {
            // This process always exists, so no descriptor was left to read it.
            Ok(snapshot) if snapshot.is_empty() => {
                return Ok(Some("cannot read any process in /proc".to_owned()));
            }
            Ok(snapshot) => snapshot,
            // For example, no descriptor is left at this moment.
            Err(error) => return Ok(Some(format!("cannot read /proc: {error}"))),
        };
        match snapshot.publish(publisher, self.room) {
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
    fn due(&self) -> Option<Instant> {
        Some(self.due)
    }

    fn poll(&mut self, publisher: &mut UntypedPublisher) -> Result<Progress, SourceError> {
        let now = Instant::now();
        if now >= self.due {
            // Missed polls are not made up for.
            self.due = now + self.every;
            let message = self.update(publisher)?;
            let had_failed = std::mem::replace(&mut self.has_failed, message.is_some());
            if let Some(message) = message.filter(|_| !had_failed) {
                status(format_args!("processes: {message}"));
            }
        }
        Ok(Progress::Waiting)
    }

    fn is_snapshot(&self) -> bool {
        true
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
        let source = Processes::new(Duration::from_secs(1), CapacityPolicy::Grows).unwrap();
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
        let mut units = Units::of_this_machine().unwrap();
        let before = units.boot_ns;
        for slewed in [-999_999_999, -1, 0, 1, 999_999_999] {
            units.follow_clock(before + slewed);
            assert_eq!(units.boot_ns, before, "{slewed}");
        }
        for set in [before + 1_000_000_000, before, i64::MIN, i64::MAX, before] {
            units.follow_clock(set);
            assert_eq!(units.boot_ns, set);
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
