//! Checks that the arguments suit the source, and converts them to the settings of its input.

use std::path::Path;

use cli::CliError;
use common::Schema;

use super::args::{Args, From};
use crate::source::format::{Dialect, Format, FormatName, Quote, Settings};

/// Checks that all given arguments apply to the source and that the required ones are present.
///
/// # Errors
/// Returns a [`CliError`] that names an argument that does not apply or is missing.
pub fn check(args: &Args) -> Result<(), CliError> {
    let refused = |reason: String| Err(CliError::new(2, reason));
    let Some(name) = format_name(args) else {
        if matches!(args.from, From::Processes | From::Routes | From::Neighbors) {
            return match given(args).first() {
                Some(option) => refused(format!(
                    "{option} is for files and `--from -`: processes, routes and neighbors have their own fields and key"
                )),
                None => Ok(()),
            };
        }
        let path = match &args.from {
            From::File(path) => path.as_path(),
            _ => Path::new("-"),
        };
        let shown = path.display();
        return refused(match path.is_dir() {
            true => format!("{shown} is a directory: name a file of CSV or lines of JSON in it"),
            false => format!(
                "{shown}: unknown format: give --format csv, tsv or jsonl (sources are \
                 processes, routes, neighbors, files, and - for stdin)"
            ),
        });
    };
    if name == FormatName::Jsonl
        && let Some(option) = of_csv(args).first()
    {
        return refused(format!(
            "{option} is for CSV: add --format csv if the input is CSV"
        ));
    }
    match args.from {
        From::Stdin if args.on_duplicate.is_some() => refused(
            "--on-duplicate is for files: on stdin a later row replaces an earlier one".to_owned(),
        ),
        From::Stdin => declared(args).map(|_| ()),
        _ if args.fields.is_some() => declared(args).map(|_| ()),
        _ => Ok(()),
    }
}

/// Returns the given options that concern fields and formats.
fn given(args: &Args) -> Vec<&'static str> {
    let mut given = of_csv(args);
    given.extend(args.fields.as_ref().map(|_| "--fields"));
    given.extend(args.key.as_ref().map(|_| "--key"));
    given.extend(args.format.map(|_| "--format"));
    given
}

fn of_csv(args: &Args) -> Vec<&'static str> {
    let options = [
        ("--delimiter", args.delimiter.is_some()),
        ("--comment", args.comment.is_some()),
        ("--quote", args.quote.is_some()),
        ("--no-header", args.no_header),
        ("--on-duplicate", args.on_duplicate.is_some()),
    ];
    let given = options.into_iter().filter(|(_, is_given)| *is_given);
    given.map(|(option, _)| option).collect()
}

fn format_name(args: &Args) -> Option<FormatName> {
    match &args.from {
        From::Processes | From::Routes | From::Neighbors => None,
        From::Stdin => Some(args.format.unwrap_or(FormatName::Jsonl)),
        From::File(path) => args.format.or_else(|| FormatName::of_path(path)),
    }
}

/// Returns the format of the input.
///
/// # Errors
/// Returns a [`CliError`] if the comment character is also the delimiter.
pub fn format(args: &Args) -> Result<Format, CliError> {
    let separator = match format_name(args) {
        Some(FormatName::Csv) => b',',
        Some(FormatName::Tsv) => b'\t',
        _ => return Ok(Format::Jsonl),
    };
    let dialect = Dialect {
        delimiter: args.delimiter.unwrap_or(separator),
        is_delimiter_given: args.delimiter.is_some(),
        comment: args.comment,
        has_header: !args.no_header,
        has_quotes: args.quote != Some(Quote::None),
    };
    match dialect.comment == Some(dialect.delimiter) {
        true => Err(CliError::new(
            2,
            format!(
                "--comment and --delimiter cannot both be {:?}: choose another character for one of them",
                char::from(dialect.delimiter)
            ),
        )),
        false => Ok(Format::Csv(dialect)),
    }
}

/// Returns the settings for reading a file.
///
/// # Errors
/// Returns the errors of [`format`] and [`declared`].
pub fn settings(args: &Args) -> Result<Settings, CliError> {
    let names = |key: &String| key.split(',').map(|name| name.trim().to_owned()).collect();
    Ok(Settings {
        format: format(args)?,
        declared: args.fields.is_some().then(|| declared(args)).transpose()?,
        key: args.key.as_ref().map(names),
        on_duplicate: args.on_duplicate,
    })
}

/// Returns the schema that `--fields` and `--key` declare.
///
/// # Errors
/// Returns a [`CliError`] if `--fields` is missing or the two do not describe a valid schema.
pub fn declared(args: &Args) -> Result<Schema, CliError> {
    let Some(fields) = &args.fields else {
        let reason = "--from - needs --fields, such as --fields 'id:u64,name:text(32),price:f64'";
        return Err(CliError::new(2, reason));
    };
    let key = args.key.as_deref();
    Schema::parse(fields, key).map_err(|error| {
        let key = key.map_or(String::new(), |key| format!(" --key {key:?}"));
        CliError::new(2, format!("--fields {fields:?}{key}: {error}"))
    })
}
