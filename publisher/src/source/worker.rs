//! Runs one piece of work at a time in a thread, so that the publishing loop does not wait for it.

use std::io::PipeReader;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread::JoinHandle;

use cli::{CliError, start_error};

/// The thread while it works, and a pipe that it closes at its end, even if it panics.
pub struct Worker<T>(Option<(JoinHandle<T>, PipeReader)>);

impl<T: Send + 'static> Worker<T> {
    pub fn new() -> Self {
        Self(None)
    }

    /// Returns a descriptor that becomes readable when the work is done.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|(_, end)| end.as_fd())
    }

    pub fn is_busy(&self) -> bool {
        self.0.is_some()
    }

    /// Starts the work. Must not be called while the worker is busy.
    pub fn begin(&mut self, work: impl FnOnce() -> T + Send + 'static) -> Result<(), CliError> {
        debug_assert!(!self.is_busy(), "one piece of work at a time");
        let thread = std::thread::Builder::new().name("reader".to_owned());
        let begun = std::io::pipe().and_then(|(end, writer)| {
            let thread = thread.spawn(move || {
                let _closed_on_drop = writer;
                work()
            })?;
            Ok((thread, end))
        });
        let refused = |error| {
            let reason = start_error(&error);
            CliError::new(5, format!("cannot start a reader thread: {reason}"))
        };
        self.0 = Some(begun.map_err(refused)?);
        Ok(())
    }

    /// Waits until the work is done, and drops its result.
    pub fn wait(&mut self) {
        if let Some((thread, _)) = self.0.take() {
            let _result = thread.join();
        }
    }

    /// Returns the result once the work is done.
    pub fn finished(&mut self) -> Option<T> {
        let (thread, _) = self.0.take_if(|(thread, _)| thread.is_finished())?;
        match thread.join() {
            Ok(result) => Some(result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
