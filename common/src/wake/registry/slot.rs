//! A slot: claimed by locking its byte, filled in by its owner, cleaned before it is released.

use super::{RegistryFile, at};
use crate::error::Result;
use crate::protocol::park;
use crate::protocol::sync::{Ordering, Point, fence};
use crate::region::fork::Creator;
use crate::region::lock::{self, Span};
use crate::region::object::failure;
use crate::region::random_id;
use crate::wake::WakeTarget;

/// A slot of this process. Dropping it frees it.
pub struct Slot {
    pub(super) opened: RegistryFile,
    pub(super) number: usize,
    pub(super) nonce: u64,
    process: Creator,
}

impl Slot {
    /// Claims the first free slot of `slots` and cleans it. Returns the registry if none is free.
    ///
    /// # Errors
    /// Errors of the system.
    pub(super) fn claim(
        opened: RegistryFile,
        slots: impl IntoIterator<Item = usize>,
    ) -> Result<std::result::Result<Self, RegistryFile>> {
        let mut free = None;
        for slot in slots {
            let locked = lock::try_lock(&opened.file, Span::byte(slot));
            if locked.map_err(|errno| failure(&opened.object, "lock a slot of", errno))? {
                free = Some(slot);
                break;
            }
        }
        let Some(number) = free else {
            return Ok(Err(opened));
        };
        let slot = Self {
            opened,
            number,
            nonce: random_id()?,
            process: Creator::this_process(),
        };
        if let Some(deserted) = slot.opened.clean(number)? {
            deserted.tell();
        }
        Ok(Ok(slot))
    }

    /// Writes the owner and its wake target into the record before the target is created. The sweep
    /// of a stale slot reads from the record what to remove.
    ///
    /// # Errors
    /// Errors of the system.
    pub(super) fn sign(&self, address: &WakeTarget) -> Result<()> {
        self.opened.sign(self.number, self.nonce, address)?;
        // Partner: the fence in `Registry::remove_queues`. Either `remove_queues` sees this record,
        // or the owner sees that the registry lost its name.
        fence(Point::Park, Ordering::SeqCst);
        Ok(())
    }

    /// Marks the owner's wake target as created.
    ///
    /// # Errors
    /// Errors of the system.
    pub(super) fn say_ready(&self) -> Result<()> {
        park::say_ready(|word, value| self.note(word, value))
    }

    /// Stores the last version that the owner has seen.
    ///
    /// # Errors
    /// Errors of the system.
    pub(super) fn note_seen(&self, seen: u64) -> Result<()> {
        let word = at::seen(self.opened.slots, self.number);
        self.opened.store(word, seen)
    }

    /// Writes a word of the record.
    ///
    /// # Errors
    /// Errors of the system.
    pub(super) fn note(&self, word: usize, value: u64) -> Result<()> {
        self.opened
            .store(self.opened.record(self.number) + word, value)
    }

    /// Returns true if a word of the record has this value.
    ///
    /// # Errors
    /// Errors of the system.
    pub(super) fn holds(&self, word: usize, value: u64) -> Result<bool> {
        let found = self.opened.load(self.opened.record(self.number) + word)?;
        Ok(found == value)
    }

    /// Simulates a killed process: nothing is cleaned, and the lock is released.
    #[cfg(test)]
    pub(super) fn die(&mut self) {
        lock::unlock(&self.opened.file, Span::byte(self.number)).expect("its own");
        self.process = Creator::another_process();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.process.is_this_process() {
            if let Err(error) = self.opened.clean(self.number) {
                tracing::debug!("leaving slot {} as it is: {error}", self.number);
            }
            // Unlocks last, and explicitly instead of on close: between fork and exec, a child that
            // another thread forked also has the descriptor.
            let _falls_by_closing = lock::unlock(&self.opened.file, Span::byte(self.number));
        }
    }
}
