//! A registry entry for a subscriber that the publisher does not call: it sleeps on `commit`
//! itself, or does not sleep.
//!
//! Such a subscriber does not need a slot. It claims one from the upper half if one is free, so
//! that it appears in the list of subscribers. The lower half is reserved for subscribers that need
//! a slot.

use super::{RegistryFile, Slot, at};
use crate::error::Result;
use crate::protocol::park;
use crate::protocol::sync::{Ordering, Point, fence};
use crate::protocol::words::ReadOnlyWord;
use crate::wake::WakeTarget;

/// A subscriber of a registry, with or without a slot.
pub enum FutexWaiter {
    /// The subscriber has a slot. The publisher does not call it there.
    Listed(Slot),
    /// The subscriber has no slot.
    Unlisted(RegistryFile),
}

impl FutexWaiter {
    /// Joins registry `id`; `address` is the kind of wake-up. Returns `None` if the registry is
    /// gone.
    ///
    /// # Errors
    /// The errors of opening a registry.
    pub fn take(
        id: u64,
        owner: u32,
        trust_root: bool,
        address: &WakeTarget,
    ) -> Result<Option<Self>> {
        let Some(opened) = RegistryFile::open(id, owner, trust_root)? else {
            return Ok(None);
        };
        let upper = opened.slots.div_ceil(2)..opened.slots;
        Ok(Some(match Slot::claim(opened, upper.rev())? {
            Ok(slot) => {
                slot.sign(address)?;
                slot.say_ready()?;
                Self::Listed(slot)
            }
            Err(opened) => Self::Unlisted(opened),
        }))
    }

    /// Returns the registry.
    pub fn registry(&self) -> &RegistryFile {
        match self {
            Self::Listed(slot) => &slot.opened,
            Self::Unlisted(opened) => opened,
        }
    }

    /// Marks the owner as asleep at `seen`. Returns true if `commit` is still `seen`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the registry was truncated.
    pub fn park(&self, commit: &ReadOnlyWord, seen: u64) -> Result<bool> {
        if let Self::Listed(slot) = self {
            slot.note_seen(seen)?;
            slot.note(at::ASLEEP, 1)?;
        }
        let opened = self.registry();
        match opened.mapped() {
            Some(words) => {
                park::park_on_commit(&words[at::SLEEPERS..at::PARKS], seen);
                opened.check_whole()?;
            }
            None => {
                opened.store(at::SLEEPERS + park::flag_of(seen), 1)?;
                fence(Point::Park, Ordering::SeqCst);
            }
        }
        Ok(commit.load(Ordering::Relaxed) == seen)
    }

    /// Marks the owner as awake in the list of subscribers.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn unpark(&self) -> Result<()> {
        match self {
            Self::Listed(slot) => slot.note(at::ASLEEP, 0),
            Self::Unlisted(_) => Ok(()),
        }
    }
}
