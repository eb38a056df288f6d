//! The publisher's side of wake-ups: a registry, and a sender for each subscriber in it.
//!
//! A registry has a name only while a region refers to it by its id. The region's header is written
//! before the registry is linked, and an old registry is unlinked before the header refers to the
//! new one. Therefore a crash never leaves a registry that no region refers to. A publisher without
//! a registry keeps working: its subscribers re-check the table themselves, and maintenance tries
//! again to create a registry.

use super::builder::Settings;
use crate::error::{Error, Result};
use crate::protocol::layout::header;
use crate::region::PublisherRegion;
use crate::region::object::{self, Access, registry_name};
use crate::wake::WakeSenders;
use crate::wake::budget::Budget;
use crate::wake::registry::{Member, Registry};

/// The registry of parked subscribers, if there is one, and the senders that wake them.
pub(super) struct Notifier {
    settings: Settings,
    registry: Option<Registry>,
    senders: WakeSenders,
    budget: Budget,
    /// True from a failed round of wake-ups until the publisher has a new registry.
    is_damaged: bool,
    /// True if the warning about the missing registry was already logged.
    is_logged: bool,
    wakes: u64,
    sweeps: u64,
}

impl Notifier {
    /// Adopts the registry `left_id` of an earlier publisher if it fits `settings`, and creates a
    /// new one otherwise. Also returns the earlier registry if it was not adopted. Stores the
    /// registry id in `region`, but does not link a new registry: see [`link`](Self::link).
    pub fn open(
        region: &PublisherRegion,
        left_id: u64,
        settings: Settings,
    ) -> (Self, Option<Registry>) {
        let mut notifier = Self {
            settings,
            registry: None,
            senders: WakeSenders::default(),
            budget: Budget::new(true),
            is_damaged: false,
            is_logged: false,
            wakes: 0,
            sweeps: 0,
        };
        let left = Registry::adopt(left_id, object::own_user()).unwrap_or_else(|error| {
            tracing::warn!("creating a new registry: {error}");
            remove_name(left_id);
            None
        });
        match left {
            Some(left) if left.fits(settings.slots, settings.access) => {
                notifier.set_registry(region, Some(left));
                (notifier, None)
            }
            left => {
                left.iter().for_each(|left| remove_name(left.id()));
                notifier.create_registry(region);
                (notifier, left)
            }
        }
    }

    fn set_registry(&mut self, region: &PublisherRegion, registry: Option<Registry>) {
        self.budget = registry.as_ref().map_or_else(|| Budget::new(true), Registry::budget);
        self.registry = registry;
        self.senders = WakeSenders::default();
        self.is_damaged = false;
        region.set(header::REGISTRY_ID, self.registry_id());
    }

    fn create_registry(&mut self, region: &PublisherRegion) {
        let created = Registry::create(self.settings.slots, self.settings.access);
        let registry = created.map_err(|error| self.log(&error)).ok();
        self.set_registry(region, registry);
    }

    /// Returns the random id of the registry, which the region must store; 0 without a registry.
    pub fn registry_id(&self) -> u64 {
        self.registry.as_ref().map_or(0, Registry::id)
    }

    pub fn access(&self) -> Access {
        self.settings.access
    }

    pub fn wakes(&self) -> u64 {
        self.wakes
    }

    pub fn sweeps(&self) -> u64 {
        self.sweeps
    }

    /// Logs that there is no registry, once per occurrence, even if creating a new one fails
    /// repeatedly.
    fn log(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.is_logged, true) {
            tracing::warn!("no subscriber is woken until there is a registry: {error}");
        }
    }

    /// Gives a new registry its name. The region that refers to it must already have its own name.
    pub fn link(&mut self) {
        match self.registry.as_ref().map(Registry::link) {
            None => {}
            Some(Ok(())) => self.is_logged = false,
            Some(Err(error)) => self.log(&error),
        }
    }

    /// Replaces the registry with a new one and returns the old one, whose subscribers the caller
    /// must wake with [`wake_stale`].
    pub fn renew(&mut self, region: &PublisherRegion) -> Option<Registry> {
        let old = self.registry.take();
        old.iter().for_each(|old| remove_name(old.id()));
        self.create_registry(region);
        self.link();
        old
    }

    /// Returns true if there is no registry, if it lost its name, or if a round of wake-ups found
    /// it damaged.
    pub fn needs_registry(&self) -> bool {
        self.is_damaged || !self.registry.as_ref().is_some_and(Registry::has_name)
    }

    /// Wakes the subscribers that are parked at the commit before `version`, or all parked
    /// subscribers if `everyone`, within the budget.
    ///
    /// If another process truncated the registry, parked subscribers re-check the table themselves
    /// until maintenance creates a new registry. The registry is not replaced here: otherwise a
    /// process that damages each new one would make every commit create another.
    #[inline]
    pub fn wake(&mut self, region: &PublisherRegion, version: u64, everyone: bool) {
        let Some(registry) = self.registry.as_mut().filter(|_| !self.is_damaged) else {
            return;
        };
        let budget = &mut self.budget;
        let answer = |slot, nonce, errno| region.acknowledge(slot, nonce, errno);
        match wake_parked(registry, &mut self.senders, budget, version, everyone, answer) {
            Ok((wakes, has_sleepers)) => {
                if has_sleepers {
                    region.commit_half().wake_all();
                }
                self.wakes += wakes + u64::from(has_sleepers);
            }
            Err(error) => {
                self.is_damaged = true;
                tracing::warn!("no subscriber is woken until there is a new registry: {error}");
            }
        }
    }

    /// Returns true if the budget ran out, so that some parked subscribers may not have been woken.
    pub fn is_short(&self) -> bool {
        self.budget.is_short()
    }

    /// Frees the slots of dead subscribers, closes the senders of subscribers that left, and opens
    /// senders for new subscribers within the budget.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if another process damaged the registry, and errors of the system.
    pub fn sweep(&mut self, region: &PublisherRegion) -> Result<()> {
        self.sweeps += 1;
        let Some(registry) = &self.registry else {
            return Ok(());
        };
        self.budget.fill();
        for (slot, nonce) in registry.sweep()?.into_iter().enumerate() {
            if nonce == 0 {
                self.senders.close(slot);
                continue;
            }
            let target = || registry.member(slot, nonce).target();
            self.senders.open(slot, nonce, &mut self.budget, target, |errno| {
                region.acknowledge(slot, nonce, errno);
            });
        }
        Ok(())
    }

    /// Removes the registry's name and the queues of all subscribers in it, including live ones,
    /// because the table is gone.
    pub fn remove(&self) {
        if let Some(registry) = &self.registry {
            remove_name(registry.id());
            registry.remove_receivers();
        }
    }
}

/// Wakes all subscribers that are parked at a registry that is no longer used and has no name, within
/// a fresh budget, and removes their queues. Does nothing for `None`.
pub(super) fn wake_stale(registry: Option<Registry>, version: u64) {
    let Some(mut registry) = registry else {
        return;
    };
    let (mut senders, mut budget) = (WakeSenders::default(), registry.budget());
    let answer = |_, _, _| ();
    let woken = wake_parked(&mut registry, &mut senders, &mut budget, version, true, answer);
    if let Err(error @ Error::Corrupt { .. }) = woken {
        tracing::debug!("subscribers find the new registry by their re-check: {error}");
    }
    registry.remove_receivers();
}

/// Wakes the subscribers that are parked at the commit before `version`, or all parked subscribers
/// if `everyone`, and calls `answer` with slot, nonce and errno of each sender that it opened.
/// Returns the number of wake-ups sent, and true if subscribers sleep on the commit word.
#[inline]
fn wake_parked(
    registry: &mut Registry,
    senders: &mut WakeSenders,
    budget: &mut Budget,
    version: u64,
    everyone: bool,
    answer: impl Fn(usize, u64, i32),
) -> Result<(u64, bool)> {
    let mut wakes = 0;
    let has_sleepers = registry.parked(version, everyone, budget, |member, budget| {
        let Member { slot, nonce, .. } = member;
        let answer = |errno| answer(slot, nonce, errno);
        let sender = senders.open(slot, nonce, budget, || member.target(), answer);
        if let Some(sender) = sender
            && budget.take_wake_up()
        {
            sender(version);
            wakes += 1;
        }
    })?;
    Ok((wakes, has_sleepers))
}

fn remove_name(registry_id: u64) {
    object::remove(&registry_name(registry_id))
        .unwrap_or_else(|error| tracing::warn!("the registry stays as an orphan: {error}"));
}

#[cfg(all(test, not(loom)))]
mod tests;
