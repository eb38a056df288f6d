//! A subscriber's place in a registry.

use std::path::Path;

use super::{Opened, at};
use crate::error::{Error, Result};
use crate::park;
use crate::region::lock::{self, Span};
use crate::region::object::{self, Access, failure, queue_name};
use crate::region::random_id;
use crate::sync::{AtomicU64, Ordering, Point, fence};
use crate::wake::{Address, Bell, Sleep, words};

/// A subscriber's place in a registry: a slot, its lock, what it is called by.
pub struct Seat {
    pub(super) opened: Opened,
    slot: usize,
    nonce: u64,
    bell: Option<Bell>,
    parked: bool,
    pub(super) process: u32,
}

impl Seat {
    /// Claims a slot of registry `id`. None if the registry is gone. Nobody can call there yet: see [`make_bell`](Self::make_bell).
    ///
    /// # Errors
    /// [`Error::Limit`] if every slot is taken, and as for opening a registry.
    pub fn claim(id: u64, owner: u32, trust_root: bool) -> Result<Option<Self>> {
        let Some(opened) = Opened::open(id, owner, trust_root)? else {
            return Ok(None);
        };
        let failed = |errno| failure(&opened.object, "lock a slot of", errno);
        let mut slots = 0..opened.slots;
        let slot = loop {
            let Some(slot) = slots.next() else {
                let object = opened.object.clone();
                let limit = "the number of subscribers that are woken";
                return Err(Error::Limit {
                    object,
                    limit,
                    remedy: "start the publisher with more slots",
                });
            };
            if lock::try_lock(&opened.file, Span::byte(slot)).map_err(failed)? {
                break slot;
            }
        };
        if let Some(deserted) = opened.clean(slot)? {
            deserted.tell();
        }
        if let Some(words) = opened.mapped() {
            park::claim(&words[at::CLAIMED], slot);
        }
        let (nonce, process) = (random_id()?, std::process::id());
        Ok(Some(Self {
            opened,
            slot,
            nonce,
            bell: None,
            parked: false,
            process,
        }))
    }

    /// Makes what its owner is called by: `sleep` says what, `place` where, if anywhere, `access` who may call. False if the
    /// registry was removed meanwhile: nobody sweeps there any more, and dropping the seat removes what was made. After an
    /// error the slot still counts: its owner looks by itself.
    ///
    /// # Errors
    /// [`Error::InvalidWake`] where it would name a target to another user's publisher, and as for [`Bell::make`].
    pub fn make_bell(
        &mut self,
        sleep: Sleep,
        place: Option<&Path>,
        access: Access,
    ) -> Result<bool> {
        let name = queue_name(self.opened.id, self.slot, self.nonce);
        let address = Address::of(sleep, place, &name)?;
        if words::name_a_target(address.word()) && self.opened.mapped().is_none() {
            let reason = format!(
                "{} may be written to by other users, whose word for a process or a path is not taken: be woken by mq, futex, or unix without a directory",
                self.opened.object
            );
            return Err(Error::InvalidWake { reason });
        }
        self.opened.note_address(self.slot, &address)?;
        // Before it is made: whoever finds the slot deserted knows what to remove.
        self.note(at::NONCE, self.nonce)?;
        fence(Point::Park, Ordering::SeqCst);
        self.bell = Some(Bell::make(&address, access)?);
        Ok(self.has_name())
    }

    fn note(&self, word: usize, value: u64) -> Result<()> {
        self.opened
            .store(self.opened.record(self.slot) + word, value)
    }

    /// The registry's random number.
    pub fn registry_id(&self) -> u64 {
        self.opened.id
    }

    /// The slot.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// The random number of this subscriber.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// What this subscriber is called by, unless the system had none left.
    pub fn bell(&self) -> Option<&Bell> {
        self.bell.as_ref()
    }

    /// Whether the registry still bears its name.
    pub fn has_name(&self) -> bool {
        object::names(&self.opened.object, &self.opened.file)
    }

    /// Drains the bell and parks at `seen`; whether `commit` is still that, so that its owner may sleep.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if somebody cut the registry short.
    pub fn park(&mut self, commit: &AtomicU64, seen: u64) -> Result<bool> {
        if let Some(bell) = &self.bell {
            // Before parking: a send into a full queue makes no new edge for epoll.
            bell.drain();
        }
        self.opened
            .store(at::seen(self.opened.slots, self.slot), seen)?;
        if let Some(words) = self.opened.mapped() {
            self.parked = park::park(
                &words[at::PARKS + self.slot],
                &words[at::PARKED_MAX],
                commit,
                seen,
            );
            self.opened.check_whole()?;
            return Ok(self.parked);
        }
        // The same three steps by calls. The publisher of an opened-up registry reads every park word, not `parked_max`.
        self.opened.store(at::PARKS + self.slot, seen)?;
        self.parked = true;
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
            match self.opened.mapped() {
                Some(words) => park::unpark(&words[at::PARKS + self.slot]),
                None => self.opened.store(at::PARKS + self.slot, park::AWAKE)?,
            }
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            // The bell first, while the record still names it; the lock last, and not left to closing: between fork and
            // exec a child of another thread has the descriptor, too.
            drop(self.bell.take());
            if let Err(error) = self.opened.clean(self.slot) {
                tracing::debug!("leaving slot {} as it is: {error}", self.slot);
            }
            let _falls_by_closing = lock::unlock(&self.opened.file, Span::byte(self.slot));
        }
    }
}
