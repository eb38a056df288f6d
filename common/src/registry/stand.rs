//! A place in a registry without a slot, for those who sleep on `commit` itself.

use super::{Opened, at};
use crate::error::Result;
use crate::park;
use crate::region::object;
use crate::sync::{AtomicU64, Ordering, Point, fence};

/// A registry where its owner may say that it sleeps.
pub struct Stand {
    opened: Opened,
}

impl Stand {
    /// Opens registry `id`. None if it is gone.
    ///
    /// # Errors
    /// As for opening a registry.
    pub fn open(id: u64, owner: u32, trust_root: bool) -> Result<Option<Self>> {
        let opened = Opened::open(id, owner, trust_root)?;
        Ok(opened.map(|opened| Self { opened }))
    }

    /// The registry's random number.
    pub fn registry_id(&self) -> u64 {
        self.opened.id
    }

    /// Whether the registry still bears its name.
    pub fn has_name(&self) -> bool {
        object::names(&self.opened.object, &self.opened.file)
    }

    /// Says that its owner goes to sleep at `seen`; whether `commit` is still that.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if somebody cut the registry short.
    pub fn park(&self, commit: &AtomicU64, seen: u64) -> Result<bool> {
        match self.opened.mapped() {
            Some(words) => {
                park::park_on_commit(&words[at::SLEEPERS..at::PARKS], seen);
                self.opened.check_whole()?;
            }
            None => {
                self.opened.store(at::SLEEPERS + park::flag_of(seen), 1)?;
                fence(Point::Park, Ordering::SeqCst);
            }
        }
        Ok(commit.load(Ordering::Relaxed) == seen)
    }
}
