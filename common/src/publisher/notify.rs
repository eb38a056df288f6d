//! The publisher's side of wake-ups: a registry, and a sender for each subscriber in it.
//!
//! A registry has a name only while a region refers to it. The region's header is written before
//! the registry is linked, and an old registry is unlinked before the header refers to the new one.
//! A crash in between therefore leaves no registry that no region refers to. A publisher without a
//! registry keeps working: its subscribers re-check the table themselves, and maintenance tries
//! again to create a registry.

use super::Settings;
use crate::error::{Error, Result};
use crate::protocol::layout::header;
use crate::region::PublisherRegion;
use crate::region::object::{self, registry_name};
use crate::wake::WakeSenders;
use crate::wake::budget::Budget;
use crate::wake::registry::{Member, Registry};

/// The registry of parked subscribers, if there is one, and the senders that wake them.
pub(super) struct Waking {
    registry: Option<Registry>,
    callers: WakeSenders,
    budget: Budget,
    /// True from a failed round of wake-ups until there is a new registry.
    is_damaged: bool,
    /// True if the missing registry was already logged.
    told: bool,
}

impl Waking {
    /// Adopts the registry `left_id` of an earlier publisher if it fits `settings`, and creates a
    /// new one otherwise. Also returns the earlier registry if it was not adopted. Stores the
    /// registry id in `region`, but does not link a new registry: see [`publish`](Self::publish).
    pub(super) fn begin(
        region: &PublisherRegion,
        left_id: u64,
        settings: &Settings,
    ) -> (Self, Option<Registry>) {
        let found = match Registry::adopt(left_id) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("making a new registry: {error}");
                remove_name(&registry_name(left_id));
                None
            }
        };
        if let Some(found) = found {
            if found.fits(settings.slots, settings.access) {
                region.set(header::REGISTRY_ID, left_id);
                return (Self::of(Some(found), false), None);
            }
            remove_name(&registry_name(left_id));
            return (Self::new(region, settings, false), Some(found));
        }
        (Self::new(region, settings, false), None)
    }

    fn of(registry: Option<Registry>, told: bool) -> Self {
        let budget = registry
            .as_ref()
            .map_or_else(|| Budget::new(true), Registry::budget);
        Self {
            registry,
            callers: WakeSenders::default(),
            budget,
            is_damaged: false,
            told,
        }
    }

    fn new(region: &PublisherRegion, settings: &Settings, told: bool) -> Self {
        let mut waking = Self::of(None, told);
        match Registry::create(settings.slots, settings.access) {
            Ok(registry) => waking = Self::of(Some(registry), told),
            Err(error) => waking.tell(&error),
        }
        region.set(header::REGISTRY_ID, waking.registry_id());
        waking
    }

    /// Returns the random id of the registry, which the region must store; 0 without a registry.
    pub(super) fn registry_id(&self) -> u64 {
        self.registry.as_ref().map_or(0, Registry::id)
    }

    /// Logs that there is no registry, once per occurrence, even if creating a new one fails
    /// repeatedly.
    fn tell(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("nobody is woken until there is a registry: {error}");
        }
    }

    /// Gives a new registry its name. The region that refers to it must already have its own name.
    pub(super) fn publish(&mut self) {
        match self.registry.as_ref().map(Registry::link) {
            None => {}
            Some(Ok(())) => self.told = false,
            Some(Err(error)) => self.tell(&error),
        }
    }

    /// Replaces the registry with a new one and returns the old one. The caller must wake the
    /// subscribers that are parked there.
    pub(super) fn renew(
        &mut self,
        region: &PublisherRegion,
        settings: &Settings,
    ) -> Option<Registry> {
        if let Some(registry) = &self.registry {
            remove_name(&registry_name(registry.id()));
        }
        let new = Self::new(region, settings, self.told);
        let before = std::mem::replace(self, new).registry;
        self.publish();
        before
    }

    /// Returns true if there is no registry, if it lost its name, or if a round of wake-ups found
    /// it damaged.
    pub(super) fn needs_registry(&self) -> bool {
        self.is_damaged || !self.registry.as_ref().is_some_and(Registry::has_name)
    }

    /// Wakes the subscribers that are parked at the commit before `version`, or all parked
    /// subscribers if `everyone`, within the budget. Returns the number of wake-ups sent. After an
    /// error that is 0 until there is a new registry.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if another process truncated the registry.
    #[inline]
    pub(super) fn wake(
        &mut self,
        region: &PublisherRegion,
        version: u64,
        everyone: bool,
    ) -> Result<u64> {
        if self.is_damaged {
            return Ok(0);
        }
        self.call(region, version, everyone)
            .inspect_err(|_| self.is_damaged = true)
    }

    #[inline]
    fn call(&mut self, region: &PublisherRegion, version: u64, everyone: bool) -> Result<u64> {
        let Self {
            registry: Some(registry),
            callers,
            budget,
            ..
        } = self
        else {
            return Ok(0);
        };
        let mut calls = 0;
        let has_sleepers = registry.parked(version, everyone, budget, |member, budget| {
            let Member { slot, nonce, .. } = member;
            let caller = callers.open(
                slot,
                nonce,
                budget,
                || member.target(),
                |errno| {
                    region.acknowledge(slot, nonce, errno);
                },
            );
            if let Some(caller) = caller
                && budget.take_call()
            {
                caller.wake(version);
                calls += 1;
            }
        })?;
        if has_sleepers {
            region.commit_half().wake_all();
            calls += 1;
        }
        Ok(calls)
    }

    /// Returns true if some parked subscribers may not have been called because the budget ran out.
    pub(super) fn is_short(&self) -> bool {
        self.budget.is_short()
    }

    /// Frees the slots of dead subscribers, closes the senders of subscribers that left, and opens
    /// senders for new subscribers within the budget.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if another process damaged the registry, and errors of the system.
    pub(super) fn sweep(&mut self, region: &PublisherRegion) -> Result<()> {
        let Self {
            registry: Some(registry),
            callers,
            budget,
            ..
        } = self
        else {
            return Ok(());
        };
        budget.fill();
        for (slot, nonce) in registry.sweep()?.into_iter().enumerate() {
            if nonce == 0 {
                callers.close(slot);
                continue;
            }
            let address = || registry.member(slot, nonce).target();
            callers.open(slot, nonce, budget, address, |errno| {
                region.acknowledge(slot, nonce, errno);
            });
        }
        Ok(())
    }

    /// Removes the registry's name and the queues of all subscribers in it, including live ones,
    /// because the table is gone.
    pub(super) fn remove(&self) {
        if let Some(registry) = &self.registry {
            remove_name(&registry_name(registry.id()));
            registry.remove_receivers();
        }
    }
}

/// Wakes all subscribers that are parked at a registry that is no longer used and has no name,
/// within a fresh budget, and removes their queues.
pub(super) fn leave(mut left: Registry, version: u64) {
    let (mut callers, mut budget) = (WakeSenders::default(), left.budget());
    let woken = left.parked(version, true, &mut budget, |member, budget| {
        let Member { slot, nonce, .. } = member;
        let caller = callers.open(slot, nonce, budget, || member.target(), |_| ());
        if let Some(caller) = caller
            && budget.take_call()
        {
            caller.wake(version);
        }
    });
    if let Err(error @ Error::Corrupt { .. }) = woken {
        tracing::debug!("subscribers look by themselves before long: {error}");
    }
    left.remove_receivers();
}

fn remove_name(object: &str) {
    if let Err(error) = object::remove(object) {
        tracing::warn!("it stays behind: {error}");
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
