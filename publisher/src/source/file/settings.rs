//! The user's settings for a file.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use common::Schema;

/// Settings for reading a file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Format of the file.
    pub format: Format,
    /// The declared schema, or `None` to infer it.
    pub declared: Option<Schema>,
    /// Names of the key fields if the schema is inferred, or `None` for the first field.
    pub key: Option<Vec<String>>,
    /// The policy for rows with the same key.
    pub on_duplicate: OnDuplicate,
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values, or values with another delimiter.
    Csv(Dialect),
    /// Lines of JSON.
    Jsonl,
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

/// Returns a separator as the user writes it after `--delimiter` in a shell.
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
    /// Returns the format that the extension of a file stands for.
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

/// The policy for rows with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The file is refused.
    Refuse,
    /// The first row is kept.
    First,
    /// The last row is kept.
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
