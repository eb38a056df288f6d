//! The schemas of the model-based test: rows of 8 to 1,024 bytes, some of them also as Rust types.

use std::sync::OnceLock;

use common::bytemuck::{Pod, Zeroable};
use common::{Kind, Row, Schema, Text};
use serde::{Deserialize, Serialize};

/// A row that consists only of its key.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct IdRow {
    #[row(key)]
    id: u64,
}

/// A row of two words.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct PairRow {
    #[row(key)]
    id: u64,
    value: u64,
}

/// A row whose size is not a multiple of a word.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct TwelveRow {
    #[row(key)]
    id: u32,
    value: u32,
    small: u32,
}

/// A row of 1,024 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct PageRow {
    #[row(key)]
    id: u64,
    value: u64,
    page: Text<1008>,
}

/// A schema of the test's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// The schema of [`IdRow`].
    Id,
    /// The schema of [`PairRow`].
    Pair,
    /// The fields of [`Shape::Pair`] in the other order.
    Swapped,
    /// [`Shape::Pair`] with another kind of value.
    Signed,
    /// [`Shape::Pair`] with a text in place of the value.
    Name,
    /// [`Shape::Name`] with a longer text and a value.
    LongName,
    /// Nine bytes, with a key of another kind.
    Nine,
    /// The schema of [`TwelveRow`].
    Twelve,
    /// The schema of [`PageRow`].
    Page,
}

/// Evaluates `$body` with `$row` as the Rust type of a shape's rows, or returns `None` if the shape
/// has no such type.
#[macro_export]
macro_rules! with_row_type {
    ($shape:expr, $row:ident => $body:expr) => {
        match $shape {
            $crate::model::shape::Shape::Id => {
                type $row = $crate::model::shape::IdRow;
                Some($body)
            }
            $crate::model::shape::Shape::Pair => {
                type $row = $crate::model::shape::PairRow;
                Some($body)
            }
            $crate::model::shape::Shape::Twelve => {
                type $row = $crate::model::shape::TwelveRow;
                Some($body)
            }
            $crate::model::shape::Shape::Page => {
                type $row = $crate::model::shape::PageRow;
                Some($body)
            }
            _ => None,
        }
    };
}

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 9] = [
        Self::Pair,
        Self::Id,
        Self::Swapped,
        Self::Signed,
        Self::Name,
        Self::LongName,
        Self::Nine,
        Self::Twelve,
        Self::Page,
    ];

    /// Returns the shape's schema.
    ///
    /// # Panics
    /// Never: the schemas are valid.
    pub fn schema(self) -> &'static Schema {
        static SCHEMAS: [OnceLock<Schema>; 9] = [const { OnceLock::new() }; 9];
        let fields = match self {
            Self::Id => "id:u64",
            Self::Pair => "id:u64,value:u64",
            Self::Swapped => "value:u64,id:u64",
            Self::Signed => "id:u64,value:i64",
            Self::Name => "id:u64,name:text(8)",
            Self::LongName => "id:u64,name:text(16),value:u64",
            Self::Nine => "id:ipv4,name:text(5)",
            Self::Twelve => "id:u32,value:u32,small:u32",
            Self::Page => "id:u64,value:u64,page:text(1008)",
        };
        let parse = || Schema::parse(fields, Some("id")).expect("a valid schema");
        SCHEMAS[self as usize].get_or_init(parse)
    }

    /// Returns the shape of a schema.
    ///
    /// # Panics
    /// If no shape has this schema.
    pub fn of(schema: &Schema) -> Self {
        let shape = Self::ALL.into_iter().find(|shape| shape.schema() == schema);
        shape.unwrap_or_else(|| panic!("no shape has the schema {schema}"))
    }

    /// Returns the row of a key and a value. Value 0 gives the content of a field that the schema
    /// before a conversion lacks.
    pub fn row(self, key: u64, value: u64) -> Vec<u8> {
        let schema = self.schema();
        let mut row = vec![0; schema.row_size()];
        for field in schema.fields() {
            let bytes = &mut row[field.range()];
            match field.kind() {
                Kind::Text(_) if value > 0 => {
                    let length = bytes.len() - value as usize % 3;
                    bytes[..length].fill(b'a' + (value % 26) as u8);
                }
                Kind::Text(_) => {}
                _ => {
                    let number = if field.name() == "id" { key } else { value };
                    let length = bytes.len();
                    bytes.copy_from_slice(&number.to_le_bytes()[..length]);
                }
            }
        }
        row
    }

    /// Returns the key's bytes in the library's form.
    pub fn key(self, key: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.schema().write_key(&self.row(key, 0), &mut bytes);
        bytes
    }

    /// Returns the number that is the key of a row.
    pub fn number(self, row: &[u8]) -> u64 {
        let (at, length) = match self {
            Self::Swapped => (8, 8),
            Self::Nine | Self::Twelve => (0, 4),
            _ => (0, 8),
        };
        let mut number = [0; 8];
        number[..length].copy_from_slice(&row[at..at + length]);
        u64::from_le_bytes(number)
    }

    /// Converts a row of this shape to a row of `new` as a publisher does: fields with the same
    /// name and kind keep their values, texts may become longer, and all other fields are zero.
    /// Returns `None` if the key has another kind.
    pub fn convert(self, row: &[u8], new: Self) -> Option<Vec<u8>> {
        self.converted(row, new, 0, |_, old, new| old <= new)
    }

    /// Returns the row of `new` with the same values, where a text may also fit into a shorter
    /// field. A text that is too long becomes bytes that are not a valid text.
    pub fn same_values(self, row: &[u8], new: Self) -> Option<Vec<u8>> {
        self.converted(row, new, u8::MAX, |text, _, new| {
            text.iter().skip(new).all(|byte| *byte == 0)
        })
    }

    fn converted(
        self,
        row: &[u8],
        new: Self,
        otherwise: u8,
        fits: impl Fn(&[u8], usize, usize) -> bool,
    ) -> Option<Vec<u8>> {
        let (old_schema, new_schema) = (self.schema(), new.schema());
        let kind_of_key = |schema: &Schema| schema.key_fields().next().map(|field| field.kind());
        if kind_of_key(old_schema) != kind_of_key(new_schema) {
            return None;
        }
        let mut converted = vec![0; new_schema.row_size()];
        for field in new_schema.fields() {
            let Some((_, old)) = old_schema.field(field.name()) else {
                continue;
            };
            let value = &row[old.range()];
            let keeps = match (old.kind(), field.kind()) {
                (Kind::Text(_), Kind::Text(_)) => {
                    let keeps = fits(value, value.len(), field.kind().size());
                    if !keeps {
                        converted[field.range()].fill(otherwise);
                    }
                    keeps
                }
                (old, new) => old == new,
            };
            if keeps {
                let length = value.len().min(field.kind().size());
                converted[field.offset()..][..length].copy_from_slice(&value[..length]);
            }
        }
        Some(converted)
    }

    /// Returns true if a field of both shapes has another kind in `new`, so that none of its values
    /// can be the same.
    pub fn retypes(self, new: Self) -> bool {
        let is_text = |kind| matches!(kind, Kind::Text(_));
        self.schema().fields().iter().any(|old| {
            let new = new.schema().field(old.name());
            new.is_some_and(|(_, new)| {
                old.kind() != new.kind() && !(is_text(old.kind()) && is_text(new.kind()))
            })
        })
    }
}
