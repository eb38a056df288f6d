//! Reads JSON lines of a whole file or of a stream.
//!
//! If an object has several members with the same name, the last one counts. Members of a row that
//! are not fields are ignored. A byte-order mark at the beginning of a line is skipped, because
//! concatenated files may have one each.
//!
//! **A stream** ([`JsonLines`]) is a sequence of instructions. A bad line is refused separately.
//!
//! **A file** ([`read`]) is the table that exists after all lines have been applied to an empty
//! one. If one of them is bad or refused, the whole file is refused. The end of the file is an
//! exception, because a writer may still be appending: a last line without a line end is left out
//! if it is the beginning of an object, and so is a transaction without its `commit`. Any other
//! last line, such as the error message of a failed download, is bad like every bad line.
//!
//! **An array** (also [`read`]) is a table of which each element is a row. A key may occur once.
//!
//! Without `--fields` a first pass over all rows of a file infers the schema. Fields are in the
//! order of their first appearance, and strings of JSON are never numbers. A number keeps all of
//! its digits: if 64 bits or an `f64` would round one, its column is text. A field that is null or
//! missing in some row is a text, and empty in that row.

use std::sync::Arc;

use cli::CliError;
use common::schema::MAX_FIELDS;
use common::{Kind, RowBuf, Schema};
use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::change::{
    COMMIT_WITHOUT_BEGIN, DistinctRows, Instruction, Line, LineParser, MAX_LINE, Operation, RowSet,
    check_lines,
};
use super::csv::BYTE_ORDER_MARK;
use super::format::{Format, Settings, Table};
use super::infer::{Column, infer_schema};

const OPS: [&str; 8] =
    ["create", "insert", "update", "upsert", "delete", "clear", "begin", "commit"];

/// The operations that carry a row.
const ROW_OPS: [&str; 4] = ["create", "insert", "update", "upsert"];

/// Parses the lines of a stream.
pub struct JsonLines {
    schema: Arc<Schema>,
    /// True if the rest of the current line is skipped, because the line is too long.
    is_skipping: bool,
    lines: u64,
}

impl JsonLines {
    /// Creates a parser for rows of `schema`.
    pub fn new(schema: Arc<Schema>) -> Self {
        Self { schema, is_skipping: false, lines: 0 }
    }
}

impl LineParser for JsonLines {
    fn next(&mut self, input: &mut &[u8], is_end: bool) -> Option<Result<Line, CliError>> {
        let length = input.iter().position(|byte| *byte == b'\n');
        let (line, rest) = input.split_at(length.unwrap_or(input.len()));
        let is_incomplete = line.is_empty() || !is_end && line.len() <= MAX_LINE;
        if length.is_none() && is_incomplete {
            return None;
        }
        *input = rest.get(1..).unwrap_or_default();
        let is_rest = std::mem::replace(&mut self.is_skipping, length.is_none());
        if is_rest {
            return self.next(input, is_end);
        }
        self.lines += 1;
        let instruction = match line.len() <= MAX_LINE {
            true => parse(&self.schema, line),
            false => Err(format!("the line is longer than {MAX_LINE} bytes")),
        };
        Some(Ok((self.lines, instruction)))
    }

    fn lines(&self) -> u64 {
        self.lines
    }
}

/// Parses a line.
///
/// # Errors
/// Returns a sentence that says what is wrong with the line.
pub fn parse(schema: &Arc<Schema>, line: &[u8]) -> Result<Instruction, String> {
    let objects = Objects { schema: Arc::clone(schema), is_lenient: false };
    match object(line)? {
        Some(object) => objects.instruction(&object),
        None => Ok(Instruction::Nothing),
    }
}

/// Returns the object in a line, or `None` if the line is blank.
fn object<T: DeserializeOwned>(line: &[u8]) -> Result<Option<T>, String> {
    let line = without_mark(line);
    let line = std::str::from_utf8(line).map_err(|error| format!("it is not UTF-8: {error}"))?;
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    serde_json::from_str(line).map(Some).map_err(|error| {
        if error.is_data() {
            return "it is not a JSON object: write {\"FIELD\":VALUE,…}".to_owned();
        }
        // The line number is dropped, because it counts from the start of this line.
        let message = error.to_string();
        let reason = message.split(" at line ").next().unwrap_or_default();
        let column = error.column();
        format!("it is not JSON: {reason} at column {column}: write {{\"FIELD\":VALUE,…}}")
    })
}

fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

struct Objects {
    schema: Arc<Schema>,
    /// True for an inferred schema: texts accept numbers and booleans, and may be null or missing.
    is_lenient: bool,
}

impl Objects {
    fn instruction(&self, object: &Map<String, Value>) -> Result<Instruction, String> {
        match self.op(object)? {
            None => Ok(Instruction::Change(Operation::Upsert(self.row(object, false)?))),
            Some("begin") => Ok(Instruction::Begin),
            Some("commit") => Ok(Instruction::Commit),
            Some(op) => self.operation(op, object).map(Instruction::Change),
        }
    }

    /// Returns the operation that an object names, or `None` if the object is a row.
    fn op<'o>(&self, object: &'o Map<String, Value>) -> Result<Option<&'o str>, String> {
        let Some(op) = object.get("op") else {
            return Ok(None);
        };
        // A field cannot hold an object. If `row` or `key` holds one, the object is an operation
        // and `op` its name.
        let is_member = |name: &str| object.get(name).is_some_and(Value::is_object);
        if self.schema.field("op").is_some() && !is_member("row") && !is_member("key") {
            return Ok(None);
        }
        match op.as_str().filter(|op| OPS.contains(op)) {
            Some(op) => Ok(Some(op)),
            None => Err(format!("{op} is not an operation: use {}", OPS.join(", "))),
        }
    }

    fn operation(&self, op: &str, object: &Map<String, Value>) -> Result<Operation, String> {
        let member = |name: &str| match object.get(name) {
            Some(Value::Object(member)) => Ok(Some(member)),
            Some(_) => Err(format!("its `{name}` is not an object")),
            None => Ok(None),
        };
        let (key, row) = (member("key")?, member("row")?);
        match op {
            "clear" if object.contains_key("row") || object.contains_key("key") => Err(
                "`clear` removes all rows and takes no row or key: use `delete` to remove one row"
                    .to_owned(),
            ),
            "clear" => Ok(Operation::Clear),
            "delete" => {
                let key =
                    key.or(row).ok_or("`delete` needs a key: {\"op\":\"delete\",\"key\":{…}}")?;
                Ok(Operation::Delete(self.row(key, true)?.key_bytes()))
            }
            op => {
                let row = row.ok_or_else(|| {
                    format!("`{op}` needs a row: {{\"op\":\"{op}\",\"row\":{{…}}}}")
                })?;
                let row = self.row(row, false)?;
                if let Some(key) = key
                    && self.row(key, true)?.key_bytes() != row.key_bytes()
                {
                    return Err("its key differs from the key of its row: delete the old row and \
                                insert the new one"
                        .to_owned());
                }
                Ok(match op {
                    "update" => Operation::Update(row),
                    "upsert" => Operation::Upsert(row),
                    // The output of a watch begins with creates for the whole table, whose rows may
                    // exist in this table already.
                    "create" if object.contains_key("version") => Operation::Upsert(row),
                    _ => Operation::Insert(row),
                })
            }
        }
    }

    fn row(&self, object: &Map<String, Value>, is_key_only: bool) -> Result<RowBuf, String> {
        let mut row = RowBuf::new(Arc::clone(&self.schema));
        for (index, field) in self.schema.fields().iter().enumerate() {
            let name = field.name();
            if is_key_only && !self.schema.key_fields().any(|key| key.name() == name) {
                continue;
            }
            let is_lenient = self.is_lenient && matches!(field.kind(), Kind::Text(_));
            let set = match object.get(name) {
                // The texts of a new row are empty.
                Some(Value::Null) if is_lenient => continue,
                None if is_lenient && !is_key_only => continue,
                None => return Err(format!("the field {name:?} is missing: give every field")),
                Some(value @ (Value::Number(_) | Value::Bool(_))) if is_lenient => {
                    row.set_text(index, &value.to_string())
                }
                Some(value) => row.set_json(index, value),
            };
            set.map_err(|error| error.to_string())?;
        }
        Ok(row)
    }
}

/// Reads a file. `former` is the schema of the version that was read before.
///
/// # Errors
/// Returns the first bad line, or arguments that do not suit the file.
pub fn read(bytes: &[u8], settings: &Settings, former: Option<&Schema>) -> Result<Table, CliError> {
    let (pieces, is_complete) = Pieces::of(bytes, settings.format)?;
    let (schema, mut remarks) = match settings.fixed(former) {
        Some((schema, _)) => (schema.clone(), Vec::new()),
        None => infer(&pieces, settings.key.as_deref(), former)?,
    };
    let schema = Arc::new(schema);
    let objects = Objects { schema: Arc::clone(&schema), is_lenient: settings.declared.is_none() };
    if let Pieces::Elements(_) = pieces {
        let mut rows = DistinctRows::new(schema, "row", settings.on_duplicate);
        pieces.each(|number, text| match object(text)? {
            Some(object) => rows.add(number, &objects.row(&object, false)?),
            None => Ok(()),
        })?;
        return Ok(rows.into_table(remarks));
    }
    let mut history = History { rows: RowSet::new(schema), open: None };
    pieces.each(|line, text| match object(text)? {
        Some(object) => history.take(line, objects.instruction(&object)?),
        None => Ok(()),
    })?;
    if !is_complete {
        let remark = "its last line is incomplete, and is left out until it is complete";
        remarks.push(remark.to_owned());
    }
    Ok(Table { snapshot: history.rows.into_snapshot(), remarks })
}

/// The objects in a file, as text.
enum Pieces<'b> {
    Lines(&'b [u8]),
    /// The elements of an array.
    Elements(Vec<&'b RawValue>),
}

impl<'b> Pieces<'b> {
    /// Returns the pieces, and true if they are all of `bytes`. An incomplete last line is left out.
    fn of(bytes: &'b [u8], format: Format) -> Result<(Self, bool), CliError> {
        if format != Format::Json {
            let last = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let is_complete = !is_cut_off(&bytes[last..]);
            let lines = if is_complete { bytes } else { &bytes[..last] };
            return Ok((Self::Lines(lines), is_complete));
        }
        let array = serde_json::from_slice(without_mark(bytes));
        array.map(|elements| (Self::Elements(elements), true)).map_err(|error| {
            let hint = "write [{\"FIELD\":VALUE,…},…], or use --format jsonl for lines of JSON";
            CliError::new(5, format!("it is not a JSON array: {error}: {hint}"))
        })
    }

    /// Calls `each` with the number and the text of every piece.
    fn each(&self, mut each: impl FnMut(u64, &[u8]) -> Result<(), String>) -> Result<(), CliError> {
        let each = |(number, text)| (number, each(number, text));
        match self {
            Self::Lines(bytes) => {
                let lines = bytes.split_inclusive(|byte| *byte == b'\n');
                check_lines("line", (1..).zip(lines).map(each))
            }
            Self::Elements(elements) => {
                let elements = elements.iter().map(|element| element.get().as_bytes());
                check_lines("row", (1..).zip(elements).map(each))
            }
        }
    }
}

/// Returns true if a line is the beginning of an object. It may end inside a multi-byte character.
fn is_cut_off(line: &[u8]) -> bool {
    let line = without_mark(line).trim_ascii_start();
    let line = match std::str::from_utf8(line) {
        Ok(line) => line.as_bytes(),
        Err(error) if error.error_len().is_none() => &line[..error.valid_up_to()],
        Err(_) => return false,
    };
    line.starts_with(b"{")
        && serde_json::from_slice::<Value>(line).is_err_and(|error| error.is_eof())
}

/// The members of an object, in the order of the text.
type Members = IndexMap<String, Value>;

/// Returns the schema that suits all rows, and remarks. The default key is the first field.
fn infer(
    pieces: &Pieces<'_>,
    key: Option<&[String]>,
    former: Option<&Schema>,
) -> Result<(Schema, Vec<String>), CliError> {
    let mut columns: IndexMap<String, Column> = IndexMap::new();
    let mut rows = 0;
    pieces.each(|_, text| {
        let row = match pieces {
            Pieces::Lines(_) => row_in(text)?,
            Pieces::Elements(_) => object(text)?,
        };
        let Some(row) = row else {
            return Ok(());
        };
        rows += 1;
        for (name, value) in row {
            if columns.len() == MAX_FIELDS && !columns.contains_key(&name) {
                return Err(format!("there are more than {MAX_FIELDS} different fields"));
            }
            let is_key = key.map_or(columns.is_empty(), |key| key.contains(&name));
            let column = columns.entry(name.clone()).or_insert_with(|| Column::new(is_key));
            column.see_json(&name, &value)?;
        }
        Ok(())
    })?;
    // A field that is missing in a row is null there.
    columns.values_mut().for_each(|column| column.fill_up(rows));
    let (names, columns): (Vec<String>, Vec<Column>) = columns.into_iter().unzip();
    let Some(first) = names.first() else {
        let reason = "it has no row to infer the fields from: declare them with --fields";
        return Err(CliError::new(5, reason));
    };
    let key = key.unwrap_or(std::slice::from_ref(first));
    infer_schema(&names, &columns, key, former)
}

/// Returns the row in a line, if there is one, checked as far as is possible without the schema.
fn row_in(text: &[u8]) -> Result<Option<Members>, String> {
    #[derive(Deserialize)]
    struct Operation {
        row: Members,
    }
    let Some(members) = object::<Members>(text)? else {
        return Ok(None);
    };
    // A row may have a field `op`, as in `Objects::op`.
    let is_member = |name: &str| members.get(name).is_some_and(Value::is_object);
    let is_operation = members.len() == 1 || is_member("row") || is_member("key");
    Ok(match members.get("op").and_then(Value::as_str).filter(|_| is_operation) {
        // The second pass reports a missing row.
        Some(op) if ROW_OPS.contains(&op) => {
            object::<Operation>(text).ok().flatten().map(|operation| operation.row)
        }
        Some(op) if OPS.contains(&op) => None,
        _ => Some(members),
    })
}

/// The rows after the lines that have been applied.
struct History {
    rows: RowSet,
    /// The line of `begin` and the changes since, in an open transaction.
    open: Option<(u64, Vec<Operation>)>,
}

impl History {
    fn take(&mut self, line: u64, instruction: Instruction) -> Result<(), String> {
        match (instruction, &mut self.open) {
            (Instruction::Nothing, _) => Ok(()),
            (Instruction::Change(change), Some((_, changes))) => {
                changes.push(change);
                Ok(())
            }
            (Instruction::Change(change), None) => self.rows.apply(&change),
            (Instruction::Begin, Some((begin, _))) => {
                Err(format!("`begin` inside the transaction of line {begin}"))
            }
            (Instruction::Begin, None) => {
                self.open = Some((line, Vec::new()));
                Ok(())
            }
            (Instruction::Commit, _) => {
                let (begin, changes) = self.open.take().ok_or(COMMIT_WITHOUT_BEGIN)?;
                let mut changes = changes.iter();
                changes
                    .try_for_each(|change| self.rows.apply(change))
                    .map_err(|reason| format!("in the transaction of line {begin}: {reason}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    mod file;

    use super::*;

    fn schema(fields: &str) -> Arc<Schema> {
        Arc::new(Schema::parse(fields, None).unwrap())
    }

    fn row(schema: &Arc<Schema>, json: &str) -> RowBuf {
        RowBuf::from_json(schema, serde_json::from_str::<Value>(json).unwrap().as_object().unwrap())
            .unwrap()
    }

    /// Passes the pieces to a parser and returns the line numbers with the lengths of the rows'
    /// names, with `None` for a line that is too long.
    fn lines(pieces: &[&[u8]]) -> Vec<(u64, Option<usize>)> {
        let mut lines = JsonLines::new(schema("name:text(16)"));
        let mut all = Vec::new();
        let mut buffer = Vec::new();
        let pieces = pieces.iter().map(|piece| (*piece, false));
        for (piece, is_end) in pieces.chain([(&b""[..], true)]) {
            buffer.extend_from_slice(piece);
            let mut rest = buffer.as_slice();
            while let Some(line) = lines.next(&mut rest, is_end) {
                all.push(line.unwrap());
            }
            buffer = rest.to_vec();
        }
        assert!(buffer.is_empty(), "all of the input is read");
        let short = |instruction: Result<Instruction, String>| match instruction {
            Ok(Instruction::Change(Operation::Upsert(row))) => {
                Some(row.as_ref().key().to_string().len())
            }
            Ok(Instruction::Nothing) => Some(0),
            Err(reason) => {
                assert!(reason.contains("longer than"), "{reason}");
                None
            }
            Ok(other) => panic!("{other:?}"),
        };
        let all = all.into_iter();
        all.map(|(line, instruction)| (line, short(instruction))).collect()
    }

    #[test]
    fn lines_do_not_depend_on_the_pieces_they_arrive_in() {
        let text = b"{\"name\":\"a\"}\n\n{\"name\":\"abc\"}\r\n{\"name\":\"ab\"}";
        let expected = [(1, Some(1)), (2, Some(0)), (3, Some(3)), (4, Some(2))];
        for size in [1, 2, 3, 7, text.len()] {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(lines(&pieces), expected, "pieces of {size}");
        }
        assert_eq!(lines(&[]), []);
        assert_eq!(lines(&[b"\n"]), [(1, Some(0))]);
    }

    #[test]
    fn too_long_line_is_skipped() {
        let blanks = vec![b' '; MAX_LINE];
        let row = b"\n{\"name\":\"a\"}\n";
        assert_eq!(lines(&[&blanks, row]), [(1, Some(0)), (2, Some(1))]);
        for more in [1, 2, MAX_LINE, 2 * MAX_LINE] {
            let more = vec![b' '; more];
            assert_eq!(lines(&[&blanks, &more, row]), [(1, None), (2, Some(1))]);
            assert_eq!(lines(&[&blanks, &more]), [(1, None)]);
        }
    }

    #[test]
    fn parse_reads_every_operation() {
        use Operation::{Clear, Delete, Insert, Update, Upsert};
        let schema = schema("id:u8,n:u8");
        let one = || row(&schema, r#"{"id":1,"n":2}"#);
        let cases = [
            (r#"{"op":"create","row":{"id":1,"n":2}}"#, Insert(one())),
            (r#"{"version":7,"op":"create","key":{"id":1},"row":{"id":1,"n":2}}"#, Upsert(one())),
            (r#" {"row":{"n":2,"id":1},"op":"insert"} "#, Insert(one())),
            (r#"{"op":"upsert","row":{"id":1,"n":2}}"#, Upsert(one())),
            (r#"{"id":1,"n":2}"#, Upsert(one())),
            (
                r#"{"version":7,"op":"update","key":{"id":1},"row":{"id":1,"n":2},"old":{"id":1,"n":3}}"#,
                Update(one()),
            ),
            (r#"{"op":"delete","key":{"id":1}}"#, Delete(vec![1])),
            (r#"{"op":"delete","row":{"id":1,"n":2}}"#, Delete(vec![1])),
            (r#"{"version":7,"op":"delete","key":{"id":1},"old":{"id":1,"n":2}}"#, Delete(vec![1])),
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
        assert_eq!(parse(&schema, br#"{"op":"commit"}"#), Ok(Instruction::Commit));
        assert_eq!(parse(&schema, b" \t\r"), Ok(Instruction::Nothing));
    }

    #[test]
    fn field_may_be_named_op() {
        let schema = schema("key:u8,op:text(8),row:u8");
        let plain = r#"{"key":1,"op":"delete","row":2}"#;
        let upsert = Operation::Upsert(row(&schema, plain));
        assert_eq!(parse(&schema, plain.as_bytes()), Ok(Instruction::Change(upsert)));
        let delete = parse(&schema, br#"{"op":"delete","key":{"key":1}}"#);
        assert_eq!(delete, Ok(Instruction::Change(Operation::Delete(vec![1]))));
    }

    /// Guards against valid input that is refused because of parts that are not used. Covers nested
    /// objects and lists, names that no field can have, nulls, and extra members in a row or a key.
    #[test]
    fn members_that_are_not_fields_are_ignored() {
        let schema = schema("id:u8,n:u8");
        let one = || row(&schema, r#"{"id":1,"n":2}"#);
        for (line, operation) in [
            (
                r#"{"id":1,"geo":{"lat":1.5},"n":2,"dc:title":"x","tags":[1],"no":null}"#,
                Operation::Upsert(one()),
            ),
            (r#"{"op":"insert","row":{"id":1,"n":2,"more":{}}}"#, Operation::Insert(one())),
            (
                r#"{"op":"update","key":{"id":1,"more":7},"row":{"more":7,"id":1,"n":2}}"#,
                Operation::Update(one()),
            ),
            (r#"{"op":"delete","key":{"id":1,"more":2}}"#, Operation::Delete(vec![1])),
            (r#"{"op":"delete","row":{"id":1,"n":2,"more":2}}"#, Operation::Delete(vec![1])),
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
            (br#"{"op":"insrt","row":{}}"#, r#""insrt" is not an operation"#),
            (br#"{"op":"or","row":{}}"#, "not an operation"),
            (br#"{"op":"","row":{}}"#, "not an operation"),
            (br#"{"op":7,"row":{}}"#, "7 is not an operation"),
            (br#"{"op":"insert"}"#, "needs a row"),
            (br#"{"op":"delete"}"#, "needs a key"),
            (br#"{"op":"delete","key":1}"#, "not an object"),
            (br#"{"op":"insert","row":{"id":300,"name":""}}"#, "id"),
            (br#"{"id":1,"name":"abcde"}"#, "name"),
            (br#"{"op":"update","key":{"id":2},"row":{"id":1,"name":""}}"#, "differs from the key"),
        ];
        for (line, part) in cases {
            let reason = parse(&schema, line).unwrap_err();
            assert!(reason.contains(part), "{}: {reason}", line.escape_ascii());
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&schema, deep.as_bytes()).is_err());
    }
}
