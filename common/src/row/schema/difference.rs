//! Describes the first difference between two schemas.

use super::{Field, Schema};

impl Schema {
    /// Describes the first difference between this schema, of this program, and `found`, of a
    /// table. Returns `None` if they are equal.
    #[must_use]
    pub fn difference(&self, found: &Schema) -> Option<String> {
        if self == found {
            return None;
        }
        if let Some(text) = self.fields.iter().find_map(|field| field_difference(field, found)) {
            return Some(text);
        }
        if let Some(extra) = found.fields.iter().find(|field| self.field(&field.name).is_none()) {
            return Some(format!("field {:?} is in the table and not in this program", extra.name));
        }
        let (key, found_key) = (self.key_names(), found.key_names());
        let (size, found_size) = (self.row_size, found.row_size);
        Some(if key != found_key {
            format!("the key is {found_key:?} in the table and {key:?} in this program")
        } else if size != found_size {
            format!("a row has {found_size} bytes in the table and {size} in this program")
        } else {
            let (fields, found_fields) = (self.to_string(), found.to_string());
            format!(
                "the order of fields is {found_fields:?} in the table and {fields:?} in this program"
            )
        })
    }

    /// Returns the names of the key's fields, joined by commas, which names cannot contain.
    pub(crate) fn key_names(&self) -> String {
        self.key_fields().map(Field::name).collect::<Vec<_>>().join(",")
    }
}

/// Describes how a field differs from the field of the same name in `found`.
fn field_difference(field: &Field, found: &Schema) -> Option<String> {
    let (name, kind, offset) = (&field.name, field.kind, field.offset);
    let Some((_, other)) = found.field(name) else {
        return Some(format!("field {name:?} is missing in the table"));
    };
    if other.kind != kind {
        let found = other.kind;
        return Some(format!("field {name:?} is {found} in the table and {kind} in this program"));
    }
    (other.offset != offset).then(|| {
        let found = other.offset;
        format!(
            "field {name:?} is at byte {found} in the table and at byte {offset} in this program"
        )
    })
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
                r#"field "bid" is f32 in the table and f64 in this program"#,
            ),
            ("id:u64,ask:f64", None, r#"field "bid" is missing in the table"#),
            (
                "id:u64,bid:f64,ask:f64,size:u8",
                None,
                r#"field "size" is in the table and not in this program"#,
            ),
            (
                "id:u64,ask:f64,bid:f64",
                None,
                r#"field "bid" is at byte 16 in the table and at byte 8 in this program"#,
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
            Some(r#"the key is "b,a" in the table and "a,b" in this program"#)
        );
    }

    #[test]
    fn difference_names_row_size_and_order() {
        let json = r#"{"fields":[{"name":"a","kind":"u8","offset":0},{"name":"b","kind":"u8","offset":1}],"key":["a"],"row_size":2}"#;
        let here = Schema::from_bytes(json.as_bytes()).unwrap();
        let wider = Schema::from_bytes(json.replace("size\":2", "size\":4").as_bytes()).unwrap();
        assert_eq!(
            here.difference(&wider).as_deref(),
            Some("a row has 4 bytes in the table and 2 in this program")
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
            Some(
                r#"the order of fields is "b:u8,a:u8" in the table and "a:u8,b:u8" in this program"#
            )
        );
    }
}
