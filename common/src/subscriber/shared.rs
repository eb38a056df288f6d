//! A value that threads read all the time, and that one of them replaces now and then
//! ([`hazard`](crate::protocol::hazard)).
//!
//! Each thread has one hazard, from a fixed number, until it ends. A thread that finds none free,
//! and one that already uses a value, counts a reference to the value instead, under a lock.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};

use crate::membarrier;
use crate::protocol::hazard::{Hazard, drop_unused, publish};
use crate::protocol::sync::{AtomicU64, Ordering};

/// Maximum number of threads that have a hazard.
const THREADS: usize = 1024;
/// Number of times that a thread that replaced a value gives way to those that still use it. A use
/// takes less than a microsecond, unless the system suspends its thread.
const YIELDS: u32 = 64;

static HAZARDS: [Hazard; THREADS] = [const { Hazard::new() }; THREADS];
/// The hazard of threads that have none.
static BUSY: Hazard = Hazard::busy();
/// True for each hazard that belongs to a thread.
static TAKEN: [AtomicBool; THREADS] = [const { AtomicBool::new(false) }; THREADS];

thread_local! {
    /// The hazard of this thread. It needs no destructor, so that reading it is one instruction.
    static OWN: Cell<&'static Hazard> = const { Cell::new(&BUSY) };
    static CLAIM: Claim = Claim::new();
}

/// The index of this thread's hazard.
struct Claim(Option<usize>);

impl Claim {
    fn new() -> Self {
        // Partner: the store in `drop`.
        let claimed = TAKEN.iter().position(|taken| !taken.swap(true, Ordering::Acquire));
        OWN.set(claimed.map_or(&BUSY, |index| &HAZARDS[index]));
        Self(claimed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        OWN.set(&BUSY);
        if let Some(index) = self.0 {
            // Partner: the swap in `new`. The next owner's stores come after this thread's.
            TAKEN[index].store(false, Ordering::Release);
        }
    }
}

/// A value that can be replaced while threads use it.
pub(super) struct Shared<T> {
    /// Address of the current value.
    current: AtomicU64,
    values: RwLock<Values<T>>,
}

struct Values<T> {
    current: Arc<T>,
    /// Values that were in use when they were replaced: at most one for each thread.
    replaced: Vec<Arc<T>>,
}

fn address<T>(value: &Arc<T>) -> u64 {
    Arc::as_ptr(value).expose_provenance() as u64
}

impl<T> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        membarrier::prepare();
        let value = Arc::new(value);
        let current = AtomicU64::new(address(&value));
        Self { current, values: RwLock::new(Values { current: value, replaced: Vec::new() }) }
    }

    /// Returns the current value. Returns `None` if this thread has no hazard, or uses it.
    #[inline(always)]
    pub(super) fn protect(&self) -> Option<Protected<'_, T>> {
        let hazard = OWN.get();
        let address = hazard.protect(&self.current)?;
        let value: *const T = std::ptr::with_exposed_provenance(address as usize);
        // SAFETY: `current` holds the address of a value that `values` owns. `store` does not drop
        // a value that is in a hazard, and this hazard holds it until the result is dropped.
        Some(Protected { value: unsafe { &*value }, hazard, of_thread: PhantomData })
    }

    /// Returns the current value.
    #[inline]
    pub(super) fn load(&self) -> Loaded<'_, T> {
        match self.protect() {
            Some(protected) => Loaded::Protected(protected),
            None => self.load_after_claim(),
        }
    }

    /// Loads the current value after an attempt to claim a hazard.
    #[cold]
    fn load_after_claim(&self) -> Loaded<'_, T> {
        // A thread that is ending claims no hazard any more.
        let _unclaimed = CLAIM.try_with(|_| ());
        if let Some(protected) = self.protect() {
            return Loaded::Protected(protected);
        }
        let values = self.values.read().unwrap_or_else(PoisonError::into_inner);
        Loaded::Counted(Arc::clone(&values.current))
    }

    /// Replaces the value. A value that this thread still uses is kept until the next call.
    pub(super) fn store(&self, value: T) {
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut values.current, Arc::new(value));
        publish(&self.current, address(&values.current));
        values.replaced.push(former);
        for _ in 0..YIELDS {
            drop_unused(&mut values.replaced, &HAZARDS, address);
            if values.replaced.is_empty() {
                break;
            }
            std::thread::yield_now();
        }
    }
}

/// A value in the hazard of this thread.
pub(super) struct Protected<'s, T> {
    value: &'s T,
    hazard: &'static Hazard,
    /// Another thread must not clear the hazard.
    of_thread: PhantomData<*const ()>,
}

impl<T> Deref for Protected<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Drop for Protected<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.hazard.clear();
    }
}

/// A value that stays until this is dropped.
pub(super) enum Loaded<'s, T> {
    Protected(Protected<'s, T>),
    Counted(Arc<T>),
}

impl<T> Deref for Loaded<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Protected(value) => value,
            Self::Counted(value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::sync::mpsc::channel;

    use super::*;

    /// Returns a shared value, and a way to see if it was dropped.
    fn shared() -> (Shared<Arc<u32>>, Weak<u32>) {
        let value = Arc::new(1);
        let seen = Arc::downgrade(&value);
        (Shared::new(value), seen)
    }

    #[test]
    fn replaced_value_is_dropped_when_no_thread_uses_it() {
        let (shared, first) = shared();
        assert_eq!(**shared.load(), 1);
        shared.store(Arc::new(2));
        assert_eq!((**shared.load(), first.upgrade()), (2, None));
    }

    #[test]
    fn value_that_another_thread_uses_is_kept() {
        let (shared, first) = shared();
        let ((tell_used, used), (tell_end, end)) = (channel(), channel::<()>());
        std::thread::scope(|scope| {
            let shared = &shared;
            let user = scope.spawn(move || {
                let value = shared.load();
                assert!(matches!(value, Loaded::Protected(_)));
                tell_used.send(()).unwrap();
                end.recv().unwrap();
                **value
            });
            used.recv().unwrap();
            shared.store(Arc::new(2));
            assert!(first.upgrade().is_some(), "it was dropped while a thread used it");
            tell_end.send(()).unwrap();
            assert_eq!(user.join().unwrap(), 1);
        });
        shared.store(Arc::new(3));
        assert_eq!(first.upgrade(), None);
    }

    #[test]
    fn thread_that_uses_two_values_counts_a_reference_to_the_second() {
        let ((one, first), (two, second)) = (shared(), shared());
        let (outer, inner) = (one.load(), two.load());
        assert!(matches!(outer, Loaded::Protected(_)) && two.protect().is_none());
        assert!(matches!(inner, Loaded::Counted(_)));
        for shared in [&one, &two] {
            shared.store(Arc::new(2));
        }
        assert_eq!((**outer, **inner), (1, 1));
        assert!(first.upgrade().is_some() && second.upgrade().is_some());
        drop(inner);
        assert_eq!(second.upgrade(), None);
    }

    #[test]
    fn hazards_of_threads_that_ended_are_used_again() {
        let (shared, _) = shared();
        std::thread::scope(|scope| {
            for _ in 0..2 * THREADS {
                let is_protected = || matches!(shared.load(), Loaded::Protected(_));
                assert!(scope.spawn(is_protected).join().unwrap());
            }
        });
    }
}
