//! The filter that is typed after `/`: a condition as in `--where`, or text that any shown cell
//! must contain.
//!
//! The input is a condition if it begins with a field's name followed by a blank or an operator. A
//! condition that is incomplete or wrong gives an error message. Text without capital letters
//! matches regardless of case.

use common::{RowRef, Schema};

use crate::cells::cell_with_unit;
use crate::select::{Condition, Filter, Projection};

pub enum Search {
    Condition(Filter),
    /// Text that any shown cell must contain.
    Text {
        text: String,
        ignores_case: bool,
    },
}

impl Search {
    /// Parses `typed`; `None` if it is empty. The error in a malformed condition is one line.
    pub fn read(typed: &str, schema: &Schema) -> Result<Option<Self>, String> {
        let text = typed.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let read = Condition::parse(text);
        let is_condition = match &read {
            Ok(condition) => schema.field(condition.field_name()).is_some(),
            Err(_) => begins_with_field(typed.trim_start(), schema),
        };
        if !is_condition {
            let ignores_case = !text.chars().any(char::is_uppercase);
            return Ok(Some(Self::Text { text: text.to_owned(), ignores_case }));
        }
        let bound = read.and_then(|condition| Filter::bind(&[condition], schema));
        match bound {
            Ok(filter) => Ok(Some(Self::Condition(filter))),
            Err(failure) => {
                let message = failure.to_string();
                let line = message.lines().next().unwrap_or_default();
                Err(line.trim_start_matches("--where: ").to_owned())
            }
        }
    }

    /// Returns true if the row matches. Text is searched in the fields of `projection`.
    pub fn matches(&self, row: RowRef<'_>, projection: &Projection) -> bool {
        match self {
            Self::Condition(filter) => filter.matches(row),
            Self::Text { text, ignores_case } => {
                let values = projection.show(row).values();
                projection.fields().zip(values).any(|(field, (_, value))| {
                    let cell = cell_with_unit(field, &value);
                    // Most cells have no capital letters, and need no copy then.
                    let has_capitals = || cell.chars().any(char::is_uppercase);
                    cell.contains(text)
                        || *ignores_case && has_capitals() && cell.to_lowercase().contains(text)
                })
            }
        }
    }
}

fn begins_with_field(text: &str, schema: &Schema) -> bool {
    let ends = |letter: char| letter.is_whitespace() || "=!<>~".contains(letter);
    let name = text.find(ends).map(|end| &text[..end]);
    name.is_some_and(|name| schema.field(name).is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::RowBuf;

    use super::*;

    fn found(typed: &str, cells: [&str; 3]) -> Result<bool, String> {
        let schema = Arc::new(Schema::parse("id:u8,name:text(16),size_bytes:u64", None).unwrap());
        let mut row = RowBuf::new(Arc::clone(&schema));
        for (index, cell) in cells.iter().enumerate() {
            row.set_text(index, cell).unwrap();
        }
        let search = Search::read(typed, &schema)?;
        let projection = Projection::all(&schema);
        Ok(search.is_none_or(|search| search.matches(row.as_ref(), &projection)))
    }

    #[test]
    fn text_matches_any_cell_as_displayed() {
        let row = ["17", "Straße", "1536"];
        for typed in ["", " ", "17", "stra", "Stra", "1.5 KiB", "kib", "ß"] {
            assert_eq!(found(typed, row), Ok(true), "{typed}");
        }
        for typed in ["18", "STRA", "1536", "name", "x > 5"] {
            assert_eq!(found(typed, row), Ok(false), "{typed}");
        }
    }

    #[test]
    fn conditions_compare_fields() {
        let row = ["17", "a = b", "1536"];
        for typed in
            ["id = 17", "id>16", "size_bytes = 1536", "name contains =", "a = b", " 'id' < 18 "]
        {
            assert_eq!(found(typed, row), Ok(true), "{typed}");
        }
        for typed in ["id = 18", "size_bytes < 1536", "id != 17"] {
            assert_eq!(found(typed, row), Ok(false), "{typed}");
        }
    }

    #[test]
    fn errors_are_one_line() {
        for (typed, part) in [
            ("id ", "an operator is missing"),
            ("id >", "a value is missing"),
            ("id > x", "is not a valid u8"),
            ("id likes 5", "not an operator"),
            ("id contains 5", "operator is for texts"),
        ] {
            let message = found(typed, ["1", "", "0"]).unwrap_err();
            assert!(message.contains(part) && !message.contains('\n'), "{message}");
            assert!(!message.contains("--where"), "{message}");
        }
    }
}
