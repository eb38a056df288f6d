//! Every flag by environment variable: `--wake-at` is also `TABLECAST_WAKE_AT`. Given to all arguments of all subcommands in
//! one place, so that a new flag has its variable without a word about it.
//!
//! What is typed goes before what is in the environment. A variable counts as little as none
//!
//! - where the flag is typed, or another one is that it cannot go with;
//! - where it is empty, or says no to a switch (`0`, `false`, `no`, `off`);
//! - where a subcommand has no such flag.
//!
//! Variables that cannot go with each other are refused, by their names.

use std::ffi::{OsStr, OsString};

use clap::builder::{BoolishValueParser, Resettable};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Id};

/// What every variable begins with.
const PREFIX: &str = "TABLECAST_";

/// Of what a watch tells its command, the table's name. These six are no flag's.
pub const TABLE: &str = "TABLECAST_TABLE";
/// The version that the changes lead to.
pub const VERSION: &str = "TABLECAST_VERSION";
/// What the command is run for.
pub const EVENT: &str = "TABLECAST_EVENT";
/// How many changes there are.
pub const CHANGES: &str = "TABLECAST_CHANGES";
/// What became of the publisher.
pub const PUBLISHER: &str = "TABLECAST_PUBLISHER";
/// The one that a shell sets to have a line completed.
pub const COMPLETE: &str = "TABLECAST_COMPLETE";

/// The variable of a flag, by its long name.
pub fn variable(long: &str) -> String {
    format!("{PREFIX}{}", long.to_uppercase().replace('-', "_"))
}

/// Gives each flag its variable, but for those that `lose` against what is typed.
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

/// Whether a value means that a switch is off: to clap it would be there all the same, and in conflict with others.
fn is_no(value: &OsStr) -> bool {
    let value = value.to_string_lossy().to_lowercase();
    ["0", "false", "f", "no", "n", "off"].contains(&value.as_str())
}

/// The flags of the subcommand that was typed whose variables are not to count: they are typed themselves, or cannot go with
/// what is.
pub fn losers(command: &Command, typed: &ArgMatches) -> Vec<Id> {
    let (command, typed) = innermost(command, typed);
    let is_typed = |argument: &&Arg| is_typed(typed, argument);
    let excludes = |one: &Arg, other: &Arg| {
        command
            .get_arg_conflicts_with(one)
            .iter()
            .any(|excluded| excluded.get_id() == other.get_id())
    };
    // A flag of all subcommands can be typed before one, which would look at its variable all the same.
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

/// The flags of the subcommand alone that come from the environment, as `--flag (VARIABLE)`.
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

/// The variables that are set and that flags of this subcommand have.
pub fn of_flags(command: &Command) -> Vec<String> {
    let arguments = command
        .get_arguments()
        .filter(|argument| !argument.is_global_set());
    let names = arguments.filter_map(|argument| argument.get_env());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// Whether an argument stands on the command line.
fn is_typed(typed: &ArgMatches, argument: &Arg) -> bool {
    source(typed, argument) == Some(ValueSource::CommandLine)
}

fn source(matches: &ArgMatches, argument: &Arg) -> Option<ValueSource> {
    let id = argument.get_id().as_str();
    let known = matches.try_contains_id(id).is_ok();
    known.then(|| matches.value_source(id)).flatten()
}

/// The subcommand of a subcommand of … that was typed.
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
