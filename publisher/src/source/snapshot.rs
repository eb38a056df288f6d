//! Publishes complete sets of rows as tables.

use std::sync::Arc;

use common::{Error, RowRef, Schema, UntypedPublisher};

/// A complete set of rows of one schema, stored back to back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    schema: Arc<Schema>,
    bytes: Vec<u8>,
}

impl Snapshot {
    /// Creates a snapshot of whole rows that follow each other without gaps.
    pub fn of(schema: Arc<Schema>, bytes: Vec<u8>) -> Self {
        assert!(bytes.len().is_multiple_of(schema.row_size()), "whole rows");
        Self { schema, bytes }
    }

    /// Returns the schema of the rows.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.schema.row_size()
    }

    /// Returns true if the snapshot is empty.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the bytes of each row.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.bytes.chunks_exact(self.schema.row_size())
    }

    /// Makes the table hold exactly these rows: by a transaction of the differences, or by a
    /// successor region if the schema must change. The rows must have distinct keys. If there are
    /// more than the maximum capacity, rows whose keys are in the table already take precedence,
    /// and a sentence about the rest is returned.
    ///
    /// # Errors
    /// Returns the errors of [`commit`](common::UntypedTransaction::commit) and
    /// [`reshape`](UntypedPublisher::reshape). The table is unchanged then.
    pub fn publish(&self, publisher: &mut UntypedPublisher) -> Result<Option<String>, Error> {
        let max_capacity = publisher.max_capacity();
        let mut rows: Vec<&[u8]> = self.rows().collect();
        let key = |row| RowRef::new(&self.schema, row).expect("a row of the schema").key();
        let mut left_out = Vec::new();
        if rows.len() > max_capacity {
            rows.sort_by_cached_key(|row| matches!(publisher.get(&key(row).to_bytes()), Ok(None)));
            left_out = rows.split_off(max_capacity);
        }
        if *publisher.schema() == self.schema {
            let mut tx = publisher.begin();
            tx.replace_with(rows)?;
            tx.commit()?;
        } else {
            let capacity = publisher.capacity().max(rows.len());
            publisher.reshape(Schema::clone(&self.schema), capacity, rows)?;
        }
        Ok(left_out.first().map(|first| {
            let (count, key) = (left_out.len(), key(first));
            format!(
                "no room for {count} rows, the first with key {key}: choose a larger --capacity \
                 than {max_capacity}"
            )
        }))
    }
}

#[cfg(test)]
mod tests {
    use common::{PublisherBuilder, RowBuf, Value};

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
        let rows = ids.iter().flat_map(|id| row(schema, *id, n).bytes().to_vec());
        Snapshot::of(Arc::clone(schema), rows.collect())
    }

    fn builder(test: &str, schema: &Schema) -> PublisherBuilder<Schema> {
        let name = format!("snapshot-{test}-{}", std::process::id());
        UntypedPublisher::builder(&name, schema.clone())
    }

    fn rows(publisher: &UntypedPublisher) -> Vec<RowBuf> {
        let mut rows: Vec<RowBuf> = publisher.iter().collect::<Result<_, _>>().unwrap();
        rows.sort_by_key(RowBuf::key_bytes);
        rows
    }

    #[test]
    fn publish_stores_exactly_the_rows_that_fit() {
        let schema = schema("id:u64,n:u64");
        let mut publisher = builder("exact", &schema).fixed_capacity(3).open().unwrap();
        // The ids in the snapshot, and the ids in the table afterwards.
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
                let trouble = snapshot.publish(&mut publisher).unwrap();
                assert_eq!(trouble.is_some(), ids.len() > expected.len(), "{ids:?}");
                let expected: Vec<RowBuf> =
                    expected.iter().map(|id| row(&schema, *id, n)).collect();
                assert_eq!(rows(&publisher), expected, "{ids:?}");
            }
            let version = publisher.version();
            let same = publisher.iter().flat_map(|row| row.unwrap().bytes().to_vec());
            let same = Snapshot::of(Arc::clone(&schema), same.collect());
            same.publish(&mut publisher).unwrap();
            assert_eq!(publisher.version(), version, "nothing has changed");
        }
        publisher.close().unwrap();
    }

    #[test]
    fn publish_creates_a_successor_for_more_rows_or_another_schema() {
        let schemas = [schema("id:u64,n:u64"), schema("id:u64,n:u64,name:text(8)")];
        let mut publisher = builder("grows", &schemas[0]).capacity(3).open().unwrap();
        // The capacity afterwards, and the number of versions: the end of a region is one.
        for (schema, ids, capacity, commits) in [
            (&schemas[0], &[1, 2, 3][..], 3, 1),
            (&schemas[0], &[1, 2, 3, 4, 5], 12, 2),
            (&schemas[1], &[2, 3, 4, 5], 12, 2),
            (&schemas[1], &[1], 12, 1),
            (&schemas[0], &(1..=13).collect::<Vec<_>>(), 13, 2),
        ] {
            let version = publisher.version();
            let snapshot = snapshot(schema, ids, 7);
            assert_eq!(snapshot.publish(&mut publisher).unwrap(), None);
            assert_eq!((publisher.version(), publisher.capacity()), (version + commits, capacity));
            let expected: Vec<RowBuf> = ids.iter().map(|id| row(schema, *id, 7)).collect();
            assert_eq!(rows(&publisher), expected);
        }
        publisher.close().unwrap();
    }
}
