//! Keeps a value while threads use it, after another one has replaced it: hazard pointers (Michael
//! 2004) with asymmetric fences.
//!
//! 1. A reader loads the value, stores it in its hazard, executes the light fence, and loads the
//!    value again. If it is the same, the reader uses it until it clears the hazard.
//! 2. A thread that replaced the value executes the heavy fence and loads all hazards. If none
//!    holds the former value, no reader uses it, and no reader can start to use it.
//!
//! One of the two fences comes first (Dekker): either the reader's second load returns the new
//! value, or the other thread finds the former one in the hazard. A value is an address, so a later
//! value may be equal to a former one. This does no harm: the hazard then protects the later one.

use super::sync::{AtomicU64, Ordering, Point, applies, heavy_fence, light_fence, ordering};

/// No value.
const NONE: u64 = 0;

/// The value that one thread uses.
#[repr(align(64))]
pub struct Hazard(AtomicU64);

impl Hazard {
    /// Returns a hazard that is not in use.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicU64::new(NONE))
    }

    /// Returns a hazard that is always in use.
    #[cfg(not(loom))]
    pub const fn busy() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    /// Returns a hazard that is not in use.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicU64::new(NONE))
    }

    /// Returns the current value, which is in use until [`clear`](Self::clear). Returns `None` if
    /// this hazard is in use.
    #[inline(always)]
    pub fn protect(&self, current: &AtomicU64) -> Option<u64> {
        if self.0.load(Ordering::Relaxed) != NONE {
            return None;
        }
        let mut value = current.load(Ordering::Relaxed);
        loop {
            self.0.store(value, Ordering::Relaxed);
            // Partner: the fence in `drop_unused`.
            light_fence(Point::Protect);
            // Partner: the store in `publish`. The models do not need the order of this load,
            // because their light fence orders the first one.
            let again = current.load(Ordering::Acquire);
            if again == value || !applies(Point::RecheckValue) {
                return Some(value);
            }
            value = again;
        }
    }

    /// Ends the use of the value.
    #[inline(always)]
    pub fn clear(&self) {
        // Partner: the loads in `drop_unused`. The value is used no more when they return this.
        self.0.store(NONE, ordering(Point::ClearHazard, Ordering::Release));
    }
}

/// Replaces the current value. The caller is the only thread that does.
pub fn publish(current: &AtomicU64, value: u64) {
    // Partner: the second load in `protect`. A reader sees what the value refers to.
    current.store(value, ordering(Point::PublishValue, Ordering::Release));
}

/// Drops each of the replaced `values` that no hazard holds. If the kernel refuses the fence, drops
/// none.
pub fn drop_unused<T>(values: &mut Vec<T>, hazards: &[Hazard], value_of: impl Fn(&T) -> u64) {
    // Partner: the fence in `protect`.
    if heavy_fence(Point::FindHazards) {
        values.retain(|value| {
            // Partner: the store in `clear`.
            let see = ordering(Point::SeeClearedHazard, Ordering::Acquire);
            hazards.iter().any(|hazard| hazard.0.load(see) == value_of(value))
        });
    }
}
