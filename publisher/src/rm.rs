//! Removes objects that dead publishers left in shared memory.

use std::collections::BTreeMap;

use clap_complete::ArgValueCompleter;
use cli::{CliError, complete, status, suggest_table};
use common::{Error, Swept};

pub const HELP: &str = "\
The table of a dead publisher keeps its data, so it is removed only by name. `--orphans` removes the orphans that \
`subscriber ls` lists, and the slots and queues of dead subscribers of every table; it removes nothing that a live process holds.";

/// Arguments of `rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names of the tables
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::abandoned_tables), required_unless_present = "orphans")]
    pub names: Vec<String>,

    /// Remove all orphans that belong to no table, and free the slots of dead subscribers
    #[arg(long)]
    pub orphans: bool,

    /// Remove the tables of this user; only root may name another user
    #[arg(long, value_name = "USER|UID", value_parser = cli::user, add = ArgValueCompleter::new(complete::owners))]
    pub owner: Option<u32>,
}

/// Runs `publisher rm`. A failure for one table does not stop the others: errors are printed, and
/// the exit code is that of the first one.
pub fn run(args: &Args) -> Result<(), CliError> {
    let mut first = None;
    let mut failed = |error: Error| {
        let failure = explained(error);
        status(format_args!("error: {failure}"));
        first.get_or_insert(failure.code());
    };
    for name in &args.names {
        let removed = match args.owner {
            Some(owner) => common::remove_of(name, owner),
            None => common::remove(name),
        };
        match removed {
            Ok(objects) => status(format_args!("removed {}", objects.join(" "))),
            Err(error) => failed(error),
        }
    }
    if args.orphans {
        let swept = common::sweep()?;
        report(&swept);
        swept.kept.into_iter().for_each(|kept| failed(kept.error));
    }
    first.map_or(Ok(()), |code| Err(CliError::new(code, "")))
}

/// Explains why an object could not be removed.
fn explained(error: Error) -> CliError {
    let message = match error {
        Error::NotFound { table } => {
            let similar = suggest_table(&table);
            let hint = similar.map_or(String::new(), |similar| format!("{similar} "));
            format!("table not found: {table:?}: {hint}`subscriber ls` lists all tables")
        }
        Error::Corrupt { object, reason } => format!(
            "cannot remove /dev/shm{object}: it was not made by Tablecast ({reason}); remove /dev/shm{object} by hand"
        ),
        Error::WrongOwner { object, found, .. } => format!(
            "/dev/shm{object} belongs to user {found}: remove it as that user, or as root with --owner {found}"
        ),
        Error::PermissionDenied { object, action } => format!(
            "no permission to {action} /dev/shm{object}: remove it as its owner, or as root with --owner"
        ),
        other => return other.into(),
    };
    CliError::new(1, message)
}

/// Prints the removed objects, and those that may remain where this user has no permission to look.
fn report(swept: &Swept) {
    for object in &swept.removed {
        status(format_args!("removed {object}"));
    }
    match swept.slots {
        0 if swept.removed.is_empty() && swept.kept.is_empty() => status("no orphans found"),
        0 => {}
        slots => status(format_args!("freed slots of dead subscribers: {slots}")),
    }
    let mut by_owner = BTreeMap::<u32, usize>::new();
    for left in &swept.unseen {
        *by_owner.entry(left.owner).or_default() += 1;
    }
    for (owner, count) in by_owner {
        status(format_args!(
            "cannot examine {count} possible orphans of user {owner}: run as that user, or as root"
        ));
    }
}
