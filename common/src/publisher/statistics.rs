//! What a publisher has done, in plain numbers of its own: nobody else sees them, and counting costs a commit nothing that
//! could be measured. How long commits take is counted only when asked for, as that takes a look at the clock.

use super::{Publisher, UntypedPublisher};
use crate::clock::monotonic_ns;
use crate::row::Row;

/// What a publisher has done since it was opened.
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
    /// Transactions that were committed with rows. Not those without, which carry other news, nor what
    /// [`reshape`](UntypedPublisher::reshape) brings, though either makes a version.
    pub commits: u64,
    /// Rows that these brought of keys that were not there. A key that moved to another's place, in a full table, counts as
    /// deleted and created.
    pub creates: u64,
    /// Rows that they replaced.
    pub updates: u64,
    /// Rows that they removed.
    pub deletes: u64,
    /// How often it looked after its registry: [`maintain`](UntypedPublisher::maintain), also by itself.
    pub sweeps: u64,
    /// Calls to those who slept: one for each that is called by name, and one for all who sleep on the futex.
    pub wakes: u64,
    /// How long the commits took, from its call to its end, since [`time_commits`](UntypedPublisher::time_commits).
    pub commit_times: Option<CommitTimes>,
}

impl Statistics {
    /// A slot's outcome: whether it held a committed row, whether it holds one now, and whether that is another key's.
    #[inline]
    pub(super) fn count(&mut self, before: bool, now: bool, is_another: bool) {
        let updated = before && now && !is_another;
        self.updates += u64::from(updated);
        self.creates += u64::from(now && !updated);
        self.deletes += u64::from(before && !updated);
    }

    /// A commit that was called at `begun_ns`.
    #[inline]
    pub(super) fn committed(&mut self, begun_ns: u64) {
        self.commits += 1;
        if let Some(times) = &mut self.commit_times {
            times.record(monotonic_ns().saturating_sub(begun_ns));
        }
    }
}

/// How many commits took how long, by powers of two: bounded, and an addition each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTimes {
    counts: [u64; CommitTimes::BUCKETS],
    sum_ns: u64,
}

impl CommitTimes {
    /// How many powers of two are told apart: up to a second or so.
    const BUCKETS: usize = 31;

    fn record(&mut self, ns: u64) {
        // The least k with ns <= 2^k.
        let power = (u64::BITS - ns.saturating_sub(1).leading_zeros()) as usize;
        self.counts[power.min(Self::BUCKETS - 1)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// How many commits there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all of them took together, in ns.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Times in ns, and how many commits took no longer than that and longer than the time before. The last one, None, has no
    /// end.
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
    /// What this publisher has done since it was opened.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Has it counted from now on how long commits take, for a look at the clock each (some 20 ns).
    pub fn time_commits(&mut self) {
        self.statistics.commit_times.get_or_insert_default();
    }
}

impl<R: Row> Publisher<R> {
    /// See [`UntypedPublisher::time_commits`].
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
        // Neither what is dropped nor what has no effect.
        publisher.begin().upsert(&[1, 1])?;
        let mut tx = publisher.begin();
        tx.delete(&[1])?;
        drop(tx);
        publisher.begin().commit()?;
        assert_eq!(counts(&publisher), [1, 2, 0, 0]);
        // In a full table the slot of a key that goes is another's at once.
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
