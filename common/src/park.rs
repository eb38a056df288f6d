//! The handshake between a subscriber that goes to sleep and a publisher that commits.
//!
//! 1. The subscriber has seen commit `S`. It stores `S` into its park word, raises `parked_max` to `S`, 2. passes a SeqCst
//!    fence, 3. looks at `commit`: if that is no longer `S` it stays awake, else it sleeps until it is sent something.
//! 4. The publisher stores `commit = V`, 5. passes a SeqCst fence, 6. and, if `parked_max` is at least `V - 1`, sends to each
//!    whose park word is `V - 1`.
//!
//! Of two fences one is first: either the subscriber's look sees the commit, or the publisher sees it parked (Dekker's
//! pattern). `V` is the first commit that a subscriber parked at `V - 1` has not seen, so each park is answered once, and
//! nobody has to remember anything. While nobody sleeps a commit costs one load, however many subscribers there are.

use crate::sync::{AtomicU64, Ordering, Point, applies, fence, ordering};

/// The park word of one who is awake. No commit has this number.
pub const AWAKE: u64 = 0;

/// Steps 1 to 3. Whether the caller may sleep; if not, its park word says that it is awake.
/// What the slot's record says (nonce, kind) must have been stored before.
pub fn park(park: &AtomicU64, parked_max: &AtomicU64, commit: &AtomicU64, seen: u64) -> bool {
    // Release: who sees the park word sees the record of its owner (partner: the fence in `parked_at`).
    park.store(seen, ordering(Point::ParkWord, Ordering::Release));
    if applies(Point::ParkedMax) {
        parked_max.fetch_max(seen, Ordering::Relaxed);
    }
    // Partner: the fence after the commit.
    fence(Point::Park, Ordering::SeqCst);
    if commit.load(Ordering::Relaxed) != seen && applies(Point::ParkLook) {
        unpark(park);
        return false;
    }
    true
}

/// Says that the owner is awake. It reads `commit` after this.
pub fn unpark(park: &AtomicU64) {
    park.store(AWAKE, Ordering::Relaxed);
}

/// Step 6, first half: whether anybody can be parked at the commit before `version`. Made after the commit's fence.
#[inline]
pub fn may_be_parked(parked_max: &AtomicU64, version: u64) -> bool {
    parked_max.load(Ordering::Relaxed) >= version - 1
}

/// Step 6, second half: the slots that are parked at the commit before `version`, or, for the first
/// commit of a successor, all that are parked at all. What each slot's record says may be read after this.
pub fn parked_at(parks: &[AtomicU64], version: u64, everyone: bool) -> impl Iterator<Item = usize> {
    parks.iter().enumerate().filter_map(move |(slot, park)| {
        let seen = park.load(Ordering::Relaxed);
        if !counts(seen, version, everyone) {
            return None;
        }
        // Partner: the release store of the park word.
        fence(Point::ReadRecord, Ordering::Acquire);
        Some(slot)
    })
}

/// Whether a slot whose park word is `seen` is to be woken for `version`.
#[inline]
pub fn counts(seen: u64, version: u64, everyone: bool) -> bool {
    seen != AWAKE && (everyone || seen == version - 1)
}
