//! Parses `--where 'FIELD OP VALUE'`, before the schema is known.
//!
//! FIELD ends at a blank or at one of `= ! < >`, VALUE at the end of the text. Blanks around both
//! are ignored. Either may be quoted as `'…'` or `"…"`; a quote inside is then doubled.

use std::ops::Range;

use super::diagnostic::wrong;
use cli::CliError;

/// Comparison between field and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Contains,
    Starts,
    In,
}

const OPERATORS: [(&str, Operator); 10] = [
    ("=", Operator::Equal),
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<", Operator::Less),
    ("<=", Operator::AtMost),
    (">", Operator::Greater),
    (">=", Operator::AtLeast),
    ("contains", Operator::Contains),
    ("starts", Operator::Starts),
    ("in", Operator::In),
];
/// The operators of a condition, separated by spaces.
pub const OPERATOR_NAMES: &str = "= != < <= > >= contains starts in";
const SYMBOLS: [char; 4] = ['=', '!', '<', '>'];

/// A piece of the text, without its quotes, and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    pub at: Range<usize>,
}

/// One condition.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    pub field: Piece,
    pub operator: Operator,
    operator_at: Range<usize>,
    pub value: Piece,
}

impl Condition {
    /// Parses a condition.
    ///
    /// # Errors
    /// Wrong arguments, with their position.
    pub fn parse(text: &str) -> Result<Self, CliError> {
        let refuse = |what: &str, at| wrong(&format!("--where: {what}"), text, at);
        let start = skip_blanks(text, 0);
        let field = piece(text, start, |letter| {
            letter.is_whitespace() || SYMBOLS.contains(&letter)
        });
        let field = field.map_err(|at| refuse("this quote is not closed", at))?;
        if field.at.is_empty() {
            return Err(refuse("a field's name is missing here", field.at));
        }
        let (operator, operator_at) = operator(text, skip_blanks(text, field.at.end));
        let Some(operator) = operator else {
            let what = match operator_at.is_empty() {
                true => format!("an operator is missing here: use {OPERATOR_NAMES}"),
                false => format!("this is no operator: use {OPERATOR_NAMES}"),
            };
            return Err(refuse(&what, operator_at));
        };
        let start = skip_blanks(text, operator_at.end);
        let value = piece(text, start, |_| false);
        let mut value = value.map_err(|at| refuse("this quote is not closed", at))?;
        if !text[value.at.end..].trim().is_empty() {
            let rest = value.at.end..text.trim_end().len();
            return Err(refuse(
                "this stands behind the value: double a quote that is part of it",
                rest,
            ));
        }
        if value.at.is_empty() {
            return Err(refuse(
                "a value is missing here: write \"\" for an empty text",
                value.at,
            ));
        }
        if value.at.len() == value.text.len() {
            value.text.truncate(value.text.trim_end().len());
            value.at.end = value.at.start + value.text.len();
        }
        Ok(Self {
            text: text.to_owned(),
            field,
            operator,
            operator_at,
            value,
        })
    }

    /// Returns an error that points at the field.
    pub fn wrong_field(&self, message: &str) -> CliError {
        wrong(
            &format!("--where: {message}"),
            &self.text,
            self.field.at.clone(),
        )
    }

    /// Returns an error that points at the operator.
    pub fn wrong_operator(&self, message: &str) -> CliError {
        wrong(
            &format!("--where: {message}"),
            &self.text,
            self.operator_at.clone(),
        )
    }

    /// Returns an error that points at the value.
    pub fn wrong_value(&self, message: &str) -> CliError {
        wrong(
            &format!("--where: {message}"),
            &self.text,
            self.value.at.clone(),
        )
    }
}

fn skip_blanks(text: &str, from: usize) -> usize {
    text.len() - text[from..].trim_start().len()
}

/// Returns the quoted piece at `start`, or the text before the first letter for which `ends` is
/// true. The error is the position of a quote that is not closed.
fn piece(text: &str, start: usize, ends: impl Fn(char) -> bool) -> Result<Piece, Range<usize>> {
    let rest = &text[start..];
    let Some(quote) = rest.chars().next().filter(|letter| "'\"".contains(*letter)) else {
        let end = start + rest.find(ends).unwrap_or(rest.len());
        return Ok(Piece {
            text: text[start..end].to_owned(),
            at: start..end,
        });
    };
    let mut unquoted = String::new();
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter != quote {
            unquoted.push(letter);
        } else if letters.next_if(|(_, next)| *next == quote).is_some() {
            unquoted.push(quote);
        } else {
            return Ok(Piece {
                text: unquoted,
                at: start..start + at + 1,
            });
        }
    }
    Err(start..start + 1)
}

/// Returns the operator at `start`, if there is one, and the range of the text in its place.
fn operator(text: &str, start: usize) -> (Option<Operator>, Range<usize>) {
    let rest = &text[start..];
    let is_symbol = |letter: char| SYMBOLS.contains(&letter);
    let length = match rest.starts_with(is_symbol) {
        true => rest.find(|letter| !is_symbol(letter)),
        false => rest.find(char::is_whitespace),
    };
    let at = start..start + length.unwrap_or(rest.len());
    let found = OPERATORS
        .iter()
        .find(|(name, _)| *name == &text[at.clone()]);
    (found.map(|(_, operator)| *operator), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        let cases = [
            ("price>1.5", "price", Operator::Greater, "1.5"),
            (" price  <= -1 ", "price", Operator::AtMost, "-1"),
            ("'lot size' == 7", "lot size", Operator::Equal, "7"),
            ("name = a b  c ", "name", Operator::Equal, "a b  c"),
            ("name != ' a '", "name", Operator::Unequal, " a "),
            ("name='it''s'", "name", Operator::Equal, "it's"),
            ("name = \"\"", "name", Operator::Equal, ""),
            ("name contains =", "name", Operator::Contains, "="),
            ("net in 10.0.0.0/8", "net", Operator::In, "10.0.0.0/8"),
            ("in in in", "in", Operator::In, "in"),
        ];
        for (text, field, operator, value) in cases {
            let read = Condition::parse(text).unwrap();
            assert_eq!(
                (
                    read.field.text.as_str(),
                    read.operator,
                    read.value.text.as_str()
                ),
                (field, operator, value),
                "{text}"
            );
        }
    }

    #[test]
    fn errors_point_at_the_place() {
        let cases = [
            ("", "name is missing", "^"),
            ("= 7", "name is missing", "^"),
            ("price", "operator is missing", "     ^"),
            ("price =< 7", "no operator", "      ^^"),
            ("price likes 7", "no operator", "      ^^^^^"),
            ("price > ", "value is missing", "        ^"),
            ("'price > 7", "not closed", "^"),
            ("name = 'a' b", "behind the value", "          ^^"),
        ];
        for (text, part, marks) in cases {
            let failure = Condition::parse(text).unwrap_err();
            let message = failure.to_string();
            let lines: Vec<&str> = message.lines().collect();
            assert_eq!((failure.code(), lines.len()), (2, 3), "{message}");
            assert!(lines[0].contains(part), "{message}");
            assert_eq!(lines[2].strip_prefix("  "), Some(marks), "{message}");
        }
    }
}
