//! Parses a command line, with one environment variable for each option.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use anstream::ColorChoice;
use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command, CommandFactory, Parser};
use common::LAYOUT_VERSION;
use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;
use nix::unistd::{Group, User};

use crate::error::{CliError, status, usage};
use crate::{complete, log};

/// Options of both programs and all subcommands.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Log more to stderr; twice for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Use of colours; `auto` means on a terminal, unless NO_COLOR, CLICOLOR=0 or TERM=dumb
    /// forbids it, and always if CLICOLOR_FORCE is set
    #[arg(long, global = true, value_name = "WHEN", default_value_t)]
    pub color: clap::ColorChoice,
}

impl Global {
    /// Applies the options to the whole process: colours and the level of logs.
    pub fn apply(&self) {
        let choice = match self.color {
            clap::ColorChoice::Auto => ColorChoice::Auto,
            clap::ColorChoice::Always => ColorChoice::Always,
            clap::ColorChoice::Never => ColorChoice::Never,
        };
        choice.write_global();
        log::init(self.verbose);
    }
}

/// Returns the command of a program, with its version and a variable for each option.
pub fn command<A: CommandFactory>() -> Command {
    let command = A::command();
    let number = command.get_version().unwrap_or_default();
    let version = match env!("BUILD_COMMIT") {
        "" => format!("{number} (layout {LAYOUT_VERSION})"),
        commit => format!("{number} ({commit}, layout {LAYOUT_VERSION})"),
    };
    with_variables(command.version(version))
}

/// Gives each option an environment variable: `TABLECAST_WAKE_AT` sets `--wake-at`. An empty
/// variable, or one that turns a switch off, counts as absent.
fn with_variables(command: Command) -> Command {
    command
        .mut_args(|mut argument| {
            let Some(name) = variable(&argument) else {
                return argument;
            };
            let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
            let is_absent = std::env::var(&name).is_ok_and(|value| {
                value.is_empty() || is_switch && ["0", "false", "no", "off"].contains(&&*value)
            });
            if !is_absent {
                argument = argument.env(name).hide_env_values(true);
            }
            if is_switch {
                argument = argument.value_parser(BoolishValueParser::new());
            }
            argument
        })
        .mut_subcommands(with_variables)
}

/// Returns the variable of an option: its own, or one made from its long name.
fn variable(argument: &Arg) -> Option<String> {
    if let Some(name) = argument.get_env() {
        return Some(name.to_string_lossy().into_owned());
    }
    Some(format!("TABLECAST_{}", argument.get_long()?.to_uppercase().replace('-', "_")))
}

/// Returns the variables of the options of one subcommand, without those of the global options.
pub fn variables_of<A: CommandFactory>(subcommand: &str) -> Vec<String> {
    let command = A::command();
    let found = command.find_subcommand(subcommand);
    let arguments = found.into_iter().flat_map(Command::get_arguments);
    arguments.filter_map(variable).collect()
}

/// Prints an example, then the help of a program.
pub fn help<A: CommandFactory>(example: &str) -> Result<(), CliError> {
    let help = command::<A>().render_help();
    write!(anstream::stdout(), "{example}\n{}", help.ansi())?;
    Ok(())
}

/// Parses a command line, which starts with the program's name. If it requests help, the version or
/// completions, prints them and returns `None`. Reports wrong arguments on stderr before it returns
/// an error.
pub fn parse<A: Parser>(words: impl IntoIterator<Item = OsString>) -> Result<Option<A>, CliError> {
    let words: Vec<OsString> = words.into_iter().collect();
    if complete::answer(command::<A>, &words)? {
        return Ok(None);
    }
    let parsed = command::<A>().try_get_matches_from(words);
    match parsed.and_then(|matches| A::from_arg_matches(&matches)) {
        Ok(args) => Ok(Some(args)),
        Err(error) => {
            let reported = usage(&error).map(|()| None);
            if reported.is_err() {
                note_variables(&command::<A>());
            }
            reported
        }
    }
}

/// Reports which variables are set, because one of them may hold the wrong argument.
fn note_variables(command: &Command) {
    let arguments = command.get_subcommands().flat_map(Command::get_arguments);
    let names = arguments.chain(command.get_arguments()).filter_map(Arg::get_env);
    let set = names.filter_map(|name| Some((name, std::env::var_os(name)?)));
    for (name, value) in set.collect::<BTreeMap<_, _>>() {
        status(format_args!("note: the environment sets {}={}", name.display(), value.display()));
    }
}

/// Parses a duration: `300ms`, `2s`, `1m 30s`, `1d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span = SpanParser::new().parse_span(text);
    span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .and_then(Duration::try_from)
        .map_err(|_| "not a duration: write one such as 300ms, 2s or 1m 30s".to_owned())
}

/// Parses the number or name of a user. Returns the user id.
pub fn user(text: &str) -> Result<u32, String> {
    id(text, "user", |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))
}

/// Parses the number or name of a group. Returns the group id.
pub fn group(text: &str) -> Result<u32, String> {
    id(text, "group", |name| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))
}

fn id(text: &str, what: &str, find: fn(&str) -> nix::Result<Option<u32>>) -> Result<u32, String> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    match find(text) {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err(format!("this machine has no such {what}: write a name or a number")),
        Err(errno) => Err(format!("cannot look up the {what}: {errno}")),
    }
}

/// Parses permission bits in octal: 600, with read permission for the group or everybody.
///
/// # Errors
/// A message for the user.
pub fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8).ok();
    mode.filter(|mode| mode & 0o600 == 0o600 && mode & !0o644 == 0).ok_or_else(|| {
        "write 600, and add read permission for the group (640) or everybody (644)".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_octal_and_never_grants_write_to_others() {
        for (text, bits) in [("600", 0o600), ("0640", 0o640), ("0o644", 0o644)] {
            assert_eq!(mode(text), Ok(bits));
        }
        for text in ["", "400", "660", "666", "1600", "698", "rw", "-600"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
