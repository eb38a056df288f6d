//! Turns records of CSV that arrive in pieces into changes.
//!
//! 1. The first record names the columns, unless the dialect has no header.
//! 2. Each further record is an upsert. If a column that is not a field is called `op`, that column says what the record
//! 2. Each further record is an upsert, unless a column that is not a field is called `op`: then
//!    that column names the operation, so that the output of `subscriber watch --format csv` can be
//!    read back. With a column `version`
//!    too, a `create` replaces an existing row, as in JSON.
//! 3. A record that repeats the header is a row if it fits the fields. Otherwise it is the header
//!    of a second table that
//!
//! A bad record is refused separately. A header that does not suit the fields ends the input,
//! because no record after it can be read.

use std::sync::Arc;

use common::{RowBuf, Schema};

use super::csv_decoder::Decoder;
use super::file::header::Header;
use super::file::settings::Dialect;
use super::json_lines::{Instruction, Operation};
use super::line_reader::MAX_LINE;

/// Maximum size of a record, in bytes. It equals the limit on the length of a line.
const MAX_RECORD: usize = MAX_LINE;

/// Maximum number of cells in a record.
const MAX_CELLS: usize = 4096;

/// The columns that `subscriber watch --format csv` prints before the columns of the row.
const WATCH_COLUMNS: [&str; 2] = ["version", "op"];

/// The meaning of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// The instruction of the record that begins in this line, or the reason why it is refused.
    Record(u64, Result<Instruction, String>),
    /// The header in this line does not suit the fields.
    BadHeader(u64, String),
}

/// Parses records into instructions.
pub struct CsvLines {
    schema: Arc<Schema>,
    decoder: Decoder,
    columns: Option<Columns>,
}

/// The columns of the fields and of the operation.
struct Columns {
    /// The names in the header. Empty if the dialect has no header.
    names: Vec<String>,
    /// The column of each field.
    fields: Vec<usize>,
    op: Option<usize>,
    has_version: bool,
}

impl CsvLines {
    /// Creates a parser for rows of `schema`.
    pub fn new(schema: Arc<Schema>, dialect: Dialect) -> Self {
        let columns = (!dialect.has_header).then(|| Columns {
            names: Vec::new(),
            fields: (0..schema.fields().len()).collect(),
            op: None,
            has_version: false,
        });
        Self {
            schema,
            decoder: Decoder::bounded(dialect, MAX_RECORD, MAX_CELLS),
            columns,
        }
    }

    /// Returns the meaning of the next record that is not a header, and advances `input` past it.
    /// Returns `None` when the input is used up; the next call continues with more of it.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Said> {
        loop {
            let decoded = self.decoder.read(input)?;
            if let Some(said) = self.record(decoded) {
                return Some(said);
            }
        }
    }

    /// Reads the last record, which needs no line end.
    pub fn end(&mut self) -> Option<Said> {
        let decoded = self.decoder.finish()?;
        self.record(decoded)
    }

    /// Returns the number of lines that were read. The last line needs no line end.
    pub fn lines(&self) -> u64 {
        self.decoder.lines_begun()
    }

    /// Returns the meaning of the decoded record, or `None` if it is a header.
    fn record(&mut self, decoded: Result<(), String>) -> Option<Said> {
        let line = self.decoder.first_line();
        let cells = match decoded.and_then(|()| self.decoder.cells()) {
            Ok(cells) => cells,
            Err(reason) => return Some(Said::Record(line, Err(reason))),
        };
        if let Some(columns) = &self.columns
            && !columns.names_operation(&cells)
        {
            let instruction = columns.instruction(&self.schema, &cells);
            return match instruction {
                Err(_) if columns.names == cells => None,
                instruction => Some(Said::Record(line, instruction)),
            };
        }
        match Columns::named(&self.schema, &cells) {
            Ok(columns) => {
                self.columns = Some(columns);
                None
            }
            Err(reason) => Some(Said::BadHeader(line, reason)),
        }
    }
}

impl Columns {
    fn named(schema: &Schema, cells: &[&str]) -> Result<Self, String> {
        let names = cells.iter().map(|cell| (*cell).to_owned()).collect();
        // If a field is also called `op` or `version`, its column is the second one with that name.
        if let Some(rest) = cells.strip_prefix(&WATCH_COLUMNS)
            && let Ok(fields) = Header::named(rest.iter().copied()).columns_of(schema)
        {
            return Ok(Self {
                names,
                fields: fields
                    .iter()
                    .map(|column| column + WATCH_COLUMNS.len())
                    .collect(),
                op: Some(1),
                has_version: true,
            });
        }
        let header = Header::named(cells.iter().copied());
        let fields = header.columns_of(schema)?;
        let extra = |name: &str| {
            header
                .position(name)
                .filter(|_| schema.field(name).is_none())
        };
        Ok(Self {
            fields,
            op: extra("op"),
            has_version: extra("version").is_some(),
            names,
        })
    }

    /// Returns true if the column `op` holds the text `op`, which is the case only in a header.
    fn names_operation(&self, cells: &[&str]) -> bool {
        self.op.is_some_and(|op| cells.get(op) == Some(&"op"))
    }

    fn instruction(&self, schema: &Arc<Schema>, cells: &[&str]) -> Result<Instruction, String> {
        let columns = match self.names.len() {
            0 => self.fields.len(),
            named => named,
        };
        if cells.len() != columns {
            return Err(format!(
                "cells: {}, but there are {columns} columns: put a cell that contains the delimiter in quotes",
                cells.len()
            ));
        }
        let row = |fields: &dyn Fn(usize) -> bool| {
            let mut row = RowBuf::new(Arc::clone(schema));
            for (field, column) in self
                .fields
                .iter()
                .enumerate()
                .filter(|(field, _)| fields(*field))
            {
                row.set_text(field, cells[*column])
                    .map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(row)
        };
        let whole = || row(&|_| true);
        let operation = match self.op.map(|op| cells[op]) {
            None | Some("upsert") => Operation::Upsert(whole()?),
            Some("create") if self.has_version => Operation::Upsert(whole()?),
            Some("create" | "insert") => Operation::Insert(whole()?),
            Some("update") => Operation::Update(whole()?),
            Some("delete") => {
                let is_key = |field: usize| {
                    let name = schema.fields()[field].name();
                    schema.key_fields().any(|field| field.name() == name)
                };
                Operation::Delete(row(&is_key)?.key_bytes())
            }
            Some(other) => {
                return Err(format!(
                    "{other:?} is not an operation: use create, insert, update, upsert or delete"
                ));
            }
        };
        Ok(Instruction::Change(operation))
    }
}

#[cfg(test)]
mod tests;
