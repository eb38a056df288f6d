//! Errors of the library as Python exceptions.

use common::Error;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

/// Returns the exception for an error of the library: the class in `tablecast._errors` that is named
/// like the error's variant, with the text of the error.
pub fn raise(py: Python<'_>, error: &Error) -> PyErr {
    // The derived `Debug` of an enum begins with the name of the variant.
    let debug = format!("{error:?}");
    let variant = debug.split(|letter: char| !letter.is_alphanumeric()).next();
    raise_as(py, variant.unwrap_or_default(), error.to_string())
}

/// Returns the exception for an object that was closed.
pub fn closed(py: Python<'_>, table: &str) -> PyErr {
    let text = format!("table closed: {table:?}: this object was closed; open the table again");
    raise_as(py, "Closed", text)
}

/// Returns the exception for an object that was opened in another process.
pub fn forked(py: Python<'_>, table: &str) -> PyErr {
    let text = format!(
        "used after a fork: table {table:?}: it was opened in the parent process; open it again in each process"
    );
    raise_as(py, "Forked", text)
}

/// Returns an exception of the class `name`, or of the base class if there is no such class.
pub fn raise_as(py: Python<'_>, name: &str, text: String) -> PyErr {
    let class = py.import("tablecast._errors").and_then(|module| {
        let class = module.getattr_opt(name)?;
        class.map_or_else(|| module.getattr("Error"), Ok)
    });
    match class.and_then(|class| class.call1((text.as_str(),))) {
        Ok(exception) => PyErr::from_value(exception),
        Err(_) => PyException::new_err(text),
    }
}
