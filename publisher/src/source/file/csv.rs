//! Comma-separated values as a whole table.
//!
//! 1. The first record names the columns, unless nobody does. Blank lines and comments are no records.
//! 2. Without `--fields` all cells are read once to infer what they are ([`infer`](super::infer)).
//! 3. All cells are read (again) into rows.
//! 4. A record with more or fewer cells than the first, a cell that does not fit its field, a key that comes twice: each
//!    is a fault, and a file with one is no table.
//!
//! Positions are bytes as the reader counts them; lines are counted only for those who ask.

use std::sync::Arc;

use common::{Kind, RowBuf, Schema};
use csv::{Reader, ReaderBuilder, StringRecord};

use super::fault::{Fault, Faults};
use super::header::Header;
use super::infer::Column;
use super::keyed::Keyed;
use super::progress::Progress;
use super::settings::{Dialect, OnDuplicate, Settings};
use super::{Table, shape, text};

/// How many records are read between two looks at the progress.
const PROGRESS_STEP: usize = 4096;

/// Reads a file of `dialect`. `former` is the schema of what was read before.
///
/// # Errors
/// [`Fault`]: the first of what is wrong.
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
            "keys that came again: {twice}, of which the {kept} row counts"
        ));
    }
    Ok(Table {
        snapshot: keyed.into_snapshot(),
        remarks,
    })
}

/// Which of how many times a file is read through.
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
    progress: &'t Progress,
}

impl<'t> File<'t> {
    fn new(text: &'t str, dialect: Dialect, progress: &'t Progress) -> Result<Self, Fault> {
        let mut records = Records::new(text, dialect);
        if !records.advance()? {
            let reason = if dialect.has_header {
                "it is empty: write the names of its columns into the first line, as in `id,name,price`"
            } else {
                "it is empty: it needs at least one record"
            };
            return Err(Fault::of_file(reason));
        }
        let header = if dialect.has_header {
            let named = Header::named(records.record.iter());
            named.map_err(|reason| Fault::at(records.line(), reason))?
        } else {
            Header::numbered(records.record.len())
        };
        Ok(Self {
            text,
            dialect,
            header,
            progress,
        })
    }

    /// The records below the header.
    fn records(&self) -> Result<Records<'t>, Fault> {
        let mut records = Records::new(self.text, self.dialect);
        if self.dialect.has_header {
            records.advance()?;
        }
        Ok(records)
    }

    /// Calls `each` for every record that has as many cells as there are columns.
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
                let done = share.done * length + records.start() as u64;
                self.progress.at(done, share.of * length);
            }
            match records.record.len() == self.header.width() {
                true => each(&records, faults),
                false => faults.add(|| self.ragged(&records)),
            }
        }
        records.check_end()
    }

    fn ragged(&self, records: &Records<'_>) -> Fault {
        let (cells, columns) = (records.record.len(), self.header.width());
        let first = if self.dialect.has_header {
            "the header"
        } else {
            "the first record"
        };
        let hint = match self.header.begins_with('#') {
            true => "if lines that begin with # are comments, say --comment '#'",
            false => "a cell with the delimiter in it stands in quotes",
        };
        let reason = format!("cells: {cells}, but {first} has {columns}: {hint}");
        Fault::at(records.line(), reason)
    }

    /// The column of each field.
    fn columns_of(&self, schema: &Schema) -> Result<Vec<usize>, Fault> {
        if self.dialect.has_header {
            return self.header.columns_of(schema).map_err(Fault::of_arguments);
        }
        let (fields, columns) = (schema.fields().len(), self.header.width());
        match fields == columns {
            true => Ok((0..columns).collect()),
            false => Err(Fault::of_arguments(format!(
                "--fields names {fields} fields, but the first record has {columns} cells: without a header each \
                 needs its field"
            ))),
        }
    }

    fn left_out(&self, columns: &[usize]) -> Option<String> {
        let names = self.header.names().iter().enumerate();
        let left_out = names.filter(|(column, _)| !columns.contains(column));
        let left_out: Vec<&str> = left_out.map(|(_, name)| name.as_str()).collect();
        (!left_out.is_empty()).then(|| {
            format!(
                "left out, as --fields does not name them: {}",
                left_out.join(", ")
            )
        })
    }

    fn infer(&self, settings: &Settings, former: Option<&Schema>) -> Result<shape::Shape, Fault> {
        let names = self.header.names();
        // A name of the file's own is a name, too.
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
            for (index, cell) in records.record.iter().enumerate() {
                columns[index].see(cell);
                if cell.len() > usize::from(Kind::MAX_TEXT) {
                    faults.add(|| too_wide(records.line(), &names[index], cell.len()));
                }
            }
        })?;
        faults.into_result()?;
        shape::infer(names, &columns, &key, former)
    }

    /// The rows, and how many had the key of another.
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
                if let Err(error) = row.set_text(field, &records.record[*column]) {
                    return faults.add(|| Fault::at(records.line(), error.to_string()));
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

    /// Of the first fault: all records before it have become rows.
    fn duplicate(&self, records: &Records<'_>, row: &RowBuf, first: usize) -> Fault {
        let line = self.line_of(first).unwrap_or_default();
        let key = row.as_ref().key().to_string();
        let reason = format!(
            "the key {key} stands in line {line} already: name the key's fields by --key, or take one of them by \
             --on-duplicate first or last"
        );
        Fault::at(records.line(), reason)
    }

    /// The line of a record below the header.
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
        format!("{name} has {length} bytes, and a text holds {most} at most: shorten it"),
    )
}

/// Records of a text, one at a time in the same memory.
struct Records<'t> {
    text: &'t str,
    dialect: Dialect,
    reader: Reader<&'t [u8]>,
    record: StringRecord,
    /// Where the last record begins.
    last: usize,
}

impl<'t> Records<'t> {
    fn new(text: &'t str, dialect: Dialect) -> Self {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(dialect.delimiter)
            .comment(dialect.comment)
            .from_reader(text.as_bytes());
        Self {
            text,
            dialect,
            reader,
            record: StringRecord::new(),
            last: 0,
        }
    }

    /// The next record; whether there is one.
    fn advance(&mut self) -> Result<bool, Fault> {
        let advanced = self.reader.read_record(&mut self.record);
        let advanced = advanced.map_err(|error| Fault::at(self.line(), error.to_string()))?;
        // A comment that ends with the file is a record of one empty cell to the reader.
        if !advanced || self.record.as_slice().is_empty() && self.is_after_all() {
            return Ok(false);
        }
        self.last = self.start();
        Ok(true)
    }

    /// Where the reader began to look for this record: blank lines and comments may stand before it.
    fn start(&self) -> usize {
        let position = self.record.position().map_or(0, csv::Position::byte);
        usize::try_from(position).unwrap_or(usize::MAX)
    }

    /// The number of the line that this record begins in.
    fn line(&self) -> u64 {
        self.line_from(self.start())
    }

    /// Whether nothing but blank lines and comments is left of the text.
    fn is_after_all(&self) -> bool {
        self.first_byte(self.start()) == self.text.len()
    }

    fn line_from(&self, start: usize) -> u64 {
        text::line_at(self.text.as_bytes(), self.first_byte(start))
    }

    /// Where the record begins that the reader began to look for at `start`.
    fn first_byte(&self, start: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut at = start;
        loop {
            match bytes.get(at) {
                Some(b'\r' | b'\n') => at += 1,
                Some(byte) if Some(*byte) == self.dialect.comment => {
                    let end = bytes[at..].iter().position(|byte| *byte == b'\n');
                    at = end.map_or(bytes.len(), |end| at + end);
                }
                _ => return at,
            }
        }
    }

    /// After the last record: a quote that is never closed takes in all the rest of the file, and so would take in a
    /// record that is added here.
    fn check_end(&self) -> Result<(), Fault> {
        const ADDED: &str = "added";
        let rest = self.text.get(self.last..).unwrap_or_default();
        let longer = format!("{rest}\n{ADDED}");
        let mut records = Records::new(&longer, self.dialect);
        let mut is_closed = false;
        while records.advance()? {
            is_closed = records.record.len() == 1 && &records.record[0] == ADDED;
        }
        match is_closed {
            true => Ok(()),
            false => Err(Fault::at(
                self.line_from(self.last),
                "a quote is opened in this record and never closed",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
