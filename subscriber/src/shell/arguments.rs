//! Parses the command line of both programs.
//!
//! 1. Find `--color`, so that messages about the rest are coloured accordingly.
//! 2. If a shell requests completions, print them and exit.
//! 3. Parse the line without regard to errors and environment, to learn which flags are typed.
//! 4. Parse it again, with the environment for the other flags ([`environment`]).

use std::ffi::OsString;
use std::io::Write;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, Id, Parser};

use super::complete::{self, Completer};
use super::{CliError, colour, environment, usage, version};

/// The flags whose values come from the environment.
#[derive(Debug)]
pub struct Origin {
    taken: Vec<String>,
}

impl Origin {
    /// Adds to a message about wrong arguments which of them come from the environment.
    pub fn explain(&self, failure: CliError) -> CliError {
        if failure.code() != 2 || self.taken.is_empty() {
            return failure;
        }
        let taken = self.taken.join(", ");
        CliError::new(2, format!("{failure}\nfrom the environment: {taken}"))
    }
}

/// Returns the command of a program's arguments, with the parts that both programs have in common.
pub fn command<A: Parser>() -> Command {
    dressed::<A>(&[])
}

fn dressed<A: Parser>(losers: &[Id]) -> Command {
    environment::add(version::add(A::command()), losers)
}

/// Prints an example to try, and the help of a command, as clap would.
///
/// # Errors
/// Stdout cannot be written.
pub fn help(example: &str, mut command: Command) -> Result<(), CliError> {
    let help = command.render_help();
    write!(anstream::stdout(), "{example}\n{}", help.ansi())?;
    Ok(())
}

/// Parses a command line, which starts with the program's name. Returns `None` if nothing is left
/// to do after help, a version or completions were printed.
///
/// `completer` returns how to complete the value of an argument, by the argument's long name, or
/// its id if it has none.
///
/// # Errors
/// Wrong arguments, which are reported already.
pub fn parse<A: Parser>(
    words: impl IntoIterator<Item = OsString>,
    completer: fn(&str) -> Option<Completer>,
) -> Result<Option<(A, Origin)>, CliError> {
    let words: Vec<OsString> = words.into_iter().collect();
    colour::choose(&words);
    if complete::answer(&words, command::<A>, completer)? {
        return Ok(None);
    }
    match read(&words) {
        Ok(read) => Ok(Some(read)),
        Err(error) => usage(&error).map(|()| None),
    }
}

fn read<A: Parser>(words: &[OsString]) -> Result<(A, Origin), clap::Error> {
    let mut plain = A::command().ignore_errors(true);
    plain.build();
    // Clap returns help and versions as errors here too; in that case nothing else is parsed.
    let typed = plain.try_get_matches_from_mut(words).unwrap_or_default();
    let mut command = dressed::<A>(&environment::losers(&plain, &typed));
    command.build();
    let read = command.try_get_matches_from_mut(words);
    let read = read.and_then(|matches| {
        let taken = environment::taken(&command, &matches);
        Ok((A::from_arg_matches(&matches)?, Origin { taken }))
    });
    read.map_err(|error| blame(error, environment::innermost(&command, &typed).0))
}

/// Adds to an error the environment variables that cause it.
fn blame(mut error: clap::Error, command: &Command) -> clap::Error {
    let blamed = command
        .get_arguments()
        .filter(|argument| is_in_question(argument, &error));
    let tips: Vec<StyledStr> = blamed.filter_map(tip).collect();
    if !tips.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// Returns true if an error concerns an argument, as far as the error's context shows.
fn is_in_question(argument: &Arg, error: &clap::Error) -> bool {
    let is_named = |kind| match error.get(kind) {
        Some(ContextValue::String(name)) => *name == argument.to_string(),
        Some(ContextValue::Strings(names)) => names.contains(&argument.to_string()),
        _ => false,
    };
    match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::ArgumentConflict => {
            is_named(ContextKind::InvalidArg) || is_named(ContextKind::PriorArg)
        }
        // A missing argument may be caused by another one: a switch that requires it.
        ErrorKind::MissingRequiredArgument => matches!(argument.get_action(), ArgAction::SetTrue),
        _ => false,
    }
}

/// Returns a tip with the environment variable that sets an argument.
fn tip(argument: &Arg) -> Option<StyledStr> {
    let (name, long) = (argument.get_env()?, argument.get_long()?);
    let value = std::env::var_os(name)?;
    let name = name.to_string_lossy();
    Some(format!("the environment has {name}={value:?}, which is --{long}").into())
}
