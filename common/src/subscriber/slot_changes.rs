//! Rows by slot, for programs that keep a copy of a table elsewhere.

use std::fmt;
use std::sync::Arc;

use super::source::row_ref;
use crate::protocol::catch_up::ChangedRows;
use crate::protocol::journal::Cursor;
use crate::row::RowRef;
use crate::row::schema::Schema;

/// A version of a table, and the region whose commits it counts.
///
/// The default is the position before the first version. A region keeps its id when another
/// publisher takes the table over. A successor region with another id follows when the table grows,
/// when its schema or capacity changes, or when the object of the region was removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    region_id: u64,
    cursor: Cursor,
}

impl Position {
    /// Creates a position from the numbers that another position returned, for example in another
    /// process.
    #[must_use]
    pub const fn new(region_id: u64, version: u64) -> Self {
        Self { region_id, cursor: Cursor::at(version) }
    }

    /// Returns the id of the region; 0 before the first version.
    #[must_use]
    pub fn region_id(&self) -> u64 {
        self.region_id
    }

    /// Returns the version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.cursor.version
    }

    pub(super) fn at(region_id: u64, cursor: Cursor) -> Self {
        Self { region_id, cursor }
    }

    pub(super) fn cursor(&self) -> Cursor {
        self.cursor
    }
}

/// The slots that were written between two positions, with their rows as of the later one. Returned
/// by [`UntypedReader::changed_slots`](super::UntypedReader::changed_slots).
///
/// A slot is the number of a place for a row. It holds one row or none, and a key that is deleted
/// and inserted again may get another slot.
pub struct SlotChanges {
    schema: Arc<Schema>,
    position: Position,
    epoch: u64,
    is_complete: bool,
    slots: Vec<u32>,
    deleted: Vec<u32>,
    rows: ChangedRows,
}

impl SlotChanges {
    pub(super) fn new(
        schema: &Arc<Schema>,
        position: Position,
        epoch: u64,
        is_complete: bool,
        mut rows: ChangedRows,
    ) -> Self {
        let [slots, deleted] = rows.pack();
        Self { schema: Arc::clone(schema), position, epoch, is_complete, slots, deleted, rows }
    }

    /// Returns the schema of the rows.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns the position of the rows. The next call begins there.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Returns the number of publishers that the table has had, including the one that committed
    /// this version, or a later one.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns true if these are all rows of the table, and not only those that were written after
    /// the position that the caller passed. The caller then drops the rows that it has.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Returns the slots that hold a row, in the order of the rows.
    #[must_use]
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// Returns the slots whose row was deleted.
    #[must_use]
    pub fn deleted(&self) -> &[u32] {
        &self.deleted
    }

    /// Returns the bytes of all rows without gaps. Each row has [`stride`](Self::stride) bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.rows.words()[..self.slots.len() * self.schema.row_words()])
    }

    /// Returns the distance in bytes from one row to the next:
    /// [`row_size`](Schema::row_size), rounded up to a multiple of 8.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.schema.row_words() * size_of::<u64>()
    }

    /// Returns an iterator over all slots that were written: first those whose row was deleted, with
    /// `None`, and then the others with their rows.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Option<RowRef<'_>>)> {
        let rows = self.rows.words().chunks_exact(self.schema.row_words());
        let rows = self.slots.iter().zip(rows);
        let rows = rows.map(|(slot, words)| (*slot, Some(row_ref(&self.schema, words))));
        self.deleted.iter().map(|slot| (*slot, None)).chain(rows)
    }
}

impl fmt::Debug for SlotChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotChanges")
            .field("position", &self.position)
            .field("epoch", &self.epoch)
            .field("is_complete", &self.is_complete)
            .field("slots", &self.slots.len())
            .field("deleted", &self.deleted.len())
            .finish_non_exhaustive()
    }
}
