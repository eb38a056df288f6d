//! Sleeping until there is news, or a certain version, or somebody interrupts: all of it refreshes, with sleep in between.
//!
//! 1. Refresh. Commits before the version that is waited for are seen and not taken over, so that what comes at last is one
//!    step from the copy as it was, however many commits lie in between.
//! 2. If that is no news, sleep: parked at the last commit that was seen, so that the next one wakes.
//! 3. Whatever ended it, the time included, go on at 1. What is not waited for any longer is taken over as it is.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::changes::UntypedChanges;
use super::interrupt::Interrupter;
use super::untyped::UntypedSubscriber;
use crate::error::{Error, Result};

impl UntypedSubscriber {
    /// [`refresh`](Self::refresh), and if there is no news sleeps until there is, at most for `timeout`, or until an
    /// [`interrupter`](Self::interrupter) ends it.
    ///
    /// # Errors
    /// As for [`refresh`](Self::refresh).
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<UntypedChanges<'_>> {
        let awaited = self.sleep_until(0, timeout);
        self.settle(awaited)?;
        Ok(self.changes())
    }

    /// Sleeps until the local copy can be brought to `version` or a later one, at most for `timeout`, and brings it there, in
    /// one step: the changes are all those since the refresh before, each key once, and commits in between cost no copying.
    /// A copy that is there already is refreshed without sleeping.
    ///
    /// It comes back early, with all that there is and the changes' [`version`](UntypedChanges::version) short of what was
    /// waited for, when the time is over, when it is [interrupted](Self::interrupter), and when the schema or the publisher's state changes: a
    /// dead one commits no more, and versions begin anew where a table was closed and is published again.
    ///
    /// ```
    /// # use common::{Schema, UntypedPublisher, UntypedSubscriber};
    /// # use std::time::Duration;
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-wait-for-{}", std::process::id());
    /// # let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let mut table = UntypedSubscriber::open(&name)?;
    /// # let mut tx = publisher.begin();
    /// # tx.insert(&7_u64.to_le_bytes())?;
    /// # let written = tx.commit()?;
    /// // `written` is what the publisher's commit returned, and whoever asked it to commit was told.
    /// let changes = table.wait_for(written, Some(Duration::from_secs(2)))?;
    /// assert!(changes.version() >= written, "not within two seconds");
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`refresh`](Self::refresh).
    pub fn wait_for(
        &mut self,
        version: u64,
        timeout: Option<Duration>,
    ) -> Result<UntypedChanges<'_>> {
        let awaited = self.sleep_until(version, timeout);
        self.settle(awaited)?;
        Ok(self.changes())
    }

    /// What ends this subscriber's waits from another thread. The wait that is under way, or else the next one, or a refresh,
    /// then says so by [`interrupted`](UntypedChanges::interrupted); news that there is at that moment comes with it.
    ///
    /// ```
    /// # use common::{Cause, Schema, UntypedPublisher, UntypedSubscriber};
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-interrupt-{}", std::process::id());
    /// # let publisher = UntypedPublisher::builder(&name, Schema::parse("id:u64", None)?).open()?;
    /// let mut table = UntypedSubscriber::open(&name)?;
    /// let interrupter = table.interrupter()?;
    /// std::thread::spawn(move || interrupter.interrupt());
    /// while !table.wait(None)?.interrupted() { /* use what changed */ }
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the system refuses.
    pub fn interrupter(&mut self) -> Result<Interrupter> {
        if let Some(interrupter) = &self.interrupter {
            return Ok(interrupter.clone());
        }
        let interrupter = Interrupter::new(self.region.object())?;
        self.waiter.add_interrupter(interrupter.as_fd())?;
        // Sleeps by the descriptor from now on, whatever it is woken by.
        self.as_fd();
        self.interrupter = Some(interrupter.clone());
        Ok(interrupter)
    }

    /// Sleeps until there is news, of commits from `least` on.
    fn sleep_until(&mut self, least: u64, timeout: Option<Duration>) -> Result<()> {
        self.interrupted = false;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            // Who spins sees commits, and no interruption.
            let spins = self.interrupter.is_none() && !self.settings.wake.spin().is_zero();
            self.advance(!spins, least)?;
            if spins && !self.is_done(least) && self.spin(deadline) {
                self.advance(true, least)?;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            self.interrupted = self.take_interrupt();
            if self.is_done(least) || self.interrupted || left == Some(Duration::ZERO) {
                break;
            }
            if self.asleep {
                let recheck = self.until_check();
                self.awake_after(left.map_or(recheck, |left| left.min(recheck)))?;
            }
        }
        // Nothing more is waited for: what there is now is told.
        if !self.has_news() && self.mark.version < least {
            self.advance(true, 0)?;
        }
        Ok(())
    }

    /// Whether there is what was waited for.
    fn is_done(&self, least: u64) -> bool {
        self.has_news() || (least > 0 && self.mark.version >= least)
    }

    /// After a refresh or a wait: an interruption is told with its outcome, or kept. And the descriptor, if it was ever asked
    /// for, is readable unless this subscriber sleeps.
    pub(super) fn settle(&mut self, outcome: Result<()>) -> Result<()> {
        let interrupted = std::mem::take(&mut self.interrupted) || self.take_interrupt();
        match (&outcome, &self.interrupter) {
            (Err(_), Some(interrupter)) if interrupted => interrupter.interrupt(),
            _ => self.interrupted = interrupted,
        }
        if *self.armed.get_mut() {
            match &outcome {
                Ok(()) if self.asleep => {}
                // Nobody wakes who is not parked: the descriptor says when to look again.
                Ok(()) | Err(Error::Outrun { .. }) => self.waiter.fire(),
                Err(_) => self.waiter.set_timer(self.until_check())?,
            }
        }
        outcome
    }

    fn take_interrupt(&self) -> bool {
        self.interrupter.as_ref().is_some_and(Interrupter::take)
    }
}
