//! Runs one piece of work at a time in a thread, so that the publishing loop does not wait for it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use cli::{CliError, start_error};
use nix::sys::eventfd::{EfdFlags, EventFd};

pub struct Worker<T> {
    done: Arc<EventFd>,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Worker<T> {
    pub fn new() -> Result<Self, CliError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let done = EventFd::from_value_and_flags(0, flags)
            .map_err(|errno| CliError::new(1, format!("cannot wait for a reader: {errno}")))?;
        Ok(Self { done: Arc::new(done), thread: None })
    }

    /// Returns a descriptor that becomes readable when the work is done.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    pub fn is_busy(&self) -> bool {
        self.thread.is_some()
    }

    /// Starts the work. Must not be called while the worker is busy.
    pub fn begin(&mut self, work: impl FnOnce() -> T + Send + 'static) -> Result<(), CliError> {
        debug_assert!(!self.is_busy(), "one piece of work at a time");
        let announce = Announce(Arc::clone(&self.done));
        let thread = std::thread::Builder::new().name("reader".to_owned());
        let thread = thread.spawn(move || {
            let _announce_on_drop = announce;
            work()
        });
        let refused = |error| {
            let reason = start_error(&error);
            CliError::new(5, format!("cannot start a reader thread: {reason}"))
        };
        self.thread = Some(thread.map_err(refused)?);
        Ok(())
    }

    /// Waits until the work is done, and drops its result.
    pub fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _result = thread.join();
        }
    }

    /// Returns the result once the work is done.
    pub fn finished(&mut self) -> Option<T> {
        // An empty eventfd means that no thread has ended.
        self.done.read().ok()?;
        match self.thread.take()?.join() {
            Ok(result) => Some(result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Signals the end of the thread when it is dropped, even if the thread panicked.
struct Announce(Arc<EventFd>);

impl Drop for Announce {
    fn drop(&mut self) {
        // The write fails only if the counter is full, and then the descriptor is readable already.
        let _readable = self.0.write(1);
    }
}
