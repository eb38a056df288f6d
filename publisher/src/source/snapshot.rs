//! The whole table as a source sees it, and bringing it into the one that is published.

use std::sync::Arc;

use common::publisher::MAX_CAPACITY;
use common::{Error, RowRef, Schema, UntypedPublisher};

/// Rows of one schema, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    schema: Arc<Schema>,
    bytes: Vec<u8>,
}

/// What becomes of rows that the table has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// They are left out: the user said how many there can be.
    Fixed,
    /// A larger table takes the place of this one.
    Grows,
}

impl Snapshot {
    /// No rows yet.
    pub fn new(schema: Arc<Schema>) -> Self {
        let bytes = Vec::new();
        Self { schema, bytes }
    }

    /// Of rows that stand one after the other.
    ///
    /// # Panics
    /// If they are not rows of the schema's size.
    pub fn of(schema: Arc<Schema>, bytes: Vec<u8>) -> Self {
        assert!(
            bytes.len().is_multiple_of(schema.row_size()),
            "rows of the schema"
        );
        Self { schema, bytes }
    }

    /// What a row is.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it is not of the schema's size.
    pub fn push(&mut self, row: &[u8]) {
        assert_eq!(row.len(), self.schema.row_size(), "a row of the schema");
        self.bytes.extend_from_slice(row);
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.schema.row_size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The rows' bytes.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.bytes.chunks_exact(self.schema.row_size())
    }

    /// Makes the table hold exactly these rows, by a transaction of the differences, or, if another schema or more room is
    /// needed, by a successor. No two rows may have the same key. A sentence if there was not room for all; those that
    /// are in the table already come before others then.
    ///
    /// # Errors
    /// As for [`commit`](common::UntypedTransaction::commit) and [`reshape`](UntypedPublisher::reshape). The table is
    /// as it was then.
    pub fn publish(
        &self,
        publisher: &mut UntypedPublisher,
        room: Room,
    ) -> Result<Option<String>, Error> {
        let capacity = match room {
            Room::Grows if self.len() > publisher.capacity() => {
                // A power of two, so that growing by a row at a time does not cost a region each.
                self.len().next_power_of_two().min(MAX_CAPACITY)
            }
            _ => publisher.capacity(),
        };
        let mut rows: Vec<&[u8]> = self.rows().collect();
        let left_out = if rows.len() > capacity {
            rows.sort_by_cached_key(|row| {
                let row = RowRef::new(&self.schema, row).expect("a row of the schema");
                publisher.get(&row.key().to_bytes()).is_none()
            });
            rows.split_off(capacity)
        } else {
            Vec::new()
        };
        if *publisher.schema() == self.schema && publisher.capacity() == capacity {
            let mut tx = publisher.begin();
            tx.replace_with(rows)?;
            tx.commit()?;
        } else {
            publisher.reshape(Schema::clone(&self.schema), capacity, rows)?;
        }
        let Some(first) = left_out.first() else {
            return Ok(None);
        };
        let first = RowRef::new(&self.schema, first)?;
        Ok(Some(format!(
            "no room for {} rows, the first of them that of key {}: choose a larger --capacity than {capacity}",
            left_out.len(),
            first.key(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use common::{RowBuf, Value};

    use super::*;

    fn schema(fields: &str) -> Arc<Schema> {
        Arc::new(Schema::parse(fields, None).unwrap())
    }

    fn row(schema: &Arc<Schema>, id: u64, n: u64) -> RowBuf {
        let mut row = RowBuf::new(Arc::clone(schema));
        row.set(0, Value::U64(id)).unwrap();
        row.set(1, Value::U64(n)).unwrap();
        row
    }

    fn snapshot(schema: &Arc<Schema>, ids: &[u64], n: u64) -> Snapshot {
        let mut snapshot = Snapshot::new(Arc::clone(schema));
        for id in ids {
            snapshot.push(row(schema, *id, n).bytes());
        }
        snapshot
    }

    fn open(test: &str, schema: &Schema) -> UntypedPublisher {
        let name = format!("snapshot-{test}-{}", std::process::id());
        let builder = UntypedPublisher::builder(&name, schema.clone());
        builder.capacity(3).open().unwrap()
    }

    fn rows(publisher: &UntypedPublisher) -> Vec<RowBuf> {
        let mut rows: Vec<RowBuf> = publisher.iter().collect();
        rows.sort_by_key(RowBuf::key_bytes);
        rows
    }

    #[test]
    fn publishing_is_exact_as_far_as_there_is_room() {
        let schema = schema("id:u64,n:u64");
        let mut publisher = open("exact", &schema);
        // Ids to be there, ids there afterwards.
        for (ids, expected) in [
            (&[1, 2, 3][..], &[1, 2, 3][..]),
            (&[2, 3], &[2, 3]),
            (&[2, 3, 4], &[2, 3, 4]),
            (&[5, 6, 7], &[5, 6, 7]),
            (&[8, 7, 9, 6, 1], &[6, 7, 8]),
            (&[], &[]),
        ] {
            for n in [0, 1] {
                let snapshot = snapshot(&schema, ids, n);
                let trouble = snapshot.publish(&mut publisher, Room::Fixed).unwrap();
                assert_eq!(trouble.is_some(), ids.len() > expected.len(), "{ids:?}");
                let expected: Vec<RowBuf> =
                    expected.iter().map(|id| row(&schema, *id, n)).collect();
                assert_eq!(rows(&publisher), expected, "{ids:?}");
            }
            let version = publisher.version();
            let mut same = Snapshot::new(Arc::clone(&schema));
            for row in publisher.iter() {
                same.push(row.bytes());
            }
            same.publish(&mut publisher, Room::Fixed).unwrap();
            assert_eq!(publisher.version(), version, "nothing has changed");
        }
        publisher.close().unwrap();
    }

    #[test]
    fn more_rows_and_other_fields_make_a_successor() {
        let schemas = [schema("id:u64,n:u64"), schema("id:u64,n:u64,name:text(8)")];
        let mut publisher = open("grows", &schemas[0]);
        for (schema, ids, capacity) in [
            (&schemas[0], &[1, 2, 3][..], 3),
            (&schemas[0], &[1, 2, 3, 4, 5], 8),
            (&schemas[1], &[2, 3, 4, 5], 8),
            (&schemas[1], &[1], 8),
        ] {
            let version = publisher.version();
            let snapshot = snapshot(schema, ids, 7);
            assert_eq!(snapshot.publish(&mut publisher, Room::Grows).unwrap(), None);
            assert_eq!(
                (publisher.version(), publisher.capacity()),
                (version + 1, capacity)
            );
            let expected: Vec<RowBuf> = ids.iter().map(|id| row(schema, *id, 7)).collect();
            assert_eq!(rows(&publisher), expected);
        }
        publisher.close().unwrap();
    }
}
