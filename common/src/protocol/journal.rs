//! The journal: the slots that the last transactions wrote, for readers that follow closely and
//! need not search for changes.
//!
//! The journal is a ring of slot numbers, of which only the most recent are kept. Each entry also
//! names the copy that was written, so that a reader can prefetch it without waiting for the tags.
//! The entry with number p, counted since the region was created, is stored at p modulo the ring's
//! length L. For each of the last few commits V, the header holds `written[V]`, the number of
//! entries up to that commit.
//!
//! 1. In transaction V of n rows, the publisher writes n entries from number `written[V - 1]` on
//!    and stores `written[V] = written[V - 1] + n` before `commit = V`. If n is more than L / 2,
//!    the publisher only counts them.
//! 2. A reader at version S knows `written[S]` from when it read that version. It loads a version s
//!    and `written[s]`. It accepts that value if `commit` has not since advanced so far that the
//!    word may hold another commit's value.
//! 3. If at most L / 2 entries lie between the two numbers, the reader copies them.
//! 4. The reader executes an acquire fence and loads `commit` as c and `written[c]`. If
//!    `written[c]` is at most L / 2 past `written[S]`, no copied entry was overwritten: transaction
//!    V writes its entries after `commit = V - 1`, so a reader that saw any of them loads a c of at
//!    least V - 1, and V overwrites only entries that are at least L / 2 behind its beginning.
//!
//! Otherwise the reader searches the change tree. A dead publisher's transaction may have written
//! entries beyond `written[commit]`, within the same bound; its successor overwrites them. An entry
//! only says where to look: a superfluous one costs one read.

use super::read::{Table, last_commit};
use crate::protocol::layout::Geometry;
use crate::protocol::layout::header::{COMMIT, WRITTEN, WRITTEN_WORDS};
use crate::protocol::sync::{AtomicU64, Ordering, Point, applies, fence, store};
use crate::protocol::words::set_bits;

/// Flag of a journal entry: the second copy of the slot was written.
const SECOND: u32 = 1 << 31;
/// Number of entries whose tags and copies are prefetched as soon as the entry is read. It covers
/// all entries of most commits.
const FETCHED: u64 = 24;

/// The progress of a copy: its version and its position in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub version: u64,
    /// Number of journal entries at that version, if it is known.
    written: Option<u64>,
}

impl Cursor {
    /// The cursor before the first version: every row is new.
    pub const START: Self = Self::at(0);

    /// Returns a cursor at `version` with an unknown position in the journal.
    pub const fn at(version: u64) -> Self {
        let written = None;
        Self { version, written }
    }
}

/// Returns the words of the ring, two entries each.
#[inline]
fn ring<'m, W>(words: &'m [W], geometry: &Geometry) -> &'m [W] {
    &words[geometry.journal..][..geometry.journal_slots / 2]
}

/// Returns the number of most recent entries that a reader may accept.
#[inline]
fn reach(geometry: &Geometry) -> u64 {
    geometry.journal_slots as u64 / 2
}

/// Returns the word of the ring that holds entry `number`.
#[inline]
fn word<W>(ring: &[W], number: u64) -> &W {
    &ring[(number / 2) as usize & (ring.len() - 1)]
}

/// Returns the word that holds the number of entries up to `version`.
#[inline]
fn written<W>(words: &[W], version: u64) -> &W {
    &words[WRITTEN + (version % WRITTEN_WORDS) as usize]
}

/// Returns the entry in the low half of a word.
#[inline]
fn low(word: u64) -> u64 {
    word & u64::from(u32::MAX)
}

/// Writes the entries of one transaction, two by one store.
pub(super) struct JournalWriter<'m> {
    /// `None` if the transaction has too many rows for the journal.
    ring: Option<&'m [AtomicU64]>,
    next: u64,
    /// The first entry of the current word, if the next entry is the second.
    first: u64,
    /// The word that receives the number of entries at the end.
    written: &'m AtomicU64,
}

impl<'m> JournalWriter<'m> {
    /// Begins the `count` entries of transaction `version`, after the previous commit.
    #[inline]
    pub fn begin(words: &'m [AtomicU64], geometry: &Geometry, version: u64, count: u64) -> Self {
        let next = written(words, version - 1).load(Ordering::Relaxed);
        let is_within_reach = count <= reach(geometry) && applies(Point::Note);
        let ring = is_within_reach.then(|| ring(words, geometry));
        let first = ring.map_or(0, |ring| low(word(ring, next).load(Ordering::Relaxed)));
        let written = written(words, version);
        Self { ring, next, first, written }
    }

    #[inline]
    pub fn add(&mut self, slot: usize, which: usize) {
        let slot = slot as u64 | (u64::from(SECOND) * which as u64);
        match (self.next % 2, self.ring) {
            (0, _) => self.first = slot,
            (_, Some(ring)) => self.put(ring, slot << 32),
            (_, None) => {}
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Stores the last entry if its word is half full, and keeps the other half of that word. Then
    /// stores the number of entries, before the commit.
    #[inline]
    pub fn end(self) {
        if let (1, Some(ring)) = (self.next % 2, self.ring) {
            let before = word(ring, self.next).load(Ordering::Relaxed);
            self.put(ring, before - low(before));
        }
        store(self.written, self.next, Ordering::Relaxed);
    }

    #[inline]
    fn put(&self, ring: &[AtomicU64], second: u64) {
        let word = word(ring, self.next);
        store(word, second | self.first, Ordering::Relaxed);
    }
}

impl Table<'_> {
    /// Returns the cursor of a copy that was updated to `version`, which was the last commit a
    /// moment ago.
    #[inline]
    pub(super) fn cursor(&self, version: u64) -> Cursor {
        let end = written(self.words(), version).load(Ordering::Relaxed);
        // Partner: the fences between the commit that precedes the overwriting one and the
        // overwriting store.
        fence(Point::SeeMark, Ordering::Acquire);
        let later = self.words()[COMMIT].load(Ordering::Relaxed);
        let later = later.wrapping_sub(version);
        let holds = later < WRITTEN_WORDS - 1 || !applies(Point::RecheckMark);
        let written = holds.then_some(end);
        Cursor { version, written }
    }

    /// Fills `slots` with the slots that were written after `from` and up to `to`, ascending, each
    /// once. Returns false if the journal no longer covers that range.
    #[inline]
    pub(super) fn written_between(&self, from: Cursor, to: Cursor, slots: &mut Vec<u32>) -> bool {
        slots.clear();
        let (Some(begin), Some(end)) = (from.written, to.written) else {
            return false;
        };
        let (count, reach) = (end.wrapping_sub(begin), reach(self.geometry()));
        if count > reach {
            return false;
        }
        let ring = ring(self.words(), self.geometry());
        slots.extend((0..count).map(|place| {
            let number = begin.wrapping_add(place);
            let both = word(ring, number).load(Ordering::Relaxed);
            let entry = (both >> (32 * (number % 2))) as u32;
            let slot = entry & !SECOND;
            if place < FETCHED {
                self.prefetch(slot as usize, usize::from(entry & SECOND != 0));
            }
            slot
        }));
        // Partner: the fences between the commit that precedes the overwriting one and the
        // overwriting store.
        fence(Point::RecheckJournal, Ordering::Acquire);
        let last = written(self.words(), last_commit(self.words())).load(Ordering::Relaxed);
        // Only a damaged journal names slots that are not rows.
        sort_below(self.rows(), slots);
        last.wrapping_sub(begin) <= reach || !applies(Point::JournalReach)
    }
}

/// Sorts `numbers`, and removes duplicates and numbers from `end` on.
fn sort_below(end: usize, numbers: &mut Vec<u32>) {
    if numbers.len() < end / 64 {
        numbers.sort_unstable();
        numbers.dedup();
        numbers.truncate(numbers.partition_point(|number| (*number as usize) < end));
        return;
    }
    // Marking that many numbers in a bitmap is faster than sorting them.
    let mut bits = vec![0; end.div_ceil(64)];
    for number in numbers.drain(..).map(|number| number as usize) {
        if number < end {
            bits[number / 64] |= 1 << (number % 64);
        }
    }
    numbers.extend(set_bits(&bits).map(|number| number as u32));
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::protocol::WritableTable;

    const ROWS: usize = 64;
    /// Half of the capacity of the smallest journal.
    const REACH: usize = 512;

    #[test]
    fn journal_names_the_written_slots_within_its_reach() {
        let geometry = Geometry::new(1, ROWS, 0, 0).unwrap();
        let words: Vec<AtomicU64> =
            (0..geometry.words_for(ROWS)).map(|_| AtomicU64::new(0)).collect();
        let table = WritableTable::new(&words, &geometry, ROWS).unwrap();
        let mut cursors: Vec<(Cursor, Vec<usize>)> = vec![(table.cursor(0), Vec::new())];
        let mut slots = Vec::new();
        let (mut known, mut unknown) = (0, 0);
        for version in 1..2_000_u64 {
            // An odd or even number of distinct slots, none, or more than the reach in a few
            // commits.
            let count = (version * 7 % 13 + version / 100 * (version % 5)) as usize % 40;
            let written: Vec<usize> =
                (0..count).map(|place| (place * 5 + version as usize * 3) % ROWS).collect();
            let writes = written.iter().map(|slot| table.write(*slot, Some(&[7]), version - 1));
            table.commit(version, 0, writes);
            cursors.push((table.cursor(version), written));
            let mut all = Vec::new();
            for at in (0..version as usize).rev().take(60) {
                all.extend(cursors[at + 1].1.iter().map(|slot| *slot as u32));
                let (from, to) = (cursors[at].0, cursors[version as usize].0);
                let is_known = table.written_between(from, to, &mut slots);
                assert_eq!(is_known, all.len() <= REACH, "from {from:?} to {to:?}");
                if is_known {
                    let all = BTreeSet::from_iter(all.iter().copied());
                    assert_eq!(slots, Vec::from_iter(all));
                    known += 1;
                } else {
                    unknown += 1;
                }
            }
        }
        assert!(known > 1000 && unknown > 1000, "{known}, {unknown}");
    }

    #[test]
    fn cursor_has_no_position_if_another_commit_may_have_overwritten_its_word() {
        let geometry = Geometry::new(1, ROWS, 0, 0).unwrap();
        let words: Vec<AtomicU64> =
            (0..geometry.words_for(ROWS)).map(|_| AtomicU64::new(0)).collect();
        let table = WritableTable::new(&words, &geometry, ROWS).unwrap();
        for version in 1..=8 {
            let write = table.write(3, Some(&[7]), version - 1);
            table.commit(version, 0, std::iter::once(write));
        }
        let known = [4, 5, 6, 7, 8].map(|version| table.cursor(version).written);
        assert_eq!(known, [None, None, Some(6), Some(7), Some(8)]);
    }

    #[test]
    fn damaged_journal_names_only_existing_slots() {
        let geometry = Geometry::new(1, ROWS, 0, 0).unwrap();
        let words: Vec<AtomicU64> =
            (0..geometry.words_for(ROWS)).map(|_| AtomicU64::new(u64::MAX)).collect();
        let table = WritableTable::new(&words, &geometry, ROWS).unwrap();
        words[COMMIT].store(5, Ordering::Relaxed);
        let mut slots = Vec::new();
        for end in [0, 1, 31, u64::MAX] {
            words[WRITTEN..WRITTEN + WRITTEN_WORDS as usize]
                .iter()
                .for_each(|word| word.store(end, Ordering::Relaxed));
            let from = Cursor { version: 4, written: Some(u64::MAX - 3) };
            table.written_between(from, table.cursor(5), &mut slots);
            assert!(slots.iter().all(|slot| (*slot as usize) < ROWS));
            let write = table.write(3, Some(&[7]), 5);
            table.commit(6, 0, std::iter::once(write));
            words[COMMIT].store(5, Ordering::Relaxed);
        }
    }

    #[test]
    fn few_and_many_numbers_are_sorted_the_same() {
        for (count, end) in [(0, 0), (1, 0), (3, 1000), (100, 1000), (5000, 1000), (64, 64)] {
            let mut numbers: Vec<u32> = (0..count).map(|n| n * 7919 % 1100).collect();
            let mut expected = numbers.clone();
            expected.retain(|number| *number < end as u32);
            expected.sort_unstable();
            expected.dedup();
            sort_below(end, &mut numbers);
            assert_eq!(numbers, expected, "{count} below {end}");
        }
    }
}
