//! A subscriber's place in a registry.

use super::{Opened, at};
use crate::error::{Error, Result};
use crate::park;
use crate::region::lock::{self, Span};
use crate::region::object::{self, Access, failure};
use crate::region::random_id;
use crate::sync::{AtomicU64, Ordering, Point, fence};
use crate::wake::{self, Queue};

/// A subscriber's place in a registry: a slot, its lock, its queue.
pub struct Seat {
    opened: Opened,
    slot: usize,
    nonce: u64,
    queue: Option<Queue>,
    parked: bool,
    process: u32,
}

impl Seat {
    /// Claims a slot of registry `id`, with a queue that `access` tells who may send to. None if the registry is gone.
    ///
    /// # Errors
    /// [`Error::Limit`] if every slot is taken, and as for opening a registry. Without a queue (see [`Seat::queue`])
    /// the slot still counts.
    pub fn claim(id: u64, owner: u32, trust_root: bool, access: Access) -> Result<Option<Self>> {
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
        let (nonce, process) = (random_id()?, std::process::id());
        let mut seat = Self {
            opened,
            slot,
            nonce,
            queue: None,
            parked: false,
            process,
        };
        seat.note(at::PID, u64::from(process))?;
        seat.note(at::KIND, wake::KIND_QUEUE)?;
        // Before the queue is made: whoever finds the slot deserted knows which queue to remove.
        seat.note(at::NONCE, nonce)?;
        fence(Point::Park, Ordering::SeqCst);
        match Queue::create(id, slot, nonce, access) {
            Ok(queue) => seat.queue = Some(queue),
            Err(error) => tracing::warn!("woken by re-check only: {error}"),
        }
        // Removed meanwhile: then nobody sweeps here any more, and dropping the seat removes the queue.
        Ok(object::names(&seat.opened.object, &seat.opened.file).then_some(seat))
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

    /// The queue that wakes this subscriber, unless the system had none left.
    pub fn queue(&self) -> Option<&Queue> {
        self.queue.as_ref()
    }

    /// Whether the registry still bears its name.
    pub fn has_name(&self) -> bool {
        object::names(&self.opened.object, &self.opened.file)
    }

    /// Drains the queue and parks at `seen`; whether `commit` is still that, so that its owner may sleep.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if somebody cut the registry short.
    pub fn park(&mut self, commit: &AtomicU64, seen: u64) -> Result<bool> {
        if let Some(queue) = &self.queue {
            // Before parking: a send into a full queue makes no new edge for epoll.
            queue.drain();
        }
        self.note(at::SEEN, seen)?;
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
            // The queue first, while the nonce still names it; the lock last, and not left to closing: between fork and
            // exec a child of another thread has the descriptor, too.
            drop(self.queue.take());
            if let Err(error) = self.opened.clean(self.slot) {
                tracing::debug!("leaving slot {} as it is: {error}", self.slot);
            }
            let _falls_by_closing = lock::unlock(&self.opened.file, Span::byte(self.slot));
        }
    }
}
