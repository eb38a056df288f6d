//! The schema of a table: fields of fixed width at fixed offsets, and the fields that form the key.
//!
//! ```text
//! u64 id | text(6) name |  | f64 price        the schema  id:u64,name:text(6),price:f64  with the key  name,id
//! 0      8             14 16         24
//! [------][------------][  ][--------]        row:  as `repr(C)` lays it out, little-endian, padding zero
//!         [------------][------]              key:  the key's fields in the key's order, back to back
//! ```
//!
//! A schema is validated when it is created and never changes: its fields are within the row, do
//! not overlap, and have different names. This also holds for a schema that was read from another
//! process ([`Schema::from_bytes`]).
//!
//! Nested and optional values, and rows of varying width, are not supported.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::{Error, FieldDef, Result, Row};

mod conversion;
mod key;
mod key_text;
mod kind;

pub use conversion::Conversion;
pub(crate) use key_text::quoted;
pub use kind::Kind;
#[cfg(test)]
pub(crate) use kind::NAMES as KIND_NAMES;

/// Maximum number of fields of a schema.
pub const MAX_FIELDS: usize = 256;

/// Maximum length of a field's name, in bytes of UTF-8.
pub const MAX_FIELD_NAME: usize = 64;

/// Maximum size of a row, in bytes.
pub const MAX_ROW_SIZE: usize = 65_536;

/// Maximum size of a key, in bytes.
pub const MAX_KEY_SIZE: usize = 1024;

/// Maximum size of an encoded schema ([`Schema::to_bytes`]), in bytes.
pub const MAX_SCHEMA_SIZE: usize = 64 * 1024;

/// One field of a row: name, kind and offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    name: String,
    kind: Kind,
    offset: usize,
}

impl Field {
    /// Returns the name: 1 to 64 bytes of UTF-8 without control characters, commas or colons.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the kind of value that the field holds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the field's offset, in bytes from the start of the row.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Returns the range of the field's bytes within a row.
    #[must_use]
    #[inline]
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.kind.size()
    }
}

/// The fields of a row in order, its key and its size.
///
/// ```
/// use common::Schema;
///
/// let schema = Schema::parse("id:u64,name:text(32),price:f64", Some("name,id"))?;
/// assert_eq!(schema.row_size(), 48);
/// assert_eq!(schema.key_size(), 40);
/// assert_eq!(schema.to_string(), "id:u64,name:text(32),price:f64");
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wire")]
pub struct Schema {
    fields: Vec<Field>,
    key: Vec<usize>,
    row_size: usize,
    key_parts: Vec<Range<usize>>,
    key_size: usize,
}

impl Schema {
    /// Creates a schema of `fields`, laid out in the given order as `repr(C)` does: each at its
    /// natural alignment, with the row's size rounded up to the largest alignment. `key` names the
    /// key's fields in the key's order; if it is empty, the first field is the key.
    ///
    /// # Errors
    /// [`Error::InvalidSchema`] if there are no fields or too many, a name is invalid or duplicate,
    /// the key names an unknown field or a float, or the row, key or schema exceeds a limit of this
    /// module.
    pub fn new(
        fields: impl IntoIterator<Item = (impl Into<String>, Kind)>,
        key: &[&str],
    ) -> Result<Schema> {
        let mut placed = Vec::new();
        let mut end = 0;
        let mut row_align = 1;
        for (name, kind) in fields.into_iter().take(MAX_FIELDS + 1) {
            let offset = usize::next_multiple_of(end, kind.align());
            end = offset + kind.size();
            row_align = row_align.max(kind.align());
            placed.push(Field { name: name.into(), kind, offset });
        }
        let key = if key.is_empty() { vec![0] } else { key_indexes(&placed, key)? };
        Schema::checked(placed, key, end.next_multiple_of(row_align))
    }

    /// Returns the schema of a type with `#[derive(Row)]`.
    ///
    /// # Errors
    /// The errors of [`Schema::new`], most of which cannot occur for a derived type.
    pub fn of<R: Row>() -> Result<Schema> {
        let field = |&FieldDef { name, kind, offset }: &FieldDef| Field {
            name: name.to_owned(),
            kind,
            offset,
        };
        Schema::checked(R::FIELDS.iter().map(field).collect(), R::KEY.to_vec(), size_of::<R>())
    }

    /// Parses a schema such as `id:u64,name:text(32),price:f64`, and a key such as `id,name`.
    /// Without `key` the first field is the key. Spaces around names and kinds are ignored.
    ///
    /// # Errors
    /// The errors of [`Schema::new`], and [`Error::InvalidSchema`] for a missing or unknown kind.
    pub fn parse(fields: &str, key: Option<&str>) -> Result<Schema> {
        let mut named = Vec::new();
        for field in fields.split(',') {
            let Some((name, kind)) = field.split_once(':') else {
                let how = "write NAME:KIND, as in id:u64,name:text(32)";
                return invalid(format!("{field:?} is not a field: {how}"));
            };
            named.push((name.trim(), kind.trim().parse()?));
        }
        let key: Vec<&str> =
            key.into_iter().flat_map(|key| key.split(',')).map(str::trim).collect();
        Schema::new(named, &key)
    }

    /// Returns the fields in order.
    #[must_use]
    #[inline]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Returns the field with this name, and its index.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.name == name)
    }

    /// Iterates over the key's fields in the key's order.
    pub fn key_fields(&self) -> impl Iterator<Item = &Field> {
        self.key.iter().map(|&index| &self.fields[index])
    }

    /// Returns the size of a row, in bytes.
    #[must_use]
    #[inline]
    pub fn row_size(&self) -> usize {
        self.row_size
    }

    /// Returns the size of a row in words of 8 bytes. The last word may be partly unused.
    #[must_use]
    #[inline]
    pub fn row_words(&self) -> usize {
        self.row_size.div_ceil(size_of::<u64>())
    }

    /// Returns the size of a key, in bytes: its fields without gaps.
    #[must_use]
    #[inline]
    pub fn key_size(&self) -> usize {
        self.key_size
    }

    /// Encodes the schema as compact JSON of at most [`MAX_SCHEMA_SIZE`] bytes. Equal schemas have
    /// equal encodings.
    ///
    /// ```
    /// let schema = common::Schema::parse("pid:u32", None)?;
    /// let json = r#"{"fields":[{"name":"pid","kind":"u32","offset":0}],"key":["pid"],"row_size":4}"#;
    /// assert_eq!(schema.to_bytes(), json.as_bytes());
    /// # Ok::<(), common::Error>(())
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always become JSON")
    }

    /// Decodes a schema that [`Schema::to_bytes`] encoded. The bytes are not trusted: everything is
    /// validated, and memory is bounded by a small multiple of [`MAX_SCHEMA_SIZE`].
    ///
    /// # Errors
    /// [`Error::InvalidSchema`], with the reason.
    pub fn from_bytes(bytes: &[u8]) -> Result<Schema> {
        if bytes.len() > MAX_SCHEMA_SIZE {
            let size = bytes.len();
            return invalid(format!("its encoding has {size} bytes, more than {MAX_SCHEMA_SIZE}"));
        }
        serde_json::from_slice(bytes)
            .or_else(|error| invalid(format!("its encoding is invalid: {error}")))
            .and_then(Wire::try_into)
    }

    /// Returns a hash of the schema: FNV-1a (64 bits) over [`Schema::to_bytes`]. It does not
    /// protect against deliberate collisions.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.to_bytes())
    }

    /// Describes the first difference between this schema, of this program, and `found`, of a
    /// table. Returns `None` if they are equal.
    #[must_use]
    pub fn difference(&self, found: &Schema) -> Option<String> {
        if self == found {
            return None;
        }
        if let Some(text) = self.fields.iter().find_map(|field| field_difference(field, found)) {
            return Some(text);
        }
        if let Some(extra) = found.fields.iter().find(|field| self.field(&field.name).is_none()) {
            return Some(format!("field {:?} is in the table and not in this program", extra.name));
        }
        let (key, found_key) = (self.key_names(), found.key_names());
        let (size, found_size) = (self.row_size, found.row_size);
        Some(if key != found_key {
            format!("the key is {found_key:?} in the table and {key:?} in this program")
        } else if size != found_size {
            format!("a row has {found_size} bytes in the table and {size} in this program")
        } else {
            let (fields, found_fields) = (self.to_string(), found.to_string());
            format!(
                "the order of fields is {found_fields:?} in the table and {fields:?} in this program"
            )
        })
    }

    /// Returns the names of the key's fields, joined by commas, which names cannot contain.
    pub(crate) fn key_names(&self) -> String {
        self.key_fields().map(Field::name).collect::<Vec<_>>().join(",")
    }

    /// Validates a schema. Called by every constructor.
    fn checked(fields: Vec<Field>, key: Vec<usize>, row_size: usize) -> Result<Schema> {
        if fields.is_empty() || fields.len() > MAX_FIELDS {
            return invalid(format!("it needs 1 to {MAX_FIELDS} fields"));
        }
        let mut names = BTreeSet::new();
        for field in &fields {
            check_name(&field.name)?;
            field.kind.check()?;
            if !names.insert(field.name.as_str()) {
                return invalid(format!("duplicate field name {:?}", field.name));
            }
        }
        if row_size > MAX_ROW_SIZE {
            return invalid(format!(
                "a row of {row_size} bytes is larger than {MAX_ROW_SIZE}: use shorter texts"
            ));
        }
        check_places(&fields, row_size)?;
        let (key_parts, key_size) = key::parts(&fields, &key)?;
        let schema = Schema { fields, key, row_size, key_parts, key_size };
        if schema.to_bytes().len() > MAX_SCHEMA_SIZE {
            return invalid(format!(
                "its field names take more than {MAX_SCHEMA_SIZE} bytes: use shorter names"
            ));
        }
        Ok(schema)
    }
}

/// Returns the fingerprint of a schema from its encoding.
pub(crate) fn fingerprint(encoding: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    encoding.iter().fold(OFFSET_BASIS, add)
}

/// The JSON form: `{"fields":[{"name":"pid","kind":"u32","offset":0}],"key":["pid"],"row_size":4}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    fields: Vec<Field>,
    key: Vec<String>,
    row_size: usize,
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut wire = serializer.serialize_struct("Wire", 3)?;
        wire.serialize_field("fields", &self.fields)?;
        wire.serialize_field("key", &Vec::from_iter(self.key_fields().map(Field::name)))?;
        wire.serialize_field("row_size", &self.row_size)?;
        wire.end()
    }
}

impl TryFrom<Wire> for Schema {
    type Error = Error;

    fn try_from(wire: Wire) -> Result<Schema> {
        let key = key_indexes(&wire.fields, &wire.key)?;
        Schema::checked(wire.fields, key, wire.row_size)
    }
}

/// Writes the fields in the form of [`Schema::parse`]: `id:u64,name:text(32)`.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, field) in self.fields.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}", field.name, field.kind)?;
        }
        Ok(())
    }
}

/// Returns an [`Error::InvalidSchema`].
fn invalid<T>(reason: String) -> Result<T> {
    Err(Error::InvalidSchema { reason })
}

/// Returns the indexes of the key's fields.
fn key_indexes(fields: &[Field], names: &[impl AsRef<str>]) -> Result<Vec<usize>> {
    // Check the number first, because a hostile schema can name a huge number of fields.
    if names.len() > fields.len() {
        return invalid(format!("the key names {} fields of {}", names.len(), fields.len()));
    }
    let index_of = |name: &str| match fields.iter().position(|field| field.name == name) {
        Some(index) => Ok(index),
        None => invalid(format!("the key names {name:?}, but there is no such field")),
    };
    names.iter().map(|name| index_of(name.as_ref())).collect()
}

fn check_name(name: &str) -> Result<()> {
    let length_fits = (1..=MAX_FIELD_NAME).contains(&name.len());
    let forbidden = |letter: char| letter.is_control() || letter == ',' || letter == ':';
    if length_fits && !name.contains(forbidden) {
        return Ok(());
    }
    invalid(format!(
        "{name:?} is not a valid field name: use 1 to {MAX_FIELD_NAME} bytes without control characters, commas \
         and colons"
    ))
}

/// Checks that every field is within the row and none overlaps another.
fn check_places(fields: &[Field], row_size: usize) -> Result<()> {
    let mut in_place: Vec<&Field> = fields.iter().collect();
    in_place.sort_by_key(|field| field.offset);
    let mut taken = 0;
    for field in in_place {
        if field.offset < taken {
            return invalid(format!("field {:?} overlaps another field", field.name));
        }
        taken = field.offset.saturating_add(field.kind.size());
        if taken > row_size {
            return invalid(format!(
                "field {:?} ends after the row's {row_size} bytes",
                field.name
            ));
        }
    }
    Ok(())
}

/// Describes how a field differs from the field of the same name in `found`.
fn field_difference(field: &Field, found: &Schema) -> Option<String> {
    let (name, kind, offset) = (&field.name, field.kind, field.offset);
    let Some((_, other)) = found.field(name) else {
        return Some(format!("field {name:?} is missing in the table"));
    };
    if other.kind != kind {
        let found = other.kind;
        return Some(format!("field {name:?} is {found} in the table and {kind} in this program"));
    }
    (other.offset != offset).then(|| {
        let found = other.offset;
        format!(
            "field {name:?} is at byte {found} in the table and at byte {offset} in this program"
        )
    })
}

#[cfg(test)]
mod tests;
