//! Readers: lookups in shared memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Error, Open, OpenOptions, RowBuf, Schema, UntypedReader};
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::errors;
use crate::handle::{Handle, seconds};
use crate::layout::{Layout, LayoutCache, SCHEMA_TRIES, numpy, outrun};
use crate::rows::{Pool, RowIterator, Rows};

/// Maximum time that opening a table waits before it looks for signals.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// Opens a table, and waits up to `timeout` seconds for its publisher.
pub fn open<T: Open + Send>(
    py: Python<'_>,
    options: OpenOptions<T>,
    owner: Option<u32>,
    timeout: Option<f64>,
) -> PyResult<T> {
    let options = match owner {
        Some(owner) => options.owner(owner),
        None => options,
    };
    let opened = match seconds(timeout)? {
        None => py.detach(|| options.open()),
        Some(timeout) => {
            let deadline = Instant::now() + timeout.min(Duration::from_secs(u32::MAX.into()));
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                match py.detach(|| options.open_within(left.min(SIGNAL_INTERVAL))) {
                    Err(Error::TimedOut { table, .. }) if left <= SIGNAL_INTERVAL => {
                        break Err(Error::TimedOut { table, waited: timeout });
                    }
                    Err(Error::TimedOut { .. } | Error::Outrun { .. })
                        if left > SIGNAL_INTERVAL =>
                    {
                        py.check_signals()?;
                    }
                    other => break other,
                }
            }
        }
    };
    opened.map_err(|error| errors::raise(py, &error))
}

/// The error for an attempt to pickle an object of a table.
pub fn not_picklable(class: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "cannot pickle a tablecast.{class}: it belongs to this process; open the table by its name in the other process"
    ))
}

/// Reads rows of a table directly from shared memory, as of the last commit.
///
/// A reader keeps no copy of the table, so opening it costs the same for a table of any size.
/// Threads can share it. A forked child must open the table again.
///
/// owner: trust only tables of this user id. By default, tables of this user and of root.
/// timeout: wait this many seconds for the table to appear. By default, it must exist.
///
/// >>> with tablecast.Reader("prices") as prices:
/// ...     prices[7]["bid"]
/// 9.5
#[pyclass(frozen, mapping, module = "tablecast")]
pub struct Reader {
    handle: Handle<UntypedReader>,
    layouts: LayoutCache,
    pool: Arc<Pool>,
}

impl Reader {
    /// Returns the row of a key, and its layout.
    #[inline]
    fn find(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<(Arc<Layout>, RowBuf)>> {
        let py = key.py();
        let look_up = |key: &[u8]| {
            self.handle.read(py, |reader| {
                let row = reader.get(key)?;
                let schema = match &row {
                    Some(row) => Arc::clone(row.schema()),
                    None => reader.schema()?,
                };
                Ok((row, schema))
            })
        };
        self.layouts.find(self.handle.table(), key, || self.schema_now(py), look_up)
    }

    fn schema_now(&self, py: Python<'_>) -> PyResult<Arc<Schema>> {
        self.handle.read(py, UntypedReader::schema)
    }

    fn layout(&self, py: Python<'_>) -> PyResult<Arc<Layout>> {
        Ok(self.layouts.of(py, &self.schema_now(py)?))
    }

    fn take_snapshot(&self, py: Python<'_>) -> PyResult<Rows> {
        snapshot(py, &self.handle, &self.layouts, &self.pool, UntypedReader::snapshot)
    }

    /// Looks up keys, and returns their rows and which were found. A key without a row has zeros.
    fn find_many(&self, keys: &Bound<'_, PyAny>) -> PyResult<(Rows, Vec<u8>)> {
        let py = keys.py();
        for _ in 0..SCHEMA_TRIES {
            let layout = self.layouts.last();
            let packed = match layout.encode_keys(keys) {
                Ok(packed) => packed,
                Err(error) if self.layouts.is_current(py, &self.schema_now(py)?) => {
                    return Err(error);
                }
                Err(_) => continue,
            };
            let row_words = layout.schema().row_words();
            let found = self.handle.read_detached(py, |reader| {
                let keys: Vec<&[u8]> = packed.chunks_exact(layout.schema().key_size()).collect();
                let mut words = vec![0; keys.len() * row_words];
                let mut found = vec![0; keys.len()];
                let mut is_same = true;
                let version = reader.get_many(&keys, |index, row| {
                    let Some(row) = row else { return };
                    is_same = is_same && layout.is_of(row.schema());
                    if is_same {
                        let to = &mut words[index * row_words..(index + 1) * row_words];
                        bytemuck::cast_slice_mut(to)[..row.bytes().len()]
                            .copy_from_slice(row.bytes());
                        found[index] = 1;
                    }
                })?;
                Ok((words, found, version, is_same && layout.is_of(&reader.schema()?)))
            });
            let (words, found, version, is_same) = found?;
            if is_same {
                return Ok((Rows::from_words(words, layout, version), found));
            }
            self.layout(py)?;
        }
        Err(outrun(py, self.handle.table()))
    }
}

/// Takes a snapshot with memory of the pool.
pub fn snapshot<T: Send + Sync>(
    py: Python<'_>,
    handle: &Handle<T>,
    layouts: &LayoutCache,
    pool: &Arc<Pool>,
    fill: impl FnOnce(&T, &mut common::Snapshot) -> common::Result<u64> + Send,
) -> PyResult<Rows> {
    let snapshot = handle.read_detached(py, |table| {
        let mut snapshot = pool.take();
        fill(table, &mut snapshot)?;
        Ok(snapshot)
    })?;
    let layout = match snapshot.schema() {
        Some(schema) => layouts.of(py, schema),
        None => layouts.last(),
    };
    Ok(Rows::from_snapshot(snapshot, layout, pool))
}

/// Returns an array of a snapshot, and its version if `return_version` is set.
pub fn as_array(py: Python<'_>, rows: Rows, return_version: bool) -> PyResult<Bound<'_, PyAny>> {
    let rows = Bound::new(py, rows)?;
    let array = Rows::array(&rows)?;
    if !return_version {
        return Ok(array);
    }
    Ok((array, rows.get().version()).into_pyobject(py)?.into_any())
}

/// Calls a function of `tablecast._frames` with rows.
pub fn frame<'py>(py: Python<'py>, rows: Rows, function: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("tablecast._frames")?.call_method1(function, (Bound::new(py, rows)?,))
}

#[pymethods]
impl Reader {
    #[new]
    #[pyo3(signature = (name, *, owner=None, timeout=None))]
    fn new(py: Python<'_>, name: &str, owner: Option<u32>, timeout: Option<f64>) -> PyResult<Self> {
        let reader = open(py, UntypedReader::builder(name), owner, timeout)?;
        let schema = reader.schema().map_err(|error| errors::raise(py, &error))?;
        Ok(Self {
            layouts: LayoutCache::new(Arc::new(Layout::new(py, &schema))),
            handle: Handle::new(name, reader),
            pool: Arc::default(),
        })
    }

    /// The name of the table.
    #[getter]
    fn name(&self) -> &str {
        self.handle.table()
    }

    /// The fields of the table, a tuple of `Field`. Another publisher may change them.
    #[getter]
    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.layout(py)?.fields(py)
    }

    /// The names of the key's fields, in the order of composite keys.
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.layout(py)?.key_names(py)
    }

    /// The number of the last commit.
    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<u64> {
        self.handle.read(py, UntypedReader::version)
    }

    /// The state of the publisher as the last `refresh` or `wait` saw it, or opening: `"alive"`,
    /// `"gone"` (it died, and the table keeps its last commit) or `"closed"`.
    #[getter]
    fn publisher_state(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.handle.read(py, |reader| Ok(reader.publisher_state().as_str()))
    }

    /// Returns the row of a key as a dict, or `default` if there is none.
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
        self.handle.read(py, UntypedReader::len)
    }

    /// Iterates over all rows as of one version, as dicts, in no particular order.
    fn __iter__(&self, py: Python<'_>) -> PyResult<RowIterator> {
        Ok(RowIterator::new(Py::new(py, self.take_snapshot(py)?)?))
    }

    /// Looks up many keys as of one version. Returns `(rows, found)`, and `(rows, found, version)`
    /// with `return_version`.
    ///
    /// `rows` is a read-only numpy array with a row for each key, and `found` an array of booleans.
    /// A key that was not found has zeros in `rows`. `keys` is an iterable of keys, or a numpy
    /// array, which is fastest if it has the type of the key.
    #[pyo3(signature = (keys, *, return_version=false))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        return_version: bool,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (rows, found) = self.find_many(keys)?;
        let version = rows.version();
        let rows = rows.into_array(py)?;
        let found = numpy(py)?.call_method1("frombuffer", (PyBytes::new(py, &found), "?"))?;
        match return_version {
            true => (rows, found, version).into_pyobject(py),
            false => (rows, found).into_pyobject(py),
        }
    }

    /// Returns all rows as of one version as a numpy array, in no particular order; with
    /// `return_version`, `(rows, version)`.
    ///
    /// The array is read-only and independent of the table. Once it is garbage, its memory is used
    /// for the next snapshot.
    #[pyo3(signature = (*, return_version=false))]
    fn snapshot<'py>(&self, py: Python<'py>, return_version: bool) -> PyResult<Bound<'py, PyAny>> {
        as_array(py, self.take_snapshot(py)?, return_version)
    }

    /// Returns all rows as of one version as a `pandas.DataFrame`.
    fn to_pandas<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        frame(py, self.take_snapshot(py)?, "to_pandas")
    }

    /// Returns all rows as of one version as a `pyarrow.Table`.
    fn to_arrow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        frame(py, self.take_snapshot(py)?, "to_arrow")
    }

    /// Looks for news since the last `refresh` or `wait`, without blocking. News are commits,
    /// another schema, and another state of the publisher. Returns the version of the table if
    /// there are any, and None if not.
    fn refresh(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        self.handle.write_detached(py, UntypedReader::refresh)
    }

    /// Sleeps until there are news, for at most `timeout` seconds. Returns the version of the
    /// table, or None after the timeout.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<u64>> {
        self.handle.wait(py, timeout, UntypedReader::refresh_or_park)
    }

    /// Returns a descriptor that is readable until `refresh` finds no news. The reader closes it.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.handle.fileno(py)
    }

    /// Closes the reader. Arrays stay valid. A wait in another thread ends within a second.
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
        Err(not_picklable("Reader"))
    }

    fn __repr__(&self) -> String {
        format!("tablecast.Reader({:?})", self.handle.table())
    }
}
