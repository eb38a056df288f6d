//! Views of the bytes of a row or a key, which read fields by their names in a schema.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::row::schema::{Field, quoted};
use crate::{Error, Result, RowBuf, Schema, Value};

/// A row's bytes with its schema. It is serialized as a map from field names to values.
///
/// ```
/// use common::{RowRef, Schema, Value};
///
/// let schema = Schema::parse("id:u16,name:text(4)", None)?.into();
/// let row = RowRef::new(&schema, b"\x07\0abc\0")?;
/// assert_eq!(row.field("id"), Some(Value::U64(7)));
/// assert_eq!(row.value(1).to_string(), "abc");
/// assert_eq!(row.key().to_string(), "7");
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct RowRef<'a> {
    schema: &'a Arc<Schema>,
    bytes: &'a [u8],
}

impl<'a> RowRef<'a> {
    /// Returns a view of `bytes` as a row of `schema`. Any bytes are accepted and give plausible
    /// values.
    ///
    /// # Errors
    /// [`Error::WrongLength`] if the number of bytes is not [`Schema::row_size`].
    pub fn new(schema: &'a Arc<Schema>, bytes: &'a [u8]) -> Result<RowRef<'a>> {
        check_length("(unknown)", "row", bytes, schema.row_size())?;
        Ok(RowRef { schema, bytes })
    }

    /// Returns the schema.
    #[must_use]
    pub fn schema(self) -> &'a Arc<Schema> {
        self.schema
    }

    /// Returns the row's bytes.
    #[must_use]
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the value of field `index`.
    /// Panics if the schema has no field with this index.
    #[must_use]
    pub fn value(self, index: usize) -> Value<'a> {
        self.value_of(&self.schema.fields()[index])
    }

    /// Returns the value of the field with this name.
    #[must_use]
    pub fn field(self, name: &str) -> Option<Value<'a>> {
        self.schema.field(name).map(|(_, field)| self.value_of(field))
    }

    /// Iterates over the names and values of the fields in order.
    pub fn values(self) -> impl ExactSizeIterator<Item = (&'a str, Value<'a>)> {
        self.schema.fields().iter().map(move |field| (field.name(), self.value_of(field)))
    }

    /// Returns the row's key.
    #[must_use]
    pub fn key(self) -> KeyRef<'a> {
        KeyRef { schema: self.schema, bytes: KeyBytes::InRow(self.bytes) }
    }

    /// Returns a copy of the row, which shares the schema.
    #[must_use]
    pub fn to_buf(self) -> RowBuf {
        RowBuf::from_bytes(Arc::clone(self.schema), self.bytes).expect("a row of this schema")
    }

    fn value_of(self, field: &Field) -> Value<'a> {
        Value::decode(field.kind(), &self.bytes[field.range()])
    }
}

/// A key's bytes, separate or within a row. It is displayed in the form of [`Schema::format_key`],
/// and serialized as a map from the names of the key's fields to their values.
#[derive(Clone, Copy)]
pub struct KeyRef<'a> {
    schema: &'a Schema,
    bytes: KeyBytes<'a>,
}

/// Location of a key's fields.
#[derive(Clone, Copy)]
enum KeyBytes<'a> {
    /// Each field is at its offset in the row.
    InRow(&'a [u8]),
    /// The fields follow each other without gaps.
    Packed(&'a [u8]),
}

impl<'a> KeyRef<'a> {
    /// Returns a view of `bytes` as a key of `schema`: the key's fields without gaps.
    ///
    /// # Errors
    /// [`Error::WrongLength`] if the number of bytes is not [`Schema::key_size`].
    pub fn new(schema: &'a Schema, bytes: &'a [u8]) -> Result<KeyRef<'a>> {
        check_length("(unknown)", "key", bytes, schema.key_size())?;
        Ok(KeyRef { schema, bytes: KeyBytes::Packed(bytes) })
    }

    /// Iterates over the names and values of the key's fields, in the key's order.
    pub fn values(self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        let mut packed_before = 0;
        self.schema.key_fields().map(move |field| {
            let bytes = match self.bytes {
                KeyBytes::InRow(row) => &row[field.range()],
                KeyBytes::Packed(key) => &key[packed_before..],
            };
            packed_before += field.kind().size();
            (field.name(), Value::decode(field.kind(), bytes))
        })
    }

    /// Returns the key's bytes: its fields without gaps.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        match self.bytes {
            KeyBytes::Packed(key) => key.to_vec(),
            KeyBytes::InRow(row) => {
                let mut key = Vec::with_capacity(self.schema.key_size());
                self.schema.write_key(row, &mut key);
                key
            }
        }
    }
}

/// Checks the length of a row or a key. `what` names it in the error.
#[inline]
pub(crate) fn check_length(
    table: &str,
    what: &'static str,
    bytes: &[u8],
    expected: usize,
) -> Result<()> {
    if bytes.len() == expected {
        return Ok(());
    }
    Err(Error::WrongLength { table: table.to_owned(), what, length: bytes.len(), expected })
}

impl fmt::Display for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (_, value)) in self.values().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", quoted(&value.to_string()))?;
        }
        Ok(())
    }
}

impl fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.values()).finish()
    }
}

impl fmt::Debug for RowRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.values()).finish()
    }
}

impl Serialize for RowRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.values())
    }
}

impl Serialize for KeyRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.values())
    }
}
