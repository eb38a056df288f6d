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

mod publisher_side;
mod subscriber_side;

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use nix::errno::Errno;

use super::{Mechanism, Sleep, TargetForm, WakeTarget, kind_name};
use crate::error::Result;
use crate::identity::Identity;
use crate::protocol::layout::{LAYOUT_VERSION, MAX_SLOTS, REGISTRY_MAGIC, registry as at};
use crate::protocol::park;
use crate::protocol::sync::{AtomicU64, Ordering, Point, fence};
use crate::region::fork::ForkSafeFd;
use crate::region::lock::{self, Span};
use crate::region::object::{self, corrupt, failure, queue_name, registry_name, status};
use crate::region::{WritableMapping, read_words};

pub use publisher_side::Registry;
pub use subscriber_side::RegistryEntry;

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
    if slots > MAX_SLOTS || status(object, file)?.len() != at::path(slots, slots) as u64 {
        return Err(corrupt(object, "its length does not fit its number of slots"));
    }
    Ok(slots)
}

/// An open registry whose header and length were checked.
pub struct RegistryFile {
    object: String,
    /// The descriptor whose bytes are locked. It is never mapped.
    file: ForkSafeFd,
    /// `None` if other users may write to the file, so that its words are accessed by system
    /// calls.
    mapping: Option<WritableMapping>,
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
        let others = status(&object, &file)?.mode() & 0o077 != 0;
        Self::of(object, file, id, slots, others).map(Some)
    }

    fn of(object: String, file: File, id: u64, slots: usize, others: bool) -> Result<Self> {
        let map = || {
            let second = object::reopen(&object, &file)?;
            let mapping = WritableMapping::new(&second, at::words(slots));
            mapping.map_err(|error| failure(&object, "map", error))
        };
        let mapping = (!others).then(map).transpose()?;
        Ok(Self { object, file: ForkSafeFd::new(file), mapping, id, slots })
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn has_name(&self) -> bool {
        object::names(&self.object, &self.file)
    }

    fn is_of_this_process(&self) -> bool {
        self.file.is_of_this_process()
    }

    fn object(&self) -> &str {
        &self.object
    }

    fn file(&self) -> &File {
        &self.file
    }

    fn slots(&self) -> usize {
        self.slots
    }

    /// Returns the words; `None` if they are accessed by system calls.
    #[inline]
    fn mapped(&self) -> Option<&[AtomicU64]> {
        Some(self.mapping.as_ref()?.writable_words(at::words(self.slots)))
    }

    /// Reads consecutive words by one system call.
    fn read(&self, first: usize, words: &mut [u64]) -> Result<()> {
        read_words(&self.object, &self.file, first as u64 * 8, words)
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all_at(bytes, offset as u64)
            .map_err(|error| failure(&self.object, "write", error))
    }

    /// Loads a word without any ordering: the steps in [`park`] have their own fences.
    fn load(&self, word: usize) -> Result<u64> {
        match self.mapped() {
            Some(words) => Ok(words[word].load(Ordering::Relaxed)),
            None => {
                let mut value = [0];
                self.read(word, &mut value)?;
                Ok(value[0])
            }
        }
    }

    /// Stores a word without any ordering, like [`load`](Self::load).
    fn store(&self, word: usize, value: u64) -> Result<()> {
        match self.mapped() {
            Some(words) => words[word].store(value, Ordering::Relaxed),
            None => self.write(word * 8, &value.to_le_bytes())?,
        }
        Ok(())
    }

    fn record(&self, slot: usize) -> usize {
        at::record(self.slots, slot)
    }

    /// Locks a slot's byte. Returns false if another process holds the lock.
    fn try_lock(&self, slot: usize) -> Result<bool> {
        lock::try_lock(&self.file, Span::byte(slot))
            .map_err(|errno| failure(&self.object, "lock a slot of", errno))
    }

    fn unlock(&self, slot: usize) -> nix::Result<()> {
        lock::unlock(&self.file, Span::byte(slot))
    }

    /// Returns an error if the file was truncated under its mapping. Such a file may have grown
    /// again, but the mapping no longer shows what other processes see.
    fn check_whole(&self) -> Result<()> {
        match self.mapping.as_ref().is_none_or(|mapping| mapping.is_whole()) {
            true => Ok(()),
            false => Err(corrupt(&self.object, "it was truncated while it was in use")),
        }
    }

    fn member(&self, slot: usize, nonce: u64) -> Member<'_> {
        Member { registry: self, slot, nonce }
    }

    fn member_at(&self, slot: usize) -> Result<Option<Member<'_>>> {
        let nonce = self.load(self.record(slot) + at::NONCE)?;
        Ok((nonce != 0).then(|| self.member(slot, nonce)))
    }

    /// Writes the target of the subscriber `nonce` into the record of `slot`.
    fn write_record(&self, slot: usize, nonce: u64, target: &WakeTarget) -> Result<()> {
        let path = target.path.as_os_str().as_bytes();
        if !path.is_empty() {
            let mut bytes = [0; at::PATH_BYTES];
            bytes[..path.len()].copy_from_slice(path);
            // By a system call, because the paths are a hole in the file: lack of memory is an
            // error then, not a signal.
            self.write(at::path(self.slots, slot), &bytes)?;
        }
        let own = Identity::own();
        let words = [
            (at::KIND, target.mechanism.word),
            (at::PID, u64::from(own.pid)),
            (at::PID_NAMESPACE, own.pid_namespace),
            (at::START_TIME, own.start_time),
            (at::SIGNAL, target.signal as u64),
        ];
        let record = self.record(slot);
        park::write_record(&words, nonce, |word, value| self.store(record + word, value))
    }

    /// Empties a slot that the caller has locked, and removes the wake receiver of its previous
    /// owner.
    fn clean(&self, slot: usize) -> Result<Option<StaleSlot>> {
        let stale = self.member_at(slot)?.map(|member| member.remove(false));
        self.store(at::PARKS + slot, park::AWAKE)?;
        self.store(at::seen(self.slots, slot), 0)?;
        let record = self.record(slot);
        (0..at::RECORD_WORDS).try_for_each(|word| self.store(record + word, 0))?;
        Ok(stale)
    }

    /// Implements [`Registry::sweep`]. Passes each slot to `freed`.
    fn free_stale(&self, mut freed: impl FnMut(StaleSlot)) -> Result<Vec<u64>> {
        let object = &self.object;
        if checked_slots(object, &self.file, self.id)? != self.slots {
            return Err(corrupt(object, "its number of slots was overwritten"));
        }
        let mut words = vec![0; at::words(self.slots)];
        self.read(0, &mut words)?;
        self.check_whole()?;
        let nonces = (0..self.slots).map(|slot| words[self.record(slot) + at::NONCE]);
        let mut living: Vec<u64> = nonces.collect();
        for (slot, nonce) in living.iter_mut().enumerate() {
            if *nonce != 0 && self.try_lock(slot)? {
                let cleaned = self.clean(slot);
                self.unlock(slot).map_err(|errno| failure(object, "unlock a slot of", errno))?;
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
    /// Logs an object that could not be removed, such as the queue of another user.
    fn log(self) {
        if let Err(error) = self.removed {
            tracing::warn!("an object of a dead subscriber was not removed: {error}");
        }
    }
}

/// Frees the slots of dead subscribers in the registry `id` of `owner`, and passes each stale slot
/// to `freed`. Uses system calls instead of a mapping, because another user can truncate the file
/// at any time.
pub fn free_stale(id: u64, owner: u32, freed: impl FnMut(StaleSlot)) -> Result<()> {
    let object = registry_name(id);
    let Some(file) = object::open(&object, true, owner, false)? else {
        return Ok(());
    };
    let slots = checked_slots(&object, &file, id)?;
    let registry = RegistryFile::of(object, file, id, slots, true)?;
    registry.free_stale(freed).map(drop)
}

/// A subscriber as described by its slot's record, whose contents are checked before use.
pub struct Member<'a> {
    registry: &'a RegistryFile,
    pub slot: usize,
    pub nonce: u64,
}

impl Member<'_> {
    /// Returns the target of its wake-ups, once its receiver was created.
    ///
    /// # Errors
    /// ESRCH if nobody holds the slot's lock, EAGAIN until its owner is ready, EPERM if it names a
    /// process or a path in a registry that other users may write to, EINVAL if it is not valid,
    /// EIO if the record cannot be read.
    pub fn target(&self) -> nix::Result<WakeTarget> {
        if !lock::is_held(&self.registry.file, Span::byte(self.slot))? {
            return Err(Errno::ESRCH);
        }
        if park::is_ready(|word| self.load(word))? {
            self.recorded_target()
        } else {
            Err(Errno::EAGAIN)
        }
    }

    fn load(&self, word: usize) -> nix::Result<u64> {
        let load = self.registry.load(self.registry.record(self.slot) + word);
        load.map_err(|_| Errno::EIO)
    }

    fn recorded_target(&self) -> nix::Result<WakeTarget> {
        let mechanism = Mechanism::of_word(self.load(at::KIND)?).ok_or(Errno::EINVAL)?;
        if mechanism.carries_target() && self.registry.mapped().is_none() {
            return Err(Errno::EPERM);
        }
        let mut target = WakeTarget::of_name(mechanism, &self.name());
        match mechanism.target {
            TargetForm::Name(_) | TargetForm::Table => {}
            TargetForm::Path(_) => target.path = self.path()?,
            TargetForm::Process => {
                target.process = Identity {
                    pid: u32::try_from(self.load(at::PID)?).unwrap_or(0),
                    pid_namespace: self.load(at::PID_NAMESPACE)?,
                    start_time: self.load(at::START_TIME)?,
                };
                target.signal = i32::try_from(self.load(at::SIGNAL)?).unwrap_or(0);
            }
        }
        Ok(target)
    }

    fn path(&self) -> nix::Result<PathBuf> {
        let mut bytes = [0; at::PATH_BYTES];
        let place = at::path(self.registry.slots, self.slot) as u64;
        self.registry.file.read_exact_at(&mut bytes, place).map_err(|_| Errno::EIO)?;
        let length = bytes.iter().position(|byte| *byte == 0);
        let length = length.filter(|length| *length > 0).ok_or(Errno::EINVAL)?;
        Ok(PathBuf::from(OsStr::from_bytes(&bytes[..length])))
    }

    fn name(&self) -> String {
        queue_name(self.registry.id, self.slot, self.nonce)
    }

    /// Removes the subscriber's receiver. The subscriber is dead or, if `held`, has no publisher any
    /// more that could wake it.
    fn remove(&self, held: bool) -> StaleSlot {
        // Orders the load of the nonce before those of the rest of the record, as `park::is_ready`
        // does, but for any record. Partner: the fence in `park::write_record`.
        fence(Point::SeeNonce, Ordering::Acquire);
        // If the record is not valid, try the queue: only this subscriber can own a queue of this
        // name.
        let queue = Mechanism::of(Some(Sleep::Queue), false);
        let target = self.recorded_target();
        let target = target.unwrap_or_else(|_| WakeTarget::of_name(queue, &self.name()));
        StaleSlot { object: target.object(), removed: target.remove(held) }
    }
}

/// One subscriber according to the registry.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Slot of the subscriber.
    pub slot: usize,
    /// Random number of the subscriber.
    pub nonce: u64,
    /// Last version that the subscriber has seen, as stored by the subscriber.
    pub seen: u64,
    /// Process id in the subscriber's pid namespace, as stored by the subscriber.
    pub pid: u32,
    /// Kind of wake-up, as stored by the subscriber: `mq`, `unix`, `signal`, `fifo`, `futex`,
    /// `spin`, `unknown`.
    pub kind: &'static str,
    /// True if the subscriber sleeps until the next commit.
    pub parked: bool,
    /// True if the subscriber's process is alive.
    pub alive: bool,
}

/// Returns the subscribers in registry `id`, read by one system call. Any user who may read the
/// registry may call this.
pub fn listeners(id: u64, owner: u32, trust_root: bool) -> Result<Vec<Listener>> {
    let object = registry_name(id);
    let Some(file) = object::open(&object, false, owner, trust_root)? else {
        return Ok(Vec::new());
    };
    let slots = checked_slots(&object, &file, id)?;
    let mut all = vec![0; at::words(slots)];
    read_words(&object, &file, 0, &mut all)?;
    let listener = |slot| {
        let record = &all[at::record(slots, slot)..];
        let alive = lock::is_held(&file, Span::byte(slot))
            .map_err(|errno| failure(&object, "query a lock of", errno))?;
        Ok(Listener {
            slot,
            nonce: record[at::NONCE],
            seen: all[at::seen(slots, slot)],
            kind: kind_name(record[at::KIND]),
            pid: u32::try_from(record[at::PID]).unwrap_or(0),
            parked: all[at::PARKS + slot] != park::AWAKE || record[at::ASLEEP] != 0,
            alive,
        })
    };
    let taken = (0..slots).filter(|slot| all[at::record(slots, *slot) + at::NONCE] != 0);
    taken.map(listener).collect()
}

#[cfg(test)]
mod tests;
