//! The slot of a subscriber that the publisher wakes by a call.

use std::path::Path;

use super::{RegistryFile, Slot, at};
use crate::error::{Error, Result};
use crate::protocol::park;
use crate::protocol::sync::{Ordering, Point, fence};
use crate::protocol::words::ReadOnlyWord;
use crate::region::object::{failure_io, queue_name};
use crate::wake::queue::Publisher;
use crate::wake::{Sleep, WakeReceiver, WakeTarget, words};

/// A subscriber's slot in a registry, with its wake receiver.
pub struct WakeSlot {
    /// Declared before the slot, so that it is dropped while the record still names it.
    bell: Option<WakeReceiver>,
    slot: Slot,
    parked: bool,
}

impl WakeSlot {
    /// Claims a slot of registry `id`, or returns `None` if the registry is gone. The publisher
    /// cannot call the subscriber until [`make_bell`](Self::make_bell).
    ///
    /// # Errors
    /// [`Error::Limit`] if every slot is taken, and the errors of opening a registry.
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

    /// Creates the wake receiver of the subscriber: `sleep` is its kind, and `place` its directory,
    /// if it has one. Only the publisher can call it, as far as the system distinguishes the
    /// publisher from other processes. Returns false if the registry was removed in the meantime:
    /// no publisher sweeps it then, and dropping the slot removes the receiver. After an error the
    /// slot is still taken, and its owner polls.
    ///
    /// # Errors
    /// [`Error::InvalidWake`] if the receiver would name a target to another user's publisher, and
    /// the errors of [`WakeReceiver::make`].
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
        // From here on the publisher can open the receiver, or report why it cannot.
        self.slot.say_ready()?;
        Ok(self.slot.opened.has_name())
    }

    /// Returns true if the record still holds the nonce and the ready flag that were written when
    /// the receiver was created. Other users may be able to overwrite them, and then the publisher
    /// would never call this subscriber again.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn is_intact(&self) -> Result<bool> {
        let ready = u64::from(self.bell.is_some());
        Ok(self.slot.holds(at::NONCE, self.slot.nonce)? && self.slot.holds(at::READY, ready)?)
    }

    /// Returns the registry.
    pub fn registry(&self) -> &RegistryFile {
        &self.slot.opened
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
    pub fn bell(&self) -> Option<&WakeReceiver> {
        self.bell.as_ref()
    }

    /// Drains the wake receiver and parks at `seen`. Returns true if `commit` is still `seen`, so
    /// that the owner may sleep.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the registry was truncated.
    pub fn park(&mut self, commit: &ReadOnlyWord, seen: u64) -> Result<bool> {
        if let Some(bell) = &self.bell {
            // Drain before parking: a send into a full queue makes no new edge for epoll.
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
        // From here on, the three steps of `park::park` by system calls. The publisher of a
        // registry that other users may open reads every park word, not `parked_max`. Partner: the
        // fence after the words are read in `Registry::parked_by_calls`.
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

    /// Marks the owner as awake.
    ///
    /// # Errors
    /// Errors of the system.
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

    /// Simulates a killed process: nothing is cleaned, and the locks are released.
    #[cfg(test)]
    pub(super) fn die(&mut self) {
        self.slot.die();
    }
}
