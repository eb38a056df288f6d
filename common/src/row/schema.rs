//! What a row is: fields of fixed width at fixed places, and which of them are the key.
//!
//! ```text
//! u64 id | text(6) name |  | f64 price        the schema  id:u64,name:text(6),price:f64  with the key  name,id
//! 0      8             14 16         24
//! [------][------------][  ][--------]        row:  as `repr(C)` lays it out, little-endian, padding zero
//!         [------------][------]              key:  the key's fields in the key's order, back to back
//! ```
//!
//! A schema is checked once, when it is made, and never changes: whoever holds one may rely on its fields lying
//! within the row, apart from each other, under names that differ. That also holds for a schema that was read
//! from another process ([`Schema::from_bytes`] trusts nothing).
//!
//! Not for: nested or optional values, or rows of varying width.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, Row};

mod conversion;
mod difference;
mod key;
mod key_text;
mod kind;
mod wire;

pub use conversion::Conversion;
pub(crate) use key_text::quoted;
pub use kind::Kind;

/// The most fields that a schema has.
pub const MAX_FIELDS: usize = 256;

/// The longest name of a field, in bytes of UTF-8.
pub const MAX_FIELD_NAME: usize = 64;

/// The largest row, in bytes.
pub const MAX_ROW_SIZE: usize = 65_536;

/// The largest key, in bytes.
pub const MAX_KEY_SIZE: usize = 1024;

/// The largest schema as [`Schema::to_bytes`] writes it, in bytes.
pub const MAX_SCHEMA_SIZE: usize = 64 * 1024;

/// One field of a row: its name, its kind, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    name: String,
    kind: Kind,
    offset: usize,
}

impl Field {
    /// The name: 1 to 64 bytes of UTF-8 without control characters, commas and colons.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the field holds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the field starts, in bytes from the start of the row.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The field's bytes within a row, from its offset to its end.
    #[must_use]
    #[inline]
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.kind.size()
    }
}

/// What a row is: its fields in order, its key, its size.
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
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "wire::Wire", try_from = "wire::Wire")]
pub struct Schema {
    fields: Vec<Field>,
    key: Vec<usize>,
    row_size: usize,
    key_parts: Vec<Range<usize>>,
    key_size: usize,
}

impl Schema {
    /// Lays out `fields` in the given order as `repr(C)` does: each at its natural alignment, the row's size
    /// rounded up to the greatest of them. `key` names the key's fields in the key's order; empty means the first
    /// field.
    ///
    /// ```
    /// use common::{Kind, Schema};
    ///
    /// let schema = Schema::new([("id", Kind::U16), ("price", Kind::F64)], &[])?;
    /// assert_eq!(schema.field("price").map(|(_, field)| field.offset()), Some(8)); // aligned, as in `repr(C)`
    /// assert_eq!(schema, Schema::parse("id:u16,price:f64", None)?);
    /// # Ok::<(), common::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSchema`] if there are no fields, too many, a name that cannot be or comes twice, a key that
    /// names no field or a float, or a row, key or schema beyond the limits of this module.
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
            placed.push(Field {
                name: name.into(),
                kind,
                offset,
            });
        }
        let key = if key.is_empty() {
            vec![0]
        } else {
            key_indexes(&placed, key)?
        };
        Schema::checked(placed, key, end.next_multiple_of(row_align))
    }

    /// The schema of a type that has `#[derive(Row)]`.
    ///
    /// # Errors
    ///
    /// As [`Schema::new`]; most of it cannot happen to a derived type.
    pub fn of<R: Row>() -> Result<Schema> {
        let fields = R::FIELDS
            .iter()
            .map(|field| Field {
                name: field.name.to_owned(),
                kind: field.kind,
                offset: field.offset,
            })
            .collect();
        Schema::checked(fields, R::KEY.to_vec(), size_of::<R>())
    }

    /// Reads a schema as it is written on a command line: `id:u64,name:text(32),price:f64`, and the key as
    /// `id,name`. Without `key` the first field is the key. Spaces around names and kinds are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSchema`] as [`Schema::new`], and for a field without a kind or with an unknown one.
    pub fn parse(fields: &str, key: Option<&str>) -> Result<Schema> {
        let mut named = Vec::new();
        for field in fields.split(',') {
            let Some((name, kind)) = field.split_once(':') else {
                return invalid(format!(
                    "{field:?} is no field: write NAME:KIND, as in id:u64,name:text(32)"
                ));
            };
            named.push((name.trim(), kind.trim().parse()?));
        }
        let key: Vec<&str> = key
            .map(|key| key.split(',').map(str::trim).collect())
            .unwrap_or_default();
        Schema::new(named, &key)
    }

    /// The fields in their order.
    #[must_use]
    #[inline]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field of that name and its index.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields
            .iter()
            .enumerate()
            .find(|(_, field)| field.name == name)
    }

    /// The key's fields in the key's order.
    pub fn key_fields(&self) -> impl Iterator<Item = &Field> {
        self.key.iter().map(|&index| &self.fields[index])
    }

    /// The size of a row, in bytes.
    #[must_use]
    #[inline]
    pub fn row_size(&self) -> usize {
        self.row_size
    }

    /// The size of a row in words of 8 bytes, the last of them perhaps not full.
    #[must_use]
    #[inline]
    pub fn row_words(&self) -> usize {
        self.row_size.div_ceil(size_of::<u64>())
    }

    /// The size of a key, in bytes: its fields back to back.
    #[must_use]
    #[inline]
    pub fn key_size(&self) -> usize {
        self.key_size
    }

    /// The one way to a `Schema`: everything that the others rely on is checked here.
    fn checked(fields: Vec<Field>, key: Vec<usize>, row_size: usize) -> Result<Schema> {
        if fields.is_empty() || fields.len() > MAX_FIELDS {
            return invalid(format!("it needs 1 to {MAX_FIELDS} fields"));
        }
        let mut names = HashSet::new();
        for field in &fields {
            check_name(&field.name)?;
            field.kind.check()?;
            if !names.insert(field.name.as_str()) {
                return invalid(format!("the name {:?} comes twice", field.name));
            }
        }
        if row_size > MAX_ROW_SIZE {
            return invalid(format!(
                "a row of {row_size} bytes is larger than {MAX_ROW_SIZE}: use shorter texts"
            ));
        }
        check_places(&fields, row_size)?;
        let (key_parts, key_size) = key::parts(&fields, &key)?;
        let schema = Schema {
            fields,
            key,
            row_size,
            key_parts,
            key_size,
        };
        if schema.to_bytes().len() > MAX_SCHEMA_SIZE {
            return invalid(format!(
                "its names take more than {MAX_SCHEMA_SIZE} bytes: use shorter ones"
            ));
        }
        Ok(schema)
    }
}

/// The fields as [`Schema::parse`] reads them: `id:u64,name:text(32)`.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, field) in self.fields.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}", field.name, field.kind)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema")
            .field("fields", &self.fields)
            .field(
                "key",
                &self.key_fields().map(Field::name).collect::<Vec<_>>(),
            )
            .field("row_size", &self.row_size)
            .finish_non_exhaustive()
    }
}

/// An [`Error::InvalidSchema`] as a result.
fn invalid<T>(reason: String) -> Result<T> {
    Err(Error::InvalidSchema { reason })
}

/// Where the names of a key stand among the fields.
fn key_indexes(fields: &[Field], names: &[impl AsRef<str>]) -> Result<Vec<usize>> {
    // First, as a hostile schema can name very many.
    if names.len() > fields.len() {
        return invalid(format!(
            "the key names {} fields of {}",
            names.len(),
            fields.len()
        ));
    }
    let index_of = |name: &str| match fields.iter().position(|field| field.name == name) {
        Some(index) => Ok(index),
        None => invalid(format!(
            "the key names {name:?}, which is none of its fields"
        )),
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
        "{name:?} is no name for a field: use 1 to {MAX_FIELD_NAME} bytes without control characters, commas \
         and colons"
    ))
}

/// Every field lies within the row and none lies over another.
fn check_places(fields: &[Field], row_size: usize) -> Result<()> {
    let mut in_place: Vec<&Field> = fields.iter().collect();
    in_place.sort_by_key(|field| field.offset);
    let mut taken = 0;
    for field in in_place {
        if field.offset < taken {
            return invalid(format!("field {:?} lies over another", field.name));
        }
        taken = match field.offset.checked_add(field.kind.size()) {
            Some(end) if end <= row_size => end,
            _ => {
                return invalid(format!(
                    "field {:?} ends beyond the row of {row_size} bytes",
                    field.name
                ));
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests;
