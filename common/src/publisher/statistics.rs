//! Counters of a publisher. They are plain integers in private memory, so their cost per commit is
//! too small to measure. Commit times are recorded only on request, because that needs a read of
//! the clock per commit.

use super::{Publisher, UntypedPublisher};
use crate::clock::monotonic_ns;
use crate::row::Row;

/// Counters of a publisher since it was opened.
///
/// ```
/// # use common::{Schema, UntypedPublisher};
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-statistics-{}", std::process::id());
/// let mut publisher = UntypedPublisher::builder(&name, Schema::parse("id:u8,n:u8", None)?).open()?;
/// publisher.time_commits();
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
/// assert_eq!(statistics.commit_times.as_ref().map(|times| times.count()), Some(2));
/// # publisher.close()
/// # }
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Committed transactions that changed rows. Commits without rows, which carry other
    /// notifications, and [`reshape`](UntypedPublisher::reshape) are not counted, although each
    /// makes a version.
    pub commits: u64,
    /// Rows with new keys in these transactions. If a new key takes the slot of a deleted key in a
    /// full table, this counts as one deletion and one creation.
    pub creates: u64,
    /// Rows that these transactions replaced.
    pub updates: u64,
    /// Rows that these transactions removed.
    pub deletes: u64,
    /// Number of times the publisher swept its registry, in calls to
    /// [`maintain`](UntypedPublisher::maintain) and in its own maintenance.
    pub sweeps: u64,
    /// Number of wake-ups sent: one for each subscriber that is called individually, and one for
    /// all subscribers that wait on the futex.
    pub wakes: u64,
    /// Durations of the commits, from the call to its return, since
    /// [`time_commits`](UntypedPublisher::time_commits).
    pub commit_times: Option<CommitTimes>,
}

impl Statistics {
    /// Counts the change of one slot. `before` and `now` are true if the slot held a committed row
    /// before the commit and after it; `is_another` is true if the key changed.
    #[inline]
    pub(super) fn count(&mut self, before: bool, now: bool, is_another: bool) {
        let updated = before && now && !is_another;
        self.updates += u64::from(updated);
        self.creates += u64::from(now && !updated);
        self.deletes += u64::from(before && !updated);
    }

    /// Counts a commit that was called at `begun_ns`.
    #[inline]
    pub(super) fn committed(&mut self, begun_ns: u64) {
        self.commits += 1;
        if let Some(times) = &mut self.commit_times {
            times.record(monotonic_ns().saturating_sub(begun_ns));
        }
    }
}

/// Histogram of commit durations with a bucket for each power of two. Its size is constant, and
/// recording a duration is one addition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTimes {
    counts: [u64; CommitTimes::BUCKETS],
    sum_ns: u64,
}

impl CommitTimes {
    /// Number of buckets. The last bounded one ends at about half a second.
    const BUCKETS: usize = 31;

    fn record(&mut self, ns: u64) {
        // The smallest k with ns <= 2^k.
        let power = (u64::BITS - ns.saturating_sub(1).leading_zeros()) as usize;
        self.counts[power.min(Self::BUCKETS - 1)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Returns the number of commits.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the total duration of all commits, in ns.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Returns the upper bound of each bucket, in ns, and the number of commits above the previous
    /// bound and up to this one. The last bucket has no upper bound: `None`.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (Option<u64>, u64)> + '_ {
        self.counts.iter().enumerate().map(|(power, count)| {
            let most = (power + 1 < Self::BUCKETS).then(|| 1 << power);
            (most, *count)
        })
    }
}

impl Default for CommitTimes {
    fn default() -> Self {
        Self {
            counts: [0; Self::BUCKETS],
            sum_ns: 0,
        }
    }
}

impl UntypedPublisher {
    /// Returns the counters of this publisher since it was opened.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Starts recording commit durations. This costs each commit a read of the clock (about 20 ns).
    pub fn time_commits(&mut self) {
        self.statistics.commit_times.get_or_insert_default();
    }
}

impl<R: Row> Publisher<R> {
    /// Forwards to [`UntypedPublisher::time_commits`].
    pub fn time_commits(&mut self) {
        self.inner.time_commits();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Result, Schema};

    #[test]
    fn times_stand_at_the_least_power_that_holds_them() {
        let mut times = CommitTimes::default();
        for ns in [0, 1, 2, 3, 1024, 1025, 1 << 29, (1 << 29) + 1, u64::MAX] {
            times.record(ns);
        }
        let found: Vec<_> = times.buckets().filter(|(_, count)| *count > 0).collect();
        let of = |power: u32, count| (Some(1 << power), count);
        let expected = [
            of(0, 2),
            of(1, 1),
            of(2, 1),
            of(10, 1),
            of(11, 1),
            of(29, 1),
            (None, 2),
        ];
        assert_eq!(found, expected);
        assert_eq!((times.count(), times.sum_ns()), (9, u64::MAX));
    }

    #[test]
    fn changes_are_counted_by_what_becomes_of_keys() -> Result<()> {
        let name = format!("unit-statistics-{}", std::process::id());
        let schema = Schema::parse("id:u8,n:u8", None)?;
        let mut publisher = UntypedPublisher::builder(&name, schema)
            .capacity(2)
            .open()?;
        let counts = |publisher: &UntypedPublisher| {
            let statistics = publisher.statistics();
            [
                statistics.commits,
                statistics.creates,
                statistics.updates,
                statistics.deletes,
            ]
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
        assert_eq!(publisher.statistics().commit_times, None);
        let before = publisher.statistics().sweeps;
        publisher.maintain()?;
        assert_eq!(publisher.statistics().sweeps, before + 1);
        publisher.close()
    }
}
