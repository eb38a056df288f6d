//! Bytes of a row, or of a key, read by the names of a schema.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::row::schema::{Field, quoted};
use crate::{Error, Result, RowBuf, Schema, Value};

/// A row's bytes with its schema. Serialised it is a map from the fields' names to their values.
///
/// ```
/// use common::{RowRef, Schema, Value};
///
/// let schema = Schema::parse("id:u16,name:text(4)", None)?;
/// let row = RowRef::new(&schema, b"\x07\0abc\0")?;
/// assert_eq!(row.field("id"), Some(Value::U64(7)));
/// assert_eq!(row.value(1).to_string(), "abc");
/// assert_eq!(row.key().to_string(), "7");
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct RowRef<'a> {
    schema: &'a Schema,
    bytes: &'a [u8],
}

impl<'a> RowRef<'a> {
    /// Reads `bytes` as a row of `schema`. They may hold anything: the values are then something plausible.
    ///
    /// # Errors
    ///
    /// [`Error::WrongLength`] if there are not [`Schema::row_size`] of them.
    pub fn new(schema: &'a Schema, bytes: &'a [u8]) -> Result<RowRef<'a>> {
        check_length("row", bytes, schema.row_size())?;
        Ok(RowRef { schema, bytes })
    }

    /// What the row is.
    #[must_use]
    pub fn schema(self) -> &'a Schema {
        self.schema
    }

    /// The row's bytes.
    #[must_use]
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The value of the field `index`.
    ///
    /// # Panics
    ///
    /// If the schema has not so many fields.
    #[must_use]
    pub fn value(self, index: usize) -> Value<'a> {
        self.value_of(&self.schema.fields()[index])
    }

    /// The value of the field of that name.
    #[must_use]
    pub fn field(self, name: &str) -> Option<Value<'a>> {
        self.schema
            .field(name)
            .map(|(_, field)| self.value_of(field))
    }

    /// The fields' names and values in their order.
    pub fn values(self) -> impl ExactSizeIterator<Item = (&'a str, Value<'a>)> {
        self.schema
            .fields()
            .iter()
            .map(move |field| (field.name(), self.value_of(field)))
    }

    /// The row's key.
    #[must_use]
    pub fn key(self) -> KeyRef<'a> {
        KeyRef {
            schema: self.schema,
            bytes: KeyBytes::InRow(self.bytes),
        }
    }

    /// A copy of the row that can be changed, with a copy of the schema. [`RowBuf::from_bytes`] with a schema that is
    /// shared costs less.
    #[must_use]
    pub fn to_buf(self) -> RowBuf {
        RowBuf::from_bytes(Arc::new(self.schema.clone()), self.bytes).expect("a row of this schema")
    }

    fn value_of(self, field: &Field) -> Value<'a> {
        Value::decode(field.kind(), &self.bytes[field.range()])
    }
}

/// A key's bytes, by themselves or within a row. Displayed it is as [`Schema::format_key`] writes it, serialised a
/// map from the names of the key's fields to their values.
///
/// ```
/// use common::{KeyRef, Schema};
///
/// let schema = Schema::parse("price:f64,id:u16,venue:text(4)", Some("venue,id"))?;
/// let bytes = schema.parse_key("XETR,7")?;
/// let key = KeyRef::new(&schema, &bytes)?;
/// assert_eq!(key.to_string(), "XETR,7");
/// assert_eq!(serde_json::to_string(&key).unwrap(), r#"{"venue":"XETR","id":7}"#);
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct KeyRef<'a> {
    schema: &'a Schema,
    bytes: KeyBytes<'a>,
}

/// Where a key's fields stand.
#[derive(Clone, Copy)]
enum KeyBytes<'a> {
    /// Each at its offset in the row.
    InRow(&'a [u8]),
    /// Back to back.
    Packed(&'a [u8]),
}

impl<'a> KeyRef<'a> {
    /// Reads `bytes` as a key of `schema`: the key's fields back to back.
    ///
    /// # Errors
    ///
    /// [`Error::WrongLength`] if there are not [`Schema::key_size`] of them.
    pub fn new(schema: &'a Schema, bytes: &'a [u8]) -> Result<KeyRef<'a>> {
        check_length("key", bytes, schema.key_size())?;
        Ok(KeyRef {
            schema,
            bytes: KeyBytes::Packed(bytes),
        })
    }

    /// The names and values of the key's fields, in the key's order.
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

    /// The key's bytes: its fields back to back.
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

fn check_length(what: &'static str, bytes: &[u8], expected: usize) -> Result<()> {
    if bytes.len() == expected {
        return Ok(());
    }
    Err(Error::WrongLength {
        table: "(not known here)".to_owned(),
        what,
        length: bytes.len(),
        expected,
    })
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
