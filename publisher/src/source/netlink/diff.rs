//! Computes the differences between the copy and the published table.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytemuck::bytes_of;
use common::{RowRef, Schema, UntypedPublisher};

use super::links::Links;
use super::model::Model;
use crate::source::Snapshot;

/// Changes that make some groups of the table equal to the copy.
#[derive(Default)]
pub struct Differences {
    /// Rows to upsert.
    put: Vec<Vec<u8>>,
    /// Keys to delete.
    gone: Vec<Vec<u8>>,
}

impl Differences {
    /// Applies the changes in one commit.
    ///
    /// # Errors
    /// The error of the table, which is then unchanged.
    pub fn apply(self, publisher: &mut UntypedPublisher) -> common::Result<()> {
        let mut tx = publisher.begin();
        // Deletes come first: they free slots for the upserts.
        for key in &self.gone {
            tx.delete(key)?;
        }
        for row in &self.put {
            tx.upsert(row)?;
        }
        tx.commit().map(drop)
    }
}

/// Returns the differences between the copy and the table in these groups.
///
/// # Errors
/// None, if the table has this schema.
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
        // The numbers are contiguous: after the first missing one there are no more.
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

/// Returns all rows of the copy.
pub fn snapshot<M: Model>(model: &M, links: &Links, schema: &Arc<Schema>) -> Snapshot {
    let mut snapshot = Snapshot::new(Arc::clone(schema));
    for key in model.keys() {
        for row in model.rows(key, links) {
            snapshot.push(bytes_of(&row));
        }
    }
    snapshot
}
