//! The publisher's side of waking: a registry, and the ends of what those in it are called by.
//!
//! A registry bears a name only while a region names it: the region's header is written first, then the registry is linked,
//! and an old one loses its name before the header names the new one. So a death in between leaves nothing that
//! nobody knows of. And nothing stops because there is no registry: subscribers look by themselves then, and
//! upkeep tries again.

use super::Settings;
use crate::error::{Error, Result};
use crate::layout::header;
use crate::region::PublisherRegion;
use crate::region::object::{self, registry_name};
use crate::registry::{Member, Registry};
use crate::wake::WakeSenders;
use crate::wake::budget::Budget;

/// Who is listening, if there is a registry.
pub(super) struct Waking {
    registry: Option<Registry>,
    callers: WakeSenders,
    budget: Budget,
    /// True from a failed round of calls until there is a new registry.
    is_damaged: bool,
    /// Whether it was told that there is no registry.
    told: bool,
}

impl Waking {
    /// For `region`, with the registry `left_id` that a publisher left, if that is as `settings` want it; else with a new one.
    /// Also returns the one that is left behind. Names nothing yet: see [`publish`](Self::publish).
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

    /// Returns the random number of the registry, which the region must name; 0 without one.
    pub(super) fn registry_id(&self) -> u64 {
        self.registry.as_ref().map_or(0, Registry::id)
    }

    /// Tells once that there is no registry, however often a new one is tried.
    fn tell(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("nobody is woken until there is a registry: {error}");
        }
    }

    /// Gives a new registry its name. The region that names it has its own by now.
    pub(super) fn publish(&mut self) {
        match self.registry.as_ref().map(Registry::link) {
            None => {}
            Some(Ok(())) => self.told = false,
            Some(Err(error)) => self.tell(&error),
        }
    }

    /// Takes a new registry into use, and returns the one before. Whoever is parked there is to be told.
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

    /// Returns true if there is no registry, it lost its name, or a round of calls found it damaged.
    pub(super) fn needs_registry(&self) -> bool {
        self.is_damaged || !self.registry.as_ref().is_some_and(Registry::has_name)
    }

    /// Wakes those who sleep at the commit before `version`, or `everyone` who sleeps, as far as the budget allows. Returns the
    /// number of calls that it made: none after an error, until there is a new registry.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if somebody cut the registry short.
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
                || member.address(),
                |errno| {
                    region.acknowledge(slot, nonce, errno);
                },
            );
            if let Some(caller) = caller
                && budget.take_call()
            {
                caller.call(version);
                calls += 1;
            }
        })?;
        if has_sleepers {
            region.commit_half().wake_all();
            calls += 1;
        }
        Ok(calls)
    }

    /// Returns true if some sleepers may not have been called because the budget was short.
    pub(super) fn is_short(&self) -> bool {
        self.budget.is_short()
    }

    /// Frees what dead subscribers left, closes the ends of those that went, and opens those of new ones as far as the budget
    /// allows.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if somebody damaged the registry, and what the system refuses.
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
            let address = || registry.member(slot, nonce).address();
            callers.open(slot, nonce, budget, address, |errno| {
                region.acknowledge(slot, nonce, errno);
            });
        }
        Ok(())
    }

    /// Removes the registry's name, and what all in it are called by, live ones too: the table is gone.
    pub(super) fn remove(&self) {
        if let Some(registry) = &self.registry {
            remove_name(&registry_name(registry.id()));
            registry.remove_queues();
        }
    }
}

/// Wakes everybody at a registry that is no longer used and has no name any more, as far as a fresh budget allows, and removes what they
/// were called by.
pub(super) fn leave(mut left: Registry, version: u64) {
    let (mut callers, mut budget) = (WakeSenders::default(), left.budget());
    let woken = left.parked(version, true, &mut budget, |member, budget| {
        let Member { slot, nonce, .. } = member;
        let caller = callers.open(slot, nonce, budget, || member.address(), |_| ());
        if let Some(caller) = caller
            && budget.take_call()
        {
            caller.call(version);
        }
    });
    if let Err(error @ Error::Corrupt { .. }) = woken {
        tracing::debug!("subscribers look by themselves before long: {error}");
    }
    left.remove_queues();
}

fn remove_name(object: &str) {
    if let Err(error) = object::remove(object) {
        tracing::warn!("it stays behind: {error}");
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
