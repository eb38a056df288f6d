//! The KEY arguments of the command line: the fields of a key joined by commas, quoted as in CSV.

use std::ops::Range;

use common::{Error, Field, RowRef, Schema};
use indexmap::IndexMap;

use super::diagnostic::wrong;
use cli::CliError;

/// The parsed KEY arguments. Without any, every row is selected. Each is a key, or the first fields
/// of keys.
pub struct Keys {
    /// The text of each KEY by the bytes with which its keys begin.
    keys: IndexMap<Vec<u8>, String>,
    /// True if there are KEYs, and each is a whole key.
    are_whole: bool,
}

impl Keys {
    /// Parses `texts` as keys of `schema`. Duplicates are dropped.
    pub fn parse(texts: &[String], schema: &Schema) -> Result<Self, CliError> {
        let parse = |text: &String| match schema.parse_key_prefix(text) {
            Ok(key) => Ok((key, text.clone())),
            Err(error) => Err(refusal(text, schema, &error)),
        };
        let keys: IndexMap<Vec<u8>, String> = texts.iter().map(parse).collect::<Result<_, _>>()?;
        let is_whole = |key: &Vec<u8>| key.len() == schema.key_size();
        let are_whole = !keys.is_empty() && keys.keys().all(is_whole);
        Ok(Self { keys, are_whole })
    }

    /// Returns true if there are no KEYs, so that every row is selected.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns true if there are KEYs, and each is a whole key, so that the rows are found by keys.
    pub fn are_whole(&self) -> bool {
        self.are_whole
    }

    /// Returns the texts of the KEYs, with the bytes with which their keys begin.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &str)> {
        self.keys.iter().map(|(key, text)| (key.as_slice(), text.as_str()))
    }

    /// Returns true if the row is selected.
    pub fn has(&self, row: RowRef<'_>) -> bool {
        self.is_empty() || !self.of_row(row).is_empty()
    }

    /// Returns the indices of the KEYs that select the row.
    pub fn of_row(&self, row: RowRef<'_>) -> Vec<usize> {
        if self.is_empty() {
            return Vec::new();
        }
        let key = row.key().to_bytes();
        if self.are_whole {
            return self.keys.get_index_of(&key).into_iter().collect();
        }
        let begins = self.keys.keys().enumerate();
        begins.filter(|(_, begin)| key.starts_with(begin)).map(|(index, _)| index).collect()
    }
}

/// Returns an error that explains why a KEY is invalid, and how to write it.
fn refusal(text: &str, schema: &Schema, error: &Error) -> CliError {
    let fields: Vec<&Field> = schema.key_fields().collect();
    let cells = cells(text);
    let wrong_field = match error {
        Error::InvalidValue { field, .. } | Error::TextTooLong { field, .. } => {
            fields.iter().position(|key| key.name() == field)
        }
        _ => None,
    };
    let (what, at) = match wrong_field {
        _ if cells.len() > fields.len() => {
            let (found, most) = (cells.len(), fields.len());
            let surplus = cells[most].start..text.len();
            (format!("number of values: {found} instead of {most}"), surplus)
        }
        Some(index) => (error.to_string(), cells[index].clone()),
        None => ("a quote is not closed, or not doubled".to_owned(), 0..text.len()),
    };
    let kinds: Vec<String> =
        fields.iter().map(|field| format!("{}:{}", field.name(), field.kind())).collect();
    let kinds = kinds.join(",");
    let message = format!("KEY: {what}; the key is {kinds}, joined by commas and quoted as in CSV");
    wrong(&message, text, at)
}

/// Returns the positions of the cells in a line of CSV, including quotes. A quote that is not
/// closed extends to the end.
fn cells(line: &str) -> Vec<Range<usize>> {
    let (mut cells, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, letter) in line.char_indices() {
        match letter {
            // A doubled quote closes and reopens the quotes.
            '"' if quoted || at == start => quoted = !quoted,
            '"' if line[..at].ends_with('"') && line[start..].starts_with('"') => quoted = true,
            ',' if !quoted => {
                cells.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
    }
    cells.push(start..line.len());
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_split_at_unquoted_commas() {
        for (line, expected) in [
            ("", vec![""]),
            ("a,,b", vec!["a", "", "b"]),
            ("\"a,b\",c", vec!["\"a,b\"", "c"]),
            ("\"say \"\"x,y\"\"\",7", vec!["\"say \"\"x,y\"\"\"", "7"]),
            ("a\"b,c", vec!["a\"b", "c"]),
            ("\"\",x", vec!["\"\"", "x"]),
            ("x,\"open,", vec!["x", "\"open,"]),
        ] {
            let found: Vec<&str> = cells(line).into_iter().map(|at| &line[at]).collect();
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn errors_mark_the_wrong_value() {
        let schema = Schema::parse("id:i8,name:text(4),net:ipnet", Some("name,id,net")).unwrap();
        for (text, part, marks) in [
            ("x,300,::/0", "field \"id\" cannot hold \"300\"", "  ^^^"),
            ("\"a,b,c\",1,::/0", "5 bytes", "^^^^^^^"),
            ("x,1,10.0.0.0", "a network such as", "    ^^^^^^^^"),
            ("x,1,::/0,y,z", "5 instead of 3", "         ^^^"),
            ("\"x", "a quote is not closed", "^^"),
        ] {
            let failure = Keys::parse(&[text.to_owned()], &schema).err().unwrap();
            let message = failure.to_string();
            assert_eq!(failure.code(), 2);
            assert!(message.contains(part), "{message}");
            assert!(message.contains("name:text(4),id:i8,net:ipnet"), "{message}");
            assert!(message.ends_with(&format!("\n  {marks}")), "{message}");
        }
    }

    #[test]
    fn keys_are_parsed_as_they_are_printed() {
        let schema = Schema::parse("id:i8,name:text(8),net:ipnet", Some("id,name,net")).unwrap();
        for text in
            ["-5,a,10.0.0.0/8", "7,\"\",::/0", "0,\"a,b\",10.0.0.0/8", "1,\"say \"\"x\"\"\",::/0"]
        {
            let keys = Keys::parse(&[text.to_owned(), text.to_owned()], &schema).unwrap();
            let back: Vec<String> = keys.iter().map(|(key, _)| schema.format_key(key)).collect();
            assert_eq!(back, [text]);
        }
    }
}
