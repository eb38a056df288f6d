//! `put`, `delete` and `load`: change the rows of a table that has no live publisher.
//!
//! Each takes over the table that an earlier publisher left, or creates it, commits one
//! transaction, and keeps the table for the next publisher and for readers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap_complete::ArgValueCompleter;
use cli::{CliError, complete, status, suggest_table};
use common::{
    Error, PublisherState, RowBuf, Schema, TableInfo, UntypedPublisher, UntypedTransaction,
};

use crate::serve;

/// Arguments of `put`.
#[derive(Debug, clap::Args)]
pub struct PutArgs {
    /// Name of the table
    #[arg(add = ArgValueCompleter::new(complete::abandoned_tables))]
    name: String,

    /// A row: '{"id":7,"name":"seven"}'. It replaces the row that has the same key
    #[arg(value_name = "JSON", required = true)]
    rows: Vec<String>,

    /// The fields of a row, to create the table: NAME:KIND,… as for serve
    #[arg(long, env = "TABLECAST_SERVE_FIELDS")]
    fields: Option<String>,

    /// The key fields of a new table, joined by commas [default: the first field]
    #[arg(long, value_name = "FIELDS", requires = "fields")]
    key: Option<String>,
}

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    /// Name of the table
    #[arg(add = ArgValueCompleter::new(complete::abandoned_tables))]
    name: String,

    /// The key of a row: its fields joined by commas and quoted as in CSV
    #[arg(value_name = "KEY", required = true, allow_negative_numbers = true)]
    keys: Vec<String>,
}

/// Arguments of `load`.
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// Name of the table
    #[arg(add = ArgValueCompleter::new(complete::abandoned_tables))]
    name: String,

    /// The file: the table then holds exactly its rows
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Options of serve for files, such as --fields, --key, --format and --mode
    #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

/// Runs `publisher put`.
pub fn put(args: &PutArgs) -> Result<(), CliError> {
    let declared = args.fields.as_ref().map(|fields| serve::schema(fields, args.key.as_deref()));
    let left = existing(&args.name)?;
    let schema = match (&left, declared.transpose()?) {
        (Some(left), Some(declared)) => match declared.difference(&left.schema) {
            Some(difference) => {
                return Err(Error::SchemaMismatch { table: args.name.clone(), difference }.into());
            }
            None => left.schema.clone(),
        },
        (Some(left), None) => left.schema.clone(),
        (None, Some(declared)) => declared,
        (None, None) => {
            let missing = missing(&args.name);
            return Err(CliError::new(2, format!("{missing}; create it with --fields")));
        }
    };
    let schema = Arc::new(schema);
    let rows = args.rows.iter().map(|text| row(&schema, text)).collect::<Result<Vec<_>, _>>()?;
    let summary = format!("rows put: {}", rows.len());
    change(&args.name, &schema, left.as_ref(), &summary, |tx| {
        rows.iter().try_for_each(|row| tx.upsert(row.bytes()))
    })
}

/// Runs `publisher delete`.
pub fn delete(args: &DeleteArgs) -> Result<(), CliError> {
    let Some(left) = existing(&args.name)? else {
        return Err(CliError::new(1, missing(&args.name)));
    };
    let parse = |key: &String| {
        left.schema
            .parse_key(key)
            .map_err(|error| CliError::new(2, format!("KEY {key:?}: {error}")))
    };
    let keys = args.keys.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let summary = format!("rows deleted: {}", keys.len());
    change(&args.name, &left.schema, Some(&left), &summary, |tx| {
        keys.iter().try_for_each(|key| tx.delete(key))
    })
}

/// Runs `publisher load`: serves the file until it has been read once.
pub fn load(args: LoadArgs) -> Result<(), CliError> {
    let LoadArgs { name, file, options } = args;
    // A name without a slash could be a source.
    let file = if file.is_absolute() { file } else { PathBuf::from(".").join(file) };
    let mut line: Vec<OsString> = vec!["publisher".into(), "serve".into(), name.into()];
    line.extend(["--from".into(), file.into(), "--exit-at-eof".into(), "--keep".into()]);
    line.extend(options);
    crate::run(line)
}

/// Returns the table that an earlier publisher left, if there is one.
///
/// # Errors
/// A live publisher holds the table.
fn existing(name: &str) -> Result<Option<TableInfo>, CliError> {
    match common::inspect(name, None) {
        Ok(table) => match table.publisher {
            PublisherState::Alive { pid, .. } => {
                let error = Error::PublisherActive { table: name.to_owned(), pid };
                Err(CliError::new(
                    3,
                    format!("{error}; rows of a live table come from the source of its publisher"),
                ))
            }
            _ => Ok(Some(table)),
        },
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn missing(name: &str) -> String {
    let similar = suggest_table(name).map_or(String::new(), |similar| format!(": {similar}"));
    format!("table not found: {name:?}{similar}")
}

fn row(schema: &Arc<Schema>, text: &str) -> Result<RowBuf, CliError> {
    let refused = |error: String| CliError::new(5, format!("row {text}: {error}"));
    let object = serde_json::from_str(text)
        .map_err(|error| refused(format!("it is not a JSON object: {error}")))?;
    RowBuf::from_json(schema, &object).map_err(|error| refused(error.to_string()))
}

/// Commits the changes that `stage` makes, and keeps the table: `left`, with its capacity and access,
/// or a new one, which is removed if that fails.
fn change(
    name: &str,
    schema: &Schema,
    left: Option<&TableInfo>,
    summary: &str,
    stage: impl FnOnce(&mut UntypedTransaction<'_>) -> Result<(), Error>,
) -> Result<(), CliError> {
    let mut options = UntypedPublisher::builder(name, schema.clone());
    if let Some(left) = left {
        options = options.capacity(left.capacity).subscribers(left.slots.max(1));
        options = options.mode(left.mode).group(left.group);
    }
    let mut publisher = options.open()?;
    let mut tx = publisher.begin();
    let committed = stage(&mut tx).and_then(|()| tx.commit());
    let rows = publisher.len();
    match left.is_none() && committed.is_err() {
        true => publisher.close()?,
        false => publisher.close_and_keep()?,
    }
    let version = committed?;
    status(format_args!("{name}: {summary}; now at version {version} with rows: {rows}"));
    Ok(())
}
