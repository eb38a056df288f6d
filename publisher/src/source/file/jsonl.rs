//! Reads a file of JSON lines as a whole table: the rows that exist after all lines have been
//! applied to an empty table.
//!
//! The lines have the format of stdin ([`json_lines`](crate::source::json_lines)). If one of them
//! is bad or refused, the whole file is refused. The end of the file is an exception, because a
//! writer may still be appending: a last line without a line end is left out if it is the beginning
//! of an object, and so is a transaction without its `commit`. Any other last line, such as the
//! error message of a failed download, is bad like every bad line.
//!
//! Without `--fields` a first pass over all rows infers the schema. Fields are in the order of
//! their first appearance, and strings of JSON are never numbers. A number keeps all of its digits:
//! if 64 bits or an `f64` would round one, its column is text. A field that is null or missing in
//! some row is a text, and empty in that row.

use std::collections::HashMap;
use std::sync::Arc;

use common::schema::MAX_FIELDS;
use common::{Kind, Schema};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::fault::{Fault, Faults};
use super::infer::Column;
use super::keyed::Keyed;
use super::names::Names;
use super::progress::Progress;
use super::settings::Settings;
use super::{Table, shape, text};
use crate::source::json_lines::{Instruction, OPS, Operation, instruction, object};

/// Number of lines between two updates of the progress.
const PROGRESS_STEP: u64 = 1024;

/// The operations that carry a row.
const ROW_OPS: [&str; 4] = ["create", "insert", "update", "upsert"];

/// Reads a file. `former` is the schema of the version that was read before.
///
/// # Errors
/// Returns the first [`Fault`].
pub fn read(
    bytes: &[u8],
    settings: &Settings,
    former: Option<&Schema>,
    progress: &Progress,
) -> Result<Table, Fault> {
    text::refuse_utf16(bytes)?;
    let mut remarks = Vec::new();
    let passes = if settings.declared.is_some() { 1 } else { 2 };
    let lines = Lines {
        bytes,
        progress,
        passes,
    };
    let schema = match &settings.declared {
        Some(schema) => schema.clone(),
        None => {
            let shape = infer(&lines, settings, former)?;
            remarks.extend(shape.remarks);
            shape.schema
        }
    };
    let mut history = History::new(Arc::new(schema), settings.declared.is_none());
    let mut faults = Faults::default();
    let is_complete = lines.each(passes - 1, &mut faults, |line, object, _, faults| {
        if let Err(reason) = history.take(line, object) {
            faults.add(|| Fault::at(line, reason));
        }
    });
    faults.into_result()?;
    if !is_complete {
        remarks
            .push("its last line is incomplete, and is left out until it is complete".to_owned());
    }
    Ok(Table {
        snapshot: history.rows.into_snapshot(),
        remarks,
    })
}

/// The lines of a file.
struct Lines<'b> {
    bytes: &'b [u8],
    progress: &'b Progress,
    passes: u64,
}

impl Lines<'_> {
    /// Calls `each` with the number, the object and the text of every line that holds an
    /// object. Returns false if the last line is incomplete.
    fn each(
        &self,
        pass: u64,
        faults: &mut Faults,
        mut each: impl FnMut(u64, Map<String, Value>, &[u8], &mut Faults),
    ) -> bool {
        let length = self.bytes.len() as u64;
        let mut done = 0;
        for (line, text) in (1..).zip(self.bytes.split_inclusive(|byte| *byte == b'\n')) {
            match object(text) {
                Ok(Some(object)) => each(line, object, text, faults),
                Ok(None) => {}
                Err(_) if !text.ends_with(b"\n") && is_cut_off(text) => return false,
                Err(reason) => faults.add(|| Fault::at(line, reason)),
            }
            done += text.len() as u64;
            if line.is_multiple_of(PROGRESS_STEP) {
                self.progress.at(pass * length + done, self.passes * length);
            }
        }
        true
    }
}

/// Returns true if a line is the beginning of an object. It may end inside a multi-byte character.
fn is_cut_off(line: &[u8]) -> bool {
    let line = text::without_mark(line).trim_ascii_start();
    let line = match std::str::from_utf8(line) {
        Ok(line) => line.as_bytes(),
        Err(error) if error.error_len().is_none() => &line[..error.valid_up_to()],
        Err(_) => return false,
    };
    line.starts_with(b"{")
        && serde_json::from_slice::<Value>(line).is_err_and(|error| error.is_eof())
}

/// Infers the schema of the rows.
fn infer(
    lines: &Lines<'_>,
    settings: &Settings,
    former: Option<&Schema>,
) -> Result<shape::Shape, Fault> {
    let mut columns = Columns::new(settings.key.as_deref());
    let mut faults = Faults::default();
    lines.each(0, &mut faults, |line, object, text, faults| {
        if let Some(row) = row_of(&object)
            && let Err(reason) = columns.see(row, text)
        {
            faults.add(|| Fault::at(line, reason));
        }
    });
    faults.into_result()?;
    columns.finish();
    let Some(first) = columns.names.first() else {
        let reason = "it has no row to infer the fields from: declare them with --fields";
        return Err(Fault::of_file(reason));
    };
    let key: Vec<&str> = match &settings.key {
        Some(key) => key.iter().map(String::as_str).collect(),
        None => vec![first],
    };
    shape::infer(&columns.names, &columns.columns, &key, former)
}

/// Returns the row in a line, if it has one.
fn row_of(object: &Map<String, Value>) -> Option<&Map<String, Value>> {
    match operation_of(object) {
        None => Some(object),
        Some(op) if ROW_OPS.contains(&op) => object.get("row")?.as_object(),
        Some(_) => None,
    }
}

/// Returns the operation that a line names, as far as it can be determined without the schema.
fn operation_of(object: &Map<String, Value>) -> Option<&str> {
    let op = object.get("op")?.as_str()?;
    OPS.contains(&op).then_some(op)
}

/// The state of the inference for all fields.
struct Columns<'k> {
    key: Option<&'k [String]>,
    names: Vec<String>,
    columns: Vec<Column>,
    /// Number of rows in which each field appears.
    counts: Vec<u64>,
    by_name: HashMap<String, usize>,
    rows: u64,
}

impl<'k> Columns<'k> {
    fn new(key: Option<&'k [String]>) -> Self {
        Self {
            key,
            names: Vec::new(),
            columns: Vec::new(),
            counts: Vec::new(),
            by_name: HashMap::new(),
            rows: 0,
        }
    }

    /// Adds a row and the line that contains it.
    fn see(&mut self, row: &Map<String, Value>, line: &[u8]) -> Result<(), String> {
        if row.keys().any(|name| !self.by_name.contains_key(name)) {
            self.add_names(line)?;
        }
        self.rows += 1;
        for (name, value) in row {
            let Some(index) = self.by_name.get(name) else {
                continue;
            };
            self.counts[*index] += 1;
            let column = &mut self.columns[*index];
            match value {
                Value::String(text) => column.see_string(text),
                Value::Number(number) => column.see_number(&number.to_string()),
                Value::Bool(value) => column.see_bool(*value),
                // Lists and objects are refused when the row is read.
                _ => column.see_nothing(),
            }
            if column.widest() > usize::from(Kind::MAX_TEXT) {
                return Err(format!(
                    "{name} has {} bytes, but a text holds at most {}: shorten it",
                    column.widest(),
                    Kind::MAX_TEXT
                ));
            }
        }
        Ok(())
    }

    /// Adds the new names in a line, in the order of the text, which `Map` does not keep.
    fn add_names(&mut self, line: &[u8]) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Operation {
            row: Names,
        }
        let line = text::without_mark(line);
        let operation = serde_json::from_slice::<Operation>(line).map(|operation| operation.row);
        let has_op = object(line)?.is_some_and(|object| operation_of(&object).is_some());
        let names = match operation {
            Ok(row) if has_op => row,
            _ => serde_json::from_slice(line).map_err(|error| error.to_string())?,
        };
        for name in names.0 {
            if self.by_name.contains_key(&name) {
                continue;
            }
            if self.names.len() == MAX_FIELDS {
                return Err(format!("there are more than {MAX_FIELDS} different fields"));
            }
            let is_key = match self.key {
                Some(key) => key.contains(&name),
                None => self.names.is_empty(),
            };
            self.by_name.insert(name.clone(), self.names.len());
            self.names.push(name);
            self.columns.push(Column::new(is_key));
            self.counts.push(0);
        }
        Ok(())
    }

    /// Ends the inference: a field that is not in all rows is missing somewhere.
    fn finish(&mut self) {
        let columns = self.columns.iter_mut().zip(&self.counts);
        columns
            .filter(|(_, count)| **count < self.rows)
            .for_each(|(column, _)| column.see_nothing());
    }
}

/// The rows after the lines that have been applied.
struct History {
    rows: Keyed,
    /// True if fields may be null or missing, because the schema was inferred.
    is_lenient: bool,
    /// The line of `begin` and the changes since, in an open transaction.
    open: Option<(u64, Vec<Operation>)>,
}

impl History {
    fn new(schema: Arc<Schema>, is_lenient: bool) -> Self {
        Self {
            rows: Keyed::new(schema),
            is_lenient,
            open: None,
        }
    }

    fn take(&mut self, line: u64, mut object: Map<String, Value>) -> Result<(), String> {
        let schema = Arc::clone(self.rows.schema());
        if self.is_lenient {
            make_complete(&schema, &mut object);
        }
        match instruction(&schema, &object)? {
            Instruction::Nothing => Ok(()),
            Instruction::Change(change) => match &mut self.open {
                Some((_, changes)) => {
                    changes.push(change);
                    Ok(())
                }
                None => self.apply(&change),
            },
            Instruction::Begin => match &self.open {
                Some((begin, _)) => Err(format!("`begin` inside the transaction of line {begin}")),
                None => {
                    self.open = Some((line, Vec::new()));
                    Ok(())
                }
            },
            Instruction::Commit => {
                let (begin, changes) = self.open.take().ok_or(
                    "`commit` without `begin`: begin a transaction with {\"op\":\"begin\"}",
                )?;
                let mut changes = changes.iter();
                changes
                    .try_for_each(|change| self.apply(change))
                    .map_err(|reason| format!("in the transaction of line {begin}: {reason}"))
            }
        }
    }

    fn apply(&mut self, change: &Operation) -> Result<(), String> {
        match change {
            Operation::Insert(row) => self.rows.insert(row.bytes()).map_err(|_| {
                let key = row.as_ref().key().to_string();
                format!("the key {key} exists already: use update or upsert to change its row")
            }),
            Operation::Update(row) => {
                let at = self.find(&row.key_bytes())?;
                self.rows.replace(at, row.bytes());
                Ok(())
            }
            Operation::Upsert(row) => {
                if let Err(at) = self.rows.insert(row.bytes()) {
                    self.rows.replace(at, row.bytes());
                }
                Ok(())
            }
            Operation::Delete(key) => {
                let at = self.find(key)?;
                self.rows.remove(at);
                Ok(())
            }
            Operation::Clear => {
                self.rows.clear();
                Ok(())
            }
        }
    }

    fn find(&self, key: &[u8]) -> Result<usize, String> {
        self.rows.find(key).ok_or_else(|| {
            let key = self.rows.schema().format_key(key);
            format!("there is no key {key}: use insert or upsert to create its row")
        })
    }
}

/// Replaces a missing value, null, number or boolean by text in fields that were inferred as text.
fn make_complete(schema: &Schema, object: &mut Map<String, Value>) {
    match operation_of(object).is_some() {
        false => make_texts(schema, object, true),
        true => {
            for (name, is_whole) in [("row", true), ("key", false)] {
                if let Some(Value::Object(member)) = object.get_mut(name) {
                    make_texts(schema, member, is_whole);
                }
            }
        }
    }
}

fn make_texts(schema: &Schema, object: &mut Map<String, Value>, is_whole: bool) {
    let fields = schema.fields().iter();
    for field in fields.filter(|field| matches!(field.kind(), Kind::Text(_))) {
        let text = match object.get(field.name()) {
            Some(Value::Null) => String::new(),
            None if is_whole => String::new(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Bool(value)) => value.to_string(),
            _ => continue,
        };
        object.insert(field.name().to_owned(), Value::String(text));
    }
}

#[cfg(test)]
mod tests;
