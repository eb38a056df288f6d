//! The handshake between a subscriber that parks and a publisher that commits.
//!
//! 1. The subscriber has seen commit `S`. It stores `S` into its park word and raises `parked_max`
//!    to `S`.
//! 2. It executes a SeqCst fence.
//! 3. It loads `commit`. If that is no longer `S` it stays awake; otherwise it sleeps until it is
//!    woken.
//! 4. The publisher stores `commit = V`.
//! 5. It executes a SeqCst fence.
//! 6. If `parked_max` is at least `V - 1`, it wakes each subscriber whose park word is `V - 1`.
//!
//! One of the two fences comes first: either the subscriber's load sees the commit, or the
//! publisher sees the park word (Dekker's pattern). `V` is the first commit that a subscriber
//! parked at `V - 1` has not seen, so each park is answered exactly once and no state is kept
//! between commits. While nobody is parked, a commit costs one load, however many subscribers
//! exist. `claimed`, the number of slots that were ever claimed, is raised like `parked_max`, and
//! the publisher scans only those slots.
//!
//! Other subscribers sleep on `commit` itself (a futex) and need no slot:
//!
//! 1. The subscriber sets the flag of `S`, one of two flags, chosen by the parity of `S`.
//! 2. It executes a SeqCst fence.
//! 3. The kernel puts it to sleep if `commit` still is `S`, which the kernel checks under the lock
//!    that a wake-up takes.
//! 4. The publisher, after the fence of commit `V`, clears the flag of `V - 1` if it is set, and
//!    then wakes all sleepers.
//!
//! Again, either the kernel's check sees the commit or the publisher sees the flag. Clearing the
//! flag loses no sleeper. A subscriber that set it for `V - 1` is either asleep and woken after the
//! clearing, or finds `V`. A subscriber that falls asleep at `V` in the meantime sets the other
//! flag. And no subscriber can set this flag for `V + 1` before the publisher, of which there is
//! only one, has cleared it and committed again. Plain stores suffice, so this also works by system
//! calls, which cannot raise a word atomically.
//!
//! Before the first wake-up of a subscriber, the publisher opens the subscriber's receiver:
//!
//! 1. The subscriber stores the record of its slot and, after a fence, its nonce.
//! 2. It creates its receiver (a queue, a socket) and, after a fence, stores that it is ready.
//! 3. The publisher loads the nonce and, after a fence, the ready word. If the ready word is set,
//!    it loads the record after another fence, and opens the receiver that the record names.
//! 4. The publisher stores the outcome, an errno, and, after a fence, the nonce that the outcome is
//!    for.
//! 5. The subscriber loads the nonce and, if it is its own, after a fence the errno.
//!
//! Steps 3 and 5 may still find words of the slot's previous owner. Each fence keeps a new word
//! from being combined with an old one. The protocol uses fences instead of ordered accesses
//! because registries of mode 0640 and 0644 are read and written by system calls.

use crate::protocol::layout::registry as at;
use crate::protocol::sync::{AtomicU64, Ordering, Point, applies, fence};
use crate::protocol::words::ReadOnlyWord;

/// The park word of a subscriber that is awake. The subscriber stores it itself. No commit has this
/// number.
pub const AWAKE: u64 = 0;

/// Parks at `seen` (steps 1 to 3). `store` stores the park word. Returns true if the caller may
/// sleep; otherwise the park word is [`AWAKE`] again. The slot's record (nonce, kind) must have
/// been stored before. Without `parked_max` the publisher must read every park word.
pub fn park<E>(
    parked_max: Option<&AtomicU64>,
    commit: &ReadOnlyWord,
    seen: u64,
    mut store: impl FnMut(u64) -> Result<(), E>,
) -> Result<bool, E> {
    // Release: a publisher that sees the park word also sees its owner's record. Partner: the fence
    // after the park words are loaded, in `parked_at` and `Registry::parked_by_calls`.
    fence(Point::ParkWord, Ordering::Release);
    store(seen)?;
    if let Some(parked_max) = parked_max
        && applies(Point::ParkedMax)
    {
        parked_max.fetch_max(seen, Ordering::Relaxed);
    }
    // Partner: the fence after the commit.
    fence(Point::Park, Ordering::SeqCst);
    if commit.load(Ordering::Relaxed) != seen && applies(Point::ParkLook) {
        store(AWAKE)?;
        return Ok(false);
    }
    Ok(true)
}

/// Returns true if a subscriber can be parked at the commit before `version` (first half of step
/// 6). Call it after the commit's fence.
#[inline]
pub fn may_be_parked(parked_max: &AtomicU64, version: u64) -> bool {
    parked_max.load(Ordering::Relaxed) >= version - 1
}

/// Returns the number of park words that can be in use, according to the subscribers. Call it after
/// the commit's fence.
#[inline]
pub fn claimed(claimed: &AtomicU64, parks: usize) -> usize {
    usize::try_from(claimed.load(Ordering::Relaxed)).map_or(parks, |claimed| claimed.min(parks))
}

/// Records that `slot` is in use, before its owner parks for the first time.
pub fn claim(claimed: &AtomicU64, slot: usize) {
    if applies(Point::Claimed) {
        // Partner: the fences of `park` and of the commit, as for `parked_max`.
        claimed.fetch_max(slot as u64 + 1, Ordering::Relaxed);
    }
}

/// Returns the slots that are parked at the commit before `version` (second half of step 6). With
/// `everyone`, as for the first commit of a successor, returns all slots that are parked. The
/// slots' records may be read after this.
pub fn parked_at(parks: &[AtomicU64], version: u64, everyone: bool) -> impl Iterator<Item = usize> {
    parks.iter().enumerate().filter_map(move |(slot, park)| {
        let seen = park.load(Ordering::Relaxed);
        if !must_wake(seen, version, everyone) {
            return None;
        }
        // Partner: the fence before the park word is stored, in `park`.
        fence(Point::ReadRecord, Ordering::Acquire);
        Some(slot)
    })
}

/// Returns true if a slot whose park word is `seen` must be woken for `version`.
#[inline]
pub fn must_wake(seen: u64, version: u64, everyone: bool) -> bool {
    seen != AWAKE && (everyone || seen == version - 1)
}

/// Stores `words` of a slot's record, then its nonce (step 1 of opening a receiver).
pub fn write_record<E>(
    words: &[(usize, u64)],
    nonce: u64,
    mut store: impl FnMut(usize, u64) -> Result<(), E>,
) -> Result<(), E> {
    words.iter().try_for_each(|(word, value)| store(*word, *value))?;
    // Partner: `SeeNonce` in `is_ready`. Without it the publisher could combine the new nonce with
    // the record of the previous owner.
    fence(Point::WriteRecord, Ordering::Release);
    store(at::NONCE, nonce)
}

/// Stores that the receiver was created (step 2).
pub fn mark_ready<E>(store: impl FnOnce(usize, u64) -> Result<(), E>) -> Result<(), E> {
    // Partner: `SeeReady` in `is_ready`. Without it the publisher could look for a queue that does
    // not exist yet, and report an error.
    fence(Point::MarkReady, Ordering::Release);
    store(at::READY, 1)
}

/// Returns true if the owner's record may be read and its receiver opened (step 3). Call it after
/// loading the nonce.
pub fn is_ready<E>(load: impl FnOnce(usize) -> Result<u64, E>) -> Result<bool, E> {
    // Partner: `WriteRecord` in `write_record`.
    fence(Point::SeeNonce, Ordering::Acquire);
    let is_ready = load(at::READY)? != 0;
    // Partner: `MarkReady` in `mark_ready`.
    fence(Point::SeeReady, Ordering::Acquire);
    Ok(is_ready)
}

/// Stores the outcome of opening the receiver of `nonce`, 0 or an errno, in the two words of an
/// acknowledgement (step 4).
pub fn acknowledge(words: &[AtomicU64], nonce: u64, errno: i32) {
    words[1].store(errno as u64, Ordering::Relaxed);
    // Partner: `SeeAcknowledgement`. Without it a subscriber could take the previous owner's
    // outcome for its own.
    fence(Point::Acknowledge, Ordering::Release);
    words[0].store(nonce, Ordering::Relaxed);
}

/// Returns the outcome (step 5); None until there is one for `nonce`.
pub fn acknowledged(words: &[ReadOnlyWord], nonce: u64) -> Option<i32> {
    if words[0].load(Ordering::Relaxed) != nonce {
        return None;
    }
    // Partner: `Acknowledge`.
    fence(Point::SeeAcknowledgement, Ordering::Acquire);
    Some(words[1].load(Ordering::Relaxed) as i32)
}

/// Sets the flag of `seen` and executes the fence (steps 1 and 2 of a subscriber that sleeps on
/// `commit`). `store` stores the flag with this index. The kernel performs step 3.
pub fn park_on_commit<E>(
    seen: u64,
    store: impl FnOnce(usize, u64) -> Result<(), E>,
) -> Result<(), E> {
    if applies(Point::SleeperFlag) {
        store(flag_of(seen), 1)?;
    }
    // Partner: the fence after the commit.
    fence(Point::Park, Ordering::SeqCst);
    Ok(())
}

/// Clears the flag of the commit before `version` and returns true if all sleepers on `commit` must
/// be woken (step 4). Call it after the fence of commit `version`.
#[inline]
pub fn has_sleepers(sleepers: &[AtomicU64], version: u64, everyone: bool) -> bool {
    let flag = &sleepers[flag_of(version - 1)];
    let any = flag.load(Ordering::Relaxed) != 0;
    if any {
        flag.store(0, Ordering::Relaxed);
    }
    any || everyone
}

/// Returns the index of the flag for commit `seen`.
#[inline]
pub fn flag_of(seen: u64) -> usize {
    if applies(Point::SleeperParity) { (seen & 1) as usize } else { 0 }
}
