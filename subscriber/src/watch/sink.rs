//! Destination of a watch's changes: stdout, in some format, or a command.

use common::{Change, UntypedSubscriber};

use super::command::{Event, Runner};
use crate::format::Printer;
use crate::select::{Shown, View};
use cli::CliError;

/// A destination for changes.
pub enum Sink {
    /// Prints the changes.
    Print(Box<dyn Printer>),
    /// Runs a command for the changes, and, if the flag is true, for the table at the start.
    Run(Runner, bool),
}

impl Sink {
    /// Hands over the table as it is at the start.
    ///
    /// # Errors
    /// The same as for [`changes`](Self::changes).
    pub fn first(&mut self, table: &UntypedSubscriber, view: &View) -> Result<(), CliError> {
        let rows = view.rows(table);
        match self {
            Self::Print(printer) => {
                printer.first(table.version(), view.projection(), &rows)?;
                Ok(printer.flush()?)
            }
            Self::Run(runner, true) => {
                runner.run(Event::Table, table, rows.into_iter().map(Change::Created))
            }
            Self::Run(_, false) => Ok(()),
        }
    }

    /// Hands over the changes that led to the table's current state.
    ///
    /// # Errors
    /// The reader of stdout is gone, or the system cannot run commands.
    pub fn changes(
        &mut self,
        table: &UntypedSubscriber,
        changes: &[Change<Shown<'_>>],
    ) -> Result<(), CliError> {
        match self {
            Self::Print(printer) => {
                for change in changes {
                    printer.change(table.version(), change)?;
                }
                Ok(printer.flush()?)
            }
            Self::Run(..) if changes.is_empty() => Ok(()),
            Self::Run(runner, _) => runner.run(Event::Changes, table, changes.iter().copied()),
        }
    }

    /// Ends the output. `by_itself` is true if the watch reached the end that its options set, and
    /// false if a signal ended it.
    ///
    /// # Errors
    /// The reader of stdout is gone, or a run of the command failed in a watch that ends by itself.
    pub fn finish(&mut self, by_itself: bool) -> Result<(), CliError> {
        match self {
            Self::Print(printer) => Ok(printer.finish()?),
            Self::Run(runner, _) if by_itself => runner.outcome(),
            Self::Run(..) => Ok(()),
        }
    }
}
