//! The processes of this machine, as /proc shows them to this user.
//!
//! A process may vanish while it is read, or be another user's business (hidepid): it is then no row. Nothing here needs
//! privileges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable, bytes_of};
use cli::CliError;
use cli::service::Stage;
use common::{Error, Row, Schema, Text, Timestamp, UntypedPublisher};
use nix::time::{ClockId, clock_gettime};
use procfs::ProcResult;
use procfs::process::{Stat, all_processes};

use super::{CapacityPolicy, Progress, Snapshot, Source, SourceError};
use cli::status;

const NANOS_A_SECOND: u128 = 1_000_000_000;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct Process {
    /// Its id.
    #[row(key)]
    pub pid: u32,
    /// The id of the process that made it, or cares for it now.
    pub parent: u32,
    /// The name of its program, as far as the kernel keeps it.
    pub name: Text<32>,
    /// `R` running, `S` sleeping, `D` waiting for a disk, `Z` dead and not yet asked for, …
    pub state: Text<4>,
    /// How many threads it has.
    pub threads: u32,
    /// The memory of its address space that is in RAM.
    pub resident_bytes: u64,
    /// The time that it has had a CPU.
    pub cpu_time_ns: u64,
    /// When it began.
    pub start: Timestamp,
}

/// What the kernel counts in.
struct Units {
    ticks_a_second: u64,
    page_bytes: u64,
    /// The time of day at which the machine's boot clock began.
    boot_ns: i64,
}

/// A difference of the boot time that means that the clock was set, in ns. A smaller one is slewing, or the time between two
/// readings of clocks; following it would change every row at every look.
const CLOCK_STEP_NS: u64 = 1_000_000_000;

impl Units {
    fn of_this_machine() -> nix::Result<Self> {
        Ok(Self {
            ticks_a_second: procfs::ticks_per_second().max(1),
            page_bytes: procfs::page_size(),
            boot_ns: boot_ns()?,
        })
    }

    /// Takes over the boot time, if the clock was set since the last call.
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

/// Returns the time of day at which the machine's boot clock began.
fn boot_ns() -> nix::Result<i64> {
    let nanos = |clock| {
        let time = Duration::from(clock_gettime(clock)?);
        nix::Result::Ok(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
    };
    let now = nanos(ClockId::CLOCK_REALTIME)?;
    Ok(now.saturating_sub(nanos(ClockId::CLOCK_BOOTTIME)?))
}

/// All processes, every now and then.
pub struct Processes {
    schema: Arc<Schema>,
    units: Units,
    every: Duration,
    room: CapacityPolicy,
    due: Instant,
    /// Whether the last look was in trouble. That is said once, and not at every look.
    in_trouble: bool,
    has_published: bool,
}

impl Processes {
    /// To be looked at `every` so long.
    ///
    /// # Errors
    /// [`CliError`] if /proc cannot be read at all.
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
            in_trouble: false,
            has_published: false,
        })
    }

    /// What a row is.
    pub fn schema(&self) -> Schema {
        Schema::clone(&self.schema)
    }

    fn look(&self) -> ProcResult<Snapshot> {
        let stats = all_processes()?.filter_map(|process| process.ok()?.stat().ok());
        let mut snapshot = Snapshot::new(Arc::clone(&self.schema));
        stats.for_each(|stat| snapshot.push(bytes_of(&self.units.process(&stat))));
        Ok(snapshot)
    }

    /// Brings what there is now. A sentence if not all of it has come.
    fn update(&mut self, publisher: &mut UntypedPublisher) -> common::Result<Option<String>> {
        if let Ok(boot_ns) = boot_ns() {
            self.units.follow_clock(boot_ns);
        }
        let snapshot = match self.look() {
            // This one is always there: no descriptor was left to read it.
            Ok(snapshot) if snapshot.is_empty() => {
                return Ok(Some("cannot read any process in /proc".to_owned()));
            }
            Ok(snapshot) => snapshot,
            // Such as: no descriptor is left at this moment.
            Err(error) => return Ok(Some(format!("cannot read /proc: {error}"))),
        };
        match snapshot.publish(publisher, self.room) {
            // Memory may be found again.
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
            // Of looks that were missed none is made up for.
            self.due = now + self.every;
            let trouble = self.update(publisher)?;
            let was_in_trouble = std::mem::replace(&mut self.in_trouble, trouble.is_some());
            if let Some(trouble) = trouble.filter(|_| !was_in_trouble) {
                status(format_args!("processes: {trouble}"));
            }
        }
        Ok(Progress::Waiting)
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn stage(&self) -> Stage {
        Stage {
            is_ready: self.has_published,
            reloads: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_them_as_it_is() {
        let source = Processes::new(Duration::from_secs(1), CapacityPolicy::Grows).unwrap();
        let pid = std::process::id();
        let snapshot = source.look().unwrap();
        let mut processes = snapshot.rows().map(bytemuck::pod_read_unaligned::<Process>);
        let process = processes.find(|process| process.pid == pid).unwrap();
        assert_eq!(process.parent, std::os::unix::process::parent_id());
        assert!(
            process.threads >= 1 && process.resident_bytes > 0,
            "{process:?}"
        );
        let age = Timestamp::now().as_nanos() - process.start.as_nanos();
        assert!((0..600_000_000_000).contains(&age), "{process:?}");
    }

    /// Kind of defect: what depends on the time of day was computed once, though the clock can be set at any time.
    #[test]
    fn start_follows_a_clock_that_is_set_and_does_not_move_with_one_that_is_slewed() {
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
    fn a_row_has_the_fields_that_are_promised() {
        assert_eq!(
            Schema::of::<Process>().unwrap().to_string(),
            "pid:u32,parent:u32,name:text(32),state:text(4),threads:u32,resident_bytes:u64,cpu_time_ns:u64,start:timestamp"
        );
    }
}
