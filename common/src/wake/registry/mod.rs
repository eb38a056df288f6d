//! The registry of subscribers: one slot for each subscriber, claimed by a kernel lock on one byte.
//!
//! A slot whose byte can be locked is free. A process that claims or frees a slot locks the byte
//! first, cleans the slot, and then keeps or releases the lock. A publisher's sweep and a joining
//! subscriber therefore never take a slot that a live process holds, whatever its pid.
//!
//! Subscribers write the registry, so the publisher trusts nothing in it: it only reads versions to
//! compare and random numbers to build names from. If only one user may open the registry, both
//! ends map it. If other users may open it, any of them could truncate it under a mapping and kill
//! the processes that access it. Such a registry is read and written by system calls, so that a
//! short read is an error and not a signal.

mod listeners;
mod publisher_side;
mod seat;
mod slot;
mod stand;
mod subscriber_side;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::error::{Error, Result};
use crate::protocol::layout::{LAYOUT_VERSION, MAX_SLOTS, REGISTRY_MAGIC, registry as at};
use crate::protocol::park;
use crate::protocol::sync::{AtomicU64, Ordering};
use crate::region::fork::ForkSafeFd;
use crate::region::lock::{self, Span};
use crate::region::object::{self, failure, failure_io, registry_name};
use crate::region::{WritableMapping, read_words};

pub use listeners::{Listener, listeners};
pub use publisher_side::Registry;
pub use seat::WakeSlot;
use slot::Slot;
pub use stand::FutexWaiter;
pub use subscriber_side::Member;

/// The words of a registry, accessed through a mapping or by system calls.
enum Words {
    Mapped(WritableMapping),
    ByCall(File),
}

/// Returns the number of slots of registry `id` after checking its header and its length. Other
/// users may be able to write to both, and with a wrong slot count a reader would look for every
/// record in the wrong place.
fn checked_slots(object: &str, file: &File, id: u64) -> Result<usize> {
    let mut head = [0; 4];
    read_words(object, file, 0, &mut head)?;
    let found = [at::MAGIC, at::LAYOUT, at::REGISTRY_ID].map(|word| head[word]);
    if found != [REGISTRY_MAGIC, LAYOUT_VERSION, id] {
        return Err(corrupt(object, "it is not the registry that its name says"));
    }
    let slots = usize::try_from(head[at::SLOTS]).unwrap_or(usize::MAX);
    let status = file
        .metadata()
        .map_err(|error| failure_io(object, "look at", error))?;
    if slots > MAX_SLOTS || status.len() != at::path(slots, slots) as u64 {
        return Err(corrupt(object, "its length is not that of its slots"));
    }
    Ok(slots)
}

fn corrupt(object: &str, reason: &str) -> Error {
    Error::Corrupt {
        object: object.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Returns all words of a registry with `slots` slots, read by one call.
fn all_words(object: &str, file: &File, slots: usize) -> Result<Vec<u64>> {
    let mut words = vec![0; at::words(slots)];
    read_words(object, file, 0, &mut words)?;
    Ok(words)
}

/// An open registry whose header and length were checked.
pub struct RegistryFile {
    object: String,
    /// The descriptor whose bytes are locked. It is never mapped.
    file: ForkSafeFd,
    words: Words,
    id: u64,
    slots: usize,
}

impl RegistryFile {
    fn open(id: u64, owner: u32, trust_root: bool) -> Result<Option<Self>> {
        let object = registry_name(id);
        let Some(file) = object::open(&object, true, owner, trust_root)? else {
            return Ok(None);
        };
        let slots = checked_slots(&object, &file, id)?;
        let status = file
            .metadata()
            .map_err(|error| failure_io(&object, "look at", error))?;
        Self::of(object, file, id, slots, status.mode() & 0o077 != 0).map(Some)
    }

    fn of(object: String, file: File, id: u64, slots: usize, others: bool) -> Result<Self> {
        let second = object::reopen(&object, &file)?;
        let words = if others {
            Words::ByCall(second)
        } else {
            let mapping = WritableMapping::new(&second, at::words(slots));
            Words::Mapped(mapping.map_err(|error| failure_io(&object, "map", error))?)
        };
        Ok(Self {
            object,
            file: ForkSafeFd::new(file),
            words,
            id,
            slots,
        })
    }

    /// Returns the random number from which the registry's name is derived.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns true if the name of the registry still refers to this file.
    pub fn has_name(&self) -> bool {
        object::names(&self.object, &self.file)
    }

    fn mapped(&self) -> Option<&[AtomicU64]> {
        match &self.words {
            Words::Mapped(mapping) => Some(mapping.writable_words(at::words(self.slots))),
            Words::ByCall(_) => None,
        }
    }

    /// Loads a word without any ordering: the steps in [`park`](crate::protocol::park) have their own fences.
    fn load(&self, word: usize) -> Result<u64> {
        match &self.words {
            Words::Mapped(mapping) => {
                Ok(mapping.words(at::words(self.slots))[word].load(Ordering::Relaxed))
            }
            Words::ByCall(file) => {
                let mut value = [0];
                read_words(&self.object, file, word as u64 * 8, &mut value)?;
                Ok(value[0])
            }
        }
    }

    /// Stores a word without any ordering, like [`load`](Self::load).
    fn store(&self, word: usize, value: u64) -> Result<()> {
        match &self.words {
            Words::Mapped(mapping) => {
                mapping.writable_words(at::words(self.slots))[word].store(value, Ordering::Relaxed)
            }
            Words::ByCall(file) => file
                .write_all_at(&value.to_le_bytes(), word as u64 * 8)
                .map_err(|error| failure_io(&self.object, "write", error))?,
        }
        Ok(())
    }

    fn record(&self, slot: usize) -> usize {
        at::record(self.slots, slot)
    }

    /// Returns an error if the file was truncated under its mapping. Such a file may have grown
    /// again, but the mapping no longer shows what other processes see.
    fn check_whole(&self) -> Result<()> {
        match &self.words {
            Words::Mapped(mapping) if !mapping.is_whole() => Err(corrupt(
                &self.object,
                "it was cut short while it was in use",
            )),
            _ => Ok(()),
        }
    }

    /// Returns the subscriber at `slot`, if there is one.
    fn member(&self, slot: usize) -> Result<Option<Member<'_>>> {
        let nonce = self.load(self.record(slot) + at::NONCE)?;
        Ok((nonce != 0).then_some(Member {
            opened: self,
            slot,
            nonce,
        }))
    }

    /// Empties a slot that the caller has locked, and removes the wake receiver of its previous
    /// owner.
    fn clean(&self, slot: usize) -> Result<Option<StaleSlot>> {
        let deserted = self.member(slot)?.map(|member| member.remove(false));
        self.store(at::PARKS + slot, park::AWAKE)?;
        self.store(at::seen(self.slots, slot), 0)?;
        let record = self.record(slot);
        (0..at::RECORD_WORDS).try_for_each(|word| self.store(record + word, 0))?;
        Ok(deserted)
    }

    /// Frees the slots of dead subscribers and removes their wake receivers. Returns the nonce of
    /// the subscriber at each slot, or 0 for a free slot.
    fn free_deserted(&self, mut freed: impl FnMut(StaleSlot)) -> Result<Vec<u64>> {
        let Self {
            object,
            file,
            slots,
            ..
        } = self;
        let failed = |errno| failure(object, "lock a slot of", errno);
        if checked_slots(object, file, self.id)? != *slots {
            return Err(corrupt(object, "its number of slots was overwritten"));
        }
        let words = all_words(object, file, *slots)?;
        self.check_whole()?;
        let nonces = (0..*slots).map(|slot| words[at::record(*slots, slot) + at::NONCE]);
        let mut living: Vec<u64> = nonces.collect();
        for (slot, nonce) in living
            .iter_mut()
            .enumerate()
            .filter(|(_, nonce)| **nonce != 0)
        {
            if lock::try_lock(file, Span::byte(slot)).map_err(failed)? {
                let cleaned = self.clean(slot);
                lock::unlock(file, Span::byte(slot)).map_err(failed)?;
                cleaned?.into_iter().for_each(&mut freed);
                *nonce = 0;
            }
        }
        Ok(living)
    }
}

/// The wake receiver that a dead subscriber left in its slot.
pub struct StaleSlot {
    /// Name of the receiver: a queue, a socket, or a pipe.
    pub object: String,
    /// True if an object existed and was removed.
    pub removed: Result<bool>,
}

impl StaleSlot {
    /// Logs an object that could not be removed. Only its owner or root may remove a queue.
    fn tell(self) {
        if let Err(error) = self.removed {
            tracing::warn!("it stays behind: {error}");
        }
    }
}

/// Frees the slots of dead subscribers in the registry `id` of `owner`, and passes each stale slot
/// to `freed`. Uses system calls instead of a mapping, because another user can truncate the file
/// at any time.
///
/// # Errors
/// [`Error::Corrupt`], and errors of the system.
pub fn free_deserted(id: u64, owner: u32, freed: impl FnMut(StaleSlot)) -> Result<()> {
    let object = registry_name(id);
    let Some(file) = object::open(&object, true, owner, false)? else {
        return Ok(());
    };
    let slots = checked_slots(&object, &file, id)?;
    let opened = RegistryFile::of(object, file, id, slots, true)?;
    opened.free_deserted(freed).map(drop)
}

#[cfg(test)]
mod tests;
