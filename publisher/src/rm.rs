//! Removes what dead publishers left.

use subscriber::shell::Failure;

use subscriber::shell::tell;

/// `publisher rm`: each of the tables, whatever becomes of the others.
///
/// # Errors
/// For the first table that could not be removed.
pub fn run(names: &[String]) -> Result<(), Failure> {
    let mut first = None;
    for name in names {
        match common::remove(name) {
            Ok(objects) => tell(format_args!("removed {}", objects.join(" "))),
            Err(error) if first.is_none() => first = Some(error.into()),
            Err(error) => tell(format_args!("error: {error}")),
        }
    }
    first.map_or(Ok(()), Err)
}
