//! Atomics and fences, switched between the machine's and loom's, each ordering of the protocol by name.
//!
//! Outside models every function here compiles to the one instruction it stands for. Under `--cfg loom` a
//! test may name one [`Point`] as its mutant: that ordering is then left out, and the model must notice.
//! There, too, a publisher can be made to die before its k-th store ([`fuse`]).

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! points {
    ($($(#[$meaning:meta])* $name:ident,)+) => {
        /// The places where the protocol depends on an ordering or on a second look. The comment names the partner.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[$meaning])* $name,)+
        }

        #[cfg(loom)]
        impl Point {
            /// All of them: each must be some model's mutant.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

points! {
    /// Release fence between a transaction's tags and its words; partner [`Point::RecheckTag`].
    HideRows,
    /// Release store of `commit`; partner [`Point::SeeCommit`].
    PublishCommit,
    /// SeqCst fence after the commit; partner [`Point::Park`]. It also keeps the next transaction's tags behind this commit.
    AfterCommit,
    /// Acquire fence after loading `commit`; partner [`Point::PublishCommit`].
    SeeCommit,
    /// Acquire fence between a row's words and the second look at its tag; partner [`Point::HideRows`].
    RecheckTag,
    /// The second look at the tag itself, after copying a row.
    RecheckRow,
    /// The second look at the tag for the answers "deleted" and "not changed since".
    RecheckAnswer,
    /// Acquire fence after a row was found rewritten; partner [`Point::AfterCommit`]: the next version is greater.
    Overtaken,
    /// Writing into the copy that does not hold the last committed row.
    SpareCopy,
    /// Raising the change tree.
    RaiseTree,
    /// Noting a written slot in the journal.
    Note,
    /// Acquire fence between how far the journal has come and the second look at `commit`; partner [`Point::AfterCommit`], and any release
    /// fence after it.
    SeeMark,
    /// That second look.
    RecheckMark,
    /// Acquire fence between the journal's slots and the look at how far it has come; partner as of [`Point::SeeMark`].
    RecheckJournal,
    /// That look itself.
    JournalReach,
    /// Release fence before a successor's first store; the dead process's own fences do not cover it.
    TakeoverFence,
    /// Hiding what the dead publisher left above `commit`.
    TakeoverHide,
    /// Hiding it under [`NEVER`](crate::layout::NEVER) and not under 0, which a reader would take for "no row".
    TakeoverNever,
    /// Release store of a park word, or the fence before a call that writes it; partner [`Point::ReadRecord`].
    ParkWord,
    /// Acquire fence between a park word and its owner's record; partner [`Point::ParkWord`].
    ReadRecord,
    /// Release fence between a slot's record and its owner's nonce; partner [`Point::SeeNonce`].
    SignRecord,
    /// Acquire fence between an owner's nonce and the rest of the record; partner [`Point::SignRecord`].
    SeeNonce,
    /// Release fence between making what an owner is called by and saying that it is made; partner [`Point::SeeReady`].
    SayReady,
    /// Acquire fence between that word and opening what the owner is called by; partner [`Point::SayReady`].
    SeeReady,
    /// Release fence between the errno of an acknowledgement and its nonce; partner [`Point::SeeAcknowledgement`].
    Acknowledge,
    /// Acquire fence between the nonce of an acknowledgement and its errno; partner [`Point::Acknowledge`].
    SeeAcknowledgement,
    /// SeqCst fence between the park word and the look at `commit`; partner [`Point::AfterCommit`].
    Park,
    /// The look at `commit` after parking.
    ParkLook,
    /// Raising `parked_max` before the park fence.
    ParkedMax,
    /// Raising the number of claimed slots before the park fence.
    Claimed,
    /// Setting the flag of those who sleep on `commit` before the park fence.
    SleeperFlag,
    /// That there are two of these flags, for even and odd commits, so that clearing one leaves those alone who fall asleep now.
    SleeperParity,
    /// Release fence between an interval's odd sequence number and its bounds; partner [`Point::RecheckInterval`].
    HideInterval,
    /// Release store of an interval's even sequence number; partner [`Point::SeeInterval`].
    PublishInterval,
    /// Acquire load of an interval's sequence number; partner [`Point::PublishInterval`].
    SeeInterval,
    /// Acquire fence between an interval's bounds and the second look at its sequence number; partner [`Point::HideInterval`].
    RecheckInterval,
    /// That second look.
    RecheckSequence,
}

/// A fence of the protocol.
#[inline(always)]
pub fn fence(point: Point, ordering: Ordering) {
    if applies(point) {
        #[cfg(loom)]
        loom::sync::atomic::fence(ordering);
        #[cfg(not(loom))]
        std::sync::atomic::fence(ordering);
    }
}

/// The ordering of `point`, or Relaxed where a model takes it out.
#[inline(always)]
pub fn ordering(point: Point, ordering: Ordering) -> Ordering {
    if applies(point) {
        ordering
    } else {
        Ordering::Relaxed
    }
}

/// A store by the publisher: under loom it may be the one before which it dies.
#[inline(always)]
pub fn store(word: &AtomicU64, value: u64, ordering: Ordering) {
    #[cfg(loom)]
    fuse::burn();
    word.store(value, ordering);
}

/// Whether the step `point` is made: always, but for a model's mutant.
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

    /// Whether the step `point` is made: always, but for the mutant of [`with_mutant`].
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

    /// Death at a store.
    pub mod fuse {
        use std::cell::Cell;

        std::thread_local! {
            static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
        }

        /// What a publisher unwinds with when its fuse has burnt down.
        pub struct Death;

        /// Runs `publisher`, which dies before its store number `stores` (from 0). Whether it came to its end.
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

        pub(in crate::sync) fn burn() {
            match LEFT.get() {
                Some(0) => std::panic::resume_unwind(Box::new(Death)),
                Some(left) => LEFT.set(Some(left - 1)),
                None => {}
            }
        }
    }
}
