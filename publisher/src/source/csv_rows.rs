//! Reads records of CSV as rows: all records of a file, or those that arrive in a stream.
//!
//! In both, the first record names the columns unless the dialect has no header, and all records
//! must have the same number of cells.
//!
//! **A file** ([`read`]) is a table. Each record after the first is a row. Without `--fields` all
//! records are read once to infer the kinds of the columns (`infer`). A file with a bad record or a
//! duplicate key is refused. It is also refused if each of its records is one cell that
//! contains the same number of another separator, unless the user named the delimiter.
//!
//! **A stream** ([`CsvRows`]) is a sequence of changes:
//!
//! 1. A record is an upsert, unless a column that is not a field is called `op`: then that column
//!    names the operation, so that the output of `subscriber watch --format csv` can be read back.
//!    With a column `version` too, a `create` replaces an existing row, as in JSON.
//! 2. A record that repeats the header is a row if it fits the fields. Otherwise it is the header
//!    of a second table that was appended to the first.
//! 3. A bad record is refused separately. A header that does not suit the fields ends the input,
//!    because no record after it can be read.

use std::borrow::Cow;
use std::sync::Arc;

use cli::CliError;
use common::{RowBuf, Schema};

use super::change::{
    DistinctRows, Instruction, Line, LineParser, MAX_LINE, Operation, bad_line, check_lines,
};
use super::csv::{Decoder, Record};
use super::format::{Dialect, SEPARATORS, Settings, Table, separator_name};
use super::header::Header;
use super::infer::{Column, infer_schema};

/// The columns that `subscriber watch --format csv` prints before the columns of the row.
const WATCH_COLUMNS: [&str; 2] = ["version", "op"];

/// Name in messages of the schema of a stream.
const FIELDS: &str = "--fields";

struct Columns {
    schema: Arc<Schema>,
    /// The cells of the header, or nothing without a header.
    names: Vec<String>,
    /// Number of cells in a record.
    width: usize,
    /// The column of each field.
    fields: Vec<usize>,
    op: Option<usize>,
    has_version: bool,
}

impl Columns {
    fn new(schema: &Arc<Schema>, width: usize, fields: Vec<usize>) -> Self {
        let (schema, names) = (Arc::clone(schema), Vec::new());
        Self { schema, names, width, fields, op: None, has_version: false }
    }

    /// Returns the columns that the header of a stream names.
    fn of_header(schema: &Arc<Schema>, cells: &[Cow<'_, str>]) -> Result<Self, String> {
        let names = cells.iter().map(|cell| cell.to_string()).collect();
        let columns = |fields| Self::new(schema, cells.len(), fields);
        // If a field is also called `op` or `version`, its column is the second one with that name.
        if let Some((first, rest)) = cells.split_at_checked(WATCH_COLUMNS.len())
            && first == WATCH_COLUMNS
            && let Ok(fields) = Header::named(rest).columns_of(schema, FIELDS)
        {
            let fields = fields.iter().map(|column| column + WATCH_COLUMNS.len()).collect();
            return Ok(Self { names, op: Some(1), has_version: true, ..columns(fields) });
        }
        let header = Header::named(cells);
        let fields = header.columns_of(schema, FIELDS)?;
        let extra = |name| header.position(name).filter(|_| schema.field(name).is_none());
        let (op, has_version) = (extra("op"), extra("version").is_some());
        Ok(Self { names, op, has_version, ..columns(fields) })
    }

    /// Returns true if the record repeats the header: its column `op` contains `op`, which is not an
    /// operation.
    fn is_header(&self, cells: &[Cow<'_, str>]) -> bool {
        self.op.is_some_and(|op| cells.get(op).is_some_and(|cell| cell == "op"))
    }

    fn row(&self, cells: &[Cow<'_, str>], is_key_only: bool) -> Result<RowBuf, String> {
        let mut row = RowBuf::new(Arc::clone(&self.schema));
        for (field, column) in self.fields.iter().enumerate() {
            let name = self.schema.fields()[field].name();
            if !is_key_only || self.schema.key_fields().any(|key| key.name() == name) {
                row.set_text(field, &cells[*column]).map_err(|error| error.to_string())?;
            }
        }
        Ok(row)
    }

    fn operation(&self, cells: &[Cow<'_, str>]) -> Result<Operation, String> {
        check_width(cells, self.width, "a row")?;
        let row = || self.row(cells, false);
        match self.op.map(|op| cells[op].as_ref()) {
            None | Some("upsert") => row().map(Operation::Upsert),
            Some("create") if self.has_version => row().map(Operation::Upsert),
            Some("create" | "insert") => row().map(Operation::Insert),
            Some("update") => row().map(Operation::Update),
            Some("delete") => Ok(Operation::Delete(self.row(cells, true)?.key_bytes())),
            Some(other) => Err(format!(
                "{other:?} is not an operation: use create, insert, update, upsert or delete"
            )),
        }
    }
}

/// Returns an error if a record does not have `width` cells. `model` names the record or row that
/// sets the width.
fn check_width(cells: &[Cow<'_, str>], width: usize, model: &str) -> Result<(), String> {
    match cells.len() {
        count if count == width => Ok(()),
        count => Err(format!(
            "cells: {count}, but {model} has {width}: put a cell that contains the delimiter in quotes"
        )),
    }
}

/// Parses the records of a stream into changes.
pub struct CsvRows {
    schema: Arc<Schema>,
    decoder: Decoder,
    columns: Option<Columns>,
}

impl CsvRows {
    /// Creates a parser for rows of `schema`.
    pub fn new(schema: Arc<Schema>, dialect: Dialect) -> Self {
        // Without a header the columns are the fields.
        let width = schema.fields().len();
        let columns = || Columns::new(&schema, width, (0..width).collect());
        let columns = (!dialect.has_header).then(columns);
        Self { schema, decoder: Decoder::new(dialect, MAX_LINE), columns }
    }

    /// Returns the meaning of a record, or `None` if it is a header.
    fn line(&mut self, record: Record<'_>) -> Option<Result<Line, CliError>> {
        let cells = match record.cells {
            Ok(cells) => cells,
            Err(reason) => return Some(Ok((record.line, Err(reason)))),
        };
        if let Some(columns) = &self.columns
            && !columns.is_header(&cells)
        {
            return match columns.operation(&cells) {
                Err(_) if columns.names == cells => None,
                operation => Some(Ok((record.line, operation.map(Instruction::Change)))),
            };
        }
        match Columns::of_header(&self.schema, &cells) {
            Ok(columns) => {
                self.columns = Some(columns);
                None
            }
            Err(reason) => Some(Err(bad_line(record.line, &reason))),
        }
    }
}

impl LineParser for CsvRows {
    fn next(&mut self, input: &mut &[u8], is_end: bool) -> Option<Result<Line, CliError>> {
        loop {
            let record = self.decoder.next(input, is_end)?;
            if let Some(line) = self.line(record) {
                return Some(line);
            }
        }
    }

    fn lines(&self) -> u64 {
        self.decoder.lines_begun()
    }
}

/// Reads a file of `dialect`. `former` is the schema of the version that was read before.
///
/// # Errors
/// Returns a [`CliError`] for the first bad line, or for arguments that do not suit the file.
pub fn read(
    bytes: &[u8],
    dialect: Dialect,
    settings: &Settings,
    former: Option<&Schema>,
) -> Result<Table, CliError> {
    let file = CsvFile::new(bytes, dialect, settings.columns.as_deref())?;
    file.check_delimiter()?;
    let mut remarks: Vec<String> = file.header.renamed().into_iter().collect();
    let (schema, fields) = match settings.fixed(former) {
        Some((schema, origin)) => {
            let fields = file.columns_of(schema, origin)?;
            remarks.extend(file.header.left_out(&fields, origin));
            (schema.clone(), fields)
        }
        None => {
            let (schema, more) = file.infer(settings, former)?;
            remarks.extend(more);
            (schema, (0..file.header.width()).collect())
        }
    };
    let columns = Columns::new(&Arc::new(schema), file.header.width(), fields);
    let schema = Arc::clone(&columns.schema);
    let mut rows = DistinctRows::new(schema, "line", settings.on_duplicate);
    file.each_row(|line, cells| rows.add(line, &columns.row(cells, false)?))?;
    Ok(rows.into_table(remarks))
}

struct CsvFile<'b> {
    bytes: &'b [u8],
    dialect: Dialect,
    header: Header,
    header_line: u64,
    /// True if the columns have names, from the header or from the user.
    has_names: bool,
}

/// Appends its number to each name that occurs before. The names of columns are those of a program,
/// and cannot be changed in the input.
fn numbered_duplicates(names: &[Cow<'_, str>]) -> Vec<String> {
    let number = |(index, name): (usize, &Cow<'_, str>)| match names[..index].contains(name) {
        true => format!("{name}_{}", index + 1),
        false => name.to_string(),
    };
    names.iter().enumerate().map(number).collect()
}

fn records(bytes: &[u8], dialect: Dialect) -> impl Iterator<Item = Record<'_>> {
    let (mut decoder, mut rest) = (Decoder::new(dialect, usize::MAX), bytes);
    std::iter::from_fn(move || decoder.next(&mut rest, true))
}

impl<'b> CsvFile<'b> {
    /// Begins to read a file, whose columns have the given names if there are any.
    fn new(
        bytes: &'b [u8],
        mut dialect: Dialect,
        names: Option<&[String]>,
    ) -> Result<Self, CliError> {
        if dialect.columns.is_some() {
            // The names of columns with blanks, such as `Mounted on`, belong to the last column.
            let widths =
                records(bytes, dialect).filter_map(|record| Some(record.cells.ok()?.len()));
            dialect.columns = names.map(<[String]>::len).or_else(|| widths.min());
        }
        let (mut decoder, mut rest) = (Decoder::new(dialect, usize::MAX), bytes);
        let Some(first) = decoder.next(&mut rest, true) else {
            let reason = match dialect.has_header {
                true => "write the names of its columns in the first line, as in `id,name,price`",
                false => "it needs at least one record",
            };
            return Err(CliError::new(5, format!("it is empty: {reason}")));
        };
        let dialect = decoder.dialect();
        let bad_header = |reason: String| bad_line(first.line, &reason);
        let cells = first.cells.map_err(bad_header)?;
        let is_aligned = dialect.columns.is_some();
        let header = match names {
            Some(names) if is_aligned || names.len() == cells.len() => Header::named(names),
            Some(names) => {
                let (names, cells) = (names.len(), cells.len());
                let reason =
                    format!("--columns has {names} names, but the first record has {cells} cells");
                return Err(CliError::new(2, reason));
            }
            None if dialect.has_header && is_aligned => Header::named(&numbered_duplicates(&cells)),
            None if dialect.has_header => Header::named(&cells),
            None => Header::numbered(cells.len()),
        };
        let has_names = dialect.has_header || names.is_some();
        Ok(Self { bytes, dialect, header, header_line: first.line, has_names })
    }

    /// Calls `each` with every row. Records of another width are bad.
    fn each_row(
        &self,
        mut each: impl FnMut(u64, &[Cow<'_, str>]) -> Result<(), String>,
    ) -> Result<(), CliError> {
        let skipped = usize::from(self.dialect.has_header);
        let first = if self.dialect.has_header { "the header" } else { "the first record" };
        let rows = records(self.bytes, self.dialect).skip(skipped).map(|record| {
            let result = record.cells.and_then(|cells| {
                let (width, words) = (self.header.width(), cells.len());
                check_width(&cells, width, first).map_err(|reason| {
                    if self.dialect.columns.is_some() {
                        return format!("words: {words}, but --columns names {width} columns");
                    }
                    let hint = self.header.hint();
                    reason + &hint.map_or(String::new(), |hint| format!(", or {hint}"))
                })?;
                each(record.line, &cells)
            });
            (record.line, result)
        });
        check_lines("line", rows)
    }

    /// Refuses a file of one column in which every record has the same number of another separator.
    fn check_delimiter(&self) -> Result<(), CliError> {
        let is_checked = self.dialect.columns.is_none() && !self.dialect.is_delimiter_given;
        if !is_checked || self.header.width() != 1 {
            return Ok(());
        }
        let is_in_all = |separator: &u8| {
            let mut counts = records(self.bytes, self.dialect).map(|record| match &record.cells {
                Ok(cells) if cells.len() == 1 && !record.has_quotes => {
                    cells[0].matches(char::from(*separator)).count()
                }
                _ => 0,
            });
            let first = counts.next().unwrap_or(0);
            first > 0 && counts.all(|count| count == first)
        };
        let Some(separator) = SEPARATORS.into_iter().find(is_in_all) else {
            return Ok(());
        };
        let reason = format!(
            "it has one column, and every record contains {:?} equally often: use --delimiter {} if \
             that separates the cells, or --delimiter {} if it does not",
            char::from(separator),
            separator_name(separator),
            separator_name(self.dialect.delimiter)
        );
        Err(CliError::new(5, reason))
    }

    fn columns_of(&self, schema: &Schema, origin: &str) -> Result<Vec<usize>, CliError> {
        let (fields, columns) = (schema.fields().len(), self.header.width());
        let found = match self.has_names {
            true => self.header.columns_of(schema, origin),
            false if fields == columns => Ok((0..columns).collect()),
            false => Err(format!(
                "{origin} names {fields} fields, but the first record has {columns} cells: without \
                 a header {origin} must name every column"
            )),
        };
        found.map_err(|reason| CliError::new(2, reason))
    }

    /// Returns the schema that suits all records, and remarks about it.
    fn infer(
        &self,
        settings: &Settings,
        former: Option<&Schema>,
    ) -> Result<(Schema, Vec<String>), CliError> {
        let distinct = self.header.check_distinct();
        distinct.map_err(|reason| bad_line(self.header_line, &reason))?;
        let names = self.header.names();
        // A key may also be given by its name in the file.
        let key = settings.key.as_deref().unwrap_or(&names[..1]);
        let field = |name| self.header.position(name).map_or(name, |column| names[column].as_str());
        let key: Vec<String> = key.iter().map(|name| field(name).to_owned()).collect();
        let columns = names.iter().map(|name| Column::new(key.contains(name)));
        let mut columns: Vec<Column> = columns.collect();
        self.each_row(|_, cells| {
            let mut cells = columns.iter_mut().zip(names).zip(cells);
            cells.try_for_each(|((column, name), cell)| column.see_cell(name, cell))
        })?;
        infer_schema(names, &columns, &key, former)
    }
}

#[cfg(test)]
mod tests;
