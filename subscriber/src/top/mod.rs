//! `top`: a live view of a table that fills the terminal.
//!
//! - this file: the loop, which waits for changes, keys and a timeout in one poll, and draws at a
//!   bounded rate;
//! - `screen`: the terminal, and the thread that reads its keys;
//! - `app`: the state of the view, its reaction to changes and keys, and its layout;
//! - `rows`: selects and sorts the rows of the window, and marks recent changes; `search` is the
//!   filter that the user types; `grid` places columns;
//! - `rates`: commits, changes and delays of the last seconds; `help`: the help window; `style`.

use std::time::{Duration, Instant};

use clap_complete::ArgValueCompleter;
use cli::{CliError, Shutdown, complete};
use common::UntypedSubscriber;

use crate::attach::{self, Waking};
use crate::output::Output;
use crate::select::{Request, Selection};
use app::{Action, App};
use screen::Screen;
use style::Style;

mod app;
mod grid;
mod help;
mod rates;
mod rows;
mod screen;
mod search;
mod style;

/// Minimum time between two drawings.
const FRAME: Duration = Duration::from_millis(33);
/// Minimum time between two drawings, as a multiple of the time that the last one took, which grows
/// with the table: each drawing selects the rows of the window from all rows.
const FRAME_COST: u32 = 9;
/// Maximum time between two checks of the publisher's state and the terminal's size.
const TICK: Duration = Duration::from_millis(250);
/// Interval between attempts to open a table that does not exist yet.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The table's name
    #[arg(add = ArgValueCompleter::new(complete::tables))]
    name: String,

    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    waking: Waking,
}

pub fn run(args: &Args, stop: &Shutdown, output: Output) -> Result<(), CliError> {
    let request = Request::new(&args.selection, &[])?;
    let name = &args.name;
    let refused = |reason: &str| {
        CliError::new(
            2,
            format!("top cannot draw: {reason}; `subscriber watch {name}` prints changes as lines"),
        )
    };
    if !output.is_terminal() {
        return Err(refused("stdout is not a terminal"));
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Err(refused("TERM=dumb, so the terminal cannot move its cursor"));
    }
    let options = UntypedSubscriber::builder(name);
    let options = attach::options(options, args.selection.owner, &args.waking);
    let mut app = App::new(name, request, Style::new(output.is_coloured()));
    let mut screen = Screen::open(output, stop)
        .map_err(|error| CliError::new(2, format!("top cannot use this terminal: {error}")))?;
    let mut next_frame = Instant::now();
    loop {
        let is_idle = !app.refresh(&options)?;
        let now = Instant::now();
        app.tick(now);
        if screen.is_resized() || app.is_dirty() && now >= next_frame {
            screen.draw(|buffer| app.draw(buffer, now))?;
            next_frame = now + (now.elapsed() * FRAME_COST).max(FRAME);
        }
        let interval = if app.table().is_some() { TICK } else { LOOK };
        let wait = match (is_idle, app.is_dirty()) {
            (false, _) => Duration::ZERO,
            (true, true) => next_frame.saturating_duration_since(Instant::now()).min(interval),
            (true, false) => interval,
        };
        if screen.wait(app.table(), wait) {
            return Ok(());
        }
        while let Some(key) = screen.key() {
            match app.press(key) {
                Action::Draw => next_frame = Instant::now(),
                Action::Quit => return Ok(()),
                Action::Suspend => screen.suspend()?,
                Action::Redraw => screen.clear()?,
            }
        }
    }
}
