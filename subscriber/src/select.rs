//! The rows that the KEYs on the command line ask for.

use std::collections::HashSet;
use std::sync::Arc;

use common::{Change, RowRef, Schema, UntypedSubscriber};

use crate::order;
use crate::shell::Failure;

/// KEYs as a schema reads them. Without any, every row is asked for.
pub struct Selection {
    schema: Arc<Schema>,
    keys: Vec<Vec<u8>>,
    set: HashSet<Vec<u8>>,
}

impl Selection {
    /// Reads `texts` as keys of `schema`. One that is given twice counts once.
    ///
    /// # Errors
    /// Wrong arguments.
    pub fn parse(texts: &[String], schema: &Arc<Schema>) -> Result<Self, Failure> {
        let (mut keys, mut set) = (Vec::new(), HashSet::new());
        for text in texts {
            let key = schema
                .parse_key(text)
                .map_err(|error| Failure::new(2, error.to_string()))?;
            if set.insert(key.clone()) {
                keys.push(key);
            }
        }
        Ok(Self {
            schema: Arc::clone(schema),
            keys,
            set,
        })
    }

    /// The schema that the keys were read by.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The rows of the local copy that are asked for: by key, or in the order of the KEYs.
    pub fn rows<'s>(&self, table: &'s UntypedSubscriber) -> Vec<RowRef<'s>> {
        if self.keys.is_empty() {
            let mut rows: Vec<_> = table.iter().collect();
            order::sort_by_key(&mut rows);
            return rows;
        }
        self.keys.iter().filter_map(|key| table.get(key)).collect()
    }

    /// The KEYs that the local copy has no row of.
    pub fn missing(&self, table: &UntypedSubscriber) -> Vec<String> {
        self.keys
            .iter()
            .filter(|key| table.get(key).is_none())
            .map(|key| self.schema.format_key(key))
            .collect()
    }

    /// Whether the row is asked for.
    pub fn has(&self, row: RowRef<'_>) -> bool {
        self.keys.is_empty() || self.set.contains(&row.key().to_bytes())
    }

    /// Whether the change is of a row that is asked for. `old` is the selection by the schema of the old rows.
    pub fn has_change(&self, old: &Selection, change: &Change<RowRef<'_>>) -> bool {
        match change {
            Change::Created(new) | Change::Updated { new, .. } => self.has(*new),
            Change::Deleted(row) => old.has(*row),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::{RowBuf, UntypedPublisher, Value};

    use super::*;

    #[test]
    fn only_rows_that_are_asked_for() {
        let name = format!("subscriber-select-{}", std::process::id());
        let schema = Schema::parse("id:u16,name:text(8)", Some("name,id")).unwrap();
        let mut publisher = UntypedPublisher::builder(&name, schema).open().unwrap();
        let schema = Arc::clone(publisher.schema());
        let mut tx = publisher.begin();
        for (id, text) in [(300, "a,b"), (7, "a,b"), (1, "c")] {
            let mut row = RowBuf::new(Arc::clone(&schema));
            row.set(0, Value::U64(id)).unwrap();
            row.set_text(1, text).unwrap();
            tx.insert(row.bytes()).unwrap();
        }
        tx.commit().unwrap();
        let table = UntypedSubscriber::open(&name).unwrap();
        let ids = |selection: &Selection| -> Vec<String> {
            let rows = selection.rows(&table);
            rows.iter().map(|row| row.value(0).to_string()).collect()
        };
        let parse = |keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
            Selection::parse(&keys, table.schema())
        };
        let all = parse(&[]).unwrap();
        assert_eq!(ids(&all), ["7", "300", "1"], "in the order of their keys");
        let some = parse(&["c,1", "\"a,b\",7", "c,1", "c,2"]).unwrap();
        assert_eq!(ids(&some), ["1", "7"], "in the order asked for");
        assert_eq!(some.missing(&table), ["c,2"]);
        let changes = table.changes();
        let chosen = changes
            .iter()
            .filter(|change| some.has_change(&some, change));
        assert_eq!(chosen.count(), 2);
        assert_eq!(parse(&["c"]).err().unwrap().code(), 2);
        publisher.close().unwrap();
    }
}
