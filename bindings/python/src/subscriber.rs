//! Subscribers: a local copy of a table, and its changes.

use std::sync::Arc;

use common::{RowBuf, Schema, UntypedSubscriber};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::changes::{Changes, CopiedChanges};
use crate::handle::Handle;
use crate::layout::{Layout, LayoutCache};
use crate::reader::{as_array, frame, not_picklable, open, snapshot};
use crate::rows::{Pool, RowIterator, Rows};

/// A local copy of a whole table at one version, which `refresh` and `wait` move to the last commit.
///
/// Threads can share a subscriber; a change is returned to the thread whose call found it. A forked
/// child must open the table again.
///
/// owner: trust only tables of this user id. By default, tables of this user and of root.
/// timeout: wait this many seconds for the table to appear. By default, it must exist.
///
/// >>> with tablecast.Subscriber("prices") as prices:
/// ...     while True:
/// ...         for change in prices.wait():
/// ...             print(change.op, change.key, change.new)
///
/// In asyncio: `async for changes in prices: …`
#[pyclass(frozen, mapping, module = "tablecast")]
pub struct Subscriber {
    handle: Handle<UntypedSubscriber>,
    layouts: Arc<LayoutCache>,
    pool: Arc<Pool>,
}

impl Subscriber {
    fn schema_now(&self, py: Python<'_>) -> PyResult<Arc<Schema>> {
        self.handle.read(py, |subscriber| Ok(Arc::clone(subscriber.schema())))
    }

    fn layout(&self, py: Python<'_>) -> PyResult<Arc<Layout>> {
        Ok(self.layouts.of(py, &self.schema_now(py)?))
    }

    /// Returns the row of a key in the local copy, and its layout.
    fn find(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<(Arc<Layout>, RowBuf)>> {
        let py = key.py();
        let look_up = |key: &[u8]| {
            self.handle.read(py, |subscriber| {
                let row = subscriber.get(key).map(|row| row.to_buf());
                Ok((row, Arc::clone(subscriber.schema())))
            })
        };
        self.layouts.find(self.handle.table(), key, || self.schema_now(py), look_up)
    }

    fn take_snapshot(&self, py: Python<'_>) -> PyResult<Rows> {
        snapshot(py, &self.handle, &self.layouts, &self.pool, UntypedSubscriber::snapshot)
    }
}

#[pymethods]
impl Subscriber {
    #[new]
    #[pyo3(signature = (name, *, owner=None, timeout=None))]
    fn new(py: Python<'_>, name: &str, owner: Option<u32>, timeout: Option<f64>) -> PyResult<Self> {
        let subscriber = open(py, UntypedSubscriber::builder(name), owner, timeout)?;
        Ok(Self {
            layouts: Arc::new(LayoutCache::new(Arc::new(Layout::new(py, subscriber.schema())))),
            handle: Handle::new(name, subscriber),
            pool: Arc::default(),
        })
    }

    /// The name of the table.
    #[getter]
    fn name(&self) -> &str {
        self.handle.table()
    }

    /// The fields of the local copy, a tuple of `Field`. Another publisher may change them.
    #[getter]
    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.layout(py)?.fields(py)
    }

    /// The names of the key's fields, in the order of composite keys.
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.layout(py)?.key_names(py)
    }

    /// The version of the local copy.
    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<u64> {
        self.handle.read(py, |subscriber| Ok(subscriber.version()))
    }

    /// The state of the publisher as the last `refresh` or `wait` saw it, or opening: `"alive"`,
    /// `"gone"` (it died, and the table keeps its last commit) or `"closed"`.
    #[getter]
    fn publisher_state(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.handle.read(py, |subscriber| Ok(subscriber.publisher_state().as_str()))
    }

    /// The changes of the last `refresh` or `wait`. After opening, all rows as created.
    #[getter]
    fn changes(&self, py: Python<'_>) -> PyResult<Changes> {
        let copied =
            self.handle.read_detached(py, |subscriber| Ok(CopiedChanges::of(subscriber)))?;
        Ok(Changes::new(copied, &self.layouts))
    }

    /// Returns the row of a key in the local copy as a dict, or `default` if there is none.
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.find(key)? {
            Some((layout, row)) => Ok(Some(layout.dict(py, row.bytes())?.into_any())),
            None => Ok(default),
        }
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        key: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        match self.find(&key)? {
            Some((layout, row)) => layout.dict(py, row.bytes()),
            None => Err(PyKeyError::new_err(key.unbind())),
        }
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.find(key)?.is_some())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.handle.read(py, |subscriber| Ok(subscriber.len()))
    }

    /// Iterates over all rows of the local copy, as dicts, in no particular order.
    fn __iter__(&self, py: Python<'_>) -> PyResult<RowIterator> {
        let (words, schema, version) = self.handle.read_detached(py, |subscriber| {
            let schema = Arc::clone(subscriber.schema());
            let row_words = schema.row_words();
            let mut words = vec![0; subscriber.len() * row_words];
            for (row, to) in subscriber.iter().zip(words.chunks_exact_mut(row_words)) {
                bytemuck::cast_slice_mut(to)[..row.bytes().len()].copy_from_slice(row.bytes());
            }
            Ok((words, schema, subscriber.version()))
        })?;
        let rows = Rows::from_words(words, self.layouts.of(py, &schema), version);
        Ok(RowIterator::new(Py::new(py, rows)?))
    }

    /// Iterates over the changes in asyncio: each step waits until there are some.
    fn __aiter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("tablecast._asyncio")?.call_method1("follow", (slf,))
    }

    /// Returns all rows as of the last commit as a numpy array, in no particular order; with
    /// `return_version`, `(rows, version)`. The local copy does not change.
    ///
    /// The array is read-only and independent of the table. Once it is garbage, its memory is used
    /// for the next snapshot.
    #[pyo3(signature = (*, return_version=false))]
    fn snapshot<'py>(&self, py: Python<'py>, return_version: bool) -> PyResult<Bound<'py, PyAny>> {
        as_array(py, self.take_snapshot(py)?, return_version)
    }

    /// Returns all rows as of the last commit as a `pandas.DataFrame`.
    fn to_pandas<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        frame(py, self.take_snapshot(py)?, "to_pandas")
    }

    /// Returns all rows as of the last commit as a `pyarrow.Table`.
    fn to_arrow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        frame(py, self.take_snapshot(py)?, "to_arrow")
    }

    /// Moves the local copy to the last commit and returns the changes. Never blocks.
    fn refresh(&self, py: Python<'_>) -> PyResult<Changes> {
        let copied = self.handle.write_detached(py, |subscriber| {
            subscriber.refresh()?;
            Ok(CopiedChanges::of(subscriber))
        })?;
        Ok(Changes::new(copied, &self.layouts))
    }

    /// Refreshes like `refresh`. If nothing changed, sleeps until something does, for at most
    /// `timeout` seconds. Other threads of the program run in the meantime.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Changes> {
        let news = self.handle.wait(py, timeout, |subscriber| {
            subscriber.refresh_or_park()?;
            Ok(Some(CopiedChanges::of(subscriber)).filter(|copied| !copied.is_nothing()))
        })?;
        match news {
            Some(copied) => Ok(Changes::new(copied, &self.layouts)),
            None => {
                let nothing =
                    |subscriber: &UntypedSubscriber| Ok(CopiedChanges::nothing(subscriber));
                Ok(Changes::new(self.handle.read(py, nothing)?, &self.layouts))
            }
        }
    }

    /// Returns a descriptor that is readable until `refresh` finds no news. The subscriber closes
    /// it.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.handle.fileno(py)
    }

    /// Closes the subscriber. Arrays and changes stay valid. A wait in another thread, and an
    /// `async for`, end within a second.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        drop(self.handle.close(py)?);
        self.pool.clear();
        Ok(())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_picklable("Subscriber"))
    }

    fn __repr__(&self) -> String {
        format!("tablecast.Subscriber({:?})", self.handle.table())
    }
}
