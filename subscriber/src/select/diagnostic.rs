//! Parses arguments that are lists, and creates errors that mark the wrong part of an argument with
//! `^`.

use std::ops::Range;

use common::{Field, Schema};

use crate::cells::{visible, width};
use cli::{CliError, nearest};

/// Returns an error for wrong arguments: `message`, then `text` with the bytes of `at` underlined.
/// An empty range is shown one letter wide.
///
/// # Panics
/// If `at` is not a range of `text` on letter boundaries.
pub fn wrong(message: &str, text: &str, at: Range<usize>) -> CliError {
    let (before, piece) = (visible(&text[..at.start]), visible(&text[at.clone()]));
    let shown = format!("{before}{piece}{}", visible(&text[at.end..]));
    let (indent, marks) = (width(&before), "^".repeat(width(&piece).max(1)));
    let text = format!("{message}\n  {shown}\n  {:indent$}{marks}", "");
    CliError::new(2, text)
}

/// Parses the parts of `text` between commas, without surrounding blanks. `parse` returns the reason
/// why a part is wrong, which is reported with the name of the `option`.
pub fn list<'t, T>(
    option: &str,
    text: &'t str,
    mut parse: impl FnMut(&'t str) -> Result<T, String>,
) -> Result<Vec<T>, CliError> {
    let mut next = 0;
    let parse = |part: &'t str| {
        let start = next + (part.len() - part.trim_start().len());
        next += part.len() + 1;
        let part = part.trim();
        let at = start..start + part.len();
        parse(part).map_err(|reason| wrong(&format!("{option}: {reason}"), text, at))
    };
    text.split(',').map(parse).collect()
}

/// Finds a field and its index. The error for an unknown field names all fields.
pub fn field<'s>(name: &str, schema: &'s Schema) -> Result<(usize, &'s Field), String> {
    schema.field(name).ok_or_else(|| {
        let names: Vec<&str> = schema.fields().iter().map(Field::name).collect();
        let all = names.join(", ");
        match nearest(name, names) {
            Some(meant) => {
                format!("there is no field {name:?}: did you mean {meant:?}? (there are {all})")
            }
            None => format!("there is no field {name:?}: there are {all}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_below_the_wrong_part() {
        let text = |at| wrong("no", "日本 = \tx", at).to_string();
        assert_eq!(text(0..6), "no\n  日本 = \\tx\n  ^^^^");
        assert_eq!(text(9..11), "no\n  日本 = \\tx\n         ^^^");
        assert_eq!(text(11..11), "no\n  日本 = \\tx\n            ^");
        assert_eq!(wrong("no", "x", 0..1).code(), 2);
    }
}
