//! Converts rows between schemas, so that a table keeps its rows when its schema changes.

use std::ops::Range;

use super::{Field, Kind, Schema};
use crate::{Error, Result};

/// A conversion of rows from one schema to another. A field is copied to the new field of the same
/// name if that field has the same kind, or if both are texts and the new one is at least as wide.
/// All other bytes of the new row are zero.
///
/// ```
/// use common::schema::{Conversion, Schema};
///
/// let old = Schema::parse("id:u16,name:text(8)", None)?;
/// let new = Schema::parse("id:u16,size:u16,name:text(16)", None)?;
/// let conversion = Conversion::between(&old, &new).unwrap();
/// assert!(conversion.is_lossless());
/// let mut row = [0xff; 20];
/// conversion.convert(b"\x07\0Tablecas", &mut row);
/// assert_eq!(&row, b"\x07\0\0\0Tablecas\0\0\0\0\0\0\0\0");
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conversion {
    copied: Vec<Copied>,
    lost: Vec<String>,
}

/// A field that is copied from an old row to a new one.
#[derive(Clone, Debug)]
struct Copied {
    name: String,
    from: Range<usize>,
    to: Range<usize>,
}

impl Copied {
    fn new(from: &Field, to: &Field) -> Copied {
        Copied { name: to.name.clone(), from: from.range(), to: to.range() }
    }
}

impl Conversion {
    /// Returns the conversion of rows of a table to rows of `own`, if the schemas differ only in
    /// the widths of their texts. [`try_convert`](Self::try_convert) checks that each text fits.
    pub(crate) fn by_width(table: &Schema, own: &Schema) -> Option<Conversion> {
        let is_text = |kind| matches!(kind, Kind::Text(_));
        let matches = |(from, to): (&Field, &Field)| {
            let same_kind = from.kind == to.kind || (is_text(from.kind) && is_text(to.kind));
            from.name == to.name && same_kind
        };
        let fields = table.fields.iter().zip(&own.fields);
        let same_fields = table.fields.len() == own.fields.len() && fields.clone().all(matches);
        (same_fields && table.key == own.key).then(|| Conversion {
            copied: fields.map(|(from, to)| Copied::new(from, to)).collect(),
            lost: Vec::new(),
        })
    }

    /// Converts `old_row` into `new_row` as [`convert`](Self::convert) does, if every text fits.
    ///
    /// # Errors
    /// [`Error::TextTooLong`] with the name of the field if a text does not fit.
    pub(crate) fn try_convert(&self, old_row: &[u8], new_row: &mut [u8]) -> Result<()> {
        for Copied { name, from, to } in &self.copied {
            let capacity = to.len();
            if from.len() > capacity {
                let text = &old_row[from.clone()];
                let length = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
                if length > capacity {
                    return Err(Error::TextTooLong { field: name.clone(), length, capacity });
                }
            }
        }
        self.convert(old_row, new_row);
        Ok(())
    }

    /// Returns the conversion of rows of `old` to rows of `new`, or `None` if it would lose keys:
    /// the key must have the same fields in the same order, of the same kinds or wider texts.
    #[must_use]
    pub fn between(old: &Schema, new: &Schema) -> Option<Conversion> {
        let mut keys = old.key_fields().zip(new.key_fields());
        let fits_key = |(a, b): (&Field, &Field)| a.name == b.name && fits(a.kind, b.kind);
        if old.key.len() != new.key.len() || !keys.all(fits_key) {
            return None;
        }
        let mut conversion = Conversion { copied: Vec::new(), lost: Vec::new() };
        for field in &old.fields {
            match new.field(&field.name) {
                Some((_, to)) if fits(field.kind, to.kind) => {
                    conversion.copied.push(Copied::new(field, to));
                }
                _ => conversion.lost.push(field.name.clone()),
            }
        }
        Some(conversion)
    }

    /// Converts `old_row` into `new_row`. Fields that are not copied from the old row become zero.
    /// Panics if a row is shorter than its schema's row size.
    pub fn convert(&self, old_row: &[u8], new_row: &mut [u8]) {
        new_row.fill(0);
        for Copied { from, to, .. } in &self.copied {
            let length = from.len().min(to.len());
            new_row[to.start..][..length].copy_from_slice(&old_row[from.start..][..length]);
        }
    }

    /// Returns true if the new schema keeps every field of the old one.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        self.lost.is_empty()
    }

    /// Returns the fields of the old schema whose values are lost.
    #[must_use]
    pub fn lost(&self) -> &[String] {
        &self.lost
    }
}

/// Returns true if bytes of kind `old`, followed by zeros, are the same value of kind `new`.
fn fits(old: Kind, new: Kind) -> bool {
    match (old, new) {
        (Kind::Text(narrow), Kind::Text(wide)) => narrow <= wide,
        _ => old == new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(old: &str, new: &str, key: &str) -> Option<Conversion> {
        Conversion::between(
            &Schema::parse(old, Some(key)).unwrap(),
            &Schema::parse(new, Some(key)).unwrap(),
        )
    }

    #[test]
    fn fields_are_matched_by_name_and_the_rest_is_zero() {
        let conversion =
            between("id:u8,a:u16,b:u8,c:f32", "b:u8,id:u8,a:u32,d:u8,c:f32", "id").unwrap();
        assert!(!conversion.is_lossless(), "a has another kind");
        let mut row = [0xff; 16];
        conversion.convert(&[1, 0xee, 2, 3, 4, 0xee, 0xee, 0xee, 5, 6, 7, 8], &mut row);
        assert_eq!(row, [4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8]);
    }

    #[test]
    fn conversion_requires_the_same_key() {
        assert!(between("id:u64,a:u8", "id:u32,a:u8", "id").is_none());
        assert!(between("id:text(8),a:u8", "id:text(4),a:u8", "id").is_none());
        assert!(between("id:text(8),a:u8", "id:text(9)", "id").is_some());
        let old = Schema::parse("a:u8,b:u8", Some("a,b")).unwrap();
        for key in ["b,a", "a", "b"] {
            assert!(
                Conversion::between(&old, &Schema::parse("a:u8,b:u8", Some(key)).unwrap())
                    .is_none()
            );
        }
    }

    #[test]
    fn rows_are_read_at_another_width_if_every_text_fits() {
        let schema = |fields| Schema::parse(fields, Some("id")).unwrap();
        let table = schema("name:text(6),id:u16,note:text(2)");
        let own = schema("name:text(3),id:u16,note:text(4)");
        let conversion = Conversion::by_width(&table, &own).unwrap();
        let mut row = [0xff; 10];
        let converted = conversion.try_convert(b"abc\0\0\0\x07\0xy", &mut row);
        assert!(converted.is_ok());
        assert_eq!(&row, b"abc\0\x07\0xy\0\0");
        let refused = conversion.try_convert(b"abcde\0\x07\0xy", &mut row);
        match refused.unwrap_err() {
            Error::TextTooLong { field, length: 5, capacity: 3 } => assert_eq!(field, "name"),
            error => panic!("{error}"),
        }
        for other in [
            "name:text(6),id:u32,note:text(2)",
            "name:text(6),id:u16",
            "name:text(6),id:u16,note:text(2),more:u8",
            "name:text(6),id:u16,other:text(2)",
            "id:u16,name:text(6),note:text(2)",
        ] {
            assert!(Conversion::by_width(&table, &schema(other)).is_none());
        }
    }

    #[test]
    fn narrower_text_is_dropped_and_not_truncated() {
        let conversion = between("id:u8,name:text(4)", "id:u8,name:text(3)", "id").unwrap();
        assert!(!conversion.is_lossless());
        let mut row = [0xff; 4];
        conversion.convert(b"\x01abcd", &mut row);
        assert_eq!(row, [1, 0, 0, 0]);
    }
}
