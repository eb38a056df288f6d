//! The thread that answers requests. It waits in one poll, and every resource is bounded.
//!
//! Accepting, reading and writing never block, so that a slow client delays no other. There are at
//! most [`MAX_CONNECTIONS`] connections. A new one beyond that replaces the oldest, which is
//! unlikely to be an active scraper.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::connection::Connection;
use super::listener::Bound;
use crate::{CliError, start_error};

/// Maximum number of simultaneous connections.
const MAX_CONNECTIONS: usize = 32;
/// Maximum number of connections accepted before existing ones are served.
const MAX_ACCEPTED: usize = 8;
/// Pause in accepting after an error of the system, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Source of the metrics.
pub type Page = Box<dyn Fn() -> Result<String, fmt::Error> + Send>;

/// Handle of the thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct Server {
    end: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(bound: Bound, page: Page) -> Result<Self, CliError> {
        let refused = |error: std::io::Error| {
            CliError::new(
                1,
                format!("cannot start to serve metrics: {}", start_error(&error)),
            )
        };
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let end = EventFd::from_value_and_flags(0, flags).map_err(|errno| refused(errno.into()))?;
        let end = Arc::new(end);
        let ended = Arc::clone(&end);
        let thread = Builder::new()
            .name("metrics".to_owned())
            .spawn(move || Loop::new(bound, page).run(&ended))
            .map_err(refused)?;
        Ok(Self {
            end,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Writing only fails if the eventfd is full, and then it is readable anyway.
        let _readable = self.end.write(1);
        if let Some(thread) = self.thread.take() {
            let _whatever_became_of_it = thread.join();
        }
    }
}

struct Loop {
    bound: Bound,
    page: Page,
    /// Connections, oldest first.
    connections: Vec<Connection>,
    /// Time until which no connection is accepted.
    accepts_at: Instant,
}

impl Loop {
    fn new(bound: Bound, page: Page) -> Self {
        Self {
            bound,
            page,
            connections: Vec::new(),
            accepts_at: Instant::now(),
        }
    }

    fn run(mut self, end: &EventFd) {
        loop {
            let Some(ready) = self.wait(end.as_fd()) else {
                return;
            };
            let (page, now) = (&self.page, Instant::now());
            let mut ready = ready.into_iter();
            let may_accept = ready.next().unwrap_or(false);
            self.connections.retain_mut(|connection| {
                let is_ready = ready.next().unwrap_or(false);
                now < connection.deadline && (!is_ready || connection.go_on(page.as_ref()))
            });
            if may_accept {
                self.accept();
            }
        }
    }

    /// Waits for events. Returns true for a connection to accept, then for each connection that can
    /// continue; `None` when the thread must stop.
    fn wait(&self, end: BorrowedFd<'_>) -> Option<Vec<bool>> {
        let now = Instant::now();
        let accepts = match self.accepts_at <= now {
            true => PollFlags::POLLIN,
            false => PollFlags::empty(),
        };
        let mut awaited = vec![
            PollFd::new(end, PollFlags::POLLIN),
            PollFd::new(self.bound.as_fd(), accepts),
        ];
        let connections = self.connections.iter();
        awaited.extend(
            connections
                .clone()
                .map(|one| PollFd::new(one.as_fd(), one.awaited())),
        );
        let paused = (now < self.accepts_at).then_some(self.accepts_at);
        let due = connections.map(|one| one.deadline).chain(paused).min();
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            let milliseconds = (due - now).as_millis() + 1;
            PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut awaited, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                tracing::warn!("metrics are not served any more: {errno}");
                return None;
            }
        }
        let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        (!is_ready(&awaited[0])).then(|| awaited[1..].iter().map(is_ready).collect())
    }

    fn accept(&mut self) {
        for _ in 0..MAX_ACCEPTED {
            match self.bound.accept() {
                Ok(stream) => {
                    if self.connections.len() == MAX_CONNECTIONS {
                        self.connections.remove(0);
                    }
                    let mut connection = Connection::new(stream);
                    if connection.go_on(self.page.as_ref()) {
                        self.connections.push(connection);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // The client went away again, or the system lacks resources. Both are
                    // temporary.
                    tracing::debug!("nobody was accepted to read metrics: {error}");
                    self.accepts_at = Instant::now() + PAUSE;
                    return;
                }
            }
        }
    }
}
