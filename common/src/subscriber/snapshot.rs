//! All rows of a table in one block of memory.

use std::fmt;
use std::sync::Arc;

use super::source::row_ref;
use crate::memory::AlignedWords;
use crate::row::RowRef;
use crate::row::schema::Schema;

/// All rows of a table as of one version, in no particular order, in one block of memory.
///
/// [`UntypedReader::snapshot`](super::UntypedReader::snapshot) fills it. Pass the same snapshot
/// again to save the allocation.
///
/// ```
/// # use common::{Schema, UntypedPublisher};
/// use common::{Snapshot, UntypedReader};
///
/// # let name = format!("doc-snapshot-{}", std::process::id());
/// # let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64,half:f64", None)?).open()?;
/// # let mut tx = publisher.begin();
/// # tx.insert(&[7_u64.to_le_bytes(), 3.5_f64.to_le_bytes()].concat())?;
/// # tx.commit()?;
/// let table = UntypedReader::open(&name)?;
/// let mut snapshot = Snapshot::default();
/// let version = table.snapshot(&mut snapshot)?;
/// assert_eq!((snapshot.version(), snapshot.len()), (version, 1));
/// for row in snapshot.iter() {
///     println!("{}", serde_json::to_string(&row).unwrap()); // {"id":7,"half":3.5}
/// }
/// # publisher.close()?;
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Default)]
pub struct Snapshot {
    schema: Option<Arc<Schema>>,
    version: u64,
    rows: usize,
    words: AlignedWords,
}

impl Snapshot {
    /// Takes the memory for the words of rows, and leaves the snapshot empty.
    pub(super) fn take_words(&mut self) -> AlignedWords {
        std::mem::take(self).words
    }

    /// Fills the snapshot with `rows` rows, which are at the beginning of `words`.
    pub(super) fn fill(
        &mut self,
        schema: &Arc<Schema>,
        version: u64,
        rows: usize,
        words: AlignedWords,
    ) {
        *self = Self { schema: Some(Arc::clone(schema)), version, rows, words };
    }

    /// Returns the schema of the rows; `None` if the snapshot was never filled.
    #[must_use]
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.schema.as_ref()
    }

    /// Returns the version of the rows.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Returns true if there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns the bytes of all rows without gaps. Each row has [`stride`](Self::stride) bytes, and
    /// the first one begins at a multiple of 64.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.words())
    }

    /// Returns the distance in bytes from one row to the next:
    /// [`row_size`](Schema::row_size), rounded up to a multiple of 8.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.row_words() * size_of::<u64>()
    }

    /// Returns an iterator over all rows.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RowRef<'_>> {
        // Without a schema there are no rows, and the size of a chunk must not be 0.
        let rows = self.words().chunks_exact(self.row_words().max(1));
        rows.map(|words| row_ref(self.schema.as_ref().expect("rows have a schema"), words))
    }

    fn row_words(&self) -> usize {
        self.schema.as_ref().map_or(0, |schema| schema.row_words())
    }

    fn words(&self) -> &[u64] {
        &self.words[..self.rows * self.row_words()]
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}
