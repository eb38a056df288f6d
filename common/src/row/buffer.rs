//! A row that is filled field by field.

use std::fmt;
use std::sync::Arc;

use bytemuck::{cast_slice, cast_slice_mut};
use serde::{Serialize, Serializer};
use serde_json::Map;

use crate::row::value::{in_field, refused};
use crate::{Kind, Result, RowRef, Schema, Value};

/// An owned row. It is stored in words of 8 bytes, so its bytes are aligned for every
/// [`Row`](crate::Row).
///
/// ```
/// use std::sync::Arc;
/// use common::{RowBuf, Schema, Value};
///
/// let schema = Arc::new(Schema::parse("id:u16,name:text(8),price:f64", None)?);
/// let mut row = RowBuf::new(schema);
/// row.set(0, Value::U64(7))?;
/// row.set_text(1, "a name")?;
/// row.set_json(2, &serde_json::json!(9.5))?;
/// assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"id":7,"name":"a name","price":9.5}"#);
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RowBuf {
    schema: Arc<Schema>,
    words: Vec<u64>,
}

impl RowBuf {
    /// Creates a row of zeros: every number is 0, every text empty.
    #[must_use]
    pub fn new(schema: Arc<Schema>) -> RowBuf {
        let words = vec![0; schema.row_words()];
        RowBuf { schema, words }
    }

    /// Creates a row from its bytes.
    ///
    /// # Errors
    /// [`Error::WrongLength`](crate::Error::WrongLength) if the number of bytes is not
    /// [`Schema::row_size`].
    pub fn from_bytes(schema: Arc<Schema>, bytes: &[u8]) -> Result<RowBuf> {
        RowRef::new(&schema, bytes)?;
        let mut row = RowBuf::new(schema);
        cast_slice_mut(&mut row.words)[..bytes.len()].copy_from_slice(bytes);
        Ok(row)
    }

    /// Reads a row from a JSON object that has a member for each field.
    ///
    /// # Errors
    /// [`Error::InvalidValue`](crate::Error::InvalidValue) for a field that is missing, unknown, or
    /// cannot hold its value; [`Error::TextTooLong`](crate::Error::TextTooLong).
    pub fn from_json(
        schema: &Arc<Schema>,
        object: &Map<String, serde_json::Value>,
    ) -> Result<RowBuf> {
        let mut row = RowBuf::new(Arc::clone(schema));
        for (index, field) in schema.fields().iter().enumerate() {
            let Some(json) = object.get(field.name()) else {
                let reason = "it is missing, and every field is required";
                return Err(refused(field.name(), "nothing", reason));
            };
            row.set_json(index, json)?;
        }
        // All fields of the schema were found, so an object with this number of members has no
        // others.
        if object.len() > schema.fields().len()
            && let Some((name, json)) = object.iter().find(|(name, _)| schema.field(name).is_none())
        {
            let reason = format!("there is no such field; the fields are {schema}");
            return Err(refused(name, &json.to_string(), reason));
        }
        Ok(row)
    }

    /// Returns the schema.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns a view of the row. (The trait `AsRef` returns a reference, and this view is a value
    /// that also contains the schema.)
    #[must_use]
    pub fn as_ref(&self) -> RowRef<'_> {
        RowRef::new(&self.schema, self.bytes()).expect("made of the schema's size")
    }

    /// Returns the row's [`Schema::row_size`] bytes.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &cast_slice(&self.words)[..self.schema.row_size()]
    }

    /// Returns the row's words. Bytes of the last word after the row are zero.
    #[must_use]
    #[inline]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Returns the row's words, to fill them with a row of the same schema.
    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Sets field `index`. Panics if the schema has no such field.
    ///
    /// # Errors
    /// The errors of [`Value::encode`], with the field's name. The row is then unchanged.
    pub fn set(&mut self, index: usize, value: Value<'_>) -> Result<()> {
        self.set_read(index, |_| Ok(value))
    }

    /// Sets field `index` from text, as in a cell of CSV. Panics if the schema has no such field.
    ///
    /// # Errors
    /// The errors of [`Value::parse`], with the field's name. The row is then unchanged.
    pub fn set_text(&mut self, index: usize, text: &str) -> Result<()> {
        self.set_read(index, |kind| Value::parse(kind, text))
    }

    /// Sets field `index` from JSON. Panics if the schema has no such field.
    ///
    /// # Errors
    /// The errors of [`Value::from_json`], with the field's name. The row is then unchanged.
    pub fn set_json(&mut self, index: usize, json: &serde_json::Value) -> Result<()> {
        self.set_read(index, |kind| Value::from_json(kind, json))
    }

    /// Returns the bytes of the row's key: its fields without gaps.
    #[must_use]
    pub fn key_bytes(&self) -> Vec<u8> {
        self.as_ref().key().to_bytes()
    }

    /// Sets field `index` to the value that `read` returns for its kind.
    fn set_read<'v>(
        &mut self,
        index: usize,
        read: impl FnOnce(Kind) -> Result<Value<'v>>,
    ) -> Result<()> {
        let field = &self.schema.fields()[index];
        let out = &mut cast_slice_mut(&mut self.words)[field.range()];
        in_field(field.name(), read(field.kind()).and_then(|value| value.encode(field.kind(), out)))
    }
}

impl fmt::Debug for RowBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl Serialize for RowBuf {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.as_ref().serialize(serializer)
    }
}
