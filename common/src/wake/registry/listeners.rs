//! Lists a registry's subscribers for a process that is neither publisher nor subscriber.

use super::{all_words, at, checked_slots};
use crate::error::Result;
use crate::protocol::park;
use crate::region::lock::{self, Span};
use crate::region::object::{self, failure, registry_name};
use crate::wake::words;

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

/// Returns the subscribers in registry `id`, read by one call. Any user who may read the registry
/// may call this.
///
/// # Errors
/// [`Error::Corrupt`], and errors of the system.
pub fn listeners(id: u64, owner: u32, trust_root: bool) -> Result<Vec<Listener>> {
    let object = registry_name(id);
    let Some(file) = object::open(&object, false, owner, trust_root)? else {
        return Ok(Vec::new());
    };
    let slots = checked_slots(&object, &file, id)?;
    let all = all_words(&object, &file, slots)?;
    let taken = (0..slots).filter(|slot| all[at::record(slots, *slot) + at::NONCE] != 0);
    taken
        .map(|slot| {
            let record = &all[at::record(slots, slot)..];
            let alive = lock::is_held(&file, Span::byte(slot))
                .map_err(|errno| failure(&object, "query a lock of", errno))?;
            Ok(Listener {
                slot,
                nonce: record[at::NONCE],
                seen: all[at::seen(slots, slot)],
                kind: words::kind_of(record[at::KIND]),
                pid: u32::try_from(record[at::PID]).unwrap_or(0),
                parked: all[at::PARKS + slot] != park::AWAKE || record[at::ASLEEP] != 0,
                alive,
            })
        })
        .collect()
}
