//! Publishers and transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::publisher::MAINTENANCE_INTERVAL;
use common::{Error, Kind, Schema, UntypedPublisher, UntypedTransaction};
use nix::sys::signal::SigSet;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::errors;
use crate::handle::Handle;
use crate::layout::Layout;
use crate::reader::not_picklable;

/// The only publisher of a table.
///
/// fields: `"id:u64,name:text(16)"`, or pairs of a name and a kind.
/// key: the names of the key's fields, as `"name,id"` or a sequence. By default, the first field.
/// capacity, max_capacity: the number of rows for which the table has room at first, and up to
/// which it grows. mode: the mode of the table, such as 0o640 for a group that may read it.
///
/// Leaving the `with` block closes the table and removes it. A publisher that is only dropped leaves
/// the table as a publisher that died: readers continue, and the next publisher takes it over. A
/// thread keeps the publisher alive while the program does something else.
///
/// >>> with tablecast.Publisher("prices", "id:u64,bid:f64") as prices:
/// ...     with prices.transaction() as tx:
/// ...         tx.upsert({"id": 7, "bid": 9.5})
#[pyclass(frozen, module = "tablecast")]
pub struct Publisher {
    handle: Arc<Handle<UntypedPublisher>>,
    layout: Layout,
    /// True while a transaction is open.
    in_transaction: AtomicBool,
}

impl Publisher {
    /// Continues the open transaction, calls `f` with it, and leaves it open.
    fn staging<R: Send>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&mut UntypedTransaction<'_>) -> common::Result<R>,
    ) -> PyResult<R> {
        self.handle.write(py, |publisher| {
            let mut transaction = publisher.resume();
            let result = f(&mut transaction);
            transaction.suspend();
            result
        })
    }
}

/// Keeps a publisher alive until it is closed or dropped, as a program that does not commit must.
fn keep_alive(handle: &Arc<Handle<UntypedPublisher>>) -> std::io::Result<()> {
    let handle = Arc::downgrade(handle);
    let run = move || {
        // Signals are for Python's threads.
        let _blocked = SigSet::all().thread_block();
        loop {
            std::thread::sleep(MAINTENANCE_INTERVAL);
            let Some(handle) = handle.upgrade() else { return };
            // The next commit reports an error that lasts.
            match handle.with_value(UntypedPublisher::maintain) {
                None | Some(Err(Error::Lost { .. })) => return,
                Some(_) => {}
            }
        }
    };
    std::thread::Builder::new().name("tablecast".to_owned()).spawn(run).map(drop)
}

/// Returns the schema of `fields`, which are a text or pairs of names and kinds.
fn schema(fields: &Bound<'_, PyAny>, key: Option<&Bound<'_, PyAny>>) -> PyResult<Schema> {
    let py = fields.py();
    let library = |error: Error| errors::raise(py, &error);
    let key: Vec<String> = match key {
        None => Vec::new(),
        Some(key) => match key.cast::<PyString>() {
            Ok(names) => names.to_str()?.split(',').map(|name| name.trim().to_owned()).collect(),
            Err(_) => key.extract()?,
        },
    };
    if let Ok(text) = fields.cast::<PyString>() {
        let key = key.join(",");
        let key = (!key.is_empty()).then_some(key.as_str());
        return Schema::parse(text.to_str()?, key).map_err(library);
    }
    let mut named: Vec<(String, Kind)> = Vec::new();
    for pair in fields.try_iter()? {
        let (name, kind): (String, String) = pair?.extract()?;
        named.push((name, kind.parse().map_err(library)?));
    }
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    Schema::new(named, &key).map_err(library)
}

#[pymethods]
impl Publisher {
    #[new]
    #[pyo3(signature = (name, fields, key=None, *, capacity=None, max_capacity=None, mode=0o600))]
    fn new(
        name: &str,
        fields: &Bound<'_, PyAny>,
        key: Option<&Bound<'_, PyAny>>,
        capacity: Option<usize>,
        max_capacity: Option<usize>,
        mode: u32,
    ) -> PyResult<Self> {
        let py = fields.py();
        let mut builder = UntypedPublisher::builder(name, schema(fields, key)?).mode(mode);
        if let Some(capacity) = capacity {
            builder = builder.capacity(capacity);
        }
        if let Some(max_capacity) = max_capacity {
            builder = builder.max_capacity(max_capacity);
        }
        let publisher = py.detach(|| builder.open()).map_err(|error| errors::raise(py, &error))?;
        let layout = Layout::new(py, publisher.schema());
        let handle = Arc::new(Handle::new(name, publisher));
        keep_alive(&handle)?;
        Ok(Self { handle, layout, in_transaction: AtomicBool::new(false) })
    }

    /// The name of the table.
    #[getter]
    fn name(&self) -> &str {
        self.handle.table()
    }

    /// The fields of the table, a tuple of `Field`.
    #[getter]
    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.layout.fields(py)
    }

    /// The names of the key's fields, in the order of composite keys.
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.layout.key_names(py)
    }

    /// The version of the last commit.
    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<u64> {
        self.handle.read(py, |publisher| Ok(publisher.version()))
    }

    /// Begins a transaction, for a `with` block that commits it. An exception discards it.
    ///
    /// A publisher has one transaction at a time.
    fn transaction(slf: Bound<'_, Self>) -> PyResult<Transaction> {
        let (py, publisher) = (slf.py(), slf.get());
        // Relaxed: the lock of the handle guards what is staged.
        if publisher.in_transaction.swap(true, Ordering::Relaxed) {
            let table = publisher.handle.table();
            let text = format!(
                "transaction open: table {table:?}: a publisher has one transaction at a time; commit or discard the other one first"
            );
            return Err(errors::raise_as(py, "TransactionOpen", text));
        }
        let begun = publisher.handle.write(py, |publisher| {
            drop(publisher.begin());
            Ok(())
        });
        let transaction =
            Transaction { publisher: slf.clone().unbind(), open: AtomicBool::new(true) };
        begun.map(|()| transaction)
    }

    /// Closes the table: notifies its subscribers and removes it. With `keep`, the table stays for
    /// readers and for the next publisher.
    #[pyo3(signature = (*, keep=false))]
    fn close(&self, py: Python<'_>, keep: bool) -> PyResult<()> {
        let Some(publisher) = self.handle.close(py)? else {
            return Ok(());
        };
        let closed = match keep {
            true => py.detach(|| publisher.close_and_keep()),
            false => py.detach(|| publisher.close()),
        };
        closed.map_err(|error| errors::raise(py, &error))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py, false)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_picklable("Publisher"))
    }

    fn __repr__(&self) -> String {
        format!("tablecast.Publisher({:?})", self.handle.table())
    }
}

/// Staged changes of a table, which become visible together when the `with` block ends.
///
/// Rows are mappings with all fields of the table. A call that fails stages nothing, except
/// `replace_with`, and the transaction stays usable.
#[pyclass(frozen, module = "tablecast")]
pub struct Transaction {
    publisher: Py<Publisher>,
    open: AtomicBool,
}

impl Transaction {
    /// Returns an error if the transaction has ended.
    fn check_open(&self, py: Python<'_>) -> PyResult<&Publisher> {
        let publisher = self.publisher.get();
        // Relaxed: the lock of the handle guards what is staged.
        if self.open.load(Ordering::Relaxed) {
            return Ok(publisher);
        }
        let table = publisher.handle.table();
        let text = format!(
            "transaction ended: table {table:?}: it was committed or discarded; begin another one"
        );
        Err(errors::raise_as(py, "TransactionEnded", text))
    }

    fn stage(
        &self,
        row: &Bound<'_, PyAny>,
        f: impl FnOnce(&mut UntypedTransaction<'_>, &[u8]) -> common::Result<()>,
    ) -> PyResult<()> {
        let py = row.py();
        let publisher = self.check_open(py)?;
        let row = publisher.layout.row(row)?;
        publisher.staging(py, |transaction| f(transaction, row.bytes()))
    }

    /// Marks the transaction as ended. Returns false if it has ended before.
    fn end(&self) -> bool {
        let was_open = self.open.swap(false, Ordering::Relaxed);
        if was_open {
            self.publisher.get().in_transaction.store(false, Ordering::Relaxed);
        }
        was_open
    }
}

#[pymethods]
impl Transaction {
    /// Adds a row. `KeyExists` if there is a row with its key.
    fn insert(&self, row: &Bound<'_, PyAny>) -> PyResult<()> {
        self.stage(row, |transaction, row| transaction.insert(row))
    }

    /// Replaces the row with the same key. `KeyMissing` if there is none.
    fn update(&self, row: &Bound<'_, PyAny>) -> PyResult<()> {
        self.stage(row, |transaction, row| transaction.update(row))
    }

    /// Adds a row, or replaces the row with the same key.
    fn upsert(&self, row: &Bound<'_, PyAny>) -> PyResult<()> {
        self.stage(row, |transaction, row| transaction.upsert(row))
    }

    /// Removes the row of a key. `KeyMissing` if there is none.
    fn delete(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let publisher = self.check_open(key.py())?;
        publisher.layout.with_key(key, |bytes| {
            publisher.staging(key.py(), |transaction| transaction.delete(bytes))
        })?
    }

    /// Removes all rows.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.check_open(py)?.staging(py, |transaction| {
            transaction.clear();
            Ok(())
        })
    }

    /// Replaces the content of the table with `rows`, and stages only the differences.
    fn replace_with(&self, rows: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = rows.py();
        let publisher = self.check_open(py)?;
        let mut encoded = Vec::new();
        for row in rows.try_iter()? {
            encoded.push(publisher.layout.row(&row?)?);
        }
        let rows = encoded.iter().map(|row| row.bytes());
        publisher.staging(py, |transaction| transaction.replace_with(rows))
    }

    /// Commits the changes, wakes subscribers, and returns the new version of the table. The end of
    /// a `with` block does this.
    fn commit(&self, py: Python<'_>) -> PyResult<u64> {
        let publisher = self.check_open(py)?;
        let committed =
            publisher.handle.write_detached(py, |publisher| publisher.resume().commit());
        self.end();
        committed
    }

    /// Discards the changes. An exception in a `with` block does this.
    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        let publisher = self.check_open(py)?;
        let discarded = publisher.handle.write(py, |publisher| {
            drop(publisher.resume());
            Ok(())
        });
        self.end();
        discarded
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.check_open(py)?.staging(py, |transaction| Ok(transaction.len()))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exception, *_details))]
    fn __exit__(
        &self,
        exception: &Bound<'_, PyAny>,
        _details: &Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        let py = exception.py();
        // The block may have committed or discarded the transaction itself.
        if !self.open.load(Ordering::Relaxed) {
            return Ok(());
        }
        match exception.is_none() {
            true => self.commit(py).map(drop),
            false => self.discard(py),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // The next transaction rolls back what this one has staged.
        self.end();
    }
}
