//! The encoding of a schema in the region: compact JSON, so that any tool can read any table.

use serde::{Deserialize, Serialize};

use super::{Field, MAX_SCHEMA_SIZE, Schema, invalid, key_indexes};
use crate::{Error, Result};

/// The JSON form: `{"fields":[{"name":"pid","kind":"u32","offset":0}],"key":["pid"],"row_size":4}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    fields: Vec<Field>,
    key: Vec<String>,
    row_size: usize,
}

impl From<Schema> for Wire {
    fn from(schema: Schema) -> Wire {
        let key = schema.key_fields().map(|field| field.name.clone()).collect();
        Wire { fields: schema.fields, key, row_size: schema.row_size }
    }
}

impl TryFrom<Wire> for Schema {
    type Error = Error;

    fn try_from(wire: Wire) -> Result<Schema> {
        let key = key_indexes(&wire.fields, &wire.key)?;
        Schema::checked(wire.fields, key, wire.row_size)
    }
}

impl Schema {
    /// Encodes the schema as compact JSON of at most [`MAX_SCHEMA_SIZE`] bytes. Equal schemas have
    /// equal encodings.
    ///
    /// ```
    /// let schema = common::Schema::parse("pid:u32", None)?;
    /// let json = r#"{"fields":[{"name":"pid","kind":"u32","offset":0}],"key":["pid"],"row_size":4}"#;
    /// assert_eq!(schema.to_bytes(), json.as_bytes());
    /// # Ok::<(), common::Error>(())
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always become JSON")
    }

    /// Decodes a schema that [`Schema::to_bytes`] encoded. The bytes are not trusted: everything is
    /// validated, and memory is bounded by a small multiple of [`MAX_SCHEMA_SIZE`].
    ///
    /// # Errors
    /// [`Error::InvalidSchema`], with the reason.
    pub fn from_bytes(bytes: &[u8]) -> Result<Schema> {
        if bytes.len() > MAX_SCHEMA_SIZE {
            let size = bytes.len();
            return invalid(format!("its encoding has {size} bytes, more than {MAX_SCHEMA_SIZE}"));
        }
        serde_json::from_slice(bytes)
            .or_else(|error| invalid(format!("its encoding is invalid: {error}")))
            .and_then(Wire::try_into)
    }

    /// Returns a hash of the schema: FNV-1a (64 bits) over [`Schema::to_bytes`]. It does not
    /// protect against deliberate collisions.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let add = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        self.to_bytes().into_iter().fold(OFFSET_BASIS, add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"fields":[{"name":"a","kind":"u32","offset":0},{"name":"b","kind":"f64","offset":8}],"key":["a"],"row_size":16}"#;

    #[test]
    fn encoding_round_trips_and_is_canonical() {
        let schema = Schema::from_bytes(GOOD.as_bytes()).unwrap();
        assert_eq!(schema, Schema::parse("a:u32,b:f64", None).unwrap());
        assert_eq!(schema.to_bytes(), GOOD.as_bytes());
    }

    #[test]
    fn fingerprint_is_fnv() {
        // Fixed, because regions store it across versions of this crate.
        let schema = Schema::parse("pid:u32", None).unwrap();
        assert_eq!(schema.fingerprint(), 0xd58d_5778_c349_985d);
        assert_ne!(schema.fingerprint(), Schema::parse("pid:u64", None).unwrap().fingerprint());
    }

    #[test]
    fn invalid_encodings_are_rejected() {
        let lies = [
            ("\"offset\":8", "\"offset\":3"), // over the other field
            ("\"offset\":8", "\"offset\":9"), // beyond the row
            ("\"offset\":8", "\"offset\":18446744073709551615"), // the end overflows
            ("\"offset\":8", "\"offset\":-1"),
            ("\"name\":\"b\"", "\"name\":\"a\""),
            ("\"name\":\"b\"", "\"name\":\"\""),
            ("\"name\":\"b\"", "\"name\":\"a\\u0000\""),
            ("[\"a\"]", "[]"),
            ("[\"a\"]", "[\"a\",\"a\"]"),
            ("[\"a\"]", "[\"b\"]"), // a float
            ("[\"a\"]", "[\"c\"]"),
            ("u32", "u33"),
            ("u32", "text(0)"),
            ("\"row_size\":16", "\"row_size\":18446744073709551615"),
            ("\"row_size\":16", "\"row_size\":65537"),
            ("\"row_size\":16", "\"row_size\":0"),
            ("\"row_size\":16", "\"row_size\":16,\"more\":1"),
        ];
        for (truth, lie) in lies {
            let bytes = GOOD.replace(truth, lie);
            assert_ne!(bytes, GOOD);
            let error = Schema::from_bytes(bytes.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::InvalidSchema { .. }), "{bytes}: {error}");
        }
        assert!(Schema::from_bytes(&vec![b' '; MAX_SCHEMA_SIZE + 1]).is_err());
        assert!(Schema::from_bytes("[".repeat(MAX_SCHEMA_SIZE).as_bytes()).is_err());
    }

    #[test]
    fn any_changed_byte_is_rejected_or_gives_a_valid_schema() {
        for place in 0..GOOD.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = GOOD.as_bytes().to_vec();
                bytes[place] = byte;
                let Ok(schema) = Schema::from_bytes(&bytes) else {
                    continue;
                };
                assert!(schema.fields().iter().all(|field| field.range().end <= schema.row_size()));
            }
            assert!(Schema::from_bytes(&GOOD.as_bytes()[..place]).is_err());
        }
    }
}
