//! Describes the first difference between two schemas.

use super::{Field, Schema};

impl Schema {
    /// Describes the first difference between this schema (here) and `found` (there). Returns
    /// `None` if they are equal.
    ///
    /// ```
    /// use common::Schema;
    ///
    /// let here = Schema::parse("id:u64,bid:f64", None)?;
    /// let there = Schema::parse("id:u64,bid:f32", None)?;
    /// assert_eq!(here.difference(&there).unwrap(), r#"field "bid" is f32 there and f64 here"#);
    /// assert_eq!(here.difference(&here), None);
    /// # Ok::<(), common::Error>(())
    /// ```
    #[must_use]
    pub fn difference(&self, found: &Schema) -> Option<String> {
        if self == found {
            return None;
        }
        let of_a_field = self
            .fields
            .iter()
            .find_map(|field| field_difference(field, found));
        Some(
            of_a_field
                .or_else(|| self.extra_field(found))
                .unwrap_or_else(|| self.difference_beyond_fields(found)),
        )
    }

    fn extra_field(&self, found: &Schema) -> Option<String> {
        let extra = found
            .fields
            .iter()
            .find(|field| self.field(&field.name).is_none())?;
        Some(format!("field {:?} is there and not here", extra.name))
    }

    fn difference_beyond_fields(&self, found: &Schema) -> String {
        if self.key_names() != found.key_names() {
            return format!(
                "the key is {:?} there and {:?} here",
                found.key_names(),
                self.key_names()
            );
        }
        if self.row_size != found.row_size {
            return format!(
                "a row has {} bytes there and {} here",
                found.row_size, self.row_size
            );
        }
        format!(
            "the order of fields is {:?} there and {:?} here",
            found.to_string(),
            self.to_string()
        )
    }

    /// Returns the names of the key's fields, joined by commas, which names cannot contain.
    pub(crate) fn key_names(&self) -> String {
        self.key_fields()
            .map(Field::name)
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// Describes how a field differs from the field of the same name in `found`.
fn field_difference(field: &Field, found: &Schema) -> Option<String> {
    let (name, kind, offset) = (&field.name, field.kind, field.offset);
    match found.field(name) {
        None => Some(format!("field {name:?} is missing there")),
        Some((_, other)) if other.kind != kind => Some(format!(
            "field {name:?} is {} there and {kind} here",
            other.kind
        )),
        Some((_, other)) if other.offset != offset => Some(format!(
            "field {name:?} is at byte {} there and at byte {offset} here",
            other.offset
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::Schema;

    #[test]
    fn difference_names_the_first_differing_field() {
        let here = Schema::parse("id:u64,bid:f64,ask:f64", None).unwrap();
        let cases = [
            (
                "id:u64,bid:f32,ask:f64",
                None,
                r#"field "bid" is f32 there and f64 here"#,
            ),
            ("id:u64,ask:f64", None, r#"field "bid" is missing there"#),
            (
                "id:u64,bid:f64,ask:f64,size:u8",
                None,
                r#"field "size" is there and not here"#,
            ),
            (
                "id:u64,ask:f64,bid:f64",
                None,
                r#"field "bid" is at byte 16 there and at byte 8 here"#,
            ),
        ];
        for (fields, key, sentence) in cases {
            let there = Schema::parse(fields, key).unwrap();
            assert_eq!(here.difference(&there).as_deref(), Some(sentence));
        }
        let one = Schema::parse("a:u8,b:u8", Some("a,b")).unwrap();
        let two = Schema::parse("a:u8,b:u8", Some("b,a")).unwrap();
        assert_eq!(
            one.difference(&two).as_deref(),
            Some(r#"the key is "b,a" there and "a,b" here"#)
        );
    }

    #[test]
    fn difference_names_row_size_and_order() {
        let json = r#"{"fields":[{"name":"a","kind":"u8","offset":0},{"name":"b","kind":"u8","offset":1}],"key":["a"],"row_size":2}"#;
        let here = Schema::from_bytes(json.as_bytes()).unwrap();
        let wider = Schema::from_bytes(json.replace("size\":2", "size\":4").as_bytes()).unwrap();
        assert_eq!(
            here.difference(&wider).as_deref(),
            Some("a row has 4 bytes there and 2 here")
        );
        let swapped = json
            .replace("\"a\",", "\"x\",")
            .replace("\"b\",", "\"a\",")
            .replace("\"x\",", "\"b\",");
        let swapped = swapped
            .replace("offset\":0", "offset\":9")
            .replace("offset\":1", "offset\":0")
            .replace("offset\":9", "offset\":1");
        let swapped = Schema::from_bytes(swapped.as_bytes()).unwrap();
        assert_eq!(
            here.difference(&swapped).as_deref(),
            Some(r#"the order of fields is "b:u8,a:u8" there and "a:u8,b:u8" here"#)
        );
    }
}
