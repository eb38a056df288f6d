//! What happened of late: changes, delays, and which rows used the processor.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Cause, Change, RowRef, Schema, UntypedSubscriber, Value};

/// Changes a second are counted over so long, in pieces.
const RATE_WINDOW: Duration = Duration::from_secs(2);
const RATE_PIECE: Duration = Duration::from_millis(100);
/// How many delays count.
const DELAYS: usize = 512;
/// How long a row that changed stands out.
const LATELY: Duration = Duration::from_millis(900);
/// The field whose growth is processor time.
const CPU_FIELD: &str = "cpu_time_ns";

/// What is remembered.
pub struct Activity {
    begun: Instant,
    changes: u64,
    pieces: VecDeque<(Instant, u64)>,
    delays: VecDeque<Duration>,
    rows: HashMap<Vec<u8>, Seen>,
    schema: Arc<Schema>,
    cpu_field: Option<usize>,
}

/// The last change of a row.
struct Seen {
    at: Instant,
    /// How much the processor time grew then, and since when.
    cpu_ns: u64,
    over: Duration,
}

/// The delays that count, from commit to applied.
pub struct Delays {
    /// The last one.
    pub last: Duration,
    /// Half of them were shorter.
    pub median: Duration,
    /// One in a hundred was longer.
    pub p99: Duration,
}

impl Activity {
    pub fn new(schema: &Arc<Schema>) -> Self {
        Self {
            begun: Instant::now(),
            changes: 0,
            pieces: VecDeque::new(),
            delays: VecDeque::new(),
            rows: HashMap::new(),
            schema: Arc::clone(schema),
            cpu_field: cpu_field(schema),
        }
    }

    /// Takes in what the last refresh changed.
    pub fn note(&mut self, table: &UntypedSubscriber, now: Instant) {
        let changes = table.changes();
        if !Arc::ptr_eq(&self.schema, table.schema()) {
            // Another region: its keys may mean something else.
            self.rows.clear();
            self.schema = Arc::clone(table.schema());
            self.cpu_field = cpu_field(table.schema());
        } else if changes.cause() == Cause::Rows {
            changes
                .iter()
                .for_each(|change| self.note_row(&change, now));
        }
        self.count(changes.len() as u64, now);
        if let Some(delay) = table.delay().filter(|_| !changes.is_empty()) {
            if self.delays.len() == DELAYS {
                self.delays.pop_front();
            }
            self.delays.push_back(delay);
        }
    }

    fn count(&mut self, changes: u64, now: Instant) {
        self.changes += changes;
        match self.pieces.back_mut() {
            Some((begun, counted)) if now - *begun < RATE_PIECE => *counted += changes,
            _ => self.pieces.push_back((now, changes)),
        }
        while self
            .pieces
            .front()
            .is_some_and(|(begun, _)| now - *begun > RATE_WINDOW)
        {
            self.pieces.pop_front();
        }
    }

    fn note_row(&mut self, change: &Change<RowRef<'_>>, now: Instant) {
        let (old, new) = match *change {
            Change::Deleted(old) => {
                self.rows.remove(&old.key().to_bytes());
                return;
            }
            Change::Created(new) => (None, new),
            Change::Updated { old, new } => (Some(old), new),
        };
        let cpu_time = |row: RowRef<'_>| match row.value(self.cpu_field?) {
            Value::U64(time) => Some(time),
            _ => None,
        };
        let grown = old.and_then(cpu_time).zip(cpu_time(new));
        let key = new.key().to_bytes();
        let before = self.rows.get(&key).map_or(self.begun, |seen| seen.at);
        let seen = Seen {
            at: now,
            cpu_ns: grown.map_or(0, |(old, new)| new.saturating_sub(old)),
            over: now - before,
        };
        self.rows.insert(key, seen);
    }

    /// Changes so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Since when.
    pub fn time(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Changes a second.
    pub fn rate(&self) -> f64 {
        let now = Instant::now();
        let counted: u64 = self
            .pieces
            .iter()
            .filter(|(begun, _)| now - *begun <= RATE_WINDOW)
            .map(|(_, changes)| changes)
            .sum();
        let window = RATE_WINDOW.min(self.time()).max(RATE_PIECE);
        counted as f64 / window.as_secs_f64()
    }

    /// The last few hundred delays; None before the first.
    pub fn delays(&self) -> Option<Delays> {
        let last = *self.delays.back()?;
        let mut sorted: Vec<Duration> = self.delays.iter().copied().collect();
        sorted.sort_unstable();
        Some(Delays {
            last,
            median: sorted[sorted.len() / 2],
            p99: sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)],
        })
    }

    /// Whether the table tells processor time.
    pub fn knows_cpu(&self) -> bool {
        self.cpu_field.is_some()
    }

    /// How much of a processor the row used of late: what it grew by at its last change, over the time that took, or
    /// over the time since, if that is longer. In percent.
    pub fn cpu_percent(&self, row: RowRef<'_>, now: Instant) -> f64 {
        self.rows.get(&row.key().to_bytes()).map_or(0.0, |seen| {
            let over = seen.over.max(now.saturating_duration_since(seen.at));
            100.0 * seen.cpu_ns as f64 / over.as_nanos().max(1) as f64
        })
    }

    /// Whether the row changed a moment ago.
    pub fn is_recent(&self, row: RowRef<'_>, now: Instant) -> bool {
        self.rows
            .get(&row.key().to_bytes())
            .is_some_and(|seen| now.saturating_duration_since(seen.at) < LATELY)
    }
}

fn cpu_field(schema: &Schema) -> Option<usize> {
    schema.field(CPU_FIELD).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use common::{RowBuf, UntypedPublisher};

    use super::*;

    #[test]
    fn growing_processor_time_counts() {
        let name = format!("subscriber-activity-{}", std::process::id());
        let schema = Schema::parse("pid:u32,cpu_time_ns:u64", None).unwrap();
        let mut publisher = UntypedPublisher::builder(&name, schema).open().unwrap();
        let schema = Arc::clone(publisher.schema());
        let mut commit = |pid: u64, time: u64| {
            let mut row = RowBuf::new(Arc::clone(&schema));
            row.set(0, Value::U64(pid)).unwrap();
            row.set(1, Value::U64(time)).unwrap();
            let mut tx = publisher.begin();
            tx.upsert(row.bytes()).unwrap();
            tx.commit().unwrap();
        };
        commit(1, 1_000);
        commit(2, 1_000);
        let mut table = UntypedSubscriber::open(&name).unwrap();
        let mut activity = Activity::new(table.schema());
        let begun = activity.begun;
        let at = |ms| begun + Duration::from_millis(ms);
        commit(2, 501_000);
        table.refresh().unwrap();
        activity.note(&table, at(1));

        let row = |pid: u32| table.get(&pid.to_le_bytes()).unwrap();
        assert_eq!(activity.cpu_percent(row(1), at(1)), 0.0);
        assert_eq!(activity.cpu_percent(row(2), at(1)), 50.0, "0.5 ms of 1 ms");
        assert_eq!(activity.cpu_percent(row(2), at(11)), 5.0, "0.5 ms of 10 ms");
        assert!(activity.is_recent(row(2), at(2)) && !activity.is_recent(row(1), at(2)));
        assert_eq!(activity.changes(), 1);
        assert!(
            activity
                .delays()
                .is_some_and(|delays| delays.median <= delays.p99)
        );
        publisher.close().unwrap();
    }
}
