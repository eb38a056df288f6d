//! The text form of a key: its fields joined by commas, quoted as in CSV.

use std::borrow::Cow;

use serde_json::Map;

use super::{Field, Schema};
use crate::row::value::{in_field, refused};
use crate::{Error, KeyRef, Result, Value};

impl Schema {
    /// Parses a key: the key's fields in order, joined by commas, quoted as in CSV if they contain
    /// commas or quotes.
    ///
    /// ```
    /// let schema = common::Schema::parse("id:u16,name:text(8)", Some("name,id"))?;
    /// let key = schema.parse_key(r#""a, b",7"#)?;
    /// assert_eq!(key, b"a, b\0\0\0\0\x07\0");
    /// assert_eq!(schema.format_key(&key), r#""a, b",7"#);
    /// # Ok::<(), common::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidValue`] or
    /// [`Error::TextTooLong`] if a field cannot hold its part, or if the
    /// number of parts differs from that of the key's fields.
    pub fn parse_key(&self, text: &str) -> Result<Vec<u8>> {
        let key = self.parse_key_prefix(text)?;
        if key.len() < self.key_size { Err(self.wrong_cells(text)) } else { Ok(key) }
    }

    /// Parses the first fields of a key, in the form of [`parse_key`](Self::parse_key). Returns the
    /// bytes with which the keys with these fields begin.
    ///
    /// ```
    /// let schema = common::Schema::parse("host:text(4),port:u16", Some("host,port"))?;
    /// assert_eq!(schema.parse_key_prefix("a")?, b"a\0\0\0");
    /// assert_eq!(schema.parse_key_prefix("a,7")?, schema.parse_key("a,7")?);
    /// # Ok::<(), common::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`parse_key`](Self::parse_key), the last one only if there are too many parts.
    pub fn parse_key_prefix(&self, text: &str) -> Result<Vec<u8>> {
        let Some(cells) = split(text).filter(|cells| cells.len() <= self.key.len()) else {
            return Err(self.wrong_cells(text));
        };
        let cells = self.key_fields().zip(&cells);
        self.encode_key(cells.map(|(field, cell)| (field, Value::parse(field.kind, cell))))
    }

    fn wrong_cells(&self, text: &str) -> Error {
        let how = format!(
            "the key is {}: give its {} values, joined by commas and quoted as in CSV",
            self.key_names(),
            self.key.len()
        );
        refused("key", &format!("{text:?}"), how)
    }

    /// Formats a key in the form of [`Schema::parse_key`].
    /// Panics if `key` does not have [`Schema::key_size`] bytes.
    #[must_use]
    pub fn format_key(&self, key: &[u8]) -> String {
        KeyRef::new(self, key).expect("a key of the schema's size").to_string()
    }

    /// Reads a key from a JSON object with the key's fields. Other members are ignored.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] or
    /// [`Error::TextTooLong`] if a field is missing or cannot hold its
    /// value.
    pub fn key_from_json(&self, object: &Map<String, serde_json::Value>) -> Result<Vec<u8>> {
        self.encode_key(self.key_fields().map(|field| {
            let value = match object.get(&field.name) {
                Some(json) => Value::from_json(field.kind, json),
                None => {
                    let reason = "it is missing, and every field of the key is required";
                    Err(refused(&field.name, "nothing", reason))
                }
            };
            (field, value)
        }))
    }

    /// Encodes the first fields of a key, which come with their values.
    fn encode_key<'v>(
        &self,
        values: impl Iterator<Item = (&'v Field, Result<Value<'v>>)>,
    ) -> Result<Vec<u8>> {
        let mut key = Vec::with_capacity(self.key_size);
        for (field, value) in values {
            let start = key.len();
            key.resize(start + field.kind.size(), 0);
            let encoded = value.and_then(|value| value.encode(field.kind, &mut key[start..]));
            in_field(&field.name, encoded)?;
        }
        Ok(key)
    }
}

/// Splits one line of CSV into cells. Returns `None` if its quotes do not match.
fn split(line: &str) -> Option<Vec<String>> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let after = if let Some(quoted) = rest.strip_prefix('"') {
            // The first quote that is not doubled closes the cell.
            let mut end = quoted.find('"')?;
            while quoted[end + 1..].starts_with('"') {
                end += 2 + quoted[end + 2..].find('"')?;
            }
            cells.push(quoted[..end].replace("\"\"", "\""));
            &quoted[end + 1..]
        } else {
            let (cell, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
            cells.push(cell.to_owned());
            after
        };
        if after.is_empty() {
            return Some(cells);
        }
        rest = after.strip_prefix(',')?;
    }
}

/// Returns the cell as written in a line of CSV. An empty cell is quoted, so that it is visible.
pub(crate) fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.is_empty() || cell.contains(['"', ',', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_csv() {
        let cases: [(&str, &[&str]); 8] = [
            ("", &[""]),
            ("a", &["a"]),
            ("a,,b", &["a", "", "b"]),
            ("\"a,b\",c", &["a,b", "c"]),
            ("\"say \"\"yes\"\"\",", &["say \"yes\"", ""]),
            ("\"\"\"\"", &["\""]),
            ("\"\"", &[""]),
            ("a\"b", &["a\"b"]),
        ];
        for (line, cells) in cases {
            assert_eq!(split(line).unwrap(), cells, "{line}");
        }
        for line in ["\"", "\"a", "\"a\"b", "\"a\"\"", "x,\""] {
            assert!(split(line).is_none(), "{line}");
        }
    }

    #[test]
    fn keys_round_trip_through_text_and_json() {
        let schema = Schema::parse("a:text(12),b:i8,c:ipnet,d:f64", Some("c,a,b")).unwrap();
        for text in ["plain", "", "with,comma", "\"quoted\"", "\"", "line\nline", " space "] {
            let line = format!("10.0.0.0/8,{},-5", quoted(text));
            let key = schema.parse_key(&line).unwrap();
            assert_eq!(key.len(), 31);
            assert_eq!(schema.format_key(&key), line);
            let json = serde_json::json!({"a": text, "b": -5, "c": "10.9.9.9/8", "other": null});
            assert_eq!(schema.key_from_json(json.as_object().unwrap()).unwrap(), key);
        }
    }

    #[test]
    fn errors_name_the_field() {
        let schema = Schema::parse("id:u8,name:text(4)", Some("id,name")).unwrap();
        let message = |text| schema.parse_key(text).unwrap_err().to_string();
        assert_eq!(
            message("300,x"),
            r#"field "id" cannot hold "300": u8 takes a whole number from 0 to 255"#
        );
        assert!(message("1,abcde").contains("name"), "{}", message("1,abcde"));
        assert!(message("1").contains("id,name"), "{}", message("1"));
        assert!(message("1,2,3").contains("id,name"));
        let object = serde_json::json!({"id": 1});
        let error = schema.key_from_json(object.as_object().unwrap()).unwrap_err();
        assert!(matches!(&error, Error::InvalidValue { field, .. } if field == "name"), "{error}");
    }
}
