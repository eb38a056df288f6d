//! The place of a subscriber that is not called by name: it sleeps on `commit` itself, or not at all.
//!
//! It needs no slot. While one is free among the upper half it takes that, so that it can be seen who follows the table; the
//! lower half is left to those who need one.

use super::{RegistryFile, Slot, at};
use crate::error::Result;
use crate::park;
use crate::sync::{Ordering, Point, fence};
use crate::wake::WakeTarget;
use crate::word::ReadOnlyWord;

/// A place at a registry, listed or not.
pub enum FutexWaiter {
    /// At a slot, where nobody calls.
    Listed(Slot),
    /// At none.
    Unlisted(RegistryFile),
}

impl FutexWaiter {
    /// Takes a place at registry `id`; `address` says what for. None if it is gone.
    ///
    /// # Errors
    /// As for opening a registry.
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

    /// The registry.
    pub fn registry(&self) -> &RegistryFile {
        match self {
            Self::Listed(slot) => &slot.opened,
            Self::Unlisted(opened) => opened,
        }
    }

    /// Says that its owner goes to sleep at `seen`; whether `commit` is still that.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if somebody cut the registry short.
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

    /// Says that the owner is awake, to whoever looks.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn unpark(&self) -> Result<()> {
        match self {
            Self::Listed(slot) => slot.note(at::ASLEEP, 0),
            Self::Unlisted(_) => Ok(()),
        }
    }
}
