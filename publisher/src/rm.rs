//! Removes objects that dead publishers left in shared memory.

use std::collections::BTreeMap;

use common::{Error, Swept};
use subscriber::shell::{CliError, tell};

use crate::args::Remove;

/// Runs `publisher rm`: removes each of the named tables, then, if requested, the orphans. A
/// failure for one table does not stop the others.
///
/// # Errors
/// The exit code of the first object that could not be removed; the messages are printed already.
pub fn run(args: &Remove) -> Result<(), CliError> {
    let mut first = None;
    let mut failed = |error: common::Error| {
        let failure = explained(error);
        tell(format_args!("error: {failure}"));
        first.get_or_insert(failure.code());
    };
    for name in &args.names {
        let removed = match args.owner {
            Some(owner) => common::remove_of(name, owner),
            None => common::remove(name),
        };
        match removed {
            Ok(objects) => tell(format_args!("removed {}", objects.join(" "))),
            Err(error) => failed(error),
        }
    }
    if args.orphans {
        let swept = common::sweep()?;
        told(&swept);
        swept.kept.into_iter().for_each(|kept| failed(kept.error));
    }
    first.map_or(Ok(()), |code| Err(CliError::new(code, "")))
}

/// Explains why an object could not be removed.
fn explained(error: common::Error) -> CliError {
    match error {
        Error::Corrupt { object, reason } => CliError::new(
            1,
            format!(
                "{object} is no object of Tablecast ({reason}): remove /dev/shm{object} by hand"
            ),
        ),
        Error::WrongOwner { object, found, .. } => CliError::new(
            1,
            format!(
                "{object} belongs to user {found}: remove it as that user, or as root with --owner {found}"
            ),
        ),
        Error::PermissionDenied { object, action } => CliError::new(
            1,
            format!(
                "no permission to {action} {object}: remove it as its owner, or as root with --owner"
            ),
        ),
        other => other.into(),
    }
}

/// Prints the removed objects, and those that may remain where this user has no permission to look.
fn told(swept: &Swept) {
    for object in &swept.removed {
        tell(format_args!("removed {object}"));
    }
    match swept.slots {
        0 if swept.removed.is_empty() && swept.kept.is_empty() => tell("nothing is left behind"),
        0 => {}
        slots => tell(format_args!("freed slots of dead subscribers: {slots}")),
    }
    let mut by_owner = BTreeMap::<u32, usize>::new();
    for left in &swept.unseen {
        *by_owner.entry(left.owner).or_default() += 1;
    }
    for (owner, count) in by_owner {
        tell(format_args!(
            "may be left behind, and may not be looked at: {count} of user {owner}; run as that user, or as root"
        ));
    }
}
