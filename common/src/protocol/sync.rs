//! Atomics and fences, either the machine's or loom's. Each ordering of the protocol has a name.
//!
//! Outside models every function here compiles to a single instruction. Under `--cfg loom` a test
//! may name one [`Point`] as its mutant: that ordering is left out, and the model must fail. A
//! model can also make a publisher die before its k-th store (`fuse`).

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! points {
    ($($(#[$meaning:meta])* $name:ident,)+) => {
        /// The places where the protocol depends on an ordering or on a second load. Each comment
        /// names the partner.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[$meaning])* $name,)+
        }

        #[cfg(loom)]
        impl Point {
            /// All points: each must be the mutant of some model.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

points! {
    /// Release fence between a transaction's tags and its words; partner [`Point::RecheckTag`].
    HideRows,
    /// Release store of `commit`; partner [`Point::SeeCommit`].
    PublishCommit,
    /// SeqCst fence after the commit; partner [`Point::Park`]. It also keeps the next transaction's
    /// tags behind this commit.
    AfterCommit,
    /// Acquire fence after loading `commit`; partner [`Point::PublishCommit`].
    SeeCommit,
    /// Acquire fence between a row's words and the second load of its tag; partner
    /// [`Point::HideRows`].
    RecheckTag,
    /// The second load of the tag itself, after copying a row.
    RecheckRow,
    /// The second load of the tag for the answers "deleted" and "not changed since".
    RecheckAnswer,
    /// Acquire fence after a row was found overwritten; partner [`Point::AfterCommit`]: the next
    /// version loaded is greater.
    Overwritten,
    /// Writing into the copy that does not hold the last committed row.
    SpareCopy,
    /// Raising the change tree.
    RaiseTree,
    /// Recording a written slot in the journal.
    Note,
    /// Acquire fence between loading the journal's end and the second load of `commit`; partner
    /// [`Point::AfterCommit`], and any later release fence.
    SeeMark,
    /// The second load of `commit` itself.
    RecheckMark,
    /// Acquire fence between the journal's slots and the second load of the journal's end; partner
    /// as for [`Point::SeeMark`].
    RecheckJournal,
    /// The second load of the journal's end itself.
    JournalReach,
    /// Release fence before a successor's first store, which the dead process's fences do not
    /// cover.
    TakeoverFence,
    /// Hiding copies that the dead publisher left above `commit`.
    TakeoverHide,
    /// Hiding them under [`NEVER`](super::layout::NEVER) and not under 0, which a reader would take
    /// for "no row".
    TakeoverNever,
    /// Release store of the number of the key index's generation; partner [`Point::SeeGeneration`].
    PublishGeneration,
    /// Acquire fence after loading that number; partner [`Point::PublishGeneration`].
    SeeGeneration,
    /// Release fence between `removed` and the tombstones; partner [`Point::SeeRemoved`].
    HideEntries,
    /// Acquire fence between a search without a result and the load of `removed`; partner
    /// [`Point::HideEntries`].
    SeeRemoved,
    /// The comparison of `removed` itself.
    RecheckRemoved,
    /// Raising `removed` at all, also in a new generation.
    RaiseRemoved,
    /// Release fence before a park word is stored; partner [`Point::ReadRecord`].
    ParkWord,
    /// Acquire fence between a park word and its owner's record; partner [`Point::ParkWord`].
    ReadRecord,
    /// Release fence between a slot's record and its owner's nonce; partner [`Point::SeeNonce`].
    WriteRecord,
    /// Acquire fence between an owner's nonce and the rest of the record; partner
    /// [`Point::WriteRecord`].
    SeeNonce,
    /// Release fence between creating a receiver and storing that it is ready; partner
    /// [`Point::SeeReady`].
    MarkReady,
    /// Acquire fence between the ready word and opening the receiver; partner [`Point::MarkReady`].
    SeeReady,
    /// Release fence between the errno of an acknowledgement and its nonce; partner
    /// [`Point::SeeAcknowledgement`].
    Acknowledge,
    /// Acquire fence between the nonce of an acknowledgement and its errno; partner
    /// [`Point::Acknowledge`].
    SeeAcknowledgement,
    /// SeqCst fence between the park word and the load of `commit`; partner [`Point::AfterCommit`].
    Park,
    /// The load of `commit` after parking.
    ParkLook,
    /// Raising `parked_max` before the park fence.
    ParkedMax,
    /// Raising the number of claimed slots before the park fence.
    Claimed,
    /// Setting the flag of subscribers that sleep on `commit` before the park fence.
    SleeperFlag,
    /// Having two of these flags, for even and odd commits, so that clearing one does not affect
    /// subscribers that fall asleep now.
    SleeperParity,
    /// Release fence between an interval's odd sequence number and its bounds; partner
    /// [`Point::RecheckInterval`].
    HideInterval,
    /// Release store of an interval's even sequence number; partner [`Point::SeeInterval`].
    PublishInterval,
    /// Acquire load of an interval's sequence number; partner [`Point::PublishInterval`].
    SeeInterval,
    /// Acquire fence between an interval's bounds and the second load of its sequence number;
    /// partner [`Point::HideInterval`].
    RecheckInterval,
    /// The second load of the sequence number itself.
    RecheckSequence,
    /// Light fence between storing a hazard and the second load of the value; partner
    /// [`Point::FindHazards`].
    Protect,
    /// The second load of the value itself.
    RecheckValue,
    /// Heavy fence between replacing a value and loading the hazards; partner [`Point::Protect`].
    FindHazards,
    /// Release store of a value; partner: the second load of the value.
    PublishValue,
    /// Release store that clears a hazard; partner [`Point::SeeClearedHazard`].
    ClearHazard,
    /// Acquire load of a hazard; partner [`Point::ClearHazard`].
    SeeClearedHazard,
}

/// Executes a fence of the protocol.
#[inline(always)]
pub fn fence(point: Point, ordering: Ordering) {
    if applies(point) {
        #[cfg(loom)]
        loom::sync::atomic::fence(ordering);
        #[cfg(not(loom))]
        std::sync::atomic::fence(ordering);
    }
}

/// Executes a SeqCst fence with regard to [`heavy_fence`].
#[inline(always)]
pub fn light_fence(point: Point) {
    #[cfg(loom)]
    fence(point, Ordering::SeqCst);
    #[cfg(not(loom))]
    if applies(point) {
        crate::membarrier::light();
    }
}

/// Executes a SeqCst fence with regard to [`light_fence`]. Returns false if that is impossible.
pub fn heavy_fence(point: Point) -> bool {
    #[cfg(loom)]
    fence(point, Ordering::SeqCst);
    #[cfg(not(loom))]
    if applies(point) {
        return crate::membarrier::heavy();
    }
    true
}

/// Returns `ordering`, or Relaxed if `point` is the model's mutant.
#[inline(always)]
pub fn ordering(point: Point, ordering: Ordering) -> Ordering {
    if applies(point) { ordering } else { Ordering::Relaxed }
}

/// Stores a word as the publisher. Under loom the publisher may die before this store.
#[inline(always)]
pub fn store(word: &AtomicU64, value: u64, ordering: Ordering) {
    #[cfg(loom)]
    fuse::burn();
    word.store(value, ordering);
}

/// Returns true: only a model's mutant leaves a step out.
#[cfg(not(loom))]
#[inline(always)]
pub fn applies(_point: Point) -> bool {
    true
}

#[cfg(loom)]
pub use model::{applies, fuse, with_mutant};

#[cfg(loom)]
mod model {
    use super::Point;
    use std::cell::Cell;

    // All threads of one loom model run as coroutines on the thread that called `model`.
    std::thread_local! {
        static MUTANT: Cell<Option<Point>> = const { Cell::new(None) };
    }

    /// Returns false if `point` is the mutant of [`with_mutant`].
    pub fn applies(point: Point) -> bool {
        MUTANT.get() != Some(point)
    }

    /// Runs `body` with the step `mutant` left out.
    pub fn with_mutant<T>(mutant: Option<Point>, body: impl FnOnce() -> T) -> T {
        MUTANT.set(mutant);
        let result = body();
        MUTANT.set(None);
        result
    }

    /// The publisher's death at a store.
    pub mod fuse {
        use std::cell::Cell;

        std::thread_local! {
            static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
        }

        /// The panic payload of a publisher that dies.
        pub struct Death;

        /// Runs `publisher`, which dies before its store number `stores` (from 0). Returns true if
        /// it ran to its end.
        pub fn lit(stores: Option<usize>, publisher: impl FnOnce()) -> bool {
            LEFT.set(stores);
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(publisher));
            LEFT.set(None);
            match ended {
                Ok(()) => true,
                Err(reason) if reason.is::<Death>() => false,
                Err(reason) => std::panic::resume_unwind(reason),
            }
        }

        pub(in crate::protocol::sync) fn burn() {
            match LEFT.get() {
                Some(0) => std::panic::resume_unwind(Box::new(Death)),
                Some(left) => LEFT.set(Some(left - 1)),
                None => {}
            }
        }
    }
}
