//! Counters of a publisher. They are plain integers in private memory, so their cost per commit is
//! too small to measure. Commits are timed only on request, because that needs a read of the clock
//! per commit.

/// Counters of a publisher since it was opened.
///
/// # Examples
/// ```
/// # use common::{Schema, UntypedPublisher};
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-statistics-{}", std::process::id());
/// let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u8,n:u8", None)?).open()?;
/// let (sender, times) = std::sync::mpsc::channel();
/// publisher.time_commits(move |time| drop(sender.send(time)));
/// let mut tx = publisher.begin();
/// tx.upsert(&[1, 0])?;
/// tx.upsert(&[2, 0])?;
/// tx.commit()?;
/// let mut tx = publisher.begin();
/// tx.upsert(&[1, 9])?;
/// tx.delete(&[2])?;
/// tx.commit()?;
///
/// let statistics = publisher.statistics();
/// assert_eq!(statistics.commits, 2);
/// assert_eq!((statistics.creates, statistics.updates, statistics.deletes), (2, 1, 1));
/// assert_eq!(times.try_iter().count(), 2);
/// # publisher.close()
/// # }
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Number of committed transactions that changed rows. Commits without rows, which signal
    /// other events, and calls of [`reshape`](crate::UntypedPublisher::reshape) also create
    /// versions but are not counted here.
    pub commits: u64,
    /// Number of rows with new keys in these transactions. If a new key takes the slot of a
    /// deleted key in a full table, this counts as one deletion and one creation.
    pub creates: u64,
    /// Number of rows that these transactions replaced.
    pub updates: u64,
    /// Number of rows that these transactions removed.
    pub deletes: u64,
    /// Number of times the publisher swept its registry, in calls to
    /// [`maintain`](crate::UntypedPublisher::maintain) and in its own maintenance.
    pub sweeps: u64,
    /// Number of wake-ups sent. A commit counts one for each subscriber that it wakes
    /// individually, and one for all subscribers that sleep on the futex.
    pub wakes: u64,
}

#[cfg(test)]
mod tests {
    use crate::{Result, Schema, UntypedPublisher};

    #[test]
    fn changes_are_counted_as_creates_updates_and_deletes() -> Result<()> {
        let name = format!("unit-statistics-{}", std::process::id());
        let schema = Schema::parse("id:u8,n:u8", None)?;
        let mut publisher = UntypedPublisher::builder(&name, schema).capacity(2).open()?;
        let counts = |publisher: &UntypedPublisher| {
            let statistics = publisher.statistics();
            [statistics.commits, statistics.creates, statistics.updates, statistics.deletes]
        };
        let mut tx = publisher.begin();
        tx.insert(&[1, 0])?;
        tx.insert(&[2, 0])?;
        tx.commit()?;
        assert_eq!(counts(&publisher), [1, 2, 0, 0]);
        // Dropped transactions and transactions without effect are not counted.
        publisher.begin().upsert(&[1, 1])?;
        let mut tx = publisher.begin();
        tx.delete(&[1])?;
        drop(tx);
        publisher.begin().commit()?;
        assert_eq!(counts(&publisher), [1, 2, 0, 0]);
        // In a full table the slot of a deleted key is reused immediately.
        let mut tx = publisher.begin();
        tx.delete(&[1])?;
        tx.insert(&[3, 0])?;
        tx.update(&[2, 7])?;
        tx.commit()?;
        assert_eq!(counts(&publisher), [2, 3, 1, 1]);
        let mut tx = publisher.begin();
        tx.clear();
        tx.commit()?;
        assert_eq!(counts(&publisher), [3, 3, 1, 3]);
        let before = publisher.statistics().sweeps;
        publisher.maintain()?;
        assert_eq!(publisher.statistics().sweeps, before + 1);
        publisher.close()
    }
}
