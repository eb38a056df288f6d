//! Rows of an old schema as rows of a new one: how a table keeps its rows when its schema changes.

use std::ops::Range;

use super::{Field, Kind, Schema};
use crate::row::RowRef;
use crate::value::Value;

/// How rows of one schema become rows of another: fields are matched by name, and copied where the kind is the
/// same or a text that got wider. All else is zero in the new row.
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
    runs: Vec<Run>,
    lost: Vec<String>,
    /// Indexes, in the old and in the new schema, of the fields that kept their name and could not be copied.
    retyped: Vec<[usize; 2]>,
}

/// Bytes of an old row that go to a new one as they are.
#[derive(Clone, Debug)]
struct Run {
    from: Range<usize>,
    to: Range<usize>,
}

impl Conversion {
    /// The conversion of rows of `old` to rows of `new`, or `None` if they would lose their keys: the key must
    /// have the same fields in the same order, of the same kinds or wider texts.
    #[must_use]
    pub fn between(old: &Schema, new: &Schema) -> Option<Conversion> {
        let same_key = old.key.len() == new.key.len()
            && old
                .key_fields()
                .zip(new.key_fields())
                .all(|(a, b)| a.name == b.name && fits(a.kind, b.kind));
        if !same_key {
            return None;
        }
        let (mut runs, mut lost, mut retyped) = (Vec::new(), Vec::new(), Vec::new());
        for (index, field) in old.fields.iter().enumerate() {
            match run_of(field, new) {
                Some(run) => runs.push(run),
                None => {
                    lost.push(field.name.clone());
                    retyped.extend(new.field(&field.name).map(|(now, _)| [index, now]));
                }
            }
        }
        Some(Conversion {
            runs,
            lost,
            retyped,
        })
    }

    /// Writes `old_row` to `new_row` as a row of the new schema; what the old one has not becomes zero.
    ///
    /// # Panics
    ///
    /// If a row is shorter than its schema says.
    pub fn convert(&self, old_row: &[u8], new_row: &mut [u8]) {
        new_row.fill(0);
        for Run { from, to } in &self.runs {
            new_row[to.clone()].copy_from_slice(&old_row[from.clone()]);
        }
    }

    /// Returns true if the new row holds the values of the old one. `converted` is the old row, converted to the new schema.
    ///
    /// A field that only one of the schemas has counts as zero in the other. A field whose kind changed holds another
    /// value, also where both values are zero: it was 0 and is now an empty text, say. Only texts are compared across
    /// widths.
    pub(crate) fn same_values(
        &self,
        old: RowRef<'_>,
        converted: &mut [u8],
        new: RowRef<'_>,
    ) -> bool {
        let same_text = |[before, now]: &[usize; 2]| match (old.value(*before), new.value(*now)) {
            (Value::Text(before), Value::Text(now)) => before == now,
            _ => false,
        };
        if !self.retyped.iter().all(same_text) {
            return false;
        }
        for [_, now] in &self.retyped {
            let range = new.schema().fields()[*now].range();
            converted[range.clone()].copy_from_slice(&new.bytes()[range]);
        }
        converted == new.bytes()
    }

    /// Whether every field of the old schema lives on in the new one.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        self.lost.is_empty()
    }

    /// The fields of the old schema whose values the new one has no room for.
    #[must_use]
    pub fn lost(&self) -> &[String] {
        &self.lost
    }
}

/// Where the bytes of an old field go, if the new schema has a field for them.
fn run_of(field: &Field, new: &Schema) -> Option<Run> {
    let (_, target) = new.field(&field.name)?;
    let to = target.offset..target.offset + field.kind.size();
    fits(field.kind, target.kind).then(|| Run {
        from: field.range(),
        to,
    })
}

/// Whether bytes of kind `old`, zeros behind them, mean the same as kind `new`.
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
    fn fields_move_by_name_and_the_rest_is_zero() {
        let conversion = between(
            "id:u8,a:u16,b:u8,c:f32",
            "b:u8,id:u8,a:u32,d:u8,c:f32",
            "id",
        )
        .unwrap();
        assert!(!conversion.is_lossless(), "a has another kind");
        let mut row = [0xff; 16];
        conversion.convert(&[1, 0xee, 2, 3, 4, 0xee, 0xee, 0xee, 5, 6, 7, 8], &mut row);
        assert_eq!(row, [4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8]);
    }

    #[test]
    fn a_key_must_live_on() {
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
    fn a_narrower_text_is_dropped_and_not_cut() {
        let conversion = between("id:u8,name:text(4)", "id:u8,name:text(3)", "id").unwrap();
        assert!(!conversion.is_lossless());
        let mut row = [0xff; 4];
        conversion.convert(b"\x01abcd", &mut row);
        assert_eq!(row, [1, 0, 0, 0]);
    }
}
