//! The formats of the input, and the user's settings for them.

use std::path::Path;

use clap::ValueEnum;
use cli::CliError;
use common::Schema;

use super::{Snapshot, csv_rows, json_lines};

/// Settings for reading a file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The format of the file.
    pub format: Format,
    /// The declared schema, or `None` to infer it.
    pub declared: Option<Schema>,
    /// True if the schema that is inferred from the first version stays.
    pub pins_schema: bool,
    /// Names of the key fields if the schema is inferred, or `None` for the first field.
    pub key: Option<Vec<String>>,
    /// Names of the columns, in place of those in the header.
    pub columns: Option<Vec<String>>,
    /// The row to keep of rows with the same key, or `None` to refuse the file.
    pub on_duplicate: Option<OnDuplicate>,
}

impl Settings {
    /// Returns the schema that a version must have, and its name in messages. `former` is the schema
    /// of the version that was read before.
    pub(crate) fn fixed<'s>(
        &'s self,
        former: Option<&'s Schema>,
    ) -> Option<(&'s Schema, &'static str)> {
        let pinned =
            former.filter(|_| self.pins_schema).map(|former| (former, "the pinned schema"));
        self.declared.as_ref().map(|declared| (declared, "--fields")).or(pinned)
    }

    /// Reads a whole table. `former` is the schema of the version that was read before.
    ///
    /// # Errors
    /// Returns the first bad line, or settings that do not suit the input.
    pub fn read(&self, bytes: &[u8], former: Option<&Schema>) -> Result<Table, CliError> {
        match self.format {
            Format::Csv(dialect) => csv_rows::read(bytes, dialect, self, former),
            Format::Jsonl | Format::Json => json_lines::read(bytes, self, former),
        }
    }
}

/// A table that was read from a file.
#[derive(Debug)]
pub struct Table {
    /// The rows.
    pub snapshot: Snapshot,
    /// Sentences for the user.
    pub remarks: Vec<String>,
}

/// The format of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values, or values with another delimiter or separated by blanks.
    Csv(Dialect),
    /// Lines of JSON.
    Jsonl,
    /// An array of objects of JSON, which are the rows.
    Json,
}

/// The dialect of comma-separated values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The character between two cells.
    pub delimiter: u8,
    /// True if the user named the delimiter, so that it is not checked for plausibility.
    pub is_delimiter_given: bool,
    /// The character that begins a comment line.
    pub comment: Option<u8>,
    /// True if the first record names the columns.
    pub has_header: bool,
    /// True if cells may be written in quotes; otherwise quotes are ordinary characters.
    pub has_quotes: bool,
    /// For cells that are separated by runs of blanks instead of the delimiter: the maximum number
    /// of cells. The last cell is the rest of the line, and is empty if only it is missing.
    pub columns: Option<usize>,
    /// Number of lines before the first record.
    pub skip_lines: u64,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: b',',
            is_delimiter_given: false,
            comment: None,
            has_header: true,
            has_quotes: true,
            columns: None,
            skip_lines: 0,
        }
    }
}

/// The characters that usually separate cells.
pub(crate) const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Returns a separator as the user writes it after `--delimiter` in a shell.
pub(crate) fn separator_name(separator: u8) -> String {
    match separator {
        b'\t' => "tab".to_owned(),
        other => format!("'{}'", char::from(other)),
    }
}

/// The value of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// Comma-separated values.
    Csv,
    /// CSV with tabs.
    Tsv,
    /// Columns as `df` and `ps` print them, separated by blanks.
    Columns,
    /// Lines of JSON.
    Jsonl,
    /// An array of objects of JSON.
    Json,
}

impl FormatName {
    /// Returns the format that a file's extension names.
    pub fn of_path(path: &Path) -> Option<Self> {
        let is_gzip = path.extension()?.eq_ignore_ascii_case("gz");
        let path = if is_gzip { Path::new(path.file_stem()?) } else { path };
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }
}

/// The value of `--separator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Separator {
    /// An empty line.
    Blank,
    /// A form feed.
    Formfeed,
}

/// The value of `--on-duplicate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnDuplicate {
    /// The first row is kept.
    First,
    /// The last row is kept.
    Last,
}
