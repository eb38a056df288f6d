//! Reads a file of comma-separated values as a whole table.
//!
//! 1. The first record names the columns, unless the dialect has no header.
//! 2. Without `--fields` all cells are read once to infer their kinds ([`infer`](super::infer)).
//! 3. All cells are read into rows.
//! 4. A file with a fault is refused. Faults are malformed quotes, a record with more or fewer
//!    cells than the first, a cell that does not fit its field, and a duplicate key.
//! 5. A file is also refused if each of its records is one cell that contains the same number of
//!    another separator, unless the user named the delimiter.

use std::sync::Arc;

use common::{Kind, RowBuf, Schema};

use super::fault::{Fault, Faults};
use super::header::Header;
use super::infer::Column;
use super::keyed::Keyed;
use super::progress::Progress;
use super::settings::{Dialect, OnDuplicate, SEPARATORS, Settings, separator_name};
use super::{Table, shape};
use crate::source::csv_decoder::Decoder;

/// Number of records between two updates of the progress.
const PROGRESS_STEP: usize = 4096;

/// Reads a file of `dialect`. `former` is the schema of the version that was read before.
///
/// # Errors
/// Returns the first [`Fault`].
pub fn read(
    text: &str,
    dialect: Dialect,
    settings: &Settings,
    former: Option<&Schema>,
    progress: &Progress,
) -> Result<Table, Fault> {
    let file = File::new(text, dialect, progress)?;
    let mut remarks: Vec<String> = file.header.renamed().into_iter().collect();
    let (schema, columns, share) = match &settings.declared {
        Some(schema) => {
            let columns = file.columns_of(schema)?;
            remarks.extend(file.left_out(&columns));
            (schema.clone(), columns, Share { done: 0, of: 1 })
        }
        None => {
            let shape = file.infer(settings, former)?;
            remarks.extend(shape.remarks);
            let columns = (0..file.header.width()).collect();
            (shape.schema, columns, Share { done: 1, of: 2 })
        }
    };
    let (keyed, twice) = file.rows(Arc::new(schema), &columns, settings.on_duplicate, share)?;
    if twice > 0 {
        let kept = settings.on_duplicate;
        remarks.push(format!(
            "duplicate keys: {twice}, of which the {kept} row counts"
        ));
    }
    Ok(Table {
        snapshot: keyed.into_snapshot(),
        remarks,
    })
}

/// The number of passes over the file that are done, and the total.
#[derive(Clone, Copy)]
struct Share {
    done: u64,
    of: u64,
}

/// A text whose header has been read.
struct File<'t> {
    text: &'t str,
    dialect: Dialect,
    header: Header,
    header_line: u64,
    progress: &'t Progress,
}

impl<'t> File<'t> {
    fn new(text: &'t str, dialect: Dialect, progress: &'t Progress) -> Result<Self, Fault> {
        let mut records = Records::new(text, dialect);
        if !records.advance()? {
            let reason = if dialect.has_header {
                "it is empty: write the names of its columns in the first line, as in `id,name,price`"
            } else {
                "it is empty: it needs at least one record"
            };
            return Err(Fault::of_file(reason));
        }
        let header = if dialect.has_header {
            Header::named(records.cells()?)
        } else {
            Header::numbered(records.decoder.width())
        };
        let file = Self {
            text,
            dialect,
            header,
            header_line: records.line(),
            progress,
        };
        file.check_delimiter()?;
        Ok(file)
    }

    /// Refuses a file of one column in which every record has the same number of another separator.
    fn check_delimiter(&self) -> Result<(), Fault> {
        if self.dialect.is_delimiter_given || self.header.width() != 1 {
            return Ok(());
        }
        let mut records = Records::new(self.text, self.dialect);
        let mut counts = None;
        while records.advance()? {
            if records.decoder.width() != 1 || records.decoder.has_quotes() {
                return Ok(());
            }
            let cells = records.cells()?;
            let count = |separator| cells[0].matches(char::from(separator)).count();
            let first = *counts.get_or_insert_with(|| SEPARATORS.map(count));
            let same = std::array::from_fn(|index| {
                let is_same = count(SEPARATORS[index]) == first[index];
                if is_same { first[index] } else { 0 }
            });
            if same == [0; SEPARATORS.len()] {
                return Ok(());
            }
            counts = Some(same);
        }
        let counts = counts.unwrap_or_default();
        let found = SEPARATORS.iter().zip(counts).find(|(_, count)| *count > 0);
        found.map_or(Ok(()), |(separator, _)| {
            let delimiter = self.dialect.delimiter;
            Err(Fault::of_file(format!(
                                "it has one column, and every record contains {:?} equally often: use --delimiter {} if that separates the \
                 cells, or --delimiter {} if it does not",
                char::from(*separator),
                separator_name(*separator),
                separator_name(delimiter)
            )))
        })
    }

    /// Returns the records after the header.
    fn records(&self) -> Result<Records<'t>, Fault> {
        let mut records = Records::new(self.text, self.dialect);
        if self.dialect.has_header {
            records.advance()?;
        }
        Ok(records)
    }

    /// Calls `each` for every record that has as many cells as the header.
    fn each(
        &self,
        share: Share,
        faults: &mut Faults,
        mut each: impl FnMut(&Records<'t>, &mut Faults),
    ) -> Result<(), Fault> {
        let mut records = self.records()?;
        let mut count: usize = 0;
        let length = self.text.len() as u64;
        while records.advance()? {
            count += 1;
            if count.is_multiple_of(PROGRESS_STEP) {
                let done = (share.done + 1) * length - records.rest.len() as u64;
                self.progress.at(done, share.of * length);
            }
            match records.decoder.width() == self.header.width() {
                true => each(&records, faults),
                false => faults.add(|| self.ragged(&records)),
            }
        }
        Ok(())
    }

    fn ragged(&self, records: &Records<'_>) -> Fault {
        let (cells, columns) = (records.decoder.width(), self.header.width());
        let first = if self.dialect.has_header {
            "the header"
        } else {
            "the first record"
        };
        let hint = match self.header.other_delimiter() {
            _ if self.header.begins_with('#') => {
                "if lines that begin with # are comments, use --comment '#'".to_owned()
            }
            Some(hint) => hint,
            None => "put a cell that contains the delimiter in quotes".to_owned(),
        };
        let reason = format!("cells: {cells}, but {first} has {columns}: {hint}");
        Fault::at(records.line(), reason)
    }

    /// Returns the column of each field.
    fn columns_of(&self, schema: &Schema) -> Result<Vec<usize>, Fault> {
        if self.dialect.has_header {
            return self.header.columns_of(schema).map_err(Fault::of_arguments);
        }
        let (fields, columns) = (schema.fields().len(), self.header.width());
        match fields == columns {
            true => Ok((0..columns).collect()),
            false => Err(Fault::of_arguments(format!(
                "--fields names {fields} fields, but the first record has {columns} cells: without a header --fields must \
                                  name every column"
            ))),
        }
    }

    fn left_out(&self, columns: &[usize]) -> Option<String> {
        let names = self.header.names().iter().enumerate();
        let left_out = names.filter(|(column, _)| !columns.contains(column));
        let left_out: Vec<&str> = left_out.map(|(_, name)| name.as_str()).collect();
        (!left_out.is_empty()).then(|| {
            format!(
                "left out, because --fields does not name them: {}",
                left_out.join(", ")
            )
        })
    }

    fn infer(&self, settings: &Settings, former: Option<&Schema>) -> Result<shape::Shape, Fault> {
        let names = self.header.names();
        let distinct = self.header.check_distinct();
        distinct.map_err(|reason| Fault::at(self.header_line, reason))?;
        // A key may also be given by its name in the file.
        let key: Vec<&str> = match &settings.key {
            Some(key) => key
                .iter()
                .map(|name| {
                    self.header
                        .position(name)
                        .map_or(name.as_str(), |at| &names[at])
                })
                .collect(),
            None => vec![&names[0]],
        };
        let columns = names
            .iter()
            .map(|name| Column::new(key.contains(&name.as_str())));
        let mut columns: Vec<Column> = columns.collect();
        let mut faults = Faults::default();
        self.each(Share { done: 0, of: 2 }, &mut faults, |records, faults| {
            for (index, column) in columns.iter_mut().enumerate() {
                let cell = match records.decoder.cell(index) {
                    Ok(cell) => cell,
                    Err(reason) => return faults.add(|| Fault::at(records.line(), reason)),
                };
                column.see(cell);
                if cell.len() > usize::from(Kind::MAX_TEXT) {
                    faults.add(|| too_wide(records.line(), &names[index], cell.len()));
                }
            }
        })?;
        faults.into_result()?;
        shape::infer(names, &columns, &key, former)
    }

    /// Returns the rows, and the number of records with a duplicate key.
    fn rows(
        &self,
        schema: Arc<Schema>,
        columns: &[usize],
        on_duplicate: OnDuplicate,
        share: Share,
    ) -> Result<(Keyed, u64), Fault> {
        let mut keyed = Keyed::new(Arc::clone(&schema));
        let mut row = RowBuf::new(schema);
        let mut faults = Faults::default();
        let mut twice = 0;
        self.each(share, &mut faults, |records, faults| {
            for (field, column) in columns.iter().enumerate() {
                let cell = records.decoder.cell(*column);
                let set = cell.and_then(|cell| {
                    let set = row.set_text(field, cell);
                    set.map_err(|error| error.to_string())
                });
                if let Err(reason) = set {
                    return faults.add(|| Fault::at(records.line(), reason));
                }
            }
            let Err(first) = keyed.insert(row.bytes()) else {
                return;
            };
            twice += 1;
            match on_duplicate {
                OnDuplicate::First => {}
                OnDuplicate::Last => keyed.replace(first, row.bytes()),
                OnDuplicate::Refuse => faults.add(|| self.duplicate(records, &row, first)),
            }
        })?;
        faults.into_result()?;
        Ok((keyed, twice))
    }

    /// Describes a duplicate key as the first fault. Then all records before it are rows, so
    /// `first` is also the number of a record.
    fn duplicate(&self, records: &Records<'_>, row: &RowBuf, first: usize) -> Fault {
        let line = self.line_of(first).unwrap_or_default();
        let key = row.as_ref().key().to_string();
        let reason = format!(
            "the key {key} is also in line {line}: name the key fields with --key, or choose a row with \
                          --on-duplicate first or last"
        );
        Fault::at(records.line(), reason)
    }

    /// Returns the line of the record with this number after the header.
    fn line_of(&self, record: usize) -> Result<u64, Fault> {
        let mut records = self.records()?;
        for _ in 0..=record {
            records.advance()?;
        }
        Ok(records.line())
    }
}

fn too_wide(line: u64, name: &str, length: usize) -> Fault {
    let most = Kind::MAX_TEXT;
    Fault::at(
        line,
        format!("{name} has {length} bytes, but a text holds at most {most}: shorten it"),
    )
}

/// Iterates over the records of a text, reusing the memory of the decoder.
struct Records<'t> {
    rest: &'t [u8],
    decoder: Decoder,
}

impl<'t> Records<'t> {
    fn new(text: &'t str, dialect: Dialect) -> Self {
        Self {
            rest: text.as_bytes(),
            decoder: Decoder::new(dialect),
        }
    }

    /// Reads the next record. Returns false at the end of the text.
    fn advance(&mut self) -> Result<bool, Fault> {
        let decoded = self.decoder.read(&mut self.rest);
        match decoded.or_else(|| self.decoder.finish()) {
            None => Ok(false),
            Some(Ok(())) => Ok(true),
            Some(Err(reason)) => Err(Fault::at(self.line(), reason)),
        }
    }

    /// Returns the cells of the current record.
    fn cells(&self) -> Result<Vec<&str>, Fault> {
        let cells = self.decoder.cells();
        cells.map_err(|reason| Fault::at(self.line(), reason))
    }

    /// Returns the number of the line in which the current record begins.
    fn line(&self) -> u64 {
        self.decoder.first_line()
    }
}

#[cfg(test)]
mod tests;
