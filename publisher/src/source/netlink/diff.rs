//! What of the copy the published table does not hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytemuck::bytes_of;
use common::{RowRef, Schema, UntypedPublisher};

use super::links::Links;
use super::model::Model;
use crate::source::Snapshot;

/// What makes the table hold some groups as they are now.
#[derive(Default)]
pub struct Differences {
    /// Rows.
    put: Vec<Vec<u8>>,
    /// Keys.
    gone: Vec<Vec<u8>>,
}

impl Differences {
    /// As one commit.
    ///
    /// # Errors
    /// The table's: it is as before then.
    pub fn apply(self, publisher: &mut UntypedPublisher) -> common::Result<()> {
        let mut tx = publisher.begin();
        // What goes makes room for what comes.
        for key in &self.gone {
            tx.delete(key)?;
        }
        for row in &self.put {
            tx.upsert(row)?;
        }
        tx.commit().map(drop)
    }
}

/// Where the table differs in these groups.
///
/// # Errors
/// None, as long as the table is of this schema.
pub fn differences<M: Model>(
    model: &M,
    links: &Links,
    groups: &BTreeSet<M::Key>,
    schema: &Arc<Schema>,
    publisher: &UntypedPublisher,
) -> common::Result<Differences> {
    let key_of = |row: &M::Row| Ok(RowRef::new(schema, bytes_of(row))?.key().to_bytes());
    let mut differences = Differences::default();
    for group in groups {
        let rows = model.rows(group, links);
        for row in &rows {
            let here = publisher.get(&key_of(row)?);
            if here.is_none_or(|here| here.bytes() != bytes_of(row)) {
                differences.put.push(bytes_of(row).to_vec());
            }
        }
        // The numbers have no gaps: after the first that is missing there are none.
        for number in rows.len().. {
            let Some(row) = M::key_row(group, number) else {
                break;
            };
            let key = key_of(&row)?;
            if publisher.get(&key).is_none() {
                break;
            }
            differences.gone.push(key);
        }
    }
    Ok(differences)
}

/// All of the copy.
pub fn snapshot<M: Model>(model: &M, links: &Links, schema: &Arc<Schema>) -> Snapshot {
    let mut snapshot = Snapshot::new(Arc::clone(schema));
    for key in model.keys() {
        for row in model.rows(key, links) {
            snapshot.push(bytes_of(&row));
        }
    }
    snapshot
}
