//! Deletes rows when they are due.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::publisher::UntypedPublisher;
use crate::row::schema::{Kind, Schema};
use crate::subscriber::{Position, UntypedReader};
use crate::{RowRef, Timestamp, Value};

/// Deletes rows of a table when they are due: at the time in a field, or some time after they were
/// last written.
///
/// The program that publishes the table calls [`run`](Self::run) after its commits, and when
/// [`next`](Self::next) says so. Each call looks only at the rows that were written since the call
/// before. It keeps the keys of all rows that will expire in private memory.
///
/// ```
/// use std::time::Duration;
/// use common::{Expiry, Schema, UntypedPublisher};
///
/// # let name = format!("doc-expiry-{}", std::process::id());
/// # let name = name.as_str();
/// let mut publisher = UntypedPublisher::open(name, Schema::parse("id:u8", None)?)?;
/// let mut expiry = Expiry::after(&publisher, Duration::from_millis(10))?;
/// let mut tx = publisher.begin();
/// tx.insert(&[1])?;
/// tx.commit()?;
/// assert_eq!(expiry.run(&mut publisher)?, 0);
/// while let Some(left) = expiry.next() {
///     std::thread::sleep(left);
///     expiry.run(&mut publisher)?;
/// }
/// assert!(publisher.is_empty());
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
pub struct Expiry {
    rule: Rule,
    reader: UntypedReader,
    /// The commits up to here are known.
    position: Position,
    /// The time at which each slot is due, in ns of the clock of the rule.
    dues: BTreeSet<(i64, u32)>,
    /// The time and the key of each slot.
    rows: HashMap<u32, (i64, Vec<u8>)>,
}

#[derive(Debug)]
enum Rule {
    /// At the time in this field. A time of zero is never due.
    Field(String),
    /// This time after the last write, in ns.
    Age(i64),
}

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expiry")
            .field("rule", &self.rule)
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}

impl Rule {
    /// Returns the time of the rule's clock, in ns.
    fn now(&self) -> i64 {
        match self {
            Self::Field(_) => Timestamp::from(SystemTime::now()).as_nanos(),
            Self::Age(_) => i64::try_from(monotonic_ns()).unwrap_or(i64::MAX),
        }
    }

    /// Returns the index of the field.
    fn index(&self, table: &str, schema: &Schema) -> Result<usize> {
        let Self::Field(name) = self else {
            return Ok(0);
        };
        match schema.field(name) {
            Some((index, field)) if field.kind() == Kind::Timestamp => Ok(index),
            found => Err(Error::SchemaMismatch {
                table: table.to_owned(),
                difference: match found {
                    Some((_, field)) => {
                        format!("field {name:?} is {}, not timestamp", field.kind())
                    }
                    None => {
                        format!("there is no field {name:?} with the time at which a row is due")
                    }
                },
            }),
        }
    }

    /// Returns the time at which a row is due that was written by now. `index` is that of the field.
    fn due(&self, index: usize, row: RowRef<'_>, now: i64) -> Option<i64> {
        match self {
            Self::Age(age) => Some(now.saturating_add(*age)),
            Self::Field(_) => match row.value(index) {
                Value::Timestamp(time) => Some(time.as_nanos()).filter(|nanos| *nanos != 0),
                _ => None,
            },
        }
    }
}

impl Expiry {
    /// Deletes rows at the time in field `field`, a timestamp. A row whose time is zero (the start
    /// of 1970) never expires.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] if the table has no such field, and the errors of
    /// [`UntypedReader::open`].
    pub fn at(publisher: &UntypedPublisher, field: &str) -> Result<Self> {
        Self::new(publisher, Rule::Field(field.to_owned()))
    }

    /// Deletes rows `age` after they were last written, also if the write did not change them. A
    /// write counts from the next [`run`](Self::run). Rows that exist before the first one, and all
    /// rows of a table that has grown, count as written then.
    ///
    /// # Errors
    /// The errors of [`UntypedReader::open`].
    pub fn after(publisher: &UntypedPublisher, age: Duration) -> Result<Self> {
        Self::new(publisher, Rule::Age(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)))
    }

    fn new(publisher: &UntypedPublisher, rule: Rule) -> Result<Self> {
        rule.index(publisher.name(), publisher.schema())?;
        Ok(Self {
            rule,
            reader: UntypedReader::open(publisher.name())?,
            position: Position::default(),
            dues: BTreeSet::new(),
            rows: HashMap::new(),
        })
    }

    /// Deletes the rows of `publisher`'s table that are due, in one commit, and returns their
    /// number.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] if another schema has no such field, and the errors of
    /// [`UntypedReader::changed_slots`] and [`commit`](crate::UntypedTransaction::commit). The rows
    /// are then deleted by a later call.
    pub fn run(&mut self, publisher: &mut UntypedPublisher) -> Result<usize> {
        let now = self.rule.now();
        self.look(now)?;
        let due: Vec<(i64, u32)> = self.dues.range(..=(now, u32::MAX)).copied().collect();
        if due.is_empty() {
            return Ok(0);
        }
        let mut tx = publisher.begin();
        for (_, slot) in &due {
            tx.delete(&self.rows[slot].1)?;
        }
        tx.commit()?;
        for row in &due {
            self.dues.remove(row);
            self.rows.remove(&row.1);
        }
        Ok(due.len())
    }

    /// Returns the time until the next row is due, as of the last [`run`](Self::run).
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        let (due, _) = self.dues.first()?;
        Some(Duration::from_nanos(due.saturating_sub(self.rule.now()).max(0).unsigned_abs()))
    }

    /// Updates the times of the rows that were written since the last call.
    fn look(&mut self, now: i64) -> Result<()> {
        let (region_id, version) = (self.position.region_id(), self.position.version());
        let current = self.reader.position()?;
        if (current.region_id(), current.version()) == (region_id, version) {
            return Ok(());
        }
        let changes = self.reader.changed_slots(self.position)?;
        let index = self.rule.index(self.reader.name(), changes.schema())?;
        if changes.is_complete() {
            self.dues.clear();
            self.rows.clear();
        }
        for (slot, row) in changes.iter() {
            if let Some((due, _)) = self.rows.remove(&slot) {
                self.dues.remove(&(due, slot));
            }
            let due = row.and_then(|row| Some((self.rule.due(index, row, now)?, row.key())));
            if let Some((due, key)) = due {
                self.dues.insert((due, slot));
                self.rows.insert(slot, (due, key.to_bytes()));
            }
        }
        self.position = changes.position();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher(test: &str, fields: &str, capacity: usize) -> UntypedPublisher {
        let name = format!("expiry-{test}-{}", std::process::id());
        UntypedPublisher::builder(&name, Schema::parse(fields, None).unwrap())
            .capacity(capacity)
            .open()
            .unwrap()
    }

    fn write(publisher: &mut UntypedPublisher, rows: &[(u64, i64)]) {
        let mut tx = publisher.begin();
        for (id, time) in rows {
            tx.upsert(&[id.to_ne_bytes(), time.to_ne_bytes()].concat()).unwrap();
        }
        tx.commit().unwrap();
    }

    #[test]
    fn rows_are_deleted_at_the_time_in_their_field() {
        let mut publisher = publisher("field", "id:u64,at:timestamp", 4);
        let mut expiry = Expiry::at(&publisher, "at").unwrap();
        assert!(matches!(Expiry::at(&publisher, "id"), Err(Error::SchemaMismatch { .. })));
        assert!(matches!(Expiry::at(&publisher, "to"), Err(Error::SchemaMismatch { .. })));
        let now = expiry.rule.now();
        let (hour, long_ago) = (3_600_000_000_000, now - 1);
        write(&mut publisher, &[(1, now + hour), (2, 0), (3, long_ago), (4, long_ago)]);
        assert_eq!(expiry.run(&mut publisher).unwrap(), 2);
        assert_eq!((publisher.len(), expiry.rows.len(), expiry.dues.len()), (2, 1, 1));
        assert!(expiry.next().is_some_and(|left| left.as_nanos() <= hour.unsigned_abs().into()));
        // The row gets another time, the table grows, and a deleted row has no time any more.
        write(&mut publisher, &[(1, long_ago)]);
        write(&mut publisher, &(10..40).map(|id| (id, now + hour)).collect::<Vec<_>>());
        assert_eq!(expiry.run(&mut publisher).unwrap(), 1);
        let mut tx = publisher.begin();
        tx.clear();
        tx.commit().unwrap();
        assert_eq!((expiry.run(&mut publisher).unwrap(), expiry.next()), (0, None));
        publisher.reshape(Schema::parse("id:u64", None).unwrap(), 10, [[7; 8]]).unwrap();
        assert!(matches!(expiry.run(&mut publisher), Err(Error::SchemaMismatch { .. })));
        publisher.close().unwrap();
    }

    #[test]
    fn a_write_without_a_difference_renews_a_row() {
        let mut publisher = publisher("age", "id:u64,n:i64", 100);
        let hour = Duration::from_secs(3600);
        let mut expiry = Expiry::after(&publisher, hour).unwrap();
        write(&mut publisher, &[(1, 1), (2, 2)]);
        assert_eq!(expiry.run(&mut publisher).unwrap(), 0);
        let dues = |expiry: &Expiry| expiry.dues.iter().map(|(due, _)| *due).collect::<Vec<_>>();
        let before = dues(&expiry);
        assert_eq!(before[0], before[1]);
        write(&mut publisher, &[(1, 1)]);
        assert_eq!(expiry.run(&mut publisher).unwrap(), 0);
        let after = dues(&expiry);
        assert!(after[0] == before[0] && after[1] > before[1]);
        // As if an hour had passed.
        expiry.rule = Rule::Age(0);
        write(&mut publisher, &[(3, 3)]);
        assert_eq!(expiry.run(&mut publisher).unwrap(), 1);
        assert_eq!(publisher.len(), 2);
        publisher.close().unwrap();
    }
}
