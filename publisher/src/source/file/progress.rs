//! A bar on the terminal, for a load that takes longer than a moment.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How long a load may take before there is a bar.
const PATIENCE: Duration = Duration::from_millis(300);

const TEMPLATE: &str = "{msg} {wide_bar} {percent}% ({eta})";

/// How far a load is.
pub struct Progress(Mutex<State>);

enum State {
    /// Nobody is told.
    Silent,
    /// It may be over before anybody wants to know.
    Waiting {
        name: String,
        since: Instant,
    },
    Shown(ProgressBar),
}

impl Progress {
    /// Tells nobody.
    pub fn silent() -> Self {
        Self(Mutex::new(State::Silent))
    }

    /// A bar on stderr, if that is a terminal. Nobody else may write there until [`clear`](Self::clear).
    pub fn on_terminal(name: String) -> Self {
        match io::stderr().is_terminal() {
            true => Self(Mutex::new(State::Waiting {
                name,
                since: Instant::now(),
            })),
            false => Self::silent(),
        }
    }

    /// So much of it is done.
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

    /// Nobody is told any more, and what was shown goes away.
    pub fn clear(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Shown(bar) = std::mem::replace(&mut *state, State::Silent) {
            bar.finish_and_clear();
        }
    }
}
