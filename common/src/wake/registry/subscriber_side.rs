//! The subscriber's end of a registry: joins it, and parks at a slot or on `commit` itself.

use std::path::Path;

use super::{RegistryFile, at};
use crate::error::{Error, Result};
use crate::protocol::park;
use crate::protocol::sync::{Ordering, Point, fence};
use crate::protocol::words::ReadOnlyWord;
use crate::region::object::{queue_name, status};
use crate::region::{ReaderRegion, random_id};
use crate::wake::queue::PublisherCredentials;
use crate::wake::{Sleep, WakeReceiver, WakeTarget};

/// A subscriber's entry in a registry. Dropping it removes the wake receiver, then cleans and frees
/// the slot.
///
/// - A subscriber that the publisher wakes individually has a slot and parks there.
/// - A subscriber that sleeps on `commit` itself, or only spins, needs no slot. It claims one from
///   the upper half if one is free, so that it appears in the list of subscribers. The lower half
///   is reserved for subscribers that need a slot.
pub struct RegistryEntry {
    registry: RegistryFile,
    /// Number of the claimed slot, whose byte is locked.
    slot: usize,
    /// Random number of this subscriber; 0 if it has no slot.
    nonce: u64,
    is_woken_individually: bool,
    receiver: Option<Box<dyn WakeReceiver>>,
    parked: bool,
}

impl RegistryEntry {
    /// Claims a slot of registry `id`, or returns `None` if the registry is gone. The publisher
    /// cannot wake the subscriber until [`create_receiver`](Self::create_receiver).
    pub fn with_slot(id: u64, owner: u32, trust_root: bool) -> Result<Option<Self>> {
        let Some(registry) = RegistryFile::open(id, owner, trust_root)? else {
            return Ok(None);
        };
        let slots = 0..registry.slots();
        let entry = Self::claim(registry, slots, true)?;
        if entry.nonce == 0 {
            return Err(Error::Limit {
                object: entry.registry.object().to_owned(),
                limit: "the number of subscriber slots",
                remedy: "start the publisher with more slots",
            });
        }
        if let Some(words) = entry.registry.mapped() {
            park::claim(&words[at::CLAIMED], entry.slot);
        }
        Ok(Some(entry))
    }

    /// Joins registry `id` to sleep on `commit`, or to spin if `sleep` is `None`. Returns `None` if
    /// the registry is gone.
    pub fn on_commit(
        id: u64,
        owner: u32,
        trust_root: bool,
        sleep: Option<Sleep>,
    ) -> Result<Option<Self>> {
        let Some(registry) = RegistryFile::open(id, owner, trust_root)? else {
            return Ok(None);
        };
        let upper = registry.slots().div_ceil(2)..registry.slots();
        let entry = Self::claim(registry, upper.rev(), false)?;
        if entry.nonce != 0 {
            entry.write_record(&WakeTarget::new(sleep, None, "")?)?;
            entry.mark_ready()?;
        }
        Ok(Some(entry))
    }

    /// Claims and cleans the first free slot of `slots`, if there is one.
    fn claim(
        registry: RegistryFile,
        slots: impl Iterator<Item = usize>,
        is_woken_individually: bool,
    ) -> Result<Self> {
        let mut entry = Self {
            registry,
            slot: 0,
            nonce: 0,
            is_woken_individually,
            receiver: None,
            parked: false,
        };
        for slot in slots {
            if entry.registry.try_lock(slot)? {
                (entry.slot, entry.nonce) = (slot, random_id()?);
                if let Some(stale) = entry.registry.clean(slot)? {
                    stale.log();
                }
                break;
            }
        }
        Ok(entry)
    }

    /// Creates the subscriber's wake receiver, of the kind `sleep` and at `place`, if the user named
    /// one. Only the publisher can wake it, as far as the system distinguishes the
    /// publisher from other processes. Returns false if the registry was removed in the meantime:
    /// no publisher sweeps it then, and dropping the entry removes the receiver. After an error the
    /// slot is still taken, and its owner polls.
    pub fn create_receiver(&mut self, sleep: Sleep, place: Option<&Path>) -> Result<bool> {
        let registry = &self.registry;
        let name = queue_name(registry.id(), self.slot, self.nonce);
        let target = WakeTarget::new(Some(sleep), place, &name)?;
        if target.mechanism.carries_target() && registry.mapped().is_none() {
            let reason = format!(
                "{}: other users may write to it, so the publisher accepts no process or path from it; use mq, futex, or unix without a directory",
                registry.object()
            );
            return Err(Error::InvalidWake { reason });
        }
        let status = status(registry.object(), registry.file())?;
        self.write_record(&target)?;
        self.receiver = target.create(PublisherCredentials::of(&status))?;
        // From here on the publisher can open the sender, or report why it cannot.
        self.mark_ready()?;
        Ok(self.registry.has_name())
    }

    /// Writes the owner and its wake target into the record before the target is created. The sweep
    /// of a stale slot reads from the record what to remove.
    fn write_record(&self, target: &WakeTarget) -> Result<()> {
        self.registry.write_record(self.slot, self.nonce, target)?;
        // Partner: the fence in `Registry::remove_receivers`. Either that call sees this record, or
        // the owner sees that the registry lost its name.
        fence(Point::Park, Ordering::SeqCst);
        Ok(())
    }

    fn mark_ready(&self) -> Result<()> {
        park::mark_ready(|word, value| self.registry.store(self.word(word), value))
    }

    /// Returns the index in the registry of a word of the record.
    fn word(&self, word: usize) -> usize {
        self.registry.record(self.slot) + word
    }

    /// Returns true if the nonce and the ready flag in the record are those that were written when
    /// the receiver was created.
    fn is_intact(&self) -> Result<bool> {
        let ready = u64::from(self.receiver.is_some());
        let load = |word| self.registry.load(self.word(word));
        Ok(load(at::NONCE)? == self.nonce && load(at::READY)? == ready)
    }

    /// Returns true if no wake-up will arrive through this entry: the receiver is missing and a
    /// `retry` is due, or another user has overwritten the record.
    pub fn is_lost(&self, retry: bool) -> bool {
        let is_missing = retry && self.receiver.is_none();
        self.is_woken_individually
            && (is_missing || self.is_intact().is_ok_and(|is_intact| !is_intact))
    }

    /// Returns the errno with which the publisher of `region` failed to open the receiver.
    pub fn refusal(&self, region: &ReaderRegion) -> Option<i32> {
        let answer = region.acknowledged(self.slot, self.nonce);
        answer.filter(|errno| self.is_woken_individually && *errno != 0)
    }

    /// Returns false if the subscriber sleeps on `commit` itself or only spins.
    pub fn is_woken_individually(&self) -> bool {
        self.is_woken_individually
    }

    pub fn registry(&self) -> &RegistryFile {
        &self.registry
    }

    pub fn receiver(&self) -> Option<&dyn WakeReceiver> {
        self.receiver.as_deref()
    }

    /// Returns slot and nonce.
    #[cfg(test)]
    pub(super) fn identity(&self) -> (usize, u64) {
        (self.slot, self.nonce)
    }

    /// Drains the wake receiver and parks at `seen`. Returns true if `commit` is still `seen`, so
    /// that the owner may sleep.
    pub fn park(&mut self, commit: &ReadOnlyWord, seen: u64) -> Result<bool> {
        if let Some(receiver) = &self.receiver {
            // Drain before parking: a send into a full queue makes no new edge for epoll.
            receiver.drain();
        }
        let registry = &self.registry;
        if self.nonce != 0 {
            registry.store(at::seen(registry.slots(), self.slot), seen)?;
        }
        self.parked = if self.is_woken_individually {
            // The publisher of a registry that other users may open reads every park word.
            let parked_max = registry.mapped().map(|words| &words[at::PARKED_MAX]);
            let park_word = at::PARKS + self.slot;
            park::park(parked_max, commit, seen, |value| registry.store(park_word, value))?
        } else {
            self.show_asleep(1)?;
            park::park_on_commit(seen, |flag, value| registry.store(at::SLEEPERS + flag, value))?;
            let is_last = commit.load(Ordering::Relaxed) == seen;
            if !is_last {
                self.show_asleep(0)?;
            }
            is_last
        };
        registry.check_whole()?;
        Ok(self.parked)
    }

    pub fn unpark(&mut self) -> Result<()> {
        match std::mem::take(&mut self.parked) {
            true if self.is_woken_individually => {
                self.registry.store(at::PARKS + self.slot, park::AWAKE)
            }
            true => self.show_asleep(0),
            false => Ok(()),
        }
    }

    /// Stores in the record whether a subscriber without a park word is asleep.
    fn show_asleep(&self, asleep: u64) -> Result<()> {
        match self.nonce {
            0 => Ok(()),
            _ => self.registry.store(self.word(at::ASLEEP), asleep),
        }
    }

    /// Simulates a killed process: nothing is cleaned, and the locks are released.
    #[cfg(test)]
    pub(super) fn die(&mut self) {
        self.registry.unlock(self.slot).expect("locked");
        self.nonce = 0;
    }
}

impl Drop for RegistryEntry {
    fn drop(&mut self) {
        // Remove the receiver while the record still names it.
        self.receiver = None;
        if self.nonce != 0 && self.registry.is_of_this_process() {
            if let Err(error) = self.registry.clean(self.slot) {
                tracing::debug!("slot {} was not cleaned: {error}", self.slot);
            }
            // Unlocks last, and explicitly instead of on close: between fork and exec, a child that
            // another thread forked also has the descriptor.
            let _released_by_close = self.registry.unlock(self.slot);
        }
    }
}
