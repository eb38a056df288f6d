//! How many columns there are to print in.

use std::fs::File;

use crate::output::Output;

/// Narrower terminals are written to as if they were so wide.
pub const LEAST_COLUMNS: usize = 20;

/// The width of a terminal; none of a pipe or a file, where nothing is cut.
pub struct Width {
    terminal: Option<File>,
    fixed: Option<usize>,
}

impl Width {
    /// That of `output`: what `COLUMNS` says, or else the terminal.
    pub fn of(output: &Output) -> Self {
        let columns = std::env::var("COLUMNS").ok();
        let fixed = columns.and_then(|columns| columns.parse().ok());
        let terminal = output.terminal();
        Self {
            fixed: fixed.filter(|columns| *columns > 0 && terminal.is_some()),
            terminal,
        }
    }

    /// No end of columns.
    #[cfg(test)]
    pub fn unlimited() -> Self {
        let (terminal, fixed) = (None, None);
        Self { terminal, fixed }
    }

    /// So many columns.
    #[cfg(test)]
    pub fn fixed(columns: usize) -> Self {
        let (terminal, fixed) = (None, Some(columns));
        Self { terminal, fixed }
    }

    /// The columns there are now, if there is an end of them. A terminal may be made wider at any time.
    pub fn columns(&self) -> Option<usize> {
        let columns = self.fixed.or_else(|| {
            let size = rustix::termios::tcgetwinsize(self.terminal.as_ref()?).ok()?;
            Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
        });
        columns.map(|columns| columns.max(LEAST_COLUMNS))
    }
}
