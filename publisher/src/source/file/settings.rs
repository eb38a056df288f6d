//! What a user says about a file.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use common::Schema;

/// How a file is read.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it is written in.
    pub format: Format,
    /// What a row is, if that is not to be inferred.
    pub declared: Option<Schema>,
    /// The names of the key's fields, if they are not the first; for inferred fields.
    pub key: Option<Vec<String>>,
    /// What becomes of rows of one key.
    pub on_duplicate: OnDuplicate,
}

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values, or separated by something else.
    Csv(Dialect),
    /// Lines of JSON.
    Jsonl,
}

/// How comma-separated values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The character between two cells.
    pub delimiter: u8,
    /// True if the user named the delimiter, so that it is not questioned.
    pub is_delimiter_given: bool,
    /// The character that begins a comment line.
    pub comment: Option<u8>,
    /// True if the first record names the columns.
    pub has_header: bool,
    /// True if cells may be written in quotes; otherwise quotes are ordinary characters.
    pub has_quotes: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: b',',
            is_delimiter_given: false,
            comment: None,
            has_header: true,
            has_quotes: true,
        }
    }
}

/// The characters that usually separate cells.
pub const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// A separator as it is written after `--delimiter` in a shell.
pub fn separator_name(separator: u8) -> String {
    match separator {
        b'\t' => "tab".to_owned(),
        other => format!("'{}'", char::from(other)),
    }
}

/// The value of `--quote`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote {
    /// `none`: quotes are ordinary characters.
    None,
}

impl FromStr for Quote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            _ => Err("use none, or leave it out for quotes as in RFC 4180".to_owned()),
        }
    }
}

/// The name of a format on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatName {
    /// `csv`.
    Csv,
    /// `tsv`: CSV with tabs.
    Tsv,
    /// `jsonl`.
    Jsonl,
}

impl FormatName {
    /// By the extension of a file.
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }
}

impl FromStr for FormatName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "csv" => Ok(Self::Csv),
            "tsv" => Ok(Self::Tsv),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err("use csv, tsv or jsonl".to_owned()),
        }
    }
}

/// What becomes of rows of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The file is no table.
    Refuse,
    /// The first counts.
    First,
    /// The last counts.
    Last,
}

impl FromStr for OnDuplicate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "first" => Ok(Self::First),
            "last" => Ok(Self::Last),
            _ => Err("use first or last".to_owned()),
        }
    }
}

impl fmt::Display for OnDuplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuse => "only",
            Self::First => "first",
            Self::Last => "last",
        })
    }
}
