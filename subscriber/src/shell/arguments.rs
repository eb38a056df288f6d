//! A command line as both programs read it.
//!
//! 1. `--color` is looked for, so that whatever is said of the rest is in colour or not.
//! 2. A shell that wants a line completed is answered, and that is all.
//! 3. The line is read without regard to errors and environment: which flags are typed?
//! 4. It is read again, with the environment for the other flags ([`environment`]).

use std::ffi::OsString;
use std::io::Write;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, Id, Parser};

use super::complete::{self, Completer};
use super::{CliError, colour, environment, usage, version};

/// Which flags did not come from the command line.
#[derive(Debug)]
pub struct Origin {
    taken: Vec<String>,
}

impl Origin {
    /// Adds to what is said of wrong arguments that some of them were not typed.
    pub fn explain(&self, failure: CliError) -> CliError {
        if failure.code() != 2 || self.taken.is_empty() {
            return failure;
        }
        let taken = self.taken.join(", ");
        CliError::new(2, format!("{failure}\nfrom the environment: {taken}"))
    }
}

/// The command that a program's arguments are of, with all that each program has.
pub fn command<A: Parser>() -> Command {
    dressed::<A>(&[])
}

fn dressed<A: Parser>(losers: &[Id]) -> Command {
    environment::add(version::add(A::command()), losers)
}

/// Prints what to try, and the help of a command, as clap would.
///
/// # Errors
/// Stdout cannot be written.
pub fn help(example: &str, mut command: Command) -> Result<(), CliError> {
    let help = command.render_help();
    write!(anstream::stdout(), "{example}\n{}", help.ansi())?;
    Ok(())
}

/// Reads a command line, the program's name first. None if that is all there was to do: help, a version, completion.
///
/// `completer` says what a value of an argument can be, by the argument's long name, or its id if it has none.
///
/// # Errors
/// Wrong arguments, which are told already.
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
    // Help and versions are errors even so; nothing else than them is done then.
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

/// Says which variables an error comes from.
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

/// Whether an error is about an argument, as far as it tells.
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
        // Of what is missing, something else may be the reason: a switch that needs it.
        ErrorKind::MissingRequiredArgument => matches!(argument.get_action(), ArgAction::SetTrue),
        _ => false,
    }
}

/// What the environment says of an argument.
fn tip(argument: &Arg) -> Option<StyledStr> {
    let (name, long) = (argument.get_env()?, argument.get_long()?);
    let value = std::env::var_os(name)?;
    let name = name.to_string_lossy();
    Some(format!("the environment has {name}={value:?}, which is --{long}").into())
}
