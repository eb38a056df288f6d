//! The subscriber's end of a registry: claims a slot, and parks there or on `commit` itself.

use std::path::Path;

use super::{RegistryFile, at};
use crate::error::{Error, Result};
use crate::protocol::park;
use crate::protocol::sync::{Ordering, Point, fence};
use crate::protocol::words::ReadOnlyWord;
use crate::region::fork::Creator;
use crate::region::object::{queue_name, status};
use crate::region::random_id;
use crate::wake::queue::PublisherCredentials;
use crate::wake::{Sleep, WakeReceiver, WakeTarget};

/// The slot of a subscriber that the publisher wakes individually, with its wake receiver.
pub struct WakeSlot {
    /// Declared before the slot, so that it is dropped while the record still names it.
    receiver: Option<Box<dyn WakeReceiver>>,
    slot: ClaimedSlot,
    parked: bool,
}

impl WakeSlot {
    /// Claims a slot of registry `id`, or returns `None` if the registry is gone. The publisher
    /// cannot wake the subscriber until [`create_receiver`](Self::create_receiver).
    ///
    /// # Errors
    /// [`Error::Limit`] if every slot is taken, and the errors of opening a registry.
    pub fn claim(id: u64, owner: u32, trust_root: bool) -> Result<Option<Self>> {
        let Some(registry) = RegistryFile::open(id, owner, trust_root)? else {
            return Ok(None);
        };
        let slots = 0..registry.slots();
        let slot = ClaimedSlot::claim(registry, slots)?.map_err(|registry| Error::Limit {
            object: registry.object().to_owned(),
            limit: "the number of subscriber slots",
            remedy: "start the publisher with more slots",
        })?;
        if let Some(words) = slot.registry.mapped() {
            park::claim(&words[at::CLAIMED], slot.number);
        }
        Ok(Some(Self { receiver: None, slot, parked: false }))
    }

    /// Creates the wake receiver of the subscriber: `sleep` is its kind, and `place` its directory,
    /// if it has one. Only the publisher can wake it, as far as the system distinguishes the
    /// publisher from other processes. Returns false if the registry was removed in the meantime:
    /// no publisher sweeps it then, and dropping the slot removes the receiver. After an error the
    /// slot is still taken, and its owner polls.
    ///
    /// # Errors
    /// [`Error::InvalidWake`] if the receiver would name a target to another user's publisher, and
    /// the errors of creating the receiver.
    pub fn create_receiver(&mut self, sleep: Sleep, place: Option<&Path>) -> Result<bool> {
        let registry = &self.slot.registry;
        let name = queue_name(registry.id(), self.slot.number, self.slot.nonce);
        let target = WakeTarget::new(Some(sleep), place, &name)?;
        if target.mechanism.carries_target() && registry.mapped().is_none() {
            let reason = format!(
                "{}: other users may write to it, so the publisher accepts no process or path from it; use mq, futex, or unix without a directory",
                registry.object()
            );
            return Err(Error::InvalidWake { reason });
        }
        let status = status(registry.object(), registry.file())?;
        self.slot.sign(&target)?;
        self.receiver = target.create(PublisherCredentials::of(&status))?;
        // From here on the publisher can open the sender, or report why it cannot.
        self.slot.say_ready()?;
        Ok(self.slot.registry.has_name())
    }

    /// Returns true if the record still holds the nonce and the ready flag that were written when
    /// the receiver was created. Other users may be able to overwrite them, and then the publisher
    /// would never wake this subscriber again.
    pub fn is_intact(&self) -> Result<bool> {
        let ready = u64::from(self.receiver.is_some());
        Ok(self.slot.load(at::NONCE)? == self.slot.nonce && self.slot.load(at::READY)? == ready)
    }

    /// Returns the registry.
    pub fn registry(&self) -> &RegistryFile {
        &self.slot.registry
    }

    /// Returns the number of the slot.
    pub fn slot(&self) -> usize {
        self.slot.number
    }

    /// Returns the random number of this subscriber.
    pub fn nonce(&self) -> u64 {
        self.slot.nonce
    }

    /// Returns the wake receiver of this subscriber, if it could be created.
    pub fn receiver(&self) -> Option<&dyn WakeReceiver> {
        self.receiver.as_deref()
    }

    /// Drains the wake receiver and parks at `seen`. Returns true if `commit` is still `seen`, so
    /// that the owner may sleep.
    pub fn park(&mut self, commit: &ReadOnlyWord, seen: u64) -> Result<bool> {
        if let Some(receiver) = &self.receiver {
            // Drain before parking: a send into a full queue makes no new edge for epoll.
            receiver.drain();
        }
        self.slot.note_seen(seen)?;
        let (registry, number) = (&self.slot.registry, self.slot.number);
        // The publisher of a registry that other users may open reads every park word.
        let parked_max = registry.mapped().map(|words| &words[at::PARKED_MAX]);
        self.parked = park::park(parked_max, commit, seen, |value| {
            registry.store(at::PARKS + number, value)
        })?;
        registry.check_whole()?;
        Ok(self.parked)
    }

    /// Marks the owner as awake.
    pub fn unpark(&mut self) -> Result<()> {
        if std::mem::take(&mut self.parked) {
            let word = at::PARKS + self.slot.number;
            self.slot.registry.store(word, park::AWAKE)?;
        }
        Ok(())
    }

    /// Simulates a killed process: nothing is cleaned, and the locks are released.
    #[cfg(test)]
    pub(super) fn die(&mut self) {
        self.slot.registry.unlock(self.slot.number).expect("locked");
        self.slot.process = Creator::another_process();
    }
}

/// A registry entry for a subscriber that the publisher does not wake individually: it sleeps on
/// `commit` itself, or does not sleep.
///
/// Such a subscriber does not need a slot. It claims one from the upper half if one is free, so
/// that it appears in the list of subscribers. The lower half is reserved for subscribers that need
/// a slot.
pub enum FutexWaiter {
    /// The subscriber has a slot. The publisher does not call it there.
    Listed(ClaimedSlot),
    /// The subscriber has no slot.
    Unlisted(RegistryFile),
}

impl FutexWaiter {
    /// Joins registry `id`; `sleep` is the kind of wake-up, `None` for a subscriber that spins.
    /// Returns `None` if the registry is gone.
    pub fn take(
        id: u64,
        owner: u32,
        trust_root: bool,
        sleep: Option<Sleep>,
    ) -> Result<Option<Self>> {
        let Some(registry) = RegistryFile::open(id, owner, trust_root)? else {
            return Ok(None);
        };
        let upper = registry.slots().div_ceil(2)..registry.slots();
        Ok(Some(match ClaimedSlot::claim(registry, upper.rev())? {
            Ok(slot) => {
                slot.sign(&WakeTarget::new(sleep, None, "")?)?;
                slot.say_ready()?;
                Self::Listed(slot)
            }
            Err(registry) => Self::Unlisted(registry),
        }))
    }

    /// Returns the registry.
    pub fn registry(&self) -> &RegistryFile {
        match self {
            Self::Listed(slot) => &slot.registry,
            Self::Unlisted(registry) => registry,
        }
    }

    /// Marks the owner as asleep at `seen`. Returns true if `commit` is still `seen`.
    pub fn park(&self, commit: &ReadOnlyWord, seen: u64) -> Result<bool> {
        if let Self::Listed(slot) = self {
            slot.note_seen(seen)?;
            slot.store(at::ASLEEP, 1)?;
        }
        let registry = self.registry();
        park::park_on_commit(seen, |flag, value| registry.store(at::SLEEPERS + flag, value))?;
        registry.check_whole()?;
        Ok(commit.load(Ordering::Relaxed) == seen)
    }

    /// Marks the owner as awake in the list of subscribers.
    pub fn unpark(&self) -> Result<()> {
        match self {
            Self::Listed(slot) => slot.store(at::ASLEEP, 0),
            Self::Unlisted(_) => Ok(()),
        }
    }
}

/// A slot of this process: claimed by locking its byte, filled in by its owner. Dropping it cleans
/// and frees it.
pub struct ClaimedSlot {
    registry: RegistryFile,
    number: usize,
    nonce: u64,
    process: Creator,
}

impl ClaimedSlot {
    /// Claims the first free slot of `slots` and cleans it. Returns the registry if none is free.
    fn claim(
        registry: RegistryFile,
        slots: impl IntoIterator<Item = usize>,
    ) -> Result<std::result::Result<Self, RegistryFile>> {
        for number in slots {
            if registry.try_lock(number)? {
                let slot = Self {
                    registry,
                    number,
                    nonce: random_id()?,
                    process: Creator::this_process(),
                };
                if let Some(stale) = slot.registry.clean(number)? {
                    stale.log();
                }
                return Ok(Ok(slot));
            }
        }
        Ok(Err(registry))
    }

    /// Writes the owner and its wake target into the record before the target is created. The sweep
    /// of a stale slot reads from the record what to remove.
    fn sign(&self, target: &WakeTarget) -> Result<()> {
        self.registry.sign(self.number, self.nonce, target)?;
        // Partner: the fence in `Registry::remove_receivers`. Either that call sees this record, or
        // the owner sees that the registry lost its name.
        fence(Point::Park, Ordering::SeqCst);
        Ok(())
    }

    /// Marks the owner's wake target as created.
    fn say_ready(&self) -> Result<()> {
        park::say_ready(|word, value| self.store(word, value))
    }

    /// Stores the last version that the owner has seen.
    fn note_seen(&self, seen: u64) -> Result<()> {
        let word = at::seen(self.registry.slots(), self.number);
        self.registry.store(word, seen)
    }

    /// Stores a word of the record.
    fn store(&self, word: usize, value: u64) -> Result<()> {
        let record = self.registry.record(self.number);
        self.registry.store(record + word, value)
    }

    /// Loads a word of the record.
    fn load(&self, word: usize) -> Result<u64> {
        self.registry.load(self.registry.record(self.number) + word)
    }
}

impl Drop for ClaimedSlot {
    fn drop(&mut self) {
        if self.process.is_this_process() {
            if let Err(error) = self.registry.clean(self.number) {
                tracing::debug!("slot {} was not cleaned: {error}", self.number);
            }
            // Unlocks last, and explicitly instead of on close: between fork and exec, a child that
            // another thread forked also has the descriptor.
            let _falls_by_closing = self.registry.unlock(self.number);
        }
    }
}
