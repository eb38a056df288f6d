//! Shell completion: the shell calls the program at each Tab, so that the candidates include the
//! tables that exist now.
//!
//! `completions SHELL` prints a script, which makes the shell call the program with the line in its
//! arguments and `TABLECAST_COMPLETE` in its environment. `clap_complete` determines which argument
//! is being completed, and calls the function that the argument names:
//! `#[arg(add = ArgValueCompleter::new(complete::tables))]`. A table that cannot be read has no
//! candidates and causes no error.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::sync::OnceLock;

use clap::builder::PossibleValuesParser;
use clap::{ArgMatches, Command};
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::{Bash, CompleteEnv, Elvish, Fish, Shells, Zsh};
use common::{Error, Field, TableInfo, UntypedReader, inspect};
use nix::unistd::{Uid, User};

use crate::error::{CliError, usage};

/// Variable by which a shell requests completions.
const VARIABLE: &str = "TABLECAST_COMPLETE";
/// Variable in which bash passes the word to complete, including an opening quote. Other shells pass
/// the quote in the line itself.
const BASH_WORD: &str = "TABLECAST_COMPLETE_WORD";
/// Maximum number of rows of a table whose keys are candidates. Listing keys reads all rows.
const MAX_KEYS: usize = 1000;

const SHELLS: Shells<'static> = Shells(&[&Bash, &Elvish, &Fish, &Zsh]);

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell
    #[arg(value_parser = PossibleValuesParser::new(SHELLS.names()))]
    shell: String,
}

impl Completions {
    /// Prints the script for a program.
    pub fn run(&self, command: &Command) -> Result<(), CliError> {
        let shell = SHELLS.completer(&self.shell).expect("a shell of the list");
        let name = command.get_name();
        let mut script = Vec::new();
        shell.write_registration(VARIABLE, name, name, &program(name), &mut script)?;
        let word = format!("{BASH_WORD}=\"${{COMP_WORDS[COMP_CWORD]}}\"");
        let space = "_CLAP_COMPLETE_SPACE=\"$_CLAP_COMPLETE_SPACE\" \\\n";
        let script =
            String::from_utf8_lossy(&script).replace(space, &format!("{space}        {word} \\\n"));
        io::stdout().write_all(script.as_bytes())?;
        Ok(())
    }
}

/// Returns the absolute path of this program if it was called by a path, or else its name.
fn program(name: &str) -> String {
    let called = std::env::args().next().filter(|called| called.contains('/'));
    let path = called.and_then(|called| std::path::absolute(called).ok());
    let path = path.and_then(|path| path.into_os_string().into_string().ok());
    path.unwrap_or_else(|| name.to_owned())
}

/// The line to complete.
static LINE: OnceLock<Line> = OnceLock::new();

struct Line {
    command: fn() -> Command,
    words: Vec<OsString>,
}

/// Prints the candidates if a shell requests completions. Returns true if one does.
pub(crate) fn answer(command: fn() -> Command, words: &[OsString]) -> Result<bool, CliError> {
    // The line follows the shell's own arguments.
    let line = words.iter().skip_while(|word| *word != "--").skip(1);
    LINE.get_or_init(|| Line { command, words: line.cloned().collect() });
    let here = std::env::current_dir().ok();
    CompleteEnv::with_factory(command)
        .var(VARIABLE)
        .shells(SHELLS)
        .try_complete(words, here.as_deref())
        .or_else(|error| usage(&error).map(|()| true))
}

/// Returns the value that an argument has on the line to complete.
fn typed<T: Clone + Send + Sync + 'static>(argument: &str) -> Option<T> {
    let line = LINE.get()?;
    let command = (line.command)().ignore_errors(true);
    let matches = command.try_get_matches_from(&line.words).ok()?;
    let mut matches: &ArgMatches = &matches;
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches.try_get_one::<T>(argument).ok().flatten().cloned()
}

/// Inspects the table that the line names.
fn table() -> Option<TableInfo> {
    inspect(&typed::<String>("name")?, typed("owner")).ok()
}

/// Completes the name of a table.
pub fn tables(current: &OsStr) -> Vec<CompletionCandidate> {
    tables_that(|_| true, current)
}

/// Completes the name of a table without a live publisher.
pub fn abandoned_tables(current: &OsStr) -> Vec<CompletionCandidate> {
    tables_that(|table| !table.publisher.is_alive(), current)
}

fn tables_that(is_wanted: fn(&TableInfo) -> bool, current: &OsStr) -> Vec<CompletionCandidate> {
    let names = common::tables().unwrap_or_default();
    let tables = names.iter().filter_map(|name| inspect(name, typed("owner")).ok());
    let candidates = tables.filter(is_wanted).map(|table| {
        let help = format!("{} rows, publisher {}", table.rows, table.publisher.as_str());
        candidate(&table.name, &help)
    });
    matching(candidates, current)
}

/// Completes a key of a table with at most `MAX_KEYS` rows.
pub fn keys(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut keys = Vec::new();
    let Some(table) = table().filter(|table| table.rows <= MAX_KEYS) else {
        return Vec::new();
    };
    if let Ok(reader) = UntypedReader::builder(&table.name).owner(table.owner).open() {
        // After an error, the keys that were read are offered.
        let _read = reader.for_each(|row| keys.push(row.key().to_string()));
    }
    keys.retain(|key| is_plain(key));
    keys.sort_unstable();
    let help = table.schema.key_fields().map(Field::name).collect::<Vec<_>>().join(",");
    matching(keys.iter().map(|key| candidate(key, &help)), current)
}

/// Returns true if the key needs no quotes in any shell and does not look like a flag.
fn is_plain(key: &str) -> bool {
    let plain = |letter: char| letter.is_alphanumeric() || "._-,:/@%+".contains(letter);
    !key.is_empty() && key.chars().all(plain) && !key.starts_with('-')
}

fn fields_of_table() -> Vec<CompletionCandidate> {
    let schema = table().map(|table| table.schema);
    let fields = schema.iter().flat_map(|schema| schema.fields());
    fields.map(|field| candidate(field.name(), &field.kind().to_string())).collect()
}

/// Completes a list of fields joined by commas.
pub fn fields(current: &OsStr) -> Vec<CompletionCandidate> {
    matching(listed(&current.to_string_lossy(), fields_of_table()), current)
}

/// Completes a list of fields with their directions.
pub fn sort(current: &OsStr) -> Vec<CompletionCandidate> {
    let begun = current.to_string_lossy();
    match begun.rsplit_once(':') {
        Some((before, direction)) if !direction.contains(',') => {
            let directions = [("asc", "smallest first"), ("desc", "greatest first")];
            let found = described(directions, OsStr::new(direction)).into_iter();
            found.map(|candidate| candidate.add_prefix(format!("{before}:"))).collect()
        }
        _ => fields(current),
    }
}

/// Prefixes each candidate with the complete elements of a list joined by commas. Leaves out
/// candidates that the list already contains.
fn listed(begun: &str, mut candidates: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    let before = begun.rfind(',').map_or("", |comma| &begun[..=comma]);
    let names = || before.split(',').filter_map(|element| element.split(':').next());
    candidates.retain(|candidate| !names().any(|name| candidate.get_value() == name));
    candidates.into_iter().map(|candidate| candidate.add_prefix(before)).collect()
}

/// Completes a condition with a field and each operator.
///
/// Operators such as `>` redirect output unless the condition is quoted. Bash gets an opening quote
/// with the field. The other shells would escape that quote, so they complete a condition only if
/// it begins with one. Each field has several candidates, because a shell closes the quote after a
/// single one.
pub fn condition(current: &OsStr) -> Vec<CompletionCandidate> {
    let begun = current.to_string_lossy();
    let bash_word = std::env::var(BASH_WORD).ok();
    let has_quote = bash_word.as_deref().unwrap_or(&begun).starts_with(['\'', '"']);
    if !has_quote && bash_word.is_none() {
        return Vec::new();
    }
    let begun = begun.trim_start_matches(['\'', '"']);
    let quote = if has_quote { "" } else { "'" };
    let operators = ["=", "!=", "<", "<=", ">", ">=", "contains", "starts", "like", "~", "in"];
    let with_operators = |field: CompletionCandidate| {
        operators.map(|operator| {
            let value = format!("{quote}{} {operator}", field.get_value().display());
            CompletionCandidate::new(value).help(field.get_help().cloned())
        })
    };
    let fields = matching(fields_of_table(), OsStr::new(begun));
    fields.into_iter().flat_map(with_operators).collect()
}

/// Completes a user who owns tables.
pub fn owners(current: &OsStr) -> Vec<CompletionCandidate> {
    let names = common::tables().unwrap_or_default();
    let owners = names.iter().filter_map(|name| match inspect(name, None) {
        Ok(table) => Some(table.owner),
        Err(Error::WrongOwner { found, .. }) => Some(found),
        Err(_) => None,
    });
    let candidates = owners.collect::<BTreeSet<u32>>().into_iter().map(|owner| {
        let user = User::from_uid(Uid::from_raw(owner)).ok().flatten();
        let name = user.map_or_else(|| owner.to_string(), |user| user.name);
        candidate(&name, &format!("user {owner}"))
    });
    matching(candidates, current)
}

/// Completes a wake kind.
pub fn wake_kinds(current: &OsStr) -> Vec<CompletionCandidate> {
    let kinds = [
        ("auto", "a message queue, or the futex"),
        ("mq", "a POSIX message queue"),
        ("futex", "the version in shared memory"),
        ("unix", "a Unix socket"),
        ("signal", "SIGUSR1"),
        ("signal:USR2", "another signal"),
        ("fifo", "a named pipe, for scripts"),
        ("spin", "never sleeps; occupies a processor"),
        ("spin:50us", "sleeps after a while"),
    ];
    described(kinds, current)
}

/// Completes a source of rows, or a file.
pub fn sources(current: &OsStr) -> Vec<CompletionCandidate> {
    let sources = [
        ("processes", "the processes of this machine"),
        ("routes", "the routes of the kernel"),
        ("neighbors", "the neighbors of the kernel"),
        ("command", "the output of a command, which is run at an interval"),
        ("-", "lines on stdin"),
        ("fifo:", "lines that scripts write to a named pipe"),
    ];
    let mut found = described(sources, current);
    found.extend(PathCompleter::file().complete(current));
    found
}

fn candidate(value: &str, help: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(help.to_owned().into()))
}

fn described<const N: usize>(
    words: [(&str, &str); N],
    current: &OsStr,
) -> Vec<CompletionCandidate> {
    matching(words.map(|(word, help)| candidate(word, help)), current)
}

/// Returns the candidates that begin with the word to complete.
fn matching(
    candidates: impl IntoIterator<Item = CompletionCandidate>,
    current: &OsStr,
) -> Vec<CompletionCandidate> {
    let begins = |candidate: &CompletionCandidate| {
        let value = candidate.get_value().as_encoded_bytes();
        value.starts_with(current.as_encoded_bytes())
    };
    candidates.into_iter().filter(begins).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_continue_after_the_last_comma() {
        let values = |begun: &str| {
            let fields = ["id", "name", "price"].map(|name| candidate(name, ""));
            let all = matching(listed(begun, fields.into()), OsStr::new(begun));
            let values = all.iter().map(|candidate| candidate.get_value().to_str().unwrap());
            values.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(values(""), ["id", "name", "price"]);
        assert_eq!(values("n"), ["name"]);
        assert_eq!(values("id,"), ["id,name", "id,price"]);
        assert_eq!(values("price:desc,id,n"), ["price:desc,id,name"]);
        assert_eq!(values("x"), Vec::<String>::new());
    }

    #[test]
    fn keys_that_need_quotes_are_left_out() {
        for key in ["7", "a.b,3", "10.0.0.0/8", "fe80::1,lo", "ä"] {
            assert!(is_plain(key), "{key}");
        }
        for key in ["", "-5", "\"a, b\"", "$HOME", "a b", "~x", "*"] {
            assert!(!is_plain(key), "{key}");
        }
    }

    #[test]
    fn all_offered_wake_kinds_can_be_parsed() {
        for kind in wake_kinds(OsStr::new("")) {
            let word = kind.get_value().to_str().unwrap();
            assert!(word.parse::<common::WakeKind>().is_ok(), "{word}");
        }
    }
}
