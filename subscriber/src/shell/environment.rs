//! Lets every flag be set by an environment variable: `--wake-at` is also `TABLECAST_WAKE_AT`. The
//! variables are added to all arguments of all subcommands in one place, so that a new flag gets
//! its variable automatically.
//!
//! Flags on the command line override environment variables. A variable is ignored
//!
//! - if its flag, or a flag that conflicts with it, is on the command line;
//! - if it is empty, or turns a switch off (`0`, `false`, `no`, `off`);
//! - if the subcommand has no such flag.
//!
//! Variables that conflict with each other are refused, and the error names them.

use std::ffi::{OsStr, OsString};

use clap::builder::{BoolishValueParser, Resettable};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Id};

/// Prefix of all variables.
const PREFIX: &str = "TABLECAST_";

/// Name of the table, for the command that a watch runs. This and the following five variables
/// belong to no flag.
pub const TABLE: &str = "TABLECAST_TABLE";
/// Version that the changes lead to.
pub const VERSION: &str = "TABLECAST_VERSION";
/// Reason for which the command is run.
pub const EVENT: &str = "TABLECAST_EVENT";
/// Number of changes.
pub const CHANGES: &str = "TABLECAST_CHANGES";
/// State of the publisher.
pub const PUBLISHER: &str = "TABLECAST_PUBLISHER";
/// Variable that a shell sets to request completions.
pub const COMPLETE: &str = "TABLECAST_COMPLETE";

/// Returns the variable of a flag, by the flag's long name.
pub fn variable(long: &str) -> String {
    format!("{PREFIX}{}", long.to_uppercase().replace('-', "_"))
}

/// Adds a variable to each flag, except to those in `lose`, which the command line overrides.
pub fn add(command: Command, lose: &[Id]) -> Command {
    if command.is_hide_set() {
        return command;
    }
    command
        .mut_args(|argument| match lose.contains(argument.get_id()) {
            true => argument.env(Resettable::Reset),
            false => with_variable(argument),
        })
        .mut_subcommands(|subcommand| add(subcommand, lose))
}

fn with_variable(argument: Arg) -> Arg {
    let own = argument
        .get_env()
        .map(|name| name.to_string_lossy().into_owned());
    let Some(name) = own.or_else(|| argument.get_long().map(variable)) else {
        return argument;
    };
    let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
    let value = std::env::var_os(&name);
    let is_off = |value: OsString| value.is_empty() || is_switch && is_no(&value);
    if value.is_some_and(is_off) {
        return argument.env(Resettable::Reset);
    }
    let argument = argument.env(name).hide_env_values(true);
    match is_switch {
        true => argument.value_parser(BoolishValueParser::new()),
        false => argument,
    }
}

/// Returns true if a value turns a switch off. Clap would otherwise count the switch as present, in
/// conflict with other flags.
fn is_no(value: &OsStr) -> bool {
    let value = value.to_string_lossy().to_lowercase();
    ["0", "false", "f", "no", "n", "off"].contains(&value.as_str())
}

/// Returns the flags of the typed subcommand whose variables are to be ignored: they are typed
/// themselves, or conflict with a typed flag.
pub fn losers(command: &Command, typed: &ArgMatches) -> Vec<Id> {
    let (command, typed) = innermost(command, typed);
    let is_typed = |argument: &&Arg| is_typed(typed, argument);
    let excludes = |one: &Arg, other: &Arg| {
        command
            .get_arg_conflicts_with(one)
            .iter()
            .any(|excluded| excluded.get_id() == other.get_id())
    };
    // A global flag can be typed before the subcommand, which would still read its variable.
    let loses = |argument: &&Arg| {
        is_typed(argument)
            || command
                .get_arguments()
                .filter(is_typed)
                .any(|typed| excludes(typed, argument) || excludes(argument, typed))
    };
    command
        .get_arguments()
        .filter(loses)
        .map(|argument| argument.get_id().clone())
        .collect()
}

/// Returns the flags of the subcommand alone that come from the environment, as `--flag
/// (VARIABLE)`.
pub fn taken(command: &Command, matches: &ArgMatches) -> Vec<String> {
    let (command, matches) = innermost(command, matches);
    let arguments = command.get_arguments();
    arguments
        .filter(|argument| !argument.is_global_set())
        .filter(|argument| source(matches, argument) == Some(ValueSource::EnvVariable))
        .filter_map(|argument| {
            let name = argument.get_env()?.to_string_lossy();
            Some(format!("--{} ({name})", argument.get_long()?))
        })
        .collect()
}

/// Returns the variables of this subcommand's flags, without those of global flags and those that
/// are ignored.
pub fn of_flags(command: &Command) -> Vec<String> {
    let arguments = command
        .get_arguments()
        .filter(|argument| !argument.is_global_set());
    let names = arguments.filter_map(|argument| argument.get_env());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// Returns true if an argument is on the command line.
fn is_typed(typed: &ArgMatches, argument: &Arg) -> bool {
    source(typed, argument) == Some(ValueSource::CommandLine)
}

fn source(matches: &ArgMatches, argument: &Arg) -> Option<ValueSource> {
    let id = argument.get_id().as_str();
    let known = matches.try_contains_id(id).is_ok();
    known.then(|| matches.value_source(id)).flatten()
}

/// Returns the innermost subcommand that was typed, and its matches.
pub fn innermost<'a>(
    command: &'a Command,
    matches: &'a ArgMatches,
) -> (&'a Command, &'a ArgMatches) {
    let subcommand = matches.subcommand();
    let found =
        subcommand.and_then(|(name, within)| Some((command.find_subcommand(name)?, within)));
    match found {
        Some((subcommand, within)) => innermost(subcommand, within),
        None => (command, matches),
    }
}
