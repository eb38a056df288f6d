//! Values of fields as Python objects, and Python objects as values of fields.
//!
//! | kind | object of a row | objects that are accepted |
//! |---|---|---|
//! | integers | `int` | `int`, and integers of numpy |
//! | `f32`, `f64` | `float` | every number |
//! | `bool` | `bool` | `bool`, and that of numpy |
//! | `text(N)` | `str` | `str`, and UTF-8 as `bytes` |
//! | `ipv4`, `ipv6` | `IPv4Address`, `IPv6Address` | these, `str`, `bytes` |
//! | `ipnet` | `IPv4Network` or `IPv6Network` | these, `str`, `bytes` |
//! | `mac` | `str` | `str`, `bytes` |
//! | `timestamp` | `int`, nanoseconds since 1970 | `int`, `str`, an aware `datetime`, `datetime64` of numpy |
//!
//! A time is an `int` because a `datetime` has only microseconds and ends in the year 9999.

use std::borrow::Cow;

use common::{Error, Kind, Value};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDateTime, PyFloat, PyInt, PyString, PyTzInfo};

use crate::errors;

/// Classes of the module `ipaddress`.
struct Addresses {
    v4: Py<PyAny>,
    v6: Py<PyAny>,
    network: Py<PyAny>,
}

impl Addresses {
    fn get(py: Python<'_>) -> PyResult<&Self> {
        static ADDRESSES: PyOnceLock<Addresses> = PyOnceLock::new();
        ADDRESSES.get_or_try_init(py, || {
            let module = py.import("ipaddress")?;
            let class = |name| module.getattr(name).map(Bound::unbind);
            Ok(Self {
                v4: class("IPv4Address")?,
                v6: class("IPv6Address")?,
                network: class("ip_network")?,
            })
        })
    }
}

/// Returns the value of a field as an object. Any bytes are accepted.
/// Panics if there are fewer bytes than the kind has.
#[inline]
pub fn to_object<'py>(py: Python<'py>, kind: Kind, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    Ok(match Value::decode(kind, bytes) {
        Value::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
        Value::U64(value) => value.into_pyobject(py)?.into_any(),
        Value::I64(value) => value.into_pyobject(py)?.into_any(),
        Value::F32(value) => PyFloat::new(py, value.into()).into_any(),
        Value::F64(value) => PyFloat::new(py, value).into_any(),
        Value::Text(value) => PyString::new(py, &value).into_any(),
        Value::Ipv4(value) => Addresses::get(py)?.v4.bind(py).call1((value.to_bits(),))?,
        Value::Ipv6(value) => Addresses::get(py)?.v6.bind(py).call1((value.to_bits(),))?,
        Value::IpNet(value) => {
            let network = Addresses::get(py)?.network.bind(py);
            // Python refuses a network with host bits, which damaged bytes may have.
            network.call1((value.trunc().to_string(),))?
        }
        Value::Timestamp(value) => value.as_nanos().into_pyobject(py)?.into_any(),
        others => PyString::new(py, &others.to_string()).into_any(),
    })
}

/// Converts an object to a value of `kind` and passes it to `encode`, which checks its range.
///
/// # Errors
/// `TypeError` for an object of a wrong type; the errors of the library for a value that the kind
/// does not accept.
#[inline]
pub fn from_object<T>(
    kind: Kind,
    object: &Bound<'_, PyAny>,
    encode: impl FnOnce(Value<'_>) -> common::Result<T>,
) -> PyResult<T> {
    let py = object.py();
    let library = |error: Error| errors::raise(py, &error);
    let value = match kind {
        Kind::U8
        | Kind::U16
        | Kind::U32
        | Kind::U64
        | Kind::I8
        | Kind::I16
        | Kind::I32
        | Kind::I64 => integer(kind, object)?,
        Kind::F32 | Kind::F64 => {
            Value::F64(object.extract().map_err(|_| wrong_type(kind, object))?)
        }
        Kind::Bool => Value::Bool(object.extract().map_err(|_| wrong_type(kind, object))?),
        _ => {
            if let Ok(text) = object.cast::<PyString>() {
                let text = text.to_str()?;
                return match kind {
                    Kind::Text(_) => encode(Value::Text(Cow::Borrowed(text))),
                    _ => Value::parse(kind, text).and_then(encode),
                }
                .map_err(library);
            }
            if let Ok(bytes) = object.cast::<PyBytes>() {
                let bytes = bytes.as_bytes();
                return match kind {
                    Kind::Text(_) => {
                        let text = std::str::from_utf8(bytes);
                        let text =
                            text.map_err(|error| PyValueError::new_err(error.to_string()))?;
                        encode(Value::Text(Cow::Borrowed(text)))
                    }
                    // The form that arrays have. A time is a number there.
                    _ if bytes.len() == kind.size() && kind != Kind::Timestamp => {
                        encode(Value::decode(kind, bytes))
                    }
                    _ => return Err(wrong_type(kind, object)),
                }
                .map_err(library);
            }
            if kind == Kind::Timestamp {
                nanoseconds(kind, object)?
            } else {
                let module = object.get_type().module()?;
                if module != "ipaddress" {
                    return Err(wrong_type(kind, object));
                }
                let text = object.str()?;
                return Value::parse(kind, text.to_str()?).and_then(encode).map_err(library);
            }
        }
    };
    encode(value).map_err(library)
}

#[inline]
fn integer(kind: Kind, object: &Bound<'_, PyAny>) -> PyResult<Value<'static>> {
    if let Ok(number) = object.extract() {
        return Ok(Value::U64(number));
    }
    if let Ok(number) = object.extract() {
        return Ok(Value::I64(number));
    }
    if object.is_instance_of::<PyInt>() {
        // The number is out of range for every kind, and the library refuses it with its text.
        let text = object.str()?;
        let value = Value::parse(kind, text.to_str()?).map(Value::into_owned);
        return value.map_err(|error| errors::raise(object.py(), &error));
    }
    Err(wrong_type(kind, object))
}

/// Returns a time as nanoseconds since the start of 1970 in UTC.
fn nanoseconds(kind: Kind, object: &Bound<'_, PyAny>) -> PyResult<Value<'static>> {
    let py = object.py();
    match integer(kind, object) {
        Err(error) if error.is_instance_of::<PyTypeError>(py) => {}
        other => return other,
    }
    if object.is_instance_of::<PyDateTime>() {
        let utc = PyTzInfo::utc(py)?;
        let epoch = PyDateTime::new(py, 1970, 1, 1, 0, 0, 0, 0, Some(&*utc))?;
        // A time without a zone cannot be subtracted, which is a TypeError.
        let since = object.sub(epoch)?;
        let part = |name: &str| since.getattr(name)?.extract::<i128>();
        let seconds = part("days")? * 86_400 + part("seconds")?;
        let nanoseconds = (seconds * 1_000_000 + part("microseconds")?) * 1000;
        let value = Value::parse(kind, &nanoseconds.to_string()).map(Value::into_owned);
        return value.map_err(|error| errors::raise(py, &error));
    }
    if object.get_type().name()? == "datetime64" {
        let in_ns = object.call_method1("astype", ("datetime64[ns]",))?;
        return Ok(Value::I64(in_ns.call_method1("astype", ("int64",))?.extract()?));
    }
    Err(wrong_type(kind, object))
}

fn wrong_type(kind: Kind, object: &Bound<'_, PyAny>) -> PyErr {
    let given = object.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let accepts = match kind {
        Kind::Text(_) => "a str",
        Kind::Bool => "a bool",
        Kind::F32 | Kind::F64 => "a number",
        Kind::Ipv4 | Kind::Ipv6 | Kind::IpNet => "an object of ipaddress, or a str",
        Kind::Mac => "a str",
        Kind::Timestamp => "an int of nanoseconds, an aware datetime, a datetime64, or a str",
        _ => "an int",
    };
    PyTypeError::new_err(format!("a value of kind {kind} is {accepts}, and not {given}"))
}
