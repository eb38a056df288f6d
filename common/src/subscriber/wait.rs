//! One descriptor for everything that a subscriber waits for: its queue, its publisher's death, the next look.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::Result;
use crate::identity::Identity;
use crate::region::object::failure;

const QUEUE: u64 = 1;
const PUBLISHER: u64 = 2;
const TIMER: u64 = 3;

/// The descriptors. `object` names the table in errors.
pub(super) struct Waiter {
    object: String,
    epoll: Epoll,
    timer: Option<TimerFd>,
    publisher: Option<OwnedFd>,
}

impl Waiter {
    pub(super) fn new(object: &str) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|errno| failure(object, "make an epoll for", errno))?;
        Ok(Self {
            object: object.to_owned(),
            epoll,
            timer: None,
            publisher: None,
        })
    }

    /// Also waits for a subscriber's queue. It leaves by being closed.
    pub(super) fn add_queue(&self, queue: BorrowedFd<'_>) -> Result<()> {
        self.add(queue, QUEUE)
    }

    fn add(&self, descriptor: BorrowedFd<'_>, name: u64) -> Result<()> {
        self.epoll
            .add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, name))
            .map_err(|errno| failure(&self.object, "wait for", errno))
    }

    /// Also waits for the death of `publisher`, in place of the one before. Where its pid means nothing here, or the
    /// system refuses, the re-check must do.
    pub(super) fn watch_publisher(&mut self, publisher: Option<Identity>) -> Result<()> {
        self.publisher = publisher
            .filter(Identity::is_reachable)
            .and_then(|publisher| Pid::from_raw(publisher.pid as i32))
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            // Reused between the two looks: then this descriptor is of another process.
            .filter(|_| publisher.is_some_and(|publisher| publisher.is_reachable()));
        match &self.publisher {
            Some(descriptor) => self.add(descriptor.as_fd(), PUBLISHER),
            None => Ok(()),
        }
    }

    /// Makes the descriptor readable after `time`, and not before.
    pub(super) fn set_timer(&mut self, time: Duration) -> Result<()> {
        let failed = |errno| failure(&self.object, "set a timer for", errno);
        if self.timer.is_none() {
            let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(failed)?;
            self.add(timer.as_fd(), TIMER)?;
            self.timer = Some(timer);
        }
        match &self.timer {
            Some(timer) => timer
                .set(
                    Expiration::OneShot(TimeSpec::from_duration(time)),
                    TimerSetTimeFlags::empty(),
                )
                .map_err(|errno| failure(&self.object, "set a timer for", errno)),
            None => Ok(()),
        }
    }

    /// Sleeps until anything is readable, a signal arrives, or `time` (rounded up to ms) is over. Whether the
    /// publisher's process has ended.
    pub(super) fn sleep(&mut self, time: Duration) -> Result<bool> {
        let mut events = [EpollEvent::empty(); 3];
        let milliseconds = time.as_nanos().div_ceil(1_000_000);
        let timeout = EpollTimeout::try_from(i32::try_from(milliseconds).unwrap_or(i32::MAX))
            .unwrap_or(EpollTimeout::ZERO);
        let ready = match self.epoll.wait(&mut events, timeout) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(failure(&self.object, "wait for", errno)),
        };
        let died = events[..ready]
            .iter()
            .any(|event| event.data() == PUBLISHER);
        if died {
            // It would be readable for ever.
            self.publisher = None;
        }
        Ok(died)
    }
}

impl AsFd for Waiter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}
