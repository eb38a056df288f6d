//! The changes of a refresh.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use common::{Cause, Change as LibraryChange, RowBuf, UntypedSubscriber};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::layout::LayoutCache;

/// One key that changed.
#[pyclass(frozen, get_all, module = "tablecast")]
pub struct Change {
    /// `"created"`, `"updated"` or `"deleted"`.
    op: Py<PyString>,
    /// The key: a value, or a tuple of several.
    key: Py<PyAny>,
    /// The row before the change as a dict; None if the key was created.
    old: Option<Py<PyDict>>,
    /// The row after the change as a dict; None if the key was deleted.
    new: Option<Py<PyDict>>,
}

#[pymethods]
impl Change {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str, &'static str, &'static str) {
        ("op", "key", "old", "new")
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let repr = |dict: &Option<Py<PyDict>>| match dict {
            Some(dict) => dict.bind(py).repr().map(|text| text.to_string()),
            None => Ok("None".to_owned()),
        };
        let (op, key) = (self.op.bind(py).repr()?, self.key.bind(py).repr()?);
        Ok(format!(
            "Change(op={op}, key={key}, old={}, new={})",
            repr(&self.old)?,
            repr(&self.new)?
        ))
    }
}

/// Copies of the changes of a subscriber, which stay valid when it is refreshed again.
pub struct CopiedChanges {
    changes: Vec<LibraryChange<RowBuf>>,
    version: u64,
    cause: Cause,
    schema_changed: bool,
}

impl CopiedChanges {
    /// Copies the changes of the last refresh or wait of `subscriber`.
    pub fn of(subscriber: &UntypedSubscriber) -> Self {
        let changes = subscriber.changes();
        let copies = changes.iter().map(|change| match change {
            LibraryChange::Created(new) => LibraryChange::Created(new.to_buf()),
            LibraryChange::Updated { old, new } => {
                LibraryChange::Updated { old: old.to_buf(), new: new.to_buf() }
            }
            LibraryChange::Deleted(old) => LibraryChange::Deleted(old.to_buf()),
        });
        Self {
            changes: copies.collect(),
            version: changes.version(),
            cause: changes.cause(),
            schema_changed: changes.schema_changed(),
        }
    }

    /// Returns no changes, for a wait that timed out.
    pub fn nothing(subscriber: &UntypedSubscriber) -> Self {
        Self {
            changes: Vec::new(),
            version: subscriber.version(),
            cause: Cause::Nothing,
            schema_changed: false,
        }
    }

    /// Returns true if nothing has changed.
    pub fn is_nothing(&self) -> bool {
        self.cause == Cause::Nothing
    }
}

/// The changes between two versions of a subscriber's copy. Each key occurs once.
///
/// The number of changed keys is its length. It can be iterated several times, and stays valid after
/// the next refresh.
#[pyclass(frozen, module = "tablecast")]
pub struct Changes {
    copied: CopiedChanges,
    layouts: Arc<LayoutCache>,
    /// Layouts of old rows, which may have the previous schema.
    old: OnceLock<LayoutCache>,
}

impl Changes {
    pub fn new(copied: CopiedChanges, layouts: &Arc<LayoutCache>) -> Self {
        Self { copied, layouts: Arc::clone(layouts), old: OnceLock::new() }
    }

    fn change(&self, py: Python<'_>, index: usize) -> PyResult<Option<Change>> {
        let Some(change) = self.copied.changes.get(index) else {
            return Ok(None);
        };
        let (op, old, new) = match change {
            LibraryChange::Created(new) => ("created", None, Some(new)),
            LibraryChange::Updated { old, new } => ("updated", Some(old), Some(new)),
            LibraryChange::Deleted(old) => ("deleted", Some(old), None),
        };
        let dict = |row: &RowBuf, layouts: &LayoutCache| {
            let layout = layouts.of(py, row.schema());
            let dict = layout.dict(py, row.bytes())?.unbind();
            PyResult::Ok((dict, layout.key_of(py, row.bytes())?.unbind()))
        };
        let old_layouts = || self.old.get_or_init(|| LayoutCache::new(self.layouts.last()));
        let old = old.map(|row| dict(row, old_layouts())).transpose()?;
        let new = new.map(|row| dict(row, &self.layouts)).transpose()?;
        let (old, old_key) = old.unzip();
        let (new, new_key) = new.unzip();
        let op = PyString::intern(py, op).unbind();
        Ok(new_key.or(old_key).map(|key| Change { op, key, old, new }))
    }
}

#[pymethods]
impl Changes {
    /// The version of the copy after the changes.
    #[getter]
    fn version(&self) -> u64 {
        self.copied.version
    }

    /// The reason why the refresh or wait returned: `"rows"`, `"schema"`, `"publisher"` (its state changed) or
    /// `"nothing"` (a timeout).
    #[getter]
    fn cause(&self) -> &'static str {
        match self.copied.cause {
            Cause::Rows => "rows",
            Cause::Schema => "schema",
            Cause::Publisher => "publisher",
            _ => "nothing",
        }
    }

    /// True if the fields of the table changed. Old rows may then have the former fields.
    #[getter]
    fn schema_changed(&self) -> bool {
        self.copied.schema_changed
    }

    fn __len__(&self) -> usize {
        self.copied.changes.len()
    }

    fn __iter__(slf: Py<Self>) -> ChangeIterator {
        ChangeIterator { changes: slf, next: AtomicUsize::new(0) }
    }

    fn __repr__(&self) -> String {
        let (version, cause, count) = (self.version(), self.cause(), self.__len__());
        format!("<tablecast.Changes: {count} keys, version {version}, cause {cause:?}>")
    }
}

/// Iterates over changes.
#[pyclass(frozen, module = "tablecast")]
struct ChangeIterator {
    changes: Py<Changes>,
    next: AtomicUsize,
}

#[pymethods]
impl ChangeIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Change>> {
        // Relaxed: the number guards no other memory.
        self.changes.get().change(py, self.next.fetch_add(1, Ordering::Relaxed))
    }
}
