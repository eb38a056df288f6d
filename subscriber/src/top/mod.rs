//! `top`: a table in a terminal, live, as large as it may be.
//!
//! In the order of a picture's path: `run` waits for news, keys and time at once, and says when to draw. A refreshed table goes to the
//! `app`, whose `model` is what is looked at: `rows` (in `sequence`s) keeps their order by changes, `search` leaves rows out, `marks` knows what
//! changed of late, `seen` brings both together for the rows of a picture, which `picture` makes cells and columns of. `pulse` counts for
//! the `header`, `draw` puts all of it into a buffer, in `colours`, and `screen` what differs onto the terminal. `keys` come from there.
//!
//! What a picture costs depends on what is seen of a table, and not on its size.

mod app;
pub mod args;
mod cell;
mod colours;
mod draw;
mod header;
mod help;
mod keys;
#[cfg(test)]
mod left;
mod marks;
mod model;
mod picture;
mod pulse;
mod rows;
mod run;
mod screen;
mod search;
mod seen;
mod sequence;
mod wanted;

use crate::attach;
use crate::output::Output;
use crate::shell::{Failure, Stop};
pub use pulse::Pulse;
pub use run::{Ends, Followed, Session};
pub use wanted::Wanted;

/// Returns true if the terminal cannot move its cursor, by what `TERM` says.
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Draws a table until its viewer has seen enough.
///
/// # Errors
/// Wrong arguments; a table that cannot be read; no terminal.
pub fn run(args: &args::Top, stop: &Stop, output: Output) -> Result<(), Failure> {
    let wanted = Wanted::read(&args.asked)?;
    if !output.is_terminal() {
        return Err(Failure::new(
            2,
            format!(
                "top draws in a terminal, and stdout is none: use `subscriber watch {}` for changes as lines",
                args.name
            ),
        ));
    }
    if is_dumb() {
        return Err(Failure::new(
            2,
            format!(
                "top cannot draw in this terminal: TERM=dumb: set TERM to what the terminal is, or use `subscriber watch {}`",
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
