//! Rows in one block of memory, which numpy arrays and iterators share.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use common::Snapshot;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::layout::{Layout, numpy};

/// Maximum number of snapshots whose memory is kept for the next ones.
const POOL_SIZE: usize = 2;

/// Memory of snapshots that are not used any more. New memory would cost as much as the copy,
/// because the kernel zeroes it.
#[derive(Default)]
pub struct Pool(Mutex<Vec<Snapshot>>);

impl Pool {
    /// Returns a snapshot to fill.
    pub fn take(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn put(&self, snapshot: Snapshot) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < POOL_SIZE {
            pool.push(snapshot);
        }
    }

    /// Frees the memory.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

enum Memory {
    /// The snapshot goes back to the pool, unless its reader is gone.
    Snapshot(Snapshot, Weak<Pool>),
    Words(Vec<u64>),
}

/// Rows of one schema, without gaps. Python sees them only as the base of arrays.
#[pyclass(frozen, module = "tablecast")]
pub struct Rows {
    memory: Memory,
    layout: Arc<Layout>,
    version: u64,
}

impl Rows {
    pub fn from_snapshot(snapshot: Snapshot, layout: Arc<Layout>, pool: &Arc<Pool>) -> Self {
        let version = snapshot.version();
        Self { memory: Memory::Snapshot(snapshot, Arc::downgrade(pool)), layout, version }
    }

    /// Returns rows of `layout`, each of which has whole words.
    pub fn from_words(words: Vec<u64>, layout: Arc<Layout>, version: u64) -> Self {
        Self { memory: Memory::Words(words), layout, version }
    }

    /// Returns the version of the rows.
    pub fn version(&self) -> u64 {
        self.version
    }

    fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Snapshot(snapshot, _) => snapshot.bytes(),
            Memory::Words(words) => bytemuck::cast_slice(words),
        }
    }

    /// Returns the distance in bytes from one row to the next.
    fn stride(&self) -> usize {
        self.layout.schema().row_words() * size_of::<u64>()
    }

    /// Returns the rows as a numpy array. It is read-only and keeps the memory.
    pub fn into_array(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        Self::array(&Bound::new(py, self)?)
    }
}

#[pymethods]
impl Rows {
    fn __len__(&self) -> usize {
        self.bytes().len() / self.stride()
    }

    fn __iter__(rows: Py<Self>) -> RowIterator {
        RowIterator::new(rows)
    }

    /// The memory for numpy, as read-only items without fields.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("typestr", format!("|V{}", self.stride()))?;
        interface.set_item("shape", (self.__len__(),))?;
        interface.set_item("data", (self.bytes().as_ptr().addr(), true))?;
        Ok(interface)
    }

    /// Returns the rows as a numpy array with a field for each field of the table.
    pub fn array<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let dtype = slf.get().layout.dtype(py)?;
        numpy(py)?.call_method1("asarray", (slf,))?.call_method1("view", (dtype,))
    }

    /// Returns the values of a field as they are in dicts.
    fn column<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyList>> {
        self.layout.column(py, index, self.bytes().chunks_exact(self.stride()))
    }

    /// Returns the names and kinds of the fields.
    #[getter]
    fn fields(&self) -> Vec<(String, String)> {
        let fields = self.layout.schema().fields().iter();
        fields.map(|field| (field.name().to_owned(), field.kind().to_string())).collect()
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if let Memory::Snapshot(snapshot, pool) = &mut self.memory
            && let Some(pool) = pool.upgrade()
        {
            pool.put(std::mem::take(snapshot));
        }
    }
}

/// Iterates over rows as dicts.
#[pyclass(frozen, module = "tablecast")]
pub struct RowIterator {
    rows: Py<Rows>,
    next: AtomicUsize,
}

impl RowIterator {
    pub fn new(rows: Py<Rows>) -> Self {
        Self { rows, next: AtomicUsize::new(0) }
    }
}

#[pymethods]
impl RowIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let rows = self.rows.get();
        // Relaxed: the number guards no other memory. Threads that share the iterator get
        // different rows.
        let at = self.next.fetch_add(1, Ordering::Relaxed).saturating_mul(rows.stride());
        let range: Range<usize> = at..at.saturating_add(rows.stride());
        rows.bytes().get(range).map(|row| rows.layout.dict(py, row)).transpose()
    }
}
