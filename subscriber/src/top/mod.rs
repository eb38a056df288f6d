//! The `top` command: a live view of a table that fills the terminal.
//!
//! How a picture is made:
//!
//! 1. `run` waits for table changes, keys and timers in one poll, and decides when to draw. `keys`
//!    decodes the bytes that the terminal sends.
//! 2. `app` refreshes the table and passes its changes to `model`, the state of the view.
//! 3. `rows` keeps the shown rows sorted (in `sequence`s) as they change, and `search` filters
//!    them. `marks` remembers recent changes.
//! 4. `seen` selects the rows of the picture and their marks, and `picture` lays them out as cells
//!    and columns.
//! 5. `pulse` counts commits, changes and delays for the `header`.
//! 6. `draw` renders everything into a buffer, styled by `colours`, and `screen` writes what
//!    differs from the last picture to the terminal.
//!
//! The cost of a picture depends on the number of rows that it shows, not on the size of the table.

mod app;
pub mod args;
mod cell;
mod colours;
mod draw;
mod header;
mod help;
mod keys;
mod marks;
mod model;
mod options;
mod picture;
mod rates;
mod rows;
mod run;
mod screen;
mod search;
mod sequence;
#[cfg(test)]
mod test_table;
mod visible_rows;

use crate::attach;
use crate::output::Output;
use cli::{CliError, Shutdown};
pub use options::Wanted;
pub use run::{Ends, Session};

/// Returns true if `TERM` says that the terminal cannot move its cursor.
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Shows a table in the terminal until the user quits.
///
/// # Errors
/// Fails if the arguments are wrong, the table cannot be read or stdout is not a terminal.
pub fn run(args: &args::Top, stop: &Shutdown, output: Output) -> Result<(), CliError> {
    let wanted = Wanted::read(&args.asked)?;
    if !output.is_terminal() {
        return Err(CliError::new(
            2,
            format!(
                "top draws in a terminal, but stdout is not one: use `subscriber watch {}` to print changes as lines",
                args.name
            ),
        ));
    }
    if is_dumb() {
        return Err(CliError::new(
            2,
            format!(
                "top cannot draw in this terminal: TERM=dumb: set TERM to the terminal's type, or use `subscriber watch {}`",
                args.name
            ),
        ));
    }
    let builder = attach::builder(&args.name, args.asked.owner);
    let builder = attach::woken(builder, &args.waking);
    let session = Session::open(&args.name, wanted, None, stop, output)?;
    session.follow(&builder, Ends::default())?;
    Ok(())
}
