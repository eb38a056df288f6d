//! The schema of a table, prepared for Python: rows become dicts and arrays, and keys become bytes.

use std::sync::{Arc, PoisonError, RwLock};

use common::{Error, Field, Kind, RowBuf, Schema};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyMapping, PyString, PyTuple};

use crate::{errors, values};

/// Maximum number of attempts of a lookup during which the schema changes.
pub const SCHEMA_TRIES: u32 = 10;
/// Keys up to this size need no allocation.
const SHORT_KEY: usize = 64;

/// One field of a table.
#[pyclass(frozen, get_all, name = "Field", module = "tablecast")]
pub struct SchemaField {
    /// The name of the field.
    name: String,
    /// The kind of the field, such as `u64` or `text(16)`.
    kind: String,
    /// The offset of the field, in bytes from the start of the row.
    offset: usize,
    /// The size of the field, in bytes.
    size: usize,
}

#[pymethods]
impl SchemaField {
    fn __repr__(&self) -> String {
        let Self { name, kind, offset, size } = self;
        format!("Field(name={name:?}, kind={kind:?}, offset={offset}, size={size})")
    }
}

/// A schema with the Python objects that are the same for all rows.
pub struct Layout {
    schema: Arc<Schema>,
    names: Vec<Py<PyString>>,
    /// Indexes of the key's fields.
    key: Vec<usize>,
    dtype: PyOnceLock<Py<PyAny>>,
    key_dtype: PyOnceLock<Py<PyAny>>,
}

impl Layout {
    pub fn new(py: Python<'_>, schema: &Arc<Schema>) -> Self {
        let names = schema.fields().iter().map(|field| PyString::intern(py, field.name()).unbind());
        let index_of = |field: &Field| schema.field(field.name()).map(|(index, _)| index);
        Self {
            names: names.collect(),
            key: schema.key_fields().filter_map(index_of).collect(),
            schema: Arc::clone(schema),
            dtype: PyOnceLock::new(),
            key_dtype: PyOnceLock::new(),
        }
    }

    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns true if rows of `schema` have this layout.
    #[inline]
    pub fn is_of(&self, schema: &Arc<Schema>) -> bool {
        Arc::ptr_eq(&self.schema, schema)
    }

    /// Returns the fields as a tuple of `Field`.
    pub fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let fields = self.schema.fields().iter().map(|field| SchemaField {
            name: field.name().to_owned(),
            kind: field.kind().to_string(),
            offset: field.offset(),
            size: field.kind().size(),
        });
        let fields: PyResult<Vec<_>> = fields.map(|field| Py::new(py, field)).collect();
        PyTuple::new(py, fields?)
    }

    /// Returns the names of the key's fields as a tuple, in the key's order.
    pub fn key_names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.key.iter().map(|&index| self.names[index].bind(py)))
    }

    /// Returns a row as a dict from names to values.
    /// Panics if `row` is shorter than a row.
    pub fn dict<'py>(&self, py: Python<'py>, row: &[u8]) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, field) in self.names.iter().zip(self.schema.fields()) {
            dict.set_item(name.bind(py), self.value(py, row, field)?)?;
        }
        Ok(dict)
    }

    /// Returns the key of a row: a value, or a tuple of several.
    pub fn key_of<'py>(&self, py: Python<'py>, row: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        if let [index] = self.key[..] {
            return self.value(py, row, &self.schema.fields()[index]);
        }
        let values = self.schema.key_fields().map(|field| self.value(py, row, field));
        let values: PyResult<Vec<_>> = values.collect();
        Ok(PyTuple::new(py, values?)?.into_any())
    }

    /// Returns the values of field `index` in all of `rows`.
    pub fn column<'py, 'r>(
        &self,
        py: Python<'py>,
        index: usize,
        rows: impl Iterator<Item = &'r [u8]>,
    ) -> PyResult<Bound<'py, PyList>> {
        let field = &self.schema.fields()[index];
        let list = PyList::empty(py);
        for row in rows {
            list.append(self.value(py, row, field)?)?;
        }
        Ok(list)
    }

    #[inline]
    fn value<'py>(
        &self,
        py: Python<'py>,
        row: &[u8],
        field: &Field,
    ) -> PyResult<Bound<'py, PyAny>> {
        values::to_object(py, field.kind(), &row[field.range()])
    }

    /// Calls `f` with the canonical bytes of a key, which is a value, or a tuple if the key has
    /// several fields.
    #[inline]
    pub fn with_key<T>(&self, key: &Bound<'_, PyAny>, f: impl FnOnce(&[u8]) -> T) -> PyResult<T> {
        let size = self.schema.key_size();
        let mut short = [0; SHORT_KEY];
        if size <= SHORT_KEY {
            self.encode_key(key, &mut short[..size])?;
            return Ok(f(&short[..size]));
        }
        let mut long = vec![0; size];
        self.encode_key(key, &mut long)?;
        Ok(f(&long))
    }

    /// Encodes a key into `out`, which has the size of a key.
    pub fn encode_key(&self, key: &Bound<'_, PyAny>, out: &mut [u8]) -> PyResult<()> {
        if let [index] = self.key[..] {
            return self.encode_part(index, key, out);
        }
        let parts = key.cast::<PyTuple>().ok().filter(|parts| parts.len() == self.key.len());
        let Some(parts) = parts else {
            let names: Vec<&str> = self.schema.key_fields().map(Field::name).collect();
            let text =
                format!("the key is a tuple of {} values: {}", names.len(), names.join(", "));
            return Err(PyTypeError::new_err(text));
        };
        let mut out = out;
        for (&index, part) in self.key.iter().zip(parts) {
            let size = self.schema.fields()[index].kind().size();
            let (here, rest) = out.split_at_mut(size);
            self.encode_part(index, &part, here)?;
            out = rest;
        }
        Ok(())
    }

    #[inline]
    fn encode_part(&self, index: usize, value: &Bound<'_, PyAny>, out: &mut [u8]) -> PyResult<()> {
        let kind = self.schema.fields()[index].kind();
        values::from_object(kind, value, |value| {
            value.encode(kind, out).map_err(|error| {
                // Setting the field of a row gives the same error with the name of the field.
                let named = RowBuf::new(Arc::clone(&self.schema)).set(index, value);
                named.err().unwrap_or(error)
            })
        })
    }

    /// Returns a row with the values of a mapping, which must have exactly the fields of the table.
    pub fn row(&self, row: &Bound<'_, PyAny>) -> PyResult<RowBuf> {
        let py = row.py();
        let refuse = |field: &str, value: &str, reason: String| {
            let (field, value) = (field.to_owned(), value.to_owned());
            errors::raise(py, &Error::InvalidValue { field, value, reason })
        };
        let mapping = row.cast::<PyMapping>()?;
        let mut encoded = RowBuf::new(Arc::clone(&self.schema));
        for (index, (name, field)) in self.names.iter().zip(self.schema.fields()).enumerate() {
            let Some(value) = item(mapping, name.bind(py))? else {
                let reason = "it is missing, and every field is required";
                return Err(refuse(field.name(), "nothing", reason.to_owned()));
            };
            values::from_object(field.kind(), &value, |value| encoded.set(index, value))?;
        }
        // All fields of the table were found, so a mapping of this length has no others.
        if mapping.len()? > self.names.len() {
            for name in mapping.keys()?.iter() {
                let name = name.str()?;
                if self.schema.field(name.to_str()?).is_none() {
                    let reason = format!("there is no such field; the fields are {}", self.schema);
                    return Err(refuse(name.to_str()?, "a value", reason));
                }
            }
        }
        Ok(encoded)
    }

    /// Returns the numpy type of rows with their stride.
    pub fn dtype<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let dtype = self.dtype.get_or_try_init(py, || {
            let fields = self.schema.fields();
            let spec = PyDict::new(py);
            spec.set_item("names", &self.names)?;
            let formats: Vec<String> = fields.iter().map(|field| format(field.kind())).collect();
            spec.set_item("formats", formats)?;
            spec.set_item("offsets", fields.iter().map(Field::offset).collect::<Vec<_>>())?;
            spec.set_item("itemsize", self.schema.row_words() * 8)?;
            numpy(py)?.call_method1("dtype", (spec,)).map(Bound::unbind)
        });
        dtype.map(|dtype| dtype.bind(py))
    }

    /// Returns the numpy type of keys in canonical bytes.
    fn key_dtype<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let dtype = self.key_dtype.get_or_try_init(py, || {
            let named = self.schema.key_fields().zip(&self.key);
            let parts: Vec<_> = named
                .map(|(field, &index)| (self.names[index].bind(py), format(field.kind())))
                .collect();
            let dtype = match &parts[..] {
                [(_, format)] => numpy(py)?.call_method1("dtype", (format,)),
                _ => numpy(py)?.call_method1("dtype", (parts,)),
            };
            dtype.map(Bound::unbind)
        });
        dtype.map(|dtype| dtype.bind(py))
    }

    /// Returns the canonical bytes of keys, one after the other: of a numpy array, or of any
    /// iterable.
    pub fn encode_keys(&self, keys: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        let py = keys.py();
        let mut objects = keys.clone();
        if let Some(dtype) = keys.getattr_opt("dtype")? {
            if dtype.eq(self.key_dtype(py)?)? && keys.getattr("ndim")?.extract::<usize>()? == 1 {
                return keys.call_method0("tobytes")?.extract();
            }
            objects = keys.call_method0("tolist")?;
        }
        let size = self.schema.key_size();
        let mut encoded = Vec::with_capacity(keys.len().unwrap_or(0) * size);
        for key in objects.try_iter()? {
            let at = encoded.len();
            encoded.resize(at + size, 0);
            self.encode_key(&key?, &mut encoded[at..])?;
        }
        Ok(encoded)
    }
}

/// Returns the value of a mapping's key; `None` if it has none.
fn item<'py>(
    mapping: &Bound<'py, PyMapping>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Ok(dict) = mapping.cast::<PyDict>() {
        return dict.get_item(name);
    }
    match mapping.contains(name)? {
        true => mapping.get_item(name).map(Some),
        false => Ok(None),
    }
}

/// Imports numpy, which is needed only for arrays.
pub fn numpy(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static NUMPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let numpy = NUMPY.get_or_try_init(py, || {
        let module = py.import("tablecast._frames")?;
        module.call_method0("numpy").map(Bound::unbind)
    });
    numpy.map(|numpy| numpy.bind(py))
}

/// Returns the numpy format of a field.
fn format(kind: Kind) -> String {
    let size = kind.size();
    match kind {
        Kind::Bool => "?".to_owned(),
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => format!("<u{size}"),
        Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => format!("<i{size}"),
        Kind::F32 | Kind::F64 => format!("<f{size}"),
        Kind::Timestamp => "<M8[ns]".to_owned(),
        Kind::Text(_) => format!("S{size}"),
        // Addresses. `S` would drop zeros at their ends.
        _ => format!("V{size}"),
    }
}

/// The layout of the schema that was used last.
pub struct LayoutCache(RwLock<Arc<Layout>>);

impl LayoutCache {
    pub fn new(layout: Arc<Layout>) -> Self {
        Self(RwLock::new(layout))
    }

    /// Returns the layout that was used last.
    #[inline]
    pub fn last(&self) -> Arc<Layout> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the layout of `schema`.
    #[inline]
    pub fn of(&self, py: Python<'_>, schema: &Arc<Schema>) -> Arc<Layout> {
        let last = self.last();
        if last.is_of(schema) {
            return last;
        }
        let layout = Arc::new(Layout::new(py, schema));
        let mut last = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut *last, Arc::clone(&layout));
        drop(last);
        // Dropped without the lock, because it holds Python objects.
        drop(former);
        layout
    }

    /// Returns true if the layout that was used last is that of `schema`, and else loads that one.
    pub fn is_current(&self, py: Python<'_>, schema: &Arc<Schema>) -> bool {
        let is_current = self.last().is_of(schema);
        self.of(py, schema);
        is_current
    }

    /// Returns the row of a key, and its layout. `look_up` returns the row of a key in canonical
    /// bytes, and the schema of the table at that time. `schema` returns the schema of the table.
    #[inline]
    pub fn find(
        &self,
        table: &str,
        key: &Bound<'_, PyAny>,
        schema: impl Fn() -> PyResult<Arc<Schema>>,
        look_up: impl Fn(&[u8]) -> PyResult<(Option<RowBuf>, Arc<Schema>)>,
    ) -> PyResult<Option<(Arc<Layout>, RowBuf)>> {
        let py = key.py();
        for _ in 0..SCHEMA_TRIES {
            let layout = self.last();
            match layout.with_key(key, &look_up) {
                Ok(found) => {
                    let (row, schema) = found?;
                    if layout.is_of(&schema) {
                        return Ok(row.map(|row| (layout, row)));
                    }
                    // The key was encoded for another schema.
                    self.of(py, &schema);
                }
                Err(error) if self.is_current(py, &schema()?) => return Err(error),
                Err(_) => {}
            }
        }
        Err(outrun(py, table))
    }
}

/// Returns the error for a schema that changed during each attempt.
pub fn outrun(py: Python<'_>, table: &str) -> PyErr {
    errors::raise(py, &Error::Outrun { table: table.to_owned(), passes: SCHEMA_TRIES })
}
