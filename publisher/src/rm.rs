//! Removes what dead publishers left.

use subscriber::shell::{Failure, tell};

/// `publisher rm`: each of the tables, whatever becomes of the others.
///
/// # Errors
/// The exit code of the first table that could not be removed; the sentences are told already.
pub fn run(names: &[String]) -> Result<(), Failure> {
    let mut first = None;
    for name in names {
        match common::remove(name) {
            Ok(objects) => tell(format_args!("removed {}", objects.join(" "))),
            Err(error) => {
                tell(format_args!("error: {error}"));
                first.get_or_insert(Failure::from(error).code());
            }
        }
    }
    first.map_or(Ok(()), |code| Err(Failure::new(code, "")))
}
