//! The place of a subscriber that is called by name.

use std::path::Path;

use super::{RegistryFile, Slot, at};
use crate::error::{Error, Result};
use crate::park;
use crate::region::object::{failure_io, queue_name};
use crate::sync::{Ordering, Point, fence};
use crate::wake::queue::Publisher;
use crate::wake::{Sleep, WakeReceiver, WakeTarget, words};
use crate::word::ReadOnlyWord;

/// A subscriber's place in a registry: a slot, and what it is called by.
pub struct WakeSlot {
    /// Before the slot: it goes while the record still names it.
    bell: Option<WakeReceiver>,
    slot: Slot,
    parked: bool,
}

impl WakeSlot {
    /// Claims a slot of registry `id`. None if the registry is gone. Nobody can call there yet: see [`make_bell`](Self::make_bell).
    ///
    /// # Errors
    /// [`Error::Limit`] if every slot is taken, and as for opening a registry.
    pub fn claim(id: u64, owner: u32, trust_root: bool) -> Result<Option<Self>> {
        let Some(opened) = RegistryFile::open(id, owner, trust_root)? else {
            return Ok(None);
        };
        let slots = 0..opened.slots;
        let slot = Slot::claim(opened, slots)?.map_err(|opened| Error::Limit {
            object: opened.object,
            limit: "the number of subscribers that are woken",
            remedy: "start the publisher with more slots",
        })?;
        if let Some(words) = slot.opened.mapped() {
            park::claim(&words[at::CLAIMED], slot.number);
        }
        Ok(Some(Self {
            bell: None,
            slot,
            parked: false,
        }))
    }

    /// Makes what the subscriber is called by: `sleep` says what, and `place` where, if anywhere. Only the publisher can call there,
    /// as far as the system distinguishes it from others. Returns false if the registry was removed in the meantime: nobody sweeps
    /// there then, and dropping the seat removes what was made. After an error the slot is still taken, and its owner re-checks.
    ///
    /// # Errors
    /// [`Error::InvalidWake`] where it would name a target to another user's publisher, and as for [`WakeReceiver::make`].
    pub fn make_bell(&mut self, sleep: Sleep, place: Option<&Path>) -> Result<bool> {
        let opened = &self.slot.opened;
        let name = queue_name(opened.id, self.slot.number, self.slot.nonce);
        let address = WakeTarget::of(sleep, place, &name)?;
        if words::name_a_target(address.word()) && opened.mapped().is_none() {
            let reason = format!(
                "{} may be written to by other users, whose word for a process or a path is not taken: be woken by mq, futex, or unix without a directory",
                opened.object
            );
            return Err(Error::InvalidWake { reason });
        }
        let status = opened.file.metadata();
        let status = status.map_err(|error| failure_io(&opened.object, "look at", error))?;
        self.slot.sign(&address)?;
        self.bell = Some(WakeReceiver::make(&address, Publisher::of(&status))?);
        // From here on the publisher can open it, or say why not.
        self.slot.say_ready()?;
        Ok(self.slot.opened.has_name())
    }

    /// Returns true if the record still says what was written when the bell was made. Other users may be able to overwrite it, and
    /// the publisher would never call this subscriber again.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn is_intact(&self) -> Result<bool> {
        let ready = u64::from(self.bell.is_some());
        Ok(self.slot.holds(at::NONCE, self.slot.nonce)? && self.slot.holds(at::READY, ready)?)
    }

    /// The registry.
    pub fn registry(&self) -> &RegistryFile {
        &self.slot.opened
    }

    /// The slot.
    pub fn slot(&self) -> usize {
        self.slot.number
    }

    /// The random number of this subscriber.
    pub fn nonce(&self) -> u64 {
        self.slot.nonce
    }

    /// What this subscriber is called by, unless the system had none left.
    pub fn bell(&self) -> Option<&WakeReceiver> {
        self.bell.as_ref()
    }

    /// Drains the bell and parks at `seen`; whether `commit` is still that, so that its owner may sleep.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if somebody cut the registry short.
    pub fn park(&mut self, commit: &ReadOnlyWord, seen: u64) -> Result<bool> {
        if let Some(bell) = &self.bell {
            // Before parking: a send into a full queue makes no new edge for epoll.
            bell.drain();
        }
        self.slot.note_seen(seen)?;
        let opened = &self.slot.opened;
        if let Some(words) = opened.mapped() {
            self.parked = park::park(
                &words[at::PARKS + self.slot.number],
                &words[at::PARKED_MAX],
                commit,
                seen,
            );
            opened.check_whole()?;
            return Ok(self.parked);
        }
        // The same three steps by calls. The publisher of an opened-up registry reads every park word, not `parked_max`.
        // Partner: the fence after the words are read in `Registry::parked_by_calls`.
        fence(Point::ParkWord, Ordering::Release);
        opened.store(at::PARKS + self.slot.number, seen)?;
        self.parked = true;
        // Partner: the fence after the commit.
        fence(Point::Park, Ordering::SeqCst);
        if commit.load(Ordering::Relaxed) != seen {
            self.unpark()?;
        }
        Ok(self.parked)
    }

    /// Says that the owner is awake.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn unpark(&mut self) -> Result<()> {
        if std::mem::take(&mut self.parked) {
            let Slot { opened, number, .. } = &self.slot;
            match opened.mapped() {
                Some(words) => park::unpark(&words[at::PARKS + number]),
                None => opened.store(at::PARKS + number, park::AWAKE)?,
            }
        }
        Ok(())
    }

    /// As if its process were killed: nothing is cleaned, and its locks fall.
    #[cfg(test)]
    pub(super) fn die(&mut self) {
        self.slot.die();
    }
}
