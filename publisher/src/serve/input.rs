//! Checks that the arguments suit the source, and converts them to the settings of its input.

use std::path::Path;

use cli::CliError;
use common::Schema;

use super::args::{Args, From};
use crate::source::Guard;
use crate::source::format::{Dialect, Format, FormatName, Settings};

/// Checks that all given arguments apply to the source and that the required ones are present.
pub fn check(args: &Args) -> Result<(), CliError> {
    let reason = check_command(args).or_else(|| check_options(args, format_name(args)));
    match (reason, &args.from) {
        (Some(reason), _) => Err(CliError::new(2, reason)),
        (None, _) if has_lines(args) || args.fields.is_some() => {
            format(args).and(declared(args)).map(|_| ())
        }
        (None, _) => format(args).map(|_| ()),
    }
}

/// Returns true if the source is lines of JSON or records of CSV that change the table.
fn has_lines(args: &Args) -> bool {
    match args.from {
        From::Stdin => !args.snapshot,
        From::Fifo(_) => true,
        _ => false,
    }
}

/// Returns the reason why the arguments about the command or stdin do not suit the source.
fn check_command(args: &Args) -> Option<String> {
    if args.snapshot && args.from != From::Stdin {
        return Some("--snapshot is for `--from -`".to_owned());
    }
    if args.exit_at_eof && matches!(args.from, From::Fifo(_)) {
        return Some("--exit-at-eof is for inputs that end, and a named pipe does not".to_owned());
    }
    let has_versions = args.snapshot || matches!(args.from, From::File(_) | From::Command);
    let of_versions =
        first_given(&[("--max-loss", args.max_loss.is_some()), ("--pin-schema", args.pin_schema)]);
    if let Some(option) = of_versions.filter(|_| !has_versions) {
        return Some(format!("{option} is for files, commands and --snapshot"));
    }
    let is_command = args.from == From::Command;
    match first_given(&[
        ("a command after --", !args.command.is_empty()),
        ("--timeout", args.timeout.is_some()),
    ]) {
        Some(option) if !is_command => Some(format!("{option} is for `--from command`")),
        _ if is_command && args.command.is_empty() => {
            Some("--from command needs a command: add -- COMMAND, such as -- df -P".to_owned())
        }
        _ => None,
    }
}

/// Returns the reason why the options about the input do not suit the source or the format.
fn check_options(args: &Args, format: Option<FormatName>) -> Option<String> {
    let csv_option = first_given(&[
        ("--delimiter", args.delimiter.is_some()),
        ("--quote", args.quote.is_some()),
    ]);
    let record_option = first_given(&[
        ("--comment", args.comment.is_some()),
        ("--no-header", args.no_header),
        ("--skip-lines", args.skip_lines > 0),
        ("--columns", !args.columns.is_empty()),
    ]);
    let on_duplicate = first_given(&[("--on-duplicate", args.on_duplicate.is_some())]);
    let input_option = csv_option.or(record_option).or(on_duplicate).or(first_given(&[
        ("--fields", args.fields.is_some()),
        ("--key", args.key.is_some()),
        ("--format", args.format.is_some()),
    ]));
    let has_lines = has_lines(args);
    let expires = args.expire.is_some() || args.ttl.is_some();
    match (&args.from, format) {
        _ if expires && !has_lines => Some(
            "--expire and --ttl are for `--from -` without --snapshot: other sources say \
             themselves which rows exist"
                .to_owned(),
        ),
        (From::Processes | From::Routes | From::Neighbors, _) => input_option.map(|option| {
            format!(
                "{option} is for files, commands and `--from -`: processes, routes and neighbors \
                 have their own fields and key"
            )
        }),
        (From::File(path), None) => Some(unknown_format(path)),
        (_, Some(format @ (FormatName::Columns | FormatName::Json))) if has_lines => {
            let format = if format == FormatName::Json { "json" } else { "columns" };
            Some(format!("--format {format} on stdin needs --snapshot"))
        }
        (_, Some(format @ (FormatName::Jsonl | FormatName::Json))) => csv_option
            .or(record_option)
            .or(on_duplicate.filter(|_| format == FormatName::Jsonl))
            .map(|option| format!("{option} is for CSV: add --format csv if the input is CSV")),
        (_, Some(FormatName::Columns)) => csv_option
            .map(|option| format!("{option} is for CSV: columns are separated by runs of blanks")),
        _ if has_lines && args.on_duplicate.is_some() => Some(
            "--on-duplicate is for files: on stdin a later row replaces an earlier one".to_owned(),
        ),
        _ if has_lines && !args.columns.is_empty() => Some(
            "--columns on stdin needs --snapshot: use --no-header and --fields to name columns"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Returns the first option that is given.
fn first_given(options: &[(&'static str, bool)]) -> Option<&'static str> {
    options.iter().find(|(_, is_given)| *is_given).map(|(option, _)| *option)
}

fn unknown_format(path: &Path) -> String {
    let shown = path.display();
    match path.is_dir() {
        true => format!("{shown} is a directory: name a file of CSV or lines of JSON in it"),
        false => format!(
            "{shown}: unknown format: give --format csv, tsv or jsonl (also json and columns; \
             sources are processes, routes, neighbors, command, files, and - for stdin)"
        ),
    }
}

fn format_name(args: &Args) -> Option<FormatName> {
    match &args.from {
        From::Processes | From::Routes | From::Neighbors => None,
        From::Stdin | From::Fifo(_) => Some(args.format.unwrap_or(FormatName::Jsonl)),
        From::Command => Some(args.format.unwrap_or(FormatName::Columns)),
        From::File(path) => args.format.or_else(|| FormatName::of_path(path)),
    }
}

/// Returns the format of the input, unless the comment character is also the delimiter.
pub fn format(args: &Args) -> Result<Format, CliError> {
    let separator = match format_name(args) {
        Some(FormatName::Csv) => b',',
        Some(FormatName::Tsv) => b'\t',
        Some(FormatName::Columns) => b' ',
        Some(FormatName::Json) => return Ok(Format::Json),
        Some(FormatName::Jsonl) | None => return Ok(Format::Jsonl),
    };
    let delimiter = args.delimiter.unwrap_or(separator);
    if args.comment == Some(delimiter) {
        let delimiter = char::from(delimiter);
        let reason = format!(
            "--comment and --delimiter cannot both be {delimiter:?}: choose another character for \
             one of them"
        );
        return Err(CliError::new(2, reason));
    }
    Ok(Format::Csv(Dialect {
        delimiter,
        is_delimiter_given: args.delimiter.is_some(),
        comment: args.comment,
        has_header: !args.no_header,
        has_quotes: args.quote.is_none(),
        columns: (format_name(args) == Some(FormatName::Columns)).then_some(usize::MAX),
        skip_lines: args.skip_lines,
    }))
}

/// Returns the limits for versions of the input.
pub fn guard(args: &Args) -> Guard {
    Guard {
        is_strict: args.strict,
        is_inferred: args.fields.is_none(),
        max_loss: args.max_loss.unwrap_or_default().0,
    }
}

pub fn settings(args: &Args) -> Result<Settings, CliError> {
    let names = |key: &String| key.split(',').map(|name| name.trim().to_owned()).collect();
    Ok(Settings {
        format: format(args)?,
        declared: args.fields.is_some().then(|| declared(args)).transpose()?,
        pins_schema: args.pin_schema,
        key: args.key.as_ref().map(names),
        columns: (!args.columns.is_empty()).then(|| args.columns.clone()),
        on_duplicate: args.on_duplicate,
    })
}

/// Returns the schema that `--fields` and `--key` declare.
pub fn declared(args: &Args) -> Result<Schema, CliError> {
    let Some(fields) = &args.fields else {
        let reason = "--from - needs --fields, such as --fields 'id:u64,name:text(32),price:f64'";
        return Err(CliError::new(2, reason));
    };
    schema(fields, args.key.as_deref())
}

/// Parses `--fields` and `--key`.
pub fn schema(fields: &str, key: Option<&str>) -> Result<Schema, CliError> {
    Schema::parse(fields, key).map_err(|error| {
        let key = key.map_or(String::new(), |key| format!(" --key {key:?}"));
        CliError::new(2, format!("--fields {fields:?}{key}: {error}"))
    })
}
