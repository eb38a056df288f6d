//! Shows a progress bar on the terminal while a long file is read.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Time after which the bar appears.
const PATIENCE: Duration = Duration::from_millis(300);

const TEMPLATE: &str = "{msg} {wide_bar} {percent}% ({eta})";

/// Progress of a read.
pub struct Progress(Mutex<State>);

enum State {
    /// Shows nothing.
    Silent,
    /// Shows nothing yet, because the read may end before [`PATIENCE`] is over.
    Waiting {
        name: String,
        since: Instant,
    },
    Shown(ProgressBar),
}

impl Progress {
    /// Creates a progress that shows nothing.
    pub fn silent() -> Self {
        Self(Mutex::new(State::Silent))
    }

    /// Creates a bar on stderr, if stderr is a terminal. Nothing else may write there until
    /// [`clear`](Self::clear).
    pub fn on_terminal(name: String) -> Self {
        match io::stderr().is_terminal() {
            true => Self(Mutex::new(State::Waiting {
                name,
                since: Instant::now(),
            })),
            false => Self::silent(),
        }
    }

    /// Reports that `done` of `total` units are complete.
    pub fn at(&self, done: u64, total: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Waiting { name, since } = &mut *state
            && since.elapsed() >= PATIENCE
        {
            let bar = ProgressBar::new(total).with_message(std::mem::take(name));
            bar.set_style(
                ProgressStyle::with_template(TEMPLATE)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            *state = State::Shown(bar);
        }
        if let State::Shown(bar) = &*state {
            bar.set_position(done);
        }
    }

    /// Removes the bar and stops showing the progress.
    pub fn clear(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Shown(bar) = std::mem::replace(&mut *state, State::Silent) {
            bar.finish_and_clear();
        }
    }
}
