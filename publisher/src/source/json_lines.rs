//! Parses lines of JSON into instructions. This module does no I/O and knows no table.
//!
//! If an object has several members with the same name, the last one counts. Members of a row that
//! are not fields are ignored.

use std::sync::Arc;

use common::{RowBuf, Schema, UntypedTransaction};
use serde_json::{Map, Value};

use super::file::text::without_mark;

/// The meaning of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Instruction {
    /// The line is blank.
    Nothing,
    /// Begins a transaction: the changes up to `Commit` become visible atomically.
    Begin,
    /// Commits the transaction.
    Commit,
    /// A change of the table.
    Change(Operation),
}

/// A change of the table.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    /// Adds a row.
    Insert(RowBuf),
    /// Replaces the row with the same key.
    Update(RowBuf),
    /// Adds a row, or replaces the row with the same key.
    Upsert(RowBuf),
    /// Removes the row with this key, given in its canonical bytes.
    Delete(Vec<u8>),
    /// Removes all rows.
    Clear,
}

impl Operation {
    /// Adds the change to a transaction.
    ///
    /// # Errors
    /// Returns the errors of the transaction's methods. The transaction continues without this
    /// change.
    pub fn apply(&self, tx: &mut UntypedTransaction<'_>) -> common::Result<()> {
        match self {
            Self::Insert(row) => tx.insert(row.bytes()),
            Self::Update(row) => tx.update(row.bytes()),
            Self::Upsert(row) => tx.upsert(row.bytes()),
            Self::Delete(key) => tx.delete(key),
            Self::Clear => {
                tx.clear();
                Ok(())
            }
        }
    }

    /// Returns the row that the change stores.
    pub fn row(&self) -> Option<&RowBuf> {
        match self {
            Self::Insert(row) | Self::Update(row) | Self::Upsert(row) => Some(row),
            Self::Delete(_) | Self::Clear => None,
        }
    }

    /// Returns the approximate memory use of the change, in bytes.
    pub fn size(&self) -> usize {
        let content = match self {
            Self::Delete(key) => key.len(),
            _ => self.row().map_or(0, |row| size_of_val(row.words())),
        };
        size_of::<Self>() + content
    }
}

/// Parses a line.
///
/// ```
/// # use std::sync::Arc;
/// # use common::Schema;
/// use publisher::source::json_lines::{Instruction, Operation, parse};
///
/// let schema = Arc::new(Schema::parse("id:u8,n:u8", None)?);
/// assert_eq!(parse(&schema, br#"{"op":"begin"}"#), Ok(Instruction::Begin));
/// let delete = parse(&schema, br#"{"op":"delete","key":{"id":7}}"#);
/// assert_eq!(delete, Ok(Instruction::Change(Operation::Delete(vec![7]))));
/// # Ok::<(), common::Error>(())
/// ```
///
/// # Errors
/// Returns a sentence that says what is wrong with the line.
pub fn parse(schema: &Arc<Schema>, line: &[u8]) -> Result<Instruction, String> {
    match object(line)? {
        Some(object) => instruction(schema, &object),
        None => Ok(Instruction::Nothing),
    }
}

/// Returns the object in a line, or `None` if the line is blank. A leading byte-order mark is
/// skipped: the first line of a file may have one, and so may later lines of concatenated files.
///
/// # Errors
/// Returns a sentence that says why the line does not hold an object.
pub fn object(line: &[u8]) -> Result<Option<Map<String, Value>>, String> {
    let line = without_mark(line);
    let line = std::str::from_utf8(line).map_err(|error| format!("it is not UTF-8: {error}"))?;
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(_) => Err("it is not a JSON object: write {\"FIELD\":VALUE,…}".to_owned()),
        Err(error) => Err(not_json(&error)),
    }
}

/// Returns the instruction that an object stands for.
///
/// # Errors
/// Returns a sentence that says what is wrong with the object.
pub fn instruction(
    schema: &Arc<Schema>,
    object: &Map<String, Value>,
) -> Result<Instruction, String> {
    match op(schema, object)? {
        None => Ok(Instruction::Change(Operation::Upsert(row_of(
            schema, object,
        )?))),
        Some("begin") => Ok(Instruction::Begin),
        Some("commit") => Ok(Instruction::Commit),
        Some(op) => operation(schema, op, object).map(Instruction::Change),
    }
}

/// The names of the operations.
pub const OPS: [&str; 8] = [
    "create", "insert", "update", "upsert", "delete", "clear", "begin", "commit",
];

/// Returns the operation that an object names, or `None` if the object is a row.
fn op<'o>(schema: &Schema, object: &'o Map<String, Value>) -> Result<Option<&'o str>, String> {
    let Some(op) = object.get("op") else {
        return Ok(None);
    };
    // A field cannot hold an object. If `row` or `key` holds one, the object is an operation and
    // `op` its name.
    let is_member = |name: &str| object.get(name).is_some_and(Value::is_object);
    if schema.field("op").is_some() && !is_member("row") && !is_member("key") {
        return Ok(None);
    }
    match op.as_str().filter(|op| OPS.contains(op)) {
        Some(op) => Ok(Some(op)),
        None => Err(format!("{op} is not an operation: use {}", OPS.join(", "))),
    }
}

fn operation(
    schema: &Arc<Schema>,
    op: &str,
    object: &Map<String, Value>,
) -> Result<Operation, String> {
    match op {
        "clear" if object.contains_key("row") || object.contains_key("key") => Err(
            "`clear` removes all rows and takes no row or key: use `delete` to remove one row"
                .to_owned(),
        ),
        "clear" => Ok(Operation::Clear),
        "delete" => {
            let key = member(object, "key")?.or(member(object, "row")?);
            let key = key.ok_or("`delete` needs a key: {\"op\":\"delete\",\"key\":{…}}")?;
            key_of(schema, key).map(Operation::Delete)
        }
        op => {
            let row = member(object, "row")?
                .ok_or_else(|| format!("`{op}` needs a row: {{\"op\":\"{op}\",\"row\":{{…}}}}"))?;
            let row = row_of(schema, row)?;
            if let Some(key) = member(object, "key")?
                && key_of(schema, key)? != row.key_bytes()
            {
                return Err(
                                        "its key differs from the key of its row: delete the old row and insert the new one"
                        .to_owned(),
                );
            }
            Ok(match op {
                "update" => Operation::Update(row),
                "upsert" => Operation::Upsert(row),
                // The output of a watch begins with creates for the whole table,
                // whose rows may exist in this table already.
                "create" if object.contains_key("version") => Operation::Upsert(row),
                _ => Operation::Insert(row),
            })
        }
    }
}

fn key_of(schema: &Schema, object: &Map<String, Value>) -> Result<Vec<u8>, String> {
    schema
        .key_from_json(object)
        .map_err(|error| error.to_string())
}

fn member<'o>(
    object: &'o Map<String, Value>,
    name: &str,
) -> Result<Option<&'o Map<String, Value>>, String> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::Object(member)) => Ok(Some(member)),
        Some(_) => Err(format!("its `{name}` is not an object")),
    }
}

/// Describes a syntax error. The line number in `error` is dropped, because it counts from the
/// start of this line.
fn not_json(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or_default();
    format!(
        "it is not JSON: {what} at column {}: write {{\"FIELD\":VALUE,…}}",
        error.column()
    )
}

fn row_of(schema: &Arc<Schema>, object: &Map<String, Value>) -> Result<RowBuf, String> {
    let row = if object.len() > schema.fields().len() {
        let members = object.iter();
        let fields = members.filter(|(name, _)| schema.field(name).is_some());
        let fields = fields.map(|(name, value)| (name.clone(), value.clone()));
        RowBuf::from_json(schema, &fields.collect())
    } else {
        RowBuf::from_json(schema, object)
    };
    row.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &str) -> Arc<Schema> {
        Arc::new(Schema::parse(fields, None).unwrap())
    }

    fn row(schema: &Arc<Schema>, json: &str) -> RowBuf {
        RowBuf::from_json(
            schema,
            serde_json::from_str::<Value>(json)
                .unwrap()
                .as_object()
                .unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn parse_reads_every_operation() {
        use Operation::{Clear, Delete, Insert, Update, Upsert};
        let schema = schema("id:u8,n:u8");
        let one = || row(&schema, r#"{"id":1,"n":2}"#);
        let cases = [
            (r#"{"op":"create","row":{"id":1,"n":2}}"#, Insert(one())),
            (
                r#"{"version":7,"op":"create","key":{"id":1},"row":{"id":1,"n":2}}"#,
                Upsert(one()),
            ),
            (r#" {"row":{"n":2,"id":1},"op":"insert"} "#, Insert(one())),
            (r#"{"op":"upsert","row":{"id":1,"n":2}}"#, Upsert(one())),
            (r#"{"id":1,"n":2}"#, Upsert(one())),
            (
                r#"{"version":7,"op":"update","key":{"id":1},"row":{"id":1,"n":2},"old":{"id":1,"n":3}}"#,
                Update(one()),
            ),
            (r#"{"op":"delete","key":{"id":1}}"#, Delete(vec![1])),
            (r#"{"op":"delete","row":{"id":1,"n":2}}"#, Delete(vec![1])),
            (
                r#"{"version":7,"op":"delete","key":{"id":1},"old":{"id":1,"n":2}}"#,
                Delete(vec![1]),
            ),
            (r#"{"op":"clear"}"#, Clear),
        ];
        for (line, operation) in cases {
            assert_eq!(
                parse(&schema, line.as_bytes()),
                Ok(Instruction::Change(operation)),
                "{line}"
            );
        }
        assert_eq!(parse(&schema, br#"{"op":"begin"}"#), Ok(Instruction::Begin));
        assert_eq!(
            parse(&schema, br#"{"op":"commit"}"#),
            Ok(Instruction::Commit)
        );
        assert_eq!(parse(&schema, b" \t\r"), Ok(Instruction::Nothing));
    }

    #[test]
    fn field_may_be_named_op() {
        let schema = schema("key:u8,op:text(8),row:u8");
        let plain = r#"{"key":1,"op":"delete","row":2}"#;
        let upsert = Operation::Upsert(row(&schema, plain));
        assert_eq!(
            parse(&schema, plain.as_bytes()),
            Ok(Instruction::Change(upsert))
        );
        let delete = parse(&schema, br#"{"op":"delete","key":{"key":1}}"#);
        assert_eq!(delete, Ok(Instruction::Change(Operation::Delete(vec![1]))));
    }

    /// Kind of defect: valid input is refused because of parts that are not used. Other
    /// members: nested objects and lists, names that no field can have, nulls, and extra
    /// members in a row or a key.
    #[test]
    fn members_that_are_not_fields_are_ignored() {
        let schema = schema("id:u8,n:u8");
        let one = || row(&schema, r#"{"id":1,"n":2}"#);
        for (line, operation) in [
            (
                r#"{"id":1,"geo":{"lat":1.5},"n":2,"dc:title":"x","tags":[1],"no":null}"#,
                Operation::Upsert(one()),
            ),
            (
                r#"{"op":"insert","row":{"id":1,"n":2,"more":{}}}"#,
                Operation::Insert(one()),
            ),
            (
                r#"{"op":"update","key":{"id":1,"more":7},"row":{"more":7,"id":1,"n":2}}"#,
                Operation::Update(one()),
            ),
            (
                r#"{"op":"delete","key":{"id":1,"more":2}}"#,
                Operation::Delete(vec![1]),
            ),
            (
                r#"{"op":"delete","row":{"id":1,"n":2,"more":2}}"#,
                Operation::Delete(vec![1]),
            ),
        ] {
            let read = parse(&schema, line.as_bytes());
            assert_eq!(read, Ok(Instruction::Change(operation)), "{line}");
        }
    }

    #[test]
    fn parse_explains_bad_lines() {
        let schema = schema("id:u8,name:text(4)");
        let cases: [(&[u8], &str); 17] = [
            (br#"{"id":1,"nmae":"x"}"#, "name"),
            (b"{", "not JSON"),
            (b"\xff", "not UTF-8"),
            (b"{\"id\":1,\"name\":\"\xff\"}", "not UTF-8"),
            (b"7", "not a JSON object"),
            (b"{}{}", "not JSON"),
            (b"{}", "id"),
            (
                br#"{"op":"insrt","row":{}}"#,
                r#""insrt" is not an operation"#,
            ),
            (br#"{"op":"or","row":{}}"#, "not an operation"),
            (br#"{"op":"","row":{}}"#, "not an operation"),
            (br#"{"op":7,"row":{}}"#, "7 is not an operation"),
            (br#"{"op":"insert"}"#, "needs a row"),
            (br#"{"op":"delete"}"#, "needs a key"),
            (br#"{"op":"delete","key":1}"#, "not an object"),
            (br#"{"op":"insert","row":{"id":300,"name":""}}"#, "id"),
            (br#"{"id":1,"name":"abcde"}"#, "name"),
            (
                br#"{"op":"update","key":{"id":2},"row":{"id":1,"name":""}}"#,
                "differs from the key",
            ),
        ];
        for (line, part) in cases {
            let reason = parse(&schema, line).unwrap_err();
            assert!(reason.contains(part), "{}: {reason}", line.escape_ascii());
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&schema, deep.as_bytes()).is_err());
    }
}
