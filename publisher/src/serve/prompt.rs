//! Prompts a person at a terminal for rows, with an example of the expected lines.

use std::io;
use std::io::IsTerminal;
use std::sync::Arc;

use cli::{CliError, status};
use common::{Kind, RowBuf, Schema};

use crate::source::format::Format;

/// Prints the prompt if stdin is a terminal.
pub fn prompt(schema: &Schema, format: Format, ends_at_eof: bool) -> Result<(), CliError> {
    if io::stdin().is_terminal() {
        let end = match ends_at_eof {
            true => "Ctrl-D ends it",
            false => "Ctrl-D ends the input, and Ctrl-C the table",
        };
        let lines = describe(schema, format)?;
        status(format_args!("reading from this terminal: {lines}; {end}"));
    }
    Ok(())
}

/// Describes the lines to type.
fn describe(schema: &Schema, format: Format) -> Result<String, CliError> {
    // Zeros, with a letter in each text, are a row of every schema.
    let mut row = RowBuf::new(Arc::new(schema.clone()));
    for (index, field) in schema.fields().iter().enumerate() {
        if let Kind::Text(_) = field.kind() {
            row.set_text(index, "a")?;
        }
    }
    let Format::Csv(dialect) = format else {
        let line = serde_json::to_string(&row).map_err(io::Error::from)?;
        return Ok(format!("type lines of JSON such as {line}"));
    };
    let line = |cells: Vec<String>| {
        let mut writer = csv::WriterBuilder::new();
        let mut writer = writer.delimiter(dialect.delimiter).from_writer(Vec::new());
        writer.write_record(cells).map_err(io::Error::from)?;
        let line = writer.into_inner().map_err(|error| error.into_error())?;
        Ok::<_, CliError>(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned())
    };
    let names = schema.fields().iter().map(|field| field.name().to_owned());
    let cells = row.as_ref().values().map(|(_, value)| value.to_string());
    let (names, cells) = (line(names.collect())?, line(cells.collect())?);
    Ok(match dialect.has_header {
        true => format!("type the names {names} first, then lines such as {cells}"),
        false => format!("type lines such as {cells}"),
    })
}
