//! Shell completion: the shell calls the program at each Tab, so that the candidates include the
//! tables that exist now.
//!
//! `completions SHELL` prints a script, which makes the shell call the program with the line in its
//! arguments and `TABLECAST_COMPLETE` in its environment. clap's engine determines which argument
//! is being completed; this module looks up the candidates for a table's name, a field or a key.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use clap::{Command, ValueEnum};
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{Bash, CompleteEnv, Elvish, EnvCompleter, Fish, Shells, Zsh};

use super::environment::COMPLETE;
use super::{CliError, usage};
use crate::view::OPERATOR_NAMES;

mod tables;

use tables::Asked;

/// The kind of value that an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completer {
    /// A table.
    Table,
    /// A table without a live publisher.
    Abandoned,
    /// A key of the table named on the line.
    Key,
    /// Fields of that table, joined by commas.
    Fields,
    /// Fields of that table with their directions, joined by commas.
    Sort,
    /// A field of that table, at the start of a condition.
    Condition,
    /// A user who owns tables.
    Owner,
    /// A wake kind.
    Wake,
    /// A source of rows.
    Source,
}

/// A shell that can be helped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// In ~/.bashrc
    Bash,
    /// In ~/.config/elvish/rc.elv
    Elvish,
    /// In ~/.config/fish/config.fish
    Fish,
    /// In ~/.zshrc, behind compinit
    Zsh,
}

const SHELLS: Shells<'static> = Shells(&[&Bash, &Elvish, &Fish, &Zsh]);

/// The line of bash's script to which [`BASH_SPACE_AND_WORD`] adds another: bash passes the word to
/// complete without its opening quote, while other shells pass it with the quote.
const BASH_SPACE: &str = "_CLAP_COMPLETE_SPACE=\"$_CLAP_COMPLETE_SPACE\" \\\n";
const BASH_SPACE_AND_WORD: &str = concat!(
    "_CLAP_COMPLETE_SPACE=\"$_CLAP_COMPLETE_SPACE\" \\\n",
    "        TABLECAST_COMPLETE_WORD=\"${COMP_WORDS[COMP_CWORD]}\" \\\n"
);
/// The variable in which bash passes the word with its opening quote.
const BASH_WORD: &str = "TABLECAST_COMPLETE_WORD";

/// `completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell that is to complete lines
    pub shell: Shell,
}

impl Completions {
    /// Prints the script for a program.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn run(&self, command: &Command) -> Result<(), CliError> {
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Elvish => &Elvish,
            Shell::Fish => &Fish,
            Shell::Zsh => &Zsh,
        };
        let name = command.get_name();
        let program = program(name);
        let mut script = Vec::new();
        shell.write_registration(COMPLETE, name, name, &program, &mut script)?;
        let script = String::from_utf8_lossy(&script).replace(BASH_SPACE, BASH_SPACE_AND_WORD);
        io::stdout().write_all(script.as_bytes())?;
        Ok(())
    }
}

/// Returns the program that a shell is to call: the path of this program if it was called by a
/// path, made absolute; else its name.
fn program(name: &str) -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let called = Path::new(&called);
    let is_path = called.components().count() > 1;
    let path = is_path.then(|| std::path::absolute(called).ok()).flatten();
    path.and_then(|path| path.into_os_string().into_string().ok())
        .unwrap_or_else(|| name.to_owned())
}

/// Answers a shell that requests completions. Returns true if one did.
///
/// # Errors
/// The shell is unknown.
pub fn answer(
    words: &[OsString],
    command: fn() -> Command,
    completer: fn(&str) -> Option<Completer>,
) -> Result<bool, CliError> {
    // The line to complete follows the shell's own arguments.
    let line = words.iter().skip_while(|word| *word != "--").skip(1);
    let line: Arc<[OsString]> = line.cloned().collect();
    let asked = move || Asked::read(command().ignore_errors(true), &line);
    let asked: Asking = Arc::new(asked);
    let here = std::env::current_dir().ok();
    CompleteEnv::with_factory(|| with_completers(command(), completer, &asked))
        .var(COMPLETE)
        .shells(SHELLS)
        .try_complete(words, here.as_deref())
        .or_else(|error| usage(&error).map(|()| true))
}

/// Reads what the line says about the table.
type Asking = Arc<dyn Fn() -> Asked + Send + Sync>;

fn with_completers(
    command: Command,
    completer: fn(&str) -> Option<Completer>,
    asked: &Asking,
) -> Command {
    command
        .mut_args(|argument| {
            let name = argument.get_long().unwrap_or(argument.get_id().as_str());
            let Some(completer) = completer(name) else {
                return argument;
            };
            let asked = Arc::clone(asked);
            argument.add(ArgValueCompleter::new(move |current: &OsStr| {
                completer.candidates(current, &asked)
            }))
        })
        .mut_subcommands(|subcommand| with_completers(subcommand, completer, asked))
}

impl Completer {
    fn candidates(self, current: &OsStr, asked: &Asking) -> Vec<CompletionCandidate> {
        let Some(begun) = current.to_str() else {
            return Vec::new();
        };
        let mut all = match self {
            Self::Table => asked().tables(|_| true),
            Self::Abandoned => asked().tables(|table| !table.publisher.is_alive()),
            Self::Key => asked().keys(),
            Self::Condition => return condition(begun, open_quote(begun), &asked().fields()),
            Self::Fields => listed(begun, asked().fields()),
            Self::Sort => match last_of(begun).split_once(':') {
                Some((_, direction)) => {
                    let field = &begun[..begun.len() - direction.len()];
                    prefixed(field, words(&DIRECTIONS))
                }
                None => listed(begun, asked().fields()),
            },
            Self::Owner => asked().owners(),
            Self::Wake => words(&WAKES),
            Self::Source => {
                let mut sources = words(&SOURCES);
                sources.retain(|source| begins(source, begun));
                sources.extend(PathCompleter::file().complete(current));
                return sources;
            }
        };
        all.retain(|candidate| begins(candidate, begun));
        all
    }
}

/// Returns the quote that the word to complete begins with, as the user typed it.
fn open_quote(begun: &str) -> Option<char> {
    let typed = std::env::var(BASH_WORD);
    let typed = typed.as_deref().unwrap_or(begun);
    typed
        .chars()
        .next()
        .filter(|first| ['\'', '"'].contains(first))
}

/// Returns a field with each operator, for a condition that names no field yet.
///
/// Operators such as `>` redirect output unless the condition is quoted. So bash is given an opening quote with the field; the other
/// shells would escape that quote, and complete a condition only if it begins with one. There is never a single candidate, for
/// which a shell would close the quote.
fn condition(
    begun: &str,
    quote: Option<char>,
    fields: &[CompletionCandidate],
) -> Vec<CompletionCandidate> {
    let begun = begun.trim_start_matches(['\'', '"']);
    let all = fields
        .iter()
        .filter(|field| begins(field, begun))
        .flat_map(|field| {
            let name = field.get_value().to_string_lossy();
            let help = field.get_help().cloned();
            OPERATOR_NAMES.split(' ').map(move |operator| {
                CompletionCandidate::new(format!("{name} {operator}")).help(help.clone())
            })
        });
    let is_bash = std::env::var_os(BASH_WORD).is_some();
    match quote {
        Some(_) => all.collect(),
        None if is_bash => prefixed("'", all.collect()),
        None => Vec::new(),
    }
}

fn begins(candidate: &CompletionCandidate, begun: &str) -> bool {
    let value = candidate.get_value().to_str();
    value.is_some_and(|value| value.starts_with(begun))
}

/// Returns the last element of a list joined by commas.
fn last_of(list: &str) -> &str {
    list.rsplit(',').next().unwrap_or_default()
}

/// Returns the candidates appended to the complete elements of a list joined by commas, without the
/// candidates that the list contains.
fn listed(begun: &str, mut candidates: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    let before = begun.rfind(',').map_or("", |comma| &begun[..=comma]);
    let names = before.split(',').map(|name| name.split(':').next());
    let has: Vec<_> = names.flatten().collect();
    candidates.retain(|candidate| has.iter().all(|name| candidate.get_value() != *name));
    prefixed(before, candidates)
}

fn prefixed(before: &str, candidates: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    let candidates = candidates.into_iter();
    candidates
        .map(|candidate| candidate.add_prefix(before))
        .collect()
}

const DIRECTIONS: [(&str, &str); 2] = [("asc", "the least first"), ("desc", "the greatest first")];

const SOURCES: [(&str, &str); 4] = [
    ("processes", "this machine's processes"),
    ("routes", "the kernel's routes"),
    ("neighbors", "the kernel's neighbors"),
    ("-", "lines on stdin"),
];

const WAKES: [(&str, &str); 9] = [
    ("auto", "a message queue, or else the futex"),
    ("mq", "a POSIX message queue"),
    ("futex", "the version in shared memory"),
    ("unix", "a Unix socket"),
    ("signal", "SIGUSR1"),
    ("signal:USR2", "another signal"),
    ("fifo", "a named pipe, for scripts"),
    ("spin", "never asleep; takes a processor"),
    ("spin:50us", "asleep after a while"),
];

fn words(words: &[(&str, &str)]) -> Vec<CompletionCandidate> {
    words
        .iter()
        .map(|(word, help)| candidate(word, help))
        .collect()
}

/// Creates a candidate with a description that a shell may show next to it.
fn candidate(value: &str, help: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(help.to_owned().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_go_on_behind_their_commas() {
        let values = |begun| {
            let fields = words(&[("id", ""), ("name", ""), ("price", "")]);
            let mut all = listed(begun, fields);
            all.retain(|candidate| begins(candidate, begun));
            let values = all.iter().map(|candidate| candidate.get_value().to_str());
            values
                .map(|value| value.unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(values(""), ["id", "name", "price"]);
        assert_eq!(values("n"), ["name"]);
        assert_eq!(values("id,"), ["id,name", "id,price"]);
        assert_eq!(values("price:desc,id,n"), ["price:desc,id,name"]);
        assert_eq!(values("x"), Vec::<String>::new());
    }

    #[test]
    fn ways_to_be_woken_are_such() {
        for (word, _) in WAKES {
            assert!(word.parse::<common::WakeKind>().is_ok(), "{word}");
        }
    }
}
