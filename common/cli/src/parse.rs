//! Parses a command line, with one environment variable for each option.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use anstream::ColorChoice;
use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command, CommandFactory, Parser};
use common::LAYOUT_VERSION;
use nix::unistd::User;

use crate::error::{CliError, status, usage};
use crate::{complete, log};

/// Options of both programs and all subcommands.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = crate::EVERYWHERE)]
pub struct Global {
    /// Log more to stderr; twice for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// When to use colours; `auto` means on a terminal, unless NO_COLOR, CLICOLOR=0 or TERM=dumb
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

/// Makes `TABLECAST_WAKE_AT` set `--wake-at`, and so on. An empty variable, or one that turns a
/// switch off, counts as absent.
fn with_variables(command: Command) -> Command {
    command
        .mut_args(|argument| {
            let Some(name) = variable(&argument) else {
                return argument;
            };
            let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
            let is_absent = std::env::var(&name).is_ok_and(|value| {
                value.is_empty() || is_switch && ["0", "false", "no", "off"].contains(&&*value)
            });
            let argument = match is_absent {
                true => argument,
                false => argument.env(name).hide_env_values(true),
            };
            match is_switch {
                true => argument.value_parser(BoolishValueParser::new()),
                false => argument,
            }
        })
        .mut_subcommands(with_variables)
}

/// Returns the variable of an option: its own, or one made from its long name.
fn variable(argument: &Arg) -> Option<String> {
    match (argument.get_env(), argument.get_long()) {
        (Some(name), _) => Some(name.to_string_lossy().into_owned()),
        (None, Some(long)) => Some(format!("TABLECAST_{}", long.to_uppercase().replace('-', "_"))),
        (None, None) => None,
    }
}

/// Returns the variables that set options of one subcommand, without those of all subcommands.
pub fn variables_of<A: CommandFactory>(subcommand: &str) -> Vec<String> {
    let command = A::command();
    let found = command.find_subcommand(subcommand);
    let arguments = found.into_iter().flat_map(Command::get_arguments);
    arguments.filter_map(variable).collect()
}

/// Prints an example to try, and the help of a program.
///
/// # Errors
/// Stdout cannot be written.
pub fn help<A: CommandFactory>(example: &str) -> Result<(), CliError> {
    let help = command::<A>().render_help();
    write!(anstream::stdout(), "{example}\n{}", help.ansi())?;
    Ok(())
}

/// Parses a command line, which starts with the program's name. Returns `None` if the command line
/// requested help, a version or completions, which are printed then.
///
/// # Errors
/// Wrong arguments, which are reported already.
pub fn parse<A: Parser>(words: impl IntoIterator<Item = OsString>) -> Result<Option<A>, CliError> {
    let words: Vec<OsString> = words.into_iter().collect();
    if complete::answer(command::<A>, &words)? {
        return Ok(None);
    }
    let parsed = command::<A>().try_get_matches_from(words);
    match parsed.and_then(|matches| A::from_arg_matches(&matches)) {
        Ok(args) => Ok(Some(args)),
        Err(error) => {
            let reported = usage(&error);
            if reported.is_err() {
                note_variables(&command::<A>());
            }
            reported.map(|()| None)
        }
    }
}

/// Names the variables that are set, because one of them may be the wrong argument.
fn note_variables(command: &Command) {
    let subcommands = command.get_subcommands();
    let arguments = subcommands.flat_map(Command::get_arguments);
    let names = arguments.chain(command.get_arguments()).filter_map(Arg::get_env);
    let names: BTreeSet<_> = names.filter(|name| std::env::var_os(name).is_some()).collect();
    for name in names {
        let (name, value) = (name.display(), std::env::var_os(name).unwrap_or_default());
        status(format_args!("note: the environment sets {name}={}", value.display()));
    }
}

/// Parses a duration: `300ms`, `2s`, `1m 30s`.
///
/// # Errors
/// A message for clap.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a duration such as 300ms or 2s"))
}

/// Parses a user, given by number or by name, to its id.
///
/// # Errors
/// A message for clap.
pub fn user(text: &str) -> Result<u32, String> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    match User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err("this machine has no such user: write a name or a number".to_owned()),
        Err(errno) => Err(format!("cannot look up the user: {errno}")),
    }
}
