//! A descriptor for subscribers that sleep without one: a thread waits for them and signals an
//! eventfd.
//!
//! 1. The subscriber parks, and passes the thread the commit that it has seen.
//! 2. The thread sleeps on `commit`, or spins, until it changes.
//! 3. The thread makes the eventfd readable, and waits for the next request.
//!
//! The thread has its own mapping of the region's first page, so that it borrows nothing from the
//! subscriber. To end it, `drop` sets a flag and wakes the thread by its own futex bit until it has
//! ended, because it may be just about to sleep.

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
use crate::protocol::layout::header;
use crate::protocol::sync::Ordering;
use crate::region::fork::Creator;
use crate::region::object::failure;
use crate::region::{Mapping, ReaderRegion};

/// Interval at which a thread that is to end is woken until it has ended.
const WAKE_INTERVAL: Duration = Duration::from_millis(1);

/// Number of futex bits for threads; one more is [`futex::SLEEPER`].
const BITS: u32 = 31;
/// Index of the next thread's bit, modulo [`BITS`].
static NEXT_BIT: AtomicU32 = AtomicU32::new(0);

/// The thread and its descriptor. Dropping it ends the thread.
pub struct WaitThread {
    shared: Arc<Shared>,
    region_id: u64,
    bit: NonZeroU32,
    thread: Option<JoinHandle<()>>,
    process: Creator,
}

struct Shared {
    page: Mapping,
    event: EventFd,
    /// The commit that the subscriber has seen, while it is parked.
    seen: Mutex<Option<u64>>,
    changed: Condvar,
    end: AtomicBool,
}

impl WaitThread {
    /// Starts a thread for `region` that spins if `spins` is true, and sleeps otherwise.
    pub fn start(region: &ReaderRegion, spins: bool) -> Result<Self> {
        let object = region.object();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags);
        let shared = Arc::new(Shared {
            page: region.first_page()?,
            event: event.map_err(|errno| failure(object, "create the eventfd of", errno))?,
            seen: Mutex::new(None),
            changed: Condvar::new(),
            end: AtomicBool::new(false),
        });
        let bit = 1 << (NEXT_BIT.fetch_add(1, Ordering::Relaxed) % BITS);
        let bit = NonZeroU32::new(bit).unwrap_or(NonZeroU32::MIN);
        let watched = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("tablecast-wake".to_owned())
            .spawn(move || watched.watch(spins, bit))
            .map_err(|error| failure(object, "start the thread that sleeps on", error))?;
        let (thread, process) = (Some(thread), Creator::this_process());
        Ok(Self { shared, region_id: region.id(), bit, thread, process })
    }

    pub fn is_of(&self, region: &ReaderRegion) -> bool {
        self.region_id == region.id()
    }

    /// Makes the descriptor readable at the next commit after `seen`, and not before.
    pub fn park(&self, seen: u64) {
        let mut wanted = self.shared.lock();
        self.drain();
        *wanted = Some(seen);
        drop(wanted);
        self.shared.changed.notify_one();
    }

    /// Makes the descriptor unreadable.
    pub fn drain(&self) {
        let _nothing_to_take = self.shared.event.read();
    }
}

impl AsFd for WaitThread {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

impl Drop for WaitThread {
    fn drop(&mut self) {
        let thread = self.thread.take();
        // The thread does not exist in a child of fork.
        let Some(thread) = thread.filter(|_| self.process.is_this_process()) else {
            return;
        };
        self.shared.end.store(true, Ordering::Relaxed);
        while !thread.is_finished() {
            // Under the lock, so that the thread cannot miss `end` between its check and its sleep.
            drop(self.shared.lock());
            self.shared.changed.notify_one();
            self.shared.page.futex(header::COMMIT).wake_bits(self.bit);
            std::thread::park_timeout(WAKE_INTERVAL);
        }
        let _ended = thread.join();
    }
}

/// Blocks signals in this thread, so that the program's threads receive them. Faults that the
/// thread causes itself stay unblocked.
fn leave_signals_to_others() {
    let mut signals = SigSet::all();
    for own in [Signal::SIGBUS, Signal::SIGSEGV, Signal::SIGILL, Signal::SIGFPE] {
        signals.remove(own);
    }
    if let Err(errno) = signals.thread_block() {
        tracing::debug!("wake thread: signals are not blocked: {errno}");
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

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
                // Fails only if the counter is full, and then the eventfd is readable already.
                let _readable = self.event.write(1);
            }
        }
    }

    /// Waits for the next request. Returns the commit that the subscriber has seen, or `None` if the
    /// thread is to end.
    fn next(&self) -> Option<u64> {
        let wanted =
            self.changed.wait_while(self.lock(), |wanted| wanted.is_none() && !self.is_over());
        let wanted = wanted.unwrap_or_else(PoisonError::into_inner);
        wanted.filter(|_| !self.is_over())
    }
}
