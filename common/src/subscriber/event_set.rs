//! The descriptor of a subscriber, which becomes readable on all of its events: wake-ups, the death
//! of the publisher, the next re-check, interruptions.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::Result;
use crate::identity::Identity;
use crate::region::object::failure;

const WAKE_UP: u64 = 1;
const PUBLISHER: u64 = 2;
const TIMER: u64 = 3;
const INTERRUPTER: u64 = 4;
const READY: u64 = 5;

/// Ends a wait of its subscriber from any thread. A subscriber creates it with
/// [`interrupter`](super::UntypedSubscriber::interrupter).
///
/// An interruption stays pending until a refresh or a wait reports it, so none is lost between two
/// waits. Several pending interruptions are reported once.
#[derive(Clone, Debug)]
pub struct Interrupter(Arc<EventFd>);

impl Interrupter {
    /// Creates an interrupter. `object` names the table's region in error messages.
    pub(super) fn new(object: &str) -> Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        EventFd::from_value_and_flags(0, flags)
            .map(|descriptor| Self(Arc::new(descriptor)))
            .map_err(|errno| failure(object, "create an interrupter for", errno))
    }

    /// Ends the current wait, or else the next one. Also makes the descriptor of the subscriber
    /// readable, for external event loops.
    pub fn interrupt(&self) {
        // The write fails only if the counter is full, and then the eventfd is already readable.
        let _readable = self.0.write(1);
    }

    /// Returns true if `interrupt` was called since the last call of `take`.
    pub(super) fn take(&self) -> bool {
        self.0.read().is_ok()
    }
}

impl AsFd for Interrupter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Events that ended a sleep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Woken {
    /// The publisher sent a wake-up.
    pub(super) by_publisher: bool,
    /// The publisher's process has ended.
    pub(super) by_death: bool,
}

/// An epoll descriptor, and the descriptors that it waits for.
pub(super) struct EventSet {
    /// Name of the table's region in error messages.
    object: String,
    epoll: Epoll,
    timer: TimerFd,
    /// Makes the descriptor readable at once. The first call of [`fire`](Self::fire) creates it.
    ready: OnceLock<EventFd>,
    publisher: Option<OwnedFd>,
}

impl EventSet {
    pub(super) fn new(object: &str) -> Result<Self> {
        let failed = |errno| failure(object, "create the descriptor of", errno);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(failed)?;
        let ready = OnceLock::new();
        let events = Self { object: object.to_owned(), epoll, timer, ready, publisher: None };
        events.add(&events.timer, TIMER, EpollFlags::empty())?;
        Ok(events)
    }

    /// Adds the descriptor of a wake receiver. `keeps` is true for a pipe: the subscriber leaves
    /// the lines in the pipe for other readers, so only a new line is an event.
    pub(super) fn add_receiver(&self, receiver: impl AsFd, keeps: bool) -> Result<()> {
        let flags = match keeps {
            // Another reader may take the line before this process runs. Epoll drops an event if
            // the descriptor is not ready any more, and the wake-up would be lost. With EPOLLOUT
            // the event is kept: the pipe is also open for writing, and stays writable.
            true => EpollFlags::EPOLLET | EpollFlags::EPOLLOUT,
            false => EpollFlags::empty(),
        };
        self.add(receiver, WAKE_UP, flags)
    }

    /// Removes the descriptor of a wake receiver. Closing it is not enough, because a child of
    /// `fork` may hold it, too.
    pub(super) fn remove_receiver(&self, receiver: impl AsFd) {
        let _closing_removes_it = self.epoll.delete(receiver);
    }

    /// Adds an interrupter.
    pub(super) fn add_interrupter(&self, interrupter: &Interrupter) -> Result<()> {
        self.add(interrupter, INTERRUPTER, EpollFlags::empty())
    }

    fn add(&self, descriptor: impl AsFd, event: u64, flags: EpollFlags) -> Result<()> {
        self.epoll
            .add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN | flags, event))
            .map_err(|errno| failure(&self.object, "wait for", errno))
    }

    /// Waits also for the death of `publisher`. Returns false if its pid is not visible to this
    /// process, if it has ended, or if the system refuses a pidfd: only the re-check notices the
    /// death then.
    pub(super) fn watch_publisher(&mut self, publisher: Identity) -> Result<bool> {
        self.publisher = Some(publisher)
            .filter(Identity::is_reachable)
            .and_then(|publisher| Pid::from_raw(publisher.pid as i32))
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            // If the pid was reused between the two checks, the pidfd refers to another process.
            .filter(|_| publisher.is_reachable());
        if let Some(descriptor) = &self.publisher {
            self.add(descriptor, PUBLISHER, EpollFlags::empty())?;
        }
        Ok(self.publisher.is_some())
    }

    /// Ends the watch of a publisher.
    pub(super) fn forget_publisher(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            self.remove_receiver(publisher);
        }
    }

    /// Sets the timer, which makes the descriptor readable after `time`. Replaces an earlier
    /// setting, and ends the effect of [`fire`](Self::fire).
    pub(super) fn set_timer(&self, time: Duration) -> Result<()> {
        if let Some(ready) = self.ready.get() {
            // The read fails if it was not fired.
            let _fired = ready.read();
        }
        let time = TimeSpec::from_duration(time.max(Duration::from_nanos(1)));
        self.timer
            .set(Expiration::OneShot(time), TimerSetTimeFlags::empty())
            .map_err(|errno| failure(&self.object, "set the re-check timer of", errno))
    }

    /// Makes the descriptor readable now, and triggers another edge if it is readable already. If
    /// that fails, it becomes readable at the next event.
    ///
    /// A timer of 1 ns would do the same, but takes 24 µs in a virtual machine.
    pub(super) fn fire(&self) {
        let fired = self.ready().and_then(|ready| {
            ready.write(1).map_err(|errno| failure(&self.object, "wake the descriptor of", errno))
        });
        if let Err(error) = fired {
            tracing::debug!("{error}");
        }
    }

    fn ready(&self) -> Result<&EventFd> {
        if let Some(ready) = self.ready.get() {
            return Ok(ready);
        }
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let ready = EventFd::from_value_and_flags(0, flags)
            .map_err(|errno| failure(&self.object, "create the descriptor of", errno))?;
        let mut added = Ok(());
        let ready = self.ready.get_or_init(|| {
            added = self.add(&ready, READY, EpollFlags::empty());
            ready
        });
        added.map(|()| ready)
    }

    /// Sleeps until any descriptor is readable, a signal arrives, or `time` (rounded up to ms) has
    /// passed.
    pub(super) fn sleep(&mut self, time: Duration) -> Result<Woken> {
        let mut events = [EpollEvent::empty(); 5];
        let ready = match self.epoll.wait(&mut events, epoll_timeout(Some(time))) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(failure(&self.object, "wait for", errno)),
        };
        let is_ready = |event| events[..ready].iter().any(|ready| ready.data() == event);
        let woken = Woken { by_publisher: is_ready(WAKE_UP), by_death: is_ready(PUBLISHER) };
        if woken.by_death {
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

/// Converts a timeout to ms, rounded up so that the caller does not spin during the last
/// millisecond.
pub(super) fn epoll_timeout(time: Option<Duration>) -> EpollTimeout {
    let Some(time) = time else {
        return EpollTimeout::NONE;
    };
    let milliseconds = i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::ZERO)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::region::random_id;
    use crate::wake::WakeReceiver as _;
    use crate::wake::fifo::{Fifo, open_sender};

    #[test]
    fn fired_descriptor_is_readable_until_the_timer_is_set_and_each_fire_is_an_edge() {
        let events = EventSet::new("a table").unwrap();
        let edges = Epoll::new(EpollCreateFlags::empty()).unwrap();
        edges.add(&events, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)).unwrap();
        let edge = || edges.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO).unwrap() == 1;
        let readable = || {
            let mut found = [EpollEvent::empty()];
            events.epoll.wait(&mut found, EpollTimeout::ZERO).unwrap() == 1
        };
        assert!(!readable());
        for _ in 0..2 {
            events.fire();
            assert!(readable() && edge());
            events.fire();
            assert!(edge() && !edge());
            events.set_timer(Duration::from_secs(1000)).unwrap();
            assert!(!readable());
        }
    }

    /// Another process often reads the line before the subscriber runs, because both sleep on the
    /// pipe.
    #[test]
    fn fifo_wakes_its_owner_even_if_another_reader_took_the_line() {
        let path = std::env::temp_dir().join(format!("tablecast-taken-{}", random_id().unwrap()));
        let pipe = Fifo::create(&path).unwrap();
        let mut events = EventSet::new("a table").unwrap();
        events.add_receiver(pipe.descriptor().unwrap(), true).unwrap();
        // A new descriptor may be reported once.
        events.sleep(Duration::ZERO).unwrap();
        assert!(!events.sleep(Duration::ZERO).unwrap().by_publisher);
        let sender = open_sender(&path).unwrap();
        let mut script = std::fs::File::open(&path).unwrap();
        for version in 10..20 {
            sender(version);
            let mut line = [0; 3];
            script.read_exact(&mut line).unwrap();
            assert!(events.sleep(Duration::from_secs(5)).unwrap().by_publisher);
            assert!(!events.sleep(Duration::ZERO).unwrap().by_publisher);
        }
    }
}
