//! One descriptor for all events of a subscriber: wake-ups, the publisher's death, the next re-check.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::wait_set::epoll_timeout;
use crate::error::Result;
use crate::identity::Identity;
use crate::region::object::failure;

const CALL: u64 = 1;
const PUBLISHER: u64 = 2;
const TIMER: u64 = 3;
const INTERRUPTER: u64 = 4;

/// Events that ended a sleep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Woken {
    /// The publisher sent a wake-up.
    pub(super) called: bool,
    /// The publisher's process has ended.
    pub(super) died: bool,
}

/// The descriptors. `object` names the table in errors.
pub(super) struct EventSet {
    object: String,
    epoll: Epoll,
    timer: TimerFd,
    publisher: Option<OwnedFd>,
}

impl EventSet {
    pub(super) fn new(object: &str) -> Result<Self> {
        let failed = |errno| failure(object, "make what waits for", errno);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(failed)?;
        let waiter = Self {
            object: object.to_owned(),
            epoll,
            timer,
            publisher: None,
        };
        waiter.add(waiter.timer.as_fd(), TIMER)?;
        Ok(waiter)
    }

    /// Also waits for calls. `keeps` is true for a pipe, whose lines belong to its readers, so that only a new line counts.
    pub(super) fn add_call(&self, descriptor: impl AsFd, keeps: bool) -> Result<()> {
        let flags = match keeps {
            // A reader may take the line before this process looks. Epoll drops an event whose descriptor is no longer ready for
            // anything it was added for, and the call would be lost. The pipe is open for writing, too, and stays writable.
            true => EpollFlags::EPOLLET | EpollFlags::EPOLLOUT,
            false => EpollFlags::empty(),
        };
        self.add_with(descriptor.as_fd(), CALL, flags)
    }

    /// Waits for them no more. Not left to closing: a child of fork may hold the descriptor, too.
    pub(super) fn forget_call(&self, descriptor: impl AsFd) {
        let _gone_by_closing = self.epoll.delete(descriptor);
    }

    /// Also waits for an interruption.
    pub(super) fn add_interrupter(&self, interrupter: BorrowedFd<'_>) -> Result<()> {
        self.add(interrupter, INTERRUPTER)
    }

    fn add(&self, descriptor: BorrowedFd<'_>, name: u64) -> Result<()> {
        self.add_with(descriptor, name, EpollFlags::empty())
    }

    fn add_with(&self, descriptor: BorrowedFd<'_>, name: u64, flags: EpollFlags) -> Result<()> {
        self.epoll
            .add(
                descriptor,
                EpollEvent::new(EpollFlags::EPOLLIN | flags, name),
            )
            .map_err(|errno| failure(&self.object, "wait for", errno))
    }

    /// Also waits for the death of `publisher`, in place of the one before. Where its pid means nothing here, or the
    /// system refuses, the re-check must do.
    pub(super) fn watch_publisher(&mut self, publisher: Option<Identity>) -> Result<()> {
        self.forget_publisher();
        self.publisher = publisher
            .filter(Identity::is_reachable)
            .and_then(|publisher| Pid::from_raw(publisher.pid as i32))
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            // If the pid was reused between the two checks, the pidfd is another process's.
            .filter(|_| publisher.is_some_and(|publisher| publisher.is_reachable()));
        match &self.publisher {
            Some(descriptor) => self.add(descriptor.as_fd(), PUBLISHER),
            None => Ok(()),
        }
    }

    fn forget_publisher(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            // As for what is called.
            let _gone_by_closing = self.epoll.delete(publisher);
        }
    }

    /// Makes the descriptor readable after `time`, and not before.
    pub(super) fn set_timer(&self, time: Duration) -> Result<()> {
        let time = TimeSpec::from_duration(time.max(Duration::from_nanos(1)));
        self.timer
            .set(Expiration::OneShot(time), TimerSetTimeFlags::empty())
            .map_err(|errno| failure(&self.object, "set a timer for", errno))
    }

    /// Makes the descriptor readable now. Should that fail, it is at the next news after a refresh.
    pub(super) fn fire(&self) {
        if let Err(error) = self.set_timer(Duration::ZERO) {
            tracing::debug!("{error}");
        }
    }

    /// Sleeps until anything is readable, a signal arrives, or `time` (rounded up to ms) is over.
    pub(super) fn sleep(&mut self, time: Duration) -> Result<Woken> {
        let mut events = [EpollEvent::empty(); 4];
        let ready = match self.epoll.wait(&mut events, epoll_timeout(Some(time))) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(failure(&self.object, "wait for", errno)),
        };
        let is_ready = |name| events[..ready].iter().any(|event| event.data() == name);
        let woken = Woken {
            called: is_ready(CALL),
            died: is_ready(PUBLISHER),
        };
        if woken.died {
            // The pidfd would stay readable forever.
            self.forget_publisher();
        }
        Ok(woken)
    }
}

impl AsFd for EventSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::region::random_id;
    use crate::wake::fifo::{Fifo, Sender};
    use crate::wake::{WakeReceiver as _, WakeSender as _};

    /// A script reads the line before the subscriber gets to run, as happens whenever both sleep on the pipe.
    #[test]
    fn call_wakes_owner_of_pipe_although_a_reader_took_the_line() {
        let path = std::env::temp_dir().join(format!("tablecast-taken-{}", random_id().unwrap()));
        let pipe = Fifo::create(&path).unwrap();
        let mut waiter = EventSet::new("a table").unwrap();
        waiter.add_call(pipe.descriptor().unwrap(), true).unwrap();
        // A new descriptor may be reported once.
        waiter.sleep(Duration::ZERO).unwrap();
        assert!(!waiter.sleep(Duration::ZERO).unwrap().called);
        let sender = Sender::open(&path).unwrap();
        let mut script = std::fs::File::open(&path).unwrap();
        for version in 10..20 {
            sender.wake(version);
            let mut line = [0; 3];
            script.read_exact(&mut line).unwrap();
            assert!(waiter.sleep(Duration::from_secs(5)).unwrap().called);
            assert!(!waiter.sleep(Duration::ZERO).unwrap().called);
        }
    }
}
