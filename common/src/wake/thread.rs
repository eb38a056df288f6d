//! A descriptor for those who sleep without one: a thread waits in their place and says so by an eventfd.
//!
//! 1. The subscriber parks, and tells the thread the commit it has seen. 2. The thread sleeps on `commit`, or spins, until it is
//!    another. 3. It makes the eventfd readable, and waits to be told the next.
//!
//! It has a mapping of its own of the region's first page, so that it needs nothing of its subscriber's. To end it is told so,
//! and called by a bit of its own until it has gone, as it may be on its way to sleep.

use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};

use super::{futex, spin};
use crate::error::Result;
use crate::layout::header;
use crate::region::fork::Creator;
use crate::region::object::{failure, failure_io};
use crate::region::{Mapping, ReaderRegion};
use crate::sync::Ordering;

/// How long it is until a thread that did not end is called once more.
const CALL_AGAIN: Duration = Duration::from_millis(1);

/// The bits that threads are called by; there is one more ([`futex::SLEEPER`]).
const BITS: u32 = 31;
/// Which of them is the next one's.
static NEXT_BIT: AtomicU32 = AtomicU32::new(0);

/// The thread, and the descriptor. Dropping it ends the thread.
pub struct Watcher {
    shared: Arc<Shared>,
    region_id: u64,
    bit: NonZeroU32,
    thread: Option<JoinHandle<()>>,
    process: Creator,
}

struct Shared {
    page: Mapping,
    event: EventFd,
    /// The commit that its subscriber has seen and sleeps at.
    seen: Mutex<Option<u64>>,
    told: Condvar,
    end: AtomicBool,
}

impl Watcher {
    /// Starts the thread for a region, which `spins` or sleeps.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn start(region: &ReaderRegion, spins: bool) -> Result<Self> {
        let object = region.object();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags);
        let shared = Arc::new(Shared {
            page: region.first_page()?,
            event: event.map_err(|errno| failure(object, "make what tells of", errno))?,
            seen: Mutex::new(None),
            told: Condvar::new(),
            end: AtomicBool::new(false),
        });
        let bit = 1 << (NEXT_BIT.fetch_add(1, Ordering::Relaxed) % BITS);
        let bit = NonZeroU32::new(bit).unwrap_or(NonZeroU32::MIN);
        let watched = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("tablecast-wake".to_owned())
            .spawn(move || watched.watch(spins, bit))
            .map_err(|error| failure_io(object, "start the thread that sleeps on", error))?;
        Ok(Self {
            shared,
            region_id: region.id(),
            bit,
            thread: Some(thread),
            process: Creator::this_process(),
        })
    }

    /// Whether it is that region's.
    pub fn is_of(&self, region: &ReaderRegion) -> bool {
        self.region_id == region.id()
    }

    /// Has the descriptor turn readable at the next commit after `seen`, and not before.
    pub fn park(&self, seen: u64) {
        let mut wanted = self.shared.lock();
        let _nothing_to_take = self.shared.event.read();
        *wanted = Some(seen);
        drop(wanted);
        self.shared.told.notify_one();
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let thread = self.thread.take();
        // A child of fork has no such thread.
        let Some(thread) = thread.filter(|_| self.process.is_this_process()) else {
            return;
        };
        self.shared.end.store(true, Ordering::Relaxed);
        while !thread.is_finished() {
            // Under the lock: it does not miss it between its look and its sleep there.
            drop(self.shared.lock());
            self.shared.told.notify_one();
            self.shared.page.futex(header::COMMIT).wake_bits(self.bit);
            std::thread::park_timeout(CALL_AGAIN);
        }
        let _ended = thread.join();
    }
}

/// The program's own threads are to receive them, all but those that this one causes itself.
fn leave_signals_to_others() {
    let mut signals = SigSet::all();
    for own in [
        Signal::SIGBUS,
        Signal::SIGSEGV,
        Signal::SIGILL,
        Signal::SIGFPE,
    ] {
        signals.remove(own);
    }
    if let Err(errno) = signals.thread_block() {
        tracing::debug!("signals are not blocked: {errno}");
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    /// What the thread does.
    fn watch(&self, spins: bool, bit: NonZeroU32) {
        leave_signals_to_others();
        while let Some(seen) = self.next() {
            let commit = &self.page.words(header::COMMIT + 1)[header::COMMIT];
            while !self.is_over() && commit.load(Ordering::Relaxed) == seen {
                if spins {
                    spin::spin(commit, seen, || self.is_over());
                } else {
                    futex::sleep(self.page.futex(header::COMMIT), seen, None, bit);
                }
            }
            let mut wanted = self.lock();
            if *wanted == Some(seen) {
                *wanted = None;
                // It can only fail when it is full, and then it is readable.
                let _readable = self.event.write(1);
            }
        }
    }

    /// The commit to wait for the end of; None at the end.
    fn next(&self) -> Option<u64> {
        let wanted = self
            .told
            .wait_while(self.lock(), |wanted| wanted.is_none() && !self.is_over());
        let wanted = wanted.unwrap_or_else(PoisonError::into_inner);
        wanted.filter(|_| !self.is_over())
    }
}
