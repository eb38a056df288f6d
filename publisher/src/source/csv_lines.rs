//! Records of CSV as they arrive, and what each asks for.
//!
//! 1. Lines come in one by one; a line break in quotes makes the next one part of the same record.
//! 2. The first record names the columns, unless nobody does. The same names again (somebody wrote two tables one after
//!    the other) are no row.
//! 3. Each further record is an upsert, or, where a column that is no field is called `op`, what that says: the changes
//!    that `subscriber watch --format csv` prints can be read back. With a column `version`, too, a `create` replaces
//!    what is there already, as in JSON.
//!
//! A bad record is refused by itself. A header that does not suit the fields is the end: nothing after it could be read.

use std::sync::Arc;

use common::{RowBuf, Schema};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::file::header::Header;
use super::file::settings::Dialect;
use super::json_lines::{Instruction, Operation};
use super::line_reader::{Line, MAX_LINE};

/// The longest record, in bytes: as long as a line may be.
const MAX_RECORD: usize = MAX_LINE;

/// The most cells of a record.
const MAX_CELLS: usize = 4096;

/// What a line has led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A record that begins in this line asks for something, or for nothing that can be.
    Record(u64, Result<Instruction, String>),
    /// The header in this line does not suit the fields.
    BadHeader(u64, String),
}

/// Reads records.
pub struct CsvLines {
    schema: Arc<Schema>,
    reader: Reader,
    columns: Option<Columns>,
    /// The record that is being read: its cells one after the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    filled: (usize, usize),
    /// The line that it begins in.
    first_line: u64,
}

/// Where the fields are.
struct Columns {
    /// As they are called.
    names: Vec<String>,
    /// The column of each field.
    fields: Vec<usize>,
    op: Option<usize>,
    has_version: bool,
}

impl CsvLines {
    /// Rows of `schema`.
    pub fn new(schema: Arc<Schema>, dialect: Dialect) -> Self {
        let mut reader = ReaderBuilder::new();
        let reader = reader
            .delimiter(dialect.delimiter)
            .comment(dialect.comment)
            .build();
        let columns = (!dialect.has_header).then(|| Columns {
            names: Vec::new(),
            fields: (0..schema.fields().len()).collect(),
            op: None,
            has_version: false,
        });
        Self {
            schema,
            reader,
            columns,
            bytes: vec![0; 1024],
            ends: vec![0; 64],
            filled: (0, 0),
            first_line: 0,
        }
    }

    /// Takes line number `number`, without its end.
    pub fn take(&mut self, number: u64, line: &Line<'_>) -> Vec<Said> {
        let mut said = Vec::new();
        match line {
            Line::Whole(line) => {
                self.feed(number, line, &mut said);
                self.feed(number, b"\n", &mut said);
            }
            Line::TooLong => {
                self.begin_anew();
                let reason = format!("it has more than {MAX_LINE} bytes");
                said.push(Said::Record(number, Err(reason)));
            }
        }
        said
    }

    /// After the last line: a record that is still open has no end.
    pub fn end(&mut self) -> Option<Said> {
        let is_open = self.is_open();
        self.begin_anew();
        let reason = || Err("a quote is opened in this record and never closed".to_owned());
        is_open.then(|| Said::Record(self.first_line, reason()))
    }

    fn is_open(&self) -> bool {
        self.filled != (0, 0)
    }

    fn begin_anew(&mut self) {
        self.reader.reset();
        self.filled = (0, 0);
    }

    fn feed(&mut self, number: u64, mut input: &[u8], said: &mut Vec<Said>) {
        while !input.is_empty() {
            if !self.is_open() {
                self.first_line = number;
            }
            let (bytes, ends) = self.filled;
            let (result, read, more_bytes, more_ends) =
                self.reader
                    .read_record(input, &mut self.bytes[bytes..], &mut self.ends[ends..]);
            input = &input[read..];
            self.filled = (bytes + more_bytes, ends + more_ends);
            match result {
                ReadRecordResult::InputEmpty | ReadRecordResult::End => {}
                ReadRecordResult::Record => {
                    said.extend(self.record());
                    self.filled = (0, 0);
                }
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    if !self.grow() {
                        self.begin_anew();
                        let reason = format!(
                            "the record has more than {MAX_RECORD} bytes or {MAX_CELLS} cells"
                        );
                        said.push(Said::Record(self.first_line, Err(reason)));
                        return;
                    }
                }
            }
        }
    }

    /// Whether there is room for more now.
    fn grow(&mut self) -> bool {
        let (bytes, ends) = self.filled;
        if bytes == self.bytes.len() && bytes < MAX_RECORD {
            self.bytes.resize((2 * bytes).min(MAX_RECORD), 0);
            return true;
        }
        if ends == self.ends.len() && ends < MAX_CELLS {
            self.ends.resize((2 * ends).min(MAX_CELLS), 0);
            return true;
        }
        false
    }

    /// What the record that is complete asks for; nothing if it names columns.
    fn record(&mut self) -> Option<Said> {
        let line = self.first_line;
        let cells = match self.cells() {
            Ok(cells) => cells,
            Err(reason) => return Some(Said::Record(line, Err(reason))),
        };
        match &self.columns {
            Some(columns) if !columns.is_header(&cells) => Some(Said::Record(
                line,
                columns.instruction(&self.schema, &cells),
            )),
            _ => match Columns::named(&self.schema, &cells) {
                Ok(columns) => {
                    self.columns = Some(columns);
                    None
                }
                Err(reason) => Some(Said::BadHeader(line, reason)),
            },
        }
    }

    fn cells(&self) -> Result<Vec<&str>, String> {
        let ends = &self.ends[..self.filled.1];
        let starts = [0].into_iter().chain(ends.iter().copied());
        let cells = starts.zip(ends).zip(1..).map(|((start, end), number)| {
            std::str::from_utf8(&self.bytes[start..*end])
                .map_err(|_| format!("cell {number} is not UTF-8"))
        });
        cells.collect()
    }
}

impl Columns {
    fn named(schema: &Schema, cells: &[&str]) -> Result<Self, String> {
        let header = Header::named(cells.iter().copied())?;
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
            names: cells.iter().map(|cell| (*cell).to_owned()).collect(),
        })
    }

    /// Whether it is a line of names and no row.
    fn is_header(&self, cells: &[&str]) -> bool {
        let is_same = !self.names.is_empty() && self.names == cells;
        is_same || self.op.is_some_and(|op| cells.get(op) == Some(&"op"))
    }

    fn instruction(&self, schema: &Arc<Schema>, cells: &[&str]) -> Result<Instruction, String> {
        let columns = match self.names.len() {
            0 => self.fields.len(),
            named => named,
        };
        if cells.len() != columns {
            return Err(format!(
                "cells: {}, but there are {columns} columns: a cell with the delimiter in it stands in quotes",
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
                    "{other:?} is no operation: use create, insert, update, upsert or delete"
                ));
            }
        };
        Ok(Instruction::Change(operation))
    }
}

#[cfg(test)]
mod tests;
