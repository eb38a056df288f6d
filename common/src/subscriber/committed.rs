//! When the local copy's version was committed.

use std::time::Duration;

use super::UntypedSubscriber;
use crate::protocol::commit_time;

impl UntypedSubscriber {
    /// Returns when the version of the local copy was committed, by the publisher's CLOCK_MONOTONIC
    /// ([`monotonic_ns`](crate::clock::monotonic_ns)). `None` once another commit came in.
    ///
    /// All processes in one time namespace share this clock. If the publisher is in another one, compare this with other commits
    /// only, and not with the subscriber's own clock.
    ///
    /// ```
    /// # use common::{Schema, UntypedPublisher, UntypedSubscriber};
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-committed-{}", std::process::id());
    /// let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u8", None)?).open()?;
    /// let mut table = UntypedSubscriber::open(&name)?;
    /// let first = table.committed();
    /// let mut tx = publisher.begin();
    /// tx.insert(&[1])?;
    /// tx.commit()?;
    /// assert_eq!(table.committed(), None);
    /// table.refresh()?;
    /// assert!(table.committed() >= first);
    /// # assert!(first.is_some());
    /// # publisher.close()
    /// # }
    /// ```
    pub fn committed(&self) -> Option<Duration> {
        commit_time(self.region.words(), self.mark.version).map(Duration::from_nanos)
    }
}
