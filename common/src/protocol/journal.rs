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

use super::{Table, WritableTable, last_commit};
use crate::protocol::bits::sort_below;
use crate::protocol::layout::header::{COMMIT, WRITTEN, WRITTEN_WORDS};
use crate::protocol::sync::{AtomicU64, Ordering, Point, applies, fence, store};
use crate::protocol::word::ReadOnlyWord;

/// The progress of a copy: its version and its position in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Version of the copy.
    pub version: u64,
    /// Number of journal entries at that version, if it is known.
    written: Option<u64>,
}

impl Cursor {
    /// The cursor before the first version: every row is new.
    pub const START: Self = Self::at(0);

    /// Returns a cursor at `version` with an unknown position in the journal.
    pub const fn at(version: u64) -> Self {
        Self {
            version,
            written: None,
        }
    }
}

/// Returns the word that holds the number of entries up to `version`.
#[inline]
fn written<W>(words: &[W], version: u64) -> &W {
    &words[WRITTEN + (version % WRITTEN_WORDS) as usize]
}

/// Flag of a journal entry: the second copy of the slot was written.
const SECOND: u32 = 1 << 31;
/// Number of entries whose tags and copies are prefetched as soon as the entry is read. It covers
/// all entries of most commits.
const FETCHED: u64 = 24;

/// Returns the journal word that holds the entry `number`.
#[inline]
fn word<W>(journal: &[W], number: u64) -> &W {
    &journal[(number / 2) as usize & (journal.len() - 1)]
}

/// Returns the entry in the low half of a word.
#[inline]
fn low(word: u64) -> u64 {
    word & u64::from(u32::MAX)
}

/// Writes journal entries, two by one store.
pub(super) struct Notes<'m> {
    /// The ring; `None` if the transaction has too many rows for it.
    journal: Option<&'m [AtomicU64]>,
    /// Number of the next entry.
    next: u64,
    /// The first entry of the current word, if the next entry is the second.
    first: u64,
    /// The word that receives the number of entries at the end.
    written: &'m AtomicU64,
}

impl<'m> Notes<'m> {
    /// Returns the word of the next entry.
    #[inline]
    fn word(&self) -> Option<&'m AtomicU64> {
        self.journal.map(|journal| word(journal, self.next))
    }

    /// Adds an entry for copy `which` of `slot`.
    #[inline]
    pub fn add(&mut self, slot: usize, which: usize) {
        let slot = slot as u64 | (u64::from(SECOND) * which as u64);
        match self.next % 2 {
            0 => self.first = slot,
            _ => self.put(slot << 32),
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Stores the last entry if its word is half full, and keeps the other half of that word.
    #[inline]
    pub fn end(self) {
        if self.next % 2 == 1
            && let Some(word) = self.word()
        {
            let before = word.load(Ordering::Relaxed);
            self.put(before - low(before));
        }
        store(self.written, self.next, Ordering::Relaxed);
    }

    #[inline]
    fn put(&self, second: u64) {
        if let Some(word) = self.word() {
            store(word, second | self.first, Ordering::Relaxed);
        }
    }
}

impl<'m> Table<'m> {
    #[inline]
    fn journal(&self) -> &'m [ReadOnlyWord] {
        &self.words[self.geometry.journal..][..self.geometry.journal_slots / 2]
    }

    /// Returns the number of most recent entries that a reader may accept.
    #[inline]
    fn reach(&self) -> u64 {
        self.geometry.journal_slots as u64 / 2
    }

    /// Returns the cursor of a copy that was updated to `version`, which was the last commit a
    /// moment ago.
    #[inline]
    pub fn mark(&self, version: u64) -> Cursor {
        let end = written(self.words, version).load(Ordering::Relaxed);
        // Partner: the fences between the commit that precedes the overwriting one and the
        // overwriting store.
        fence(Point::SeeMark, Ordering::Acquire);
        let later = self.words[COMMIT]
            .load(Ordering::Relaxed)
            .wrapping_sub(version);
        let holds = later < WRITTEN_WORDS - 1 || !applies(Point::RecheckMark);
        Cursor {
            version,
            written: holds.then_some(end),
        }
    }

    /// Fills `slots` with the slots that were written after `from` and up to `to`, ascending, each
    /// once. Returns false if the journal no longer covers that range.
    #[inline]
    pub fn written_between(&self, from: Cursor, to: Cursor, slots: &mut Vec<u32>) -> bool {
        slots.clear();
        let (Some(begin), Some(end)) = (from.written, to.written) else {
            return false;
        };
        let count = end.wrapping_sub(begin);
        if count > self.reach() {
            return false;
        }
        let journal = self.journal();
        slots.extend((0..count).map(|place| {
            let number = begin.wrapping_add(place);
            let both = word(journal, number).load(Ordering::Relaxed);
            let noted = (both >> (32 * (number % 2))) as u32;
            let slot = noted & !SECOND;
            if place < FETCHED {
                self.prefetch(slot as usize, usize::from(noted & SECOND != 0));
            }
            slot
        }));
        // Partner: the fences between the commit that precedes the overwriting one and the
        // overwriting store.
        fence(Point::RecheckJournal, Ordering::Acquire);
        let last = written(self.words, last_commit(self.words)).load(Ordering::Relaxed);
        // Only a damaged journal names slots that are not rows.
        sort_below(self.rows, slots);
        last.wrapping_sub(begin) <= self.reach() || !applies(Point::JournalReach)
    }
}

impl<'m> WritableTable<'m> {
    /// Returns the writer for the `count` journal entries of transaction `version`. The caller
    /// calls it after the previous commit and before the commit of `version`.
    #[inline]
    pub(super) fn notes(&self, version: u64, count: u64) -> Notes<'m> {
        let begin = written(self.words, version - 1).load(Ordering::Relaxed);
        let is_within_reach = count <= self.reach() && applies(Point::Note);
        let geometry = self.geometry;
        let mut notes = Notes {
            journal: is_within_reach
                .then(|| &self.words[geometry.journal..][..geometry.journal_slots / 2]),
            next: begin,
            first: 0,
            written: written(self.words, version),
        };
        notes.first = notes
            .word()
            .map_or(0, |word| low(word.load(Ordering::Relaxed)));
        notes
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::protocol::layout::Geometry;

    const ROWS: usize = 64;
    /// Half of the capacity of the smallest journal.
    const REACH: usize = 512;

    #[test]
    fn what_it_names_was_written_as_far_as_it_reaches() {
        let geometry = Geometry::new(1, ROWS, 0, 0).unwrap();
        let words: Vec<AtomicU64> = (0..geometry.words_for(ROWS))
            .map(|_| AtomicU64::new(0))
            .collect();
        let table = WritableTable::new(&words, &geometry, ROWS).unwrap();
        let mut marks: Vec<(Cursor, Vec<usize>)> = vec![(table.mark(0), Vec::new())];
        let mut slots = Vec::new();
        let (mut known, mut unknown) = (0, 0);
        for version in 1..2_000_u64 {
            // Odd and even numbers of slots, no slots, and more than the journal takes; each slot once.
            let count = (version * 7 % 13 + version / 100 * (version % 5)) as usize % 40;
            let written: Vec<usize> = (0..count)
                .map(|place| (place * 5 + version as usize * 3) % ROWS)
                .collect();
            let writes = written
                .iter()
                .map(|slot| table.write(*slot, Some(&[7]), version - 1));
            table.commit(version, 0, writes);
            marks.push((table.mark(version), written));
            let mut all = Vec::new();
            for at in (0..version as usize).rev().take(60) {
                all.extend(marks[at + 1].1.iter().map(|slot| *slot as u32));
                let (from, to) = (marks[at].0, marks[version as usize].0);
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
    fn a_mark_is_no_place_in_the_journal_when_another_commit_may_have_taken_its_word() {
        let geometry = Geometry::new(1, ROWS, 0, 0).unwrap();
        let words: Vec<AtomicU64> = (0..geometry.words_for(ROWS))
            .map(|_| AtomicU64::new(0))
            .collect();
        let table = WritableTable::new(&words, &geometry, ROWS).unwrap();
        for version in 1..=8 {
            let write = table.write(3, Some(&[7]), version - 1);
            table.commit(version, 0, std::iter::once(write));
        }
        let known = [4, 5, 6, 7, 8].map(|version| table.mark(version).written);
        assert_eq!(known, [None, None, Some(6), Some(7), Some(8)]);
    }

    #[test]
    fn a_damaged_journal_names_no_slot_that_there_is_not() {
        let geometry = Geometry::new(1, ROWS, 0, 0).unwrap();
        let words: Vec<AtomicU64> = (0..geometry.words_for(ROWS))
            .map(|_| AtomicU64::new(u64::MAX))
            .collect();
        let table = WritableTable::new(&words, &geometry, ROWS).unwrap();
        words[COMMIT].store(5, Ordering::Relaxed);
        let mut slots = Vec::new();
        for end in [0, 1, 31, u64::MAX] {
            words[WRITTEN..WRITTEN + WRITTEN_WORDS as usize]
                .iter()
                .for_each(|word| word.store(end, Ordering::Relaxed));
            let from = Cursor {
                version: 4,
                written: Some(u64::MAX - 3),
            };
            table.written_between(from, table.mark(5), &mut slots);
            assert!(slots.iter().all(|slot| (*slot as usize) < ROWS));
            let write = table.write(3, Some(&[7]), 5);
            table.commit(6, 0, std::iter::once(write));
            words[COMMIT].store(5, Ordering::Relaxed);
        }
    }
}
