//! An object of the library that Python's threads share, and that a program can close.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use common::Error;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use pyo3::prelude::*;
use pyo3::sync::RwLockExt;

use crate::{errors, fork};

/// Maximum time that a wait sleeps before it looks for signals that another thread received, and for
/// a call of `close`.
const SIGNAL_INTERVAL: Duration = Duration::from_secs(1);

/// Number of references to the descriptor while one thread waits and no event loop does.
const ONE_WAIT: usize = 2;

/// A reader, subscriber or publisher, which is opened in one process and can be closed.
pub struct Handle<T> {
    table: String,
    /// The process that opened it: see [`fork::generation`].
    process: u64,
    opened: RwLock<Option<Opened<T>>>,
}

struct Opened<T> {
    value: T,
    /// A duplicate of the descriptor, so that a wait can sleep on it without the lock. The library's
    /// descriptor is one of epoll: polling it instead would wake the thread later. Each wait holds
    /// a reference.
    descriptor: OnceLock<Arc<Epoll>>,
    /// Another reference to the duplicate, if an event loop may wait for it.
    in_event_loop: OnceLock<Arc<Epoll>>,
}

impl<T: AsFd> Opened<T> {
    fn descriptor(&self, table: &str) -> common::Result<Arc<Epoll>> {
        if let Some(descriptor) = self.descriptor.get() {
            return Ok(Arc::clone(descriptor));
        }
        let duplicate = self.value.as_fd().try_clone_to_owned();
        let duplicate = duplicate.map_err(|source| Error::System {
            object: table.to_owned(),
            action: "duplicate the descriptor of",
            source,
        })?;
        // If another thread was faster, its duplicate is used.
        Ok(Arc::clone(self.descriptor.get_or_init(|| Arc::new(Epoll(duplicate)))))
    }
}

/// The end of one step of a wait.
enum Step<R> {
    News(R),
    TimedOut,
    /// It is time to look for signals.
    Signals,
}

impl<T: Send + Sync> Handle<T> {
    pub fn new(table: &str, value: T) -> Self {
        let (descriptor, in_event_loop) = (OnceLock::new(), OnceLock::new());
        let opened = Opened { value, descriptor, in_event_loop };
        Self {
            table: table.to_owned(),
            process: fork::generation(),
            opened: RwLock::new(Some(opened)),
        }
    }

    /// Returns the name of the table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Calls `f`, which must be short and must not call Python.
    #[inline]
    pub fn read<R>(&self, py: Python<'_>, f: impl FnOnce(&T) -> common::Result<R>) -> PyResult<R> {
        self.check_process(py)?;
        let opened = self.opened.read_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let result = opened.as_ref().map(|opened| f(&opened.value));
        drop(opened);
        self.outcome(py, result)
    }

    /// Calls `f` detached from the interpreter.
    pub fn read_detached<R: Send>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&T) -> common::Result<R> + Send,
    ) -> PyResult<R> {
        self.check_process(py)?;
        let result = py.detach(|| {
            let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
            opened.as_ref().map(|opened| f(&opened.value))
        });
        self.outcome(py, result)
    }

    /// Calls `f` with the only reference. `f` must be short and must not call Python.
    pub fn write<R>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&mut T) -> common::Result<R>,
    ) -> PyResult<R> {
        self.check_process(py)?;
        let mut opened = self.opened.write_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let result = opened.as_mut().map(|opened| f(&mut opened.value));
        drop(opened);
        self.outcome(py, result)
    }

    /// Calls `f` with the only reference, detached from the interpreter.
    pub fn write_detached<R: Send>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&mut T) -> common::Result<R> + Send,
    ) -> PyResult<R> {
        self.check_process(py)?;
        let result = py.detach(|| self.with_value(f));
        self.outcome(py, result)
    }

    /// Calls `f` with the only reference; `None` if the object is closed.
    pub fn with_value<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        opened.as_mut().map(|opened| f(&mut opened.value))
    }

    /// Closes the object and returns its value; `None` if it is closed already.
    pub fn close(&self, py: Python<'_>) -> PyResult<Option<T>> {
        self.check_process(py)?;
        let opened =
            py.detach(|| self.opened.write().unwrap_or_else(PoisonError::into_inner).take());
        Ok(opened.map(|opened| opened.value))
    }

    /// Returns an error in a child that was forked after the object was opened.
    #[inline]
    fn check_process(&self, py: Python<'_>) -> PyResult<()> {
        if self.process == fork::generation() {
            return Ok(());
        }
        Err(errors::forked(py, &self.table))
    }

    #[inline]
    fn outcome<R>(&self, py: Python<'_>, result: Option<common::Result<R>>) -> PyResult<R> {
        match result {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(errors::raise(py, &error)),
            None => Err(errors::closed(py, &self.table)),
        }
    }
}

impl<T: AsFd + Send + Sync> Handle<T> {
    /// Returns a duplicate of the descriptor, on which an event loop may sleep, or only a wait.
    fn descriptor(&self, py: Python<'_>, in_event_loop: bool) -> PyResult<Arc<Epoll>> {
        self.check_process(py)?;
        let opened = self.opened.read_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let descriptor = opened.as_ref().map(|opened| {
            let descriptor = opened.descriptor(&self.table)?;
            if in_event_loop {
                opened.in_event_loop.get_or_init(|| Arc::clone(&descriptor));
                // Readable from now on if the last wait had news.
                opened.value.as_fd();
            }
            Ok(descriptor)
        });
        drop(opened);
        self.outcome(py, descriptor)
    }

    /// Returns the number of the descriptor, which stays open until the object is closed.
    pub fn fileno(&self, py: Python<'_>) -> PyResult<RawFd> {
        Ok(self.descriptor(py, true)?.0.as_raw_fd())
    }

    /// Calls `refresh`, which is a `refresh_or_park`, after each event until it returns a value, for
    /// at most `timeout` seconds. Sleeps detached from the interpreter and without the lock.
    pub fn wait<R: Send>(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        refresh: impl Fn(&mut T) -> common::Result<Option<R>> + Sync,
    ) -> PyResult<Option<R>> {
        let deadline = seconds(timeout)?.and_then(|time| Instant::now().checked_add(time));
        let descriptor = self.descriptor(py, false)?;
        loop {
            let result = py.detach(|| self.step(&descriptor, deadline, &refresh));
            match self.outcome(py, result)? {
                Step::News(news) => return Ok(Some(news)),
                Step::TimedOut => return Ok(None),
                Step::Signals => py.check_signals()?,
            }
        }
    }

    /// Refreshes and sleeps until there is news, until `deadline`, or until it is time to look for
    /// signals. Returns `None` if the object is closed.
    fn step<R>(
        &self,
        descriptor: &Arc<Epoll>,
        deadline: Option<Instant>,
        refresh: impl Fn(&mut T) -> common::Result<Option<R>>,
    ) -> Option<common::Result<Step<R>>> {
        let until_signals = Instant::now() + SIGNAL_INTERVAL;
        let until = deadline.map_or(until_signals, |deadline| deadline.min(until_signals));
        loop {
            let outcome = self.with_value(|value| {
                let outcome = refresh(value);
                if matches!(outcome, Ok(Some(_))) && Arc::strong_count(descriptor) > ONE_WAIT {
                    // Nobody is parked now, so the other waits must refresh.
                    value.as_fd();
                }
                outcome
            })?;
            match outcome {
                Ok(Some(news)) => return Some(Ok(Step::News(news))),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let is_over = deadline.is_some_and(|deadline| deadline <= Instant::now());
                return Some(Ok(if is_over { Step::TimedOut } else { Step::Signals }));
            }
            // Rounded up, so that the last millisecond is not spent with polling.
            let left_ms = left.as_micros().div_ceil(1000);
            let left_ms = u16::try_from(left_ms).unwrap_or(u16::MAX);
            match descriptor.wait(&mut [EpollEvent::empty()], EpollTimeout::from(left_ms)) {
                Ok(_) => {}
                Err(Errno::EINTR) => return Some(Ok(Step::Signals)),
                Err(errno) => {
                    let (object, action) = (self.table.clone(), "wait for");
                    return Some(Err(Error::System { object, action, source: errno.into() }));
                }
            }
        }
    }
}

/// Converts a timeout in seconds. `None`, and a time beyond the clock's range, mean no timeout.
pub fn seconds(timeout: Option<f64>) -> PyResult<Option<Duration>> {
    match timeout {
        Some(timeout) if timeout.is_nan() => {
            Err(pyo3::exceptions::PyValueError::new_err("a timeout must not be NaN"))
        }
        Some(timeout) => Ok(Duration::try_from_secs_f64(timeout.max(0.0)).ok()),
        None => Ok(None),
    }
}
