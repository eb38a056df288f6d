//! The arguments of `get`, `watch` and `top` that select rows and fields.

use clap_complete::ArgValueCompleter;
use cli::{CliError, complete};

use super::Condition;
use crate::format::Format;

/// Heading of `--help` for these options.
const HEADING: &str = "Rows and fields";

/// A table, some of its rows, and how to print them.
#[derive(Debug, clap::Args)]
pub struct TableArgs {
    /// The table's name
    #[arg(add = ArgValueCompleter::new(complete::tables))]
    pub name: String,

    /// Only the rows with these keys. A key's fields are joined by commas and quoted as in CSV: 7 "a, b",-5 "" 10.0.0.0/8
    ///
    /// The shell removes its own quotes: write '"a, b",-5'. Quote a KEY that begins with a minus and is more than a number: '"-5",a' (or write it after --, except with watch).
    #[arg(value_name = "KEY", allow_negative_numbers = true, add = ArgValueCompleter::new(complete::keys))]
    pub keys: Vec<String>,

    /// Rows and fields
    #[command(flatten)]
    pub selection: Selection,

    /// Output format. With watch, csv has the columns version, op and the row's fields (the old row's for a delete), and a
    /// new header line when these change; json needs --once or --count
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// Rows and fields of a table, as typed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Read a table of this user, by name or number, instead of your own and root's
    #[arg(help_heading = HEADING, long, value_name = "USER|UID", value_parser = cli::user, add = ArgValueCompleter::new(complete::owners))]
    pub owner: Option<u32>,

    /// Only these fields, in this order: a,b,c. watch prints no update that changes none of them
    #[arg(help_heading = HEADING, long, value_name = "FIELD,…", add = ArgValueCompleter::new(complete::fields))]
    pub fields: Option<String>,

    /// Only rows that match this condition; if given several times, rows must match all of them
    ///
    /// FIELD OP VALUE is one argument. OP is:
    ///   for every kind      = != < <= > >=  by value (nothing equals NaN)
    ///   for text            contains, starts
    ///   for addresses, networks, and text that holds one: in NETWORK
    ///   for networks        contains ADDRESS or NETWORK
    ///
    /// Quote a name with blanks, or a value that contains quotes or begins or ends with blanks: 'name = "a b"', 'net in 10.0.0.0/8'.
    ///
    /// watch reports a row that begins to match as a create, and one that ceases to match as a delete.
    #[arg(help_heading = HEADING, long = "where", value_name = "'FIELD OP VALUE'", verbatim_doc_comment, add = ArgValueCompleter::new(complete::condition))]
    pub conditions: Vec<String>,

    /// Sort by these fields: a,b:desc. Numbers, times and addresses are ordered by value, text by bytes, NaN last; equal rows by key
    ///
    /// watch also sorts the changes of one refresh, with deletes first.
    #[arg(help_heading = HEADING, long, value_name = "FIELD[:desc],…", add = ArgValueCompleter::new(complete::sort))]
    pub sort: Option<String>,
}

impl Selection {
    /// Parses the conditions of `--where`.
    ///
    /// # Errors
    /// Wrong arguments, with their position.
    pub fn conditions(&self) -> Result<Vec<Condition>, CliError> {
        let texts = self.conditions.iter();
        texts.map(|text| Condition::parse(text)).collect()
    }
}
