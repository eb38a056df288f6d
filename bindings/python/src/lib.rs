//! The extension module `tablecast._tablecast`: Tablecast's tables in Python.
//!
//! Each class is a view of a type of `common`, which does all of the work. Three rules hold for all
//! of them:
//!
//! 1. A lock guards the library's object, because Python's threads share objects (`handle`). No
//!    lock is held while a thread sleeps or while Python code may run, and a thread that has to wait
//!    for a lock detaches from the interpreter first.
//! 2. Work that can take longer than a lookup runs detached from the interpreter (without the GIL).
//! 3. Rows are copied from shared memory as bytes, and become Python objects after that (`layout`).

use pyo3::prelude::*;

mod changes;
mod errors;
mod fork;
mod handle;
mod layout;
mod publisher;
mod reader;
mod rows;
mod subscriber;
mod values;

/// Returns the names of all tables on this machine, sorted.
///
/// Opening some of them may fail, because they belong to other users or are damaged.
#[pyfunction]
fn tables(py: Python<'_>) -> PyResult<Vec<String>> {
    common::tables().map_err(|error| errors::raise(py, &error))
}

/// The compiled part of the package `tablecast`.
#[pymodule(gil_used = false)]
mod _tablecast {
    #[pymodule_export]
    use crate::changes::{Change, Changes};
    #[pymodule_export]
    use crate::layout::SchemaField;
    #[pymodule_export]
    use crate::publisher::{Publisher, Transaction};
    #[pymodule_export]
    use crate::reader::Reader;
    #[pymodule_export]
    use crate::subscriber::Subscriber;
    #[pymodule_export]
    use crate::tables;
}
