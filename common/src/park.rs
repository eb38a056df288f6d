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
//! How many slots were ever claimed is raised like `parked_max`, so that the publisher looks at no others.
//!
//! Others sleep on `commit` itself (a futex), and need no slot:
//!
//! 1. The subscriber sets the flag of `S`, one of two, by whether `S` is odd, 2. passes the fence, 3. and has the kernel put it to
//!    sleep if `commit` still is `S`, which the kernel looks at under the lock that a wake-up takes.
//! 4. The publisher, after the fence of commit `V`, clears the flag of `V - 1` if it is set, and then wakes all.
//!
//! As above, the kernel's look sees the commit or the publisher sees the flag. Clearing it loses nobody: who set it for
//! `V - 1` is asleep, and woken after that, or finds `V`; who falls asleep at `V` meanwhile sets the other one; and nobody can
//! set this one for `V + 1` before the publisher, which is one, has cleared it and gone on. Plain stores do, so that it works
//! by calls, too, where nobody can raise a word.
//!
//! Before a subscriber is called for the first time the publisher opens what it is called by:
//!
//! 1. The subscriber stores what its slot's record says and, after a fence, its nonce. 2. It makes what it is called by (a queue, a socket), and
//!    stores, after a fence, that it is ready.
//! 3. The publisher loads the nonce and, after a fence, whether that subscriber is ready. If so, it loads the record after
//!    another fence, and opens what that names.
//! 4. The publisher stores the outcome, an errno, and, after a fence, the nonce that it is for. 5. The subscriber loads the nonce and, if
//!    that is its own, after a fence the errno.
//!
//! The words of the owner before may still be there in steps 3 and 5. Each fence keeps a new word from being taken together with an old one.
//! Fences and not the orderings of the accesses, as registries of mode 0640 and 0644 are read and written by system calls.

use crate::layout::registry as at;
use crate::sync::{AtomicU64, Ordering, Point, applies, fence, ordering};
use crate::word::ReadOnlyWord;

/// The park word of one who is awake. No commit has this number.
pub const AWAKE: u64 = 0;

/// Steps 1 to 3. Whether the caller may sleep; if not, its park word says that it is awake.
/// What the slot's record says (nonce, kind) must have been stored before.
pub fn park(park: &AtomicU64, parked_max: &AtomicU64, commit: &ReadOnlyWord, seen: u64) -> bool {
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

/// How many of the park words can be in use, as the subscribers say. Made after the commit's fence.
#[inline]
pub fn claimed(claimed: &AtomicU64, parks: usize) -> usize {
    usize::try_from(claimed.load(Ordering::Relaxed)).map_or(parks, |claimed| claimed.min(parks))
}

/// Says that `slot` is in use, before its owner parks for the first time.
pub fn claim(claimed: &AtomicU64, slot: usize) {
    if applies(Point::Claimed) {
        // Partner: the fences of `park` and of the commit, as for `parked_max`.
        claimed.fetch_max(slot as u64 + 1, Ordering::Relaxed);
    }
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

/// Step 1 of an owner that says how it is called: stores `words` of its record, then its nonce.
///
/// # Errors
/// What `store` says.
pub fn sign<E>(
    words: &[(usize, u64)],
    nonce: u64,
    mut store: impl FnMut(usize, u64) -> Result<(), E>,
) -> Result<(), E> {
    words
        .iter()
        .try_for_each(|(word, value)| store(*word, *value))?;
    // Partner: `SeeNonce` in `is_ready`. Without it the publisher could take the new nonce together with the record of the owner before.
    fence(Point::SignRecord, Ordering::Release);
    store(at::NONCE, nonce)
}

/// Step 2: says that what the owner is called by is made.
///
/// # Errors
/// What `store` says.
pub fn say_ready<E>(store: impl FnOnce(usize, u64) -> Result<(), E>) -> Result<(), E> {
    // Partner: `SeeReady` in `is_ready`. Without it the publisher could look for a queue that is not there yet, and refuse it.
    fence(Point::SayReady, Ordering::Release);
    store(at::READY, 1)
}

/// Step 3, after loading the nonce: returns true if that owner's record may be read and what it names be opened.
///
/// # Errors
/// What `load` says.
pub fn is_ready<E>(load: impl FnOnce(usize) -> Result<u64, E>) -> Result<bool, E> {
    // Partner: `SignRecord` in `sign`.
    fence(Point::SeeNonce, Ordering::Acquire);
    let is_ready = load(at::READY)? != 0;
    // Partner: `SayReady` in `say_ready`.
    fence(Point::SeeReady, Ordering::Acquire);
    Ok(is_ready)
}

/// Step 4: stores in the two words of an acknowledgement what came of opening what `nonce` is called by, 0 or an errno.
pub fn acknowledge(words: &[AtomicU64], nonce: u64, errno: i32) {
    words[1].store(errno as u64, Ordering::Relaxed);
    // Partner: `SeeAcknowledgement`. Without it a subscriber could take the outcome of the owner before for its own.
    fence(Point::Acknowledge, Ordering::Release);
    words[0].store(nonce, Ordering::Relaxed);
}

/// Step 5: returns what came of it, once that is known for `nonce`.
pub fn acknowledged(words: &[ReadOnlyWord], nonce: u64) -> Option<i32> {
    if words[0].load(Ordering::Relaxed) != nonce {
        return None;
    }
    // Partner: `Acknowledge`.
    fence(Point::SeeAcknowledgement, Ordering::Acquire);
    Some(words[1].load(Ordering::Relaxed) as i32)
}

/// Steps 1 and 2 of whoever sleeps on `commit` itself. The kernel makes the third.
pub fn park_on_commit(sleepers: &[AtomicU64], seen: u64) {
    if applies(Point::SleeperFlag) {
        sleepers[flag_of(seen)].store(1, Ordering::Relaxed);
    }
    // Partner: the fence after the commit.
    fence(Point::Park, Ordering::SeqCst);
}

/// Step 4, made after the fence of commit `version`: whether all who sleep on `commit` are to be woken.
#[inline]
pub fn has_sleepers(sleepers: &[AtomicU64], version: u64, everyone: bool) -> bool {
    let flag = &sleepers[flag_of(version - 1)];
    let any = flag.load(Ordering::Relaxed) != 0;
    if any {
        flag.store(0, Ordering::Relaxed);
    }
    any || everyone
}

/// Which of the two flags is that of commit `seen`.
#[inline]
pub fn flag_of(seen: u64) -> usize {
    if applies(Point::SleeperParity) {
        (seen & 1) as usize
    } else {
        0
    }
}
