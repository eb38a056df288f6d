//! The arguments that `get` and `watch` share.

use clap_complete::ArgValueCompleter;
use cli::complete;

use crate::format::{Format, Printer};
use crate::output::Output;
use crate::select::Selection;

/// A table, some of its rows, and how to print them.
#[derive(Debug, clap::Args)]
pub struct TableArgs {
    /// The table's name
    #[arg(add = ArgValueCompleter::new(complete::tables))]
    pub name: String,

    /// Only the rows with these keys. A key's fields are joined by commas and quoted as in CSV: 7
    /// "a, b",-5 "" 10.0.0.0/8. The first fields of a key select all rows whose keys begin with them
    ///
    /// The shell removes its own quotes: write '"a, b",-5'. Quote a KEY that begins with a minus
    /// and is more than a number: '"-5",a' (or write it after --, except with watch).
    #[arg(value_name = "KEY", allow_negative_numbers = true, add = ArgValueCompleter::new(complete::keys))]
    pub keys: Vec<String>,

    #[command(flatten)]
    pub selection: Selection,

    /// Output format. With watch, csv has the columns version, op and the row's fields (the old
    /// row's for a delete), and a new header line when these change; json needs --once or
    /// --count
    #[arg(short = 'o', long, visible_alias = "output", value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// Print no line of names (table, csv and tsv)
    #[arg(long)]
    pub no_header: bool,
}

impl TableArgs {
    /// Returns the printer of the output.
    pub fn printer(&self, output: Output) -> Box<dyn Printer> {
        self.format.printer(output, !self.no_header)
    }
}
