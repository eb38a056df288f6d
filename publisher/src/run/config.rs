//! The configuration file of `run`: TOML with a section per table, whose keys are the long options
//! of `serve`.

use std::ffi::OsString;
use std::path::Path;

use clap::{ArgAction, Args as _, Command, FromArgMatches};
use cli::{CliError, nearest};
use common::{Error, Field, Kind};
use toml_edit::{Document, Item, Value};

use crate::serve;
use crate::serve::args::{Args, From};

/// The key of the words of a command.
const COMMAND: &str = "command";

/// Reads the file, and makes its folder the working directory of this process.
pub fn read(path: &Path) -> Result<Vec<Args>, CliError> {
    let refused = |reason: String| CliError::new(2, format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::new(5, format!("cannot read {}: {error}", path.display())))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::env::set_current_dir(folder)
            .map_err(|error| refused(format!("cannot enter its folder: {error}")))?;
    }
    parse(&text).map_err(refused)
}

fn parse(text: &str) -> Result<Vec<Args>, String> {
    let document =
        Document::parse(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let tables = document.iter().map(|(name, section)| {
        table(text, name, section).map_err(|reason| format!("[{name}]: {reason}"))
    });
    let tables = tables.collect::<Result<Vec<_>, _>>()?;
    match tables.is_empty() {
        true => Err("it describes no table: add a section such as [prices]".to_owned()),
        false => Ok(tables),
    }
}

/// Converts a section of `text` to the arguments of `serve`.
fn table(text: &str, name: &str, section: &Item) -> Result<Args, String> {
    let section =
        section.as_table_like().ok_or("it is not a section: options belong to a table")?;
    // The environment belongs to no table in particular.
    let options = Args::augment_args(Command::new("serve"))
        .no_binary_name(true)
        .disable_help_flag(true)
        .mut_args(|option| option.env(None::<&str>));
    let (mut words, mut command) = (vec![OsString::from(name)], Vec::new());
    for (key, value) in section.iter() {
        let value = value.as_value().ok_or_else(|| {
            format!("{key} is a section; quote the name of a table with a dot: [\"{name}.{key}\"]")
        })?;
        if key == COMMAND {
            command = strings(value).ok_or("command is not an array of strings")?;
        } else {
            words.extend(option(&options, text, key, value)?);
        }
    }
    if !command.is_empty() {
        words.push("--".into());
        words.extend(command.into_iter().map(OsString::from));
    }
    let parsed = options.try_get_matches_from(words);
    let args = parsed.and_then(|matches| Args::from_arg_matches(&matches)).map_err(|error| {
        // Without the usage, which follows after an empty line.
        let message = error.to_string();
        let reason = message.split("\n\n").next().unwrap_or(&message);
        reason.trim_start_matches("error: ").replace("\n ", "").trim_end().to_owned()
    })?;
    if let Err(error @ Error::InvalidName { .. }) = common::inspect(&args.name, None) {
        return Err(error.to_string());
    }
    if args.from == From::Stdin {
        return Err("stdin cannot be shared by tables: use from = \"fifo:PATH\"".to_owned());
    }
    if args.strict && !args.exit_at_eof {
        return Err(
            "strict needs exit-at-eof: a table that ends at its first bad version or line \
                    would be published again with the next one"
                .to_owned(),
        );
    }
    serve::check(&args).map_err(|error| error.to_string())?;
    if let Some(field) = &args.expire {
        let schema = serve::declared(&args).map_err(|error| error.to_string())?;
        let is_time = |(_, field): (usize, &Field)| field.kind() == Kind::Timestamp;
        if !schema.field(field).is_some_and(is_time) {
            return Err(format!("expire: there is no timestamp {field}"));
        }
    }
    Ok(args)
}

/// Returns the words of an option on the command line.
fn option(
    options: &Command,
    text: &str,
    key: &str,
    value: &Value,
) -> Result<Option<OsString>, String> {
    if key == "metrics" {
        return Err("one server has the metrics of all tables: use publisher run --metrics".into());
    }
    let mut known = options.get_arguments().filter(|option| option.get_long() == Some(key));
    let Some(option) = known.next() else {
        let names = options.get_arguments().filter_map(|option| option.get_long());
        let similar = nearest(key, names.chain([COMMAND]));
        let hint = similar.map_or(String::new(), |name| format!(": did you mean {name}?"));
        return Err(format!("there is no option {key}{hint}"));
    };
    let is_switch = matches!(option.get_action(), ArgAction::SetTrue);
    let argument = match value {
        Value::Boolean(is_on) if is_switch => {
            return Ok(is_on.value().then(|| format!("--{key}").into()));
        }
        _ if is_switch => return Err(format!("{key} is true or false")),
        Value::String(argument) => argument.value().clone(),
        // As it was written, so that 0o640 stays octal.
        Value::Integer(number) => text[number.span().unwrap_or_default()].replace('_', ""),
        list => strings(list)
            .ok_or_else(|| format!("{key} is not a string, a number or an array of strings"))?
            .join(","),
    };
    Ok(Some(format!("--{key}={argument}").into()))
}

/// Returns the elements of an array of strings.
fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn options_have_the_types_of_toml() {
        let tables = parse(
            r#"
            [disks]
            from = "command"
            command = ["df", "-P"]
            every = "1m"
            [prices]
            from = "./prices.csv"
            fields = ["id:u64", "price:f64"]
            capacity = 1_000
            mode = 0o640
            keep = true
            clear = false
            "#,
        );
        let [disks, prices] = &tables.unwrap()[..] else { panic!() };
        assert_eq!((&*disks.name, &disks.from), ("disks", &From::Command));
        assert_eq!(
            (&disks.command[..], disks.every),
            (&["df".into(), "-P".into()][..], Some(Duration::from_secs(60)))
        );
        assert_eq!(prices.fields.as_deref(), Some("id:u64,price:f64"));
        assert_eq!((prices.capacity, prices.mode), (Some(1000), 0o640));
        assert_eq!((prices.keep, prices.clear), (true, false));
    }

    #[test]
    fn errors_name_the_section_and_the_option() {
        for (text, expected) in [
            ("", "no table"),
            ("[a]\nfrom = processes", "line 2, column 8"),
            ("from = 'x'", "[from]: it is not a section"),
            ("[a]", "[a]: the following required arguments were not provided: --from <SOURCE>"),
            ("['.a']\nfrom = 'processes'", "[.a]: "),
            ("[a]\nfrom = '-'", "[a]: stdin cannot be shared"),
            (
                "[a]\nfrom = 'processes'\nevry = '1s'",
                "[a]: there is no option evry: did you mean every?",
            ),
            ("[a]\nfrom = 'processes'\nevery = '1'", "'1' for '--every <DURATION>'"),
            ("[a]\nfrom = 'processes'\nevery = true", "every is not a string"),
            ("[a]\nfrom = 'processes'\nkeep = 'yes'", "keep is true or false"),
            ("[a]\nfrom = 'processes'\nmetrics = 'x'", "publisher run --metrics"),
            ("[a]\nfrom = 'processes'\ncommand = ['df']", "is for `--from command`"),
            ("[a]\nfrom = 'command'\ncommand = 'df'", "command is not an array"),
            ("[a]\nfrom = 'x.csv'\nstrict = true", "strict needs exit-at-eof"),
            ("[a]\nfrom = 'x.csv'\ncomment = ','", "cannot both be ','"),
            ("[a]\nfrom = 'fifo:x'\nfields = 'id:u64'\nexpire = 'id'", "no timestamp id"),
            ("[a]\nfrom = 'processes'\n[a.b]\nx = 1", "[a]: b is a section; quote"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
