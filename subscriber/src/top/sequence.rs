//! Sorted set of fixed-width entries, accessible by value and by position. It shows any part of a
//! million rows without sorting them for each picture.
//!
//! Entries are stored back to back in runs of bounded length, and the runs are sorted. Two binary
//! searches find an entry. An insertion or removal moves part of one run. Access by position counts
//! through the runs. With a million entries each operation takes less than a microsecond, and entries
//! have no memory overhead.
//!
//! Not for duplicate entries or entries of different widths.

/// Maximum number of entries in a run.
const RUN: usize = 512;

/// Sorted set of entries.
#[derive(Debug)]
pub struct Sequence {
    width: usize,
    /// Runs in ascending order, none of them empty.
    runs: Vec<Vec<u8>>,
    len: usize,
}

impl Sequence {
    /// Creates an empty sequence of entries of `width` bytes.
    ///
    /// # Panics
    /// Panics if `width` is 0.
    pub fn new(width: usize) -> Self {
        assert!(width > 0, "the width of an entry is 0");
        let (runs, len) = (Vec::new(), 0);
        Self { width, runs, len }
    }

    /// Creates a sequence from unsorted, distinct entries stored back to back in `bytes`.
    pub fn sorted(width: usize, bytes: &[u8]) -> Self {
        let mut sequence = Self::new(width);
        let mut order: Vec<(u64, &[u8])> = bytes
            .chunks_exact(width)
            .map(|entry| (prefix(entry), entry))
            .collect();
        order.sort_unstable();
        sequence.len = order.len();
        // Half full, to leave room for insertions.
        for part in order.chunks(RUN / 2) {
            let mut run = Vec::with_capacity(RUN * width);
            part.iter()
                .for_each(|(_, entry)| run.extend_from_slice(entry));
            sequence.runs.push(run);
        }
        sequence
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Inserts an entry. Returns false if it was already present.
    pub fn insert(&mut self, entry: &[u8]) -> bool {
        assert_eq!(entry.len(), self.width, "entry of another width");
        let Some(at) = self.run_of(entry) else {
            self.runs.push(entry.to_vec());
            self.len = 1;
            return true;
        };
        let Err(place) = self.search(at, entry) else {
            return false;
        };
        let run = &mut self.runs[at];
        let (begin, end) = (place * self.width, run.len());
        run.extend_from_slice(entry);
        run.copy_within(begin..end, begin + self.width);
        run[begin..begin + self.width].copy_from_slice(entry);
        if run.len() >= RUN * self.width {
            // Ascending insertions leave full runs behind; other insertions split a run in half.
            let is_last = begin == end;
            let keep = if is_last { RUN - 1 } else { RUN / 2 };
            let rest = run.split_off(keep * self.width);
            self.runs.insert(at + 1, rest);
        }
        self.len += 1;
        true
    }

    /// Removes an entry. Returns false if it was absent.
    pub fn remove(&mut self, entry: &[u8]) -> bool {
        let Some(at) = self.run_of(entry) else {
            return false;
        };
        let Ok(place) = self.search(at, entry) else {
            return false;
        };
        let begin = place * self.width;
        self.runs[at].drain(begin..begin + self.width);
        if self.runs[at].is_empty() {
            self.runs.remove(at);
        }
        self.len -= 1;
        true
    }

    /// Returns the entries from a position on.
    pub fn starting_at(&self, place: usize) -> impl Iterator<Item = &[u8]> {
        let (mut run, mut left) = (0, place);
        while let Some(entries) = self.runs.get(run).map(|run| run.len() / self.width) {
            if left < entries {
                break;
            }
            left -= entries;
            run += 1;
        }
        self.starting_in(run, left)
    }

    /// Returns the entries after `entry`, which may be absent from the sequence, or all entries for
    /// `None`.
    pub fn behind(&self, entry: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
        let (run, place) = match entry.and_then(|entry| Some((entry, self.run_of(entry)?))) {
            Some((entry, run)) => match self.search(run, entry) {
                Ok(place) => (run, place + 1),
                Err(place) => (run, place),
            },
            None => (0, 0),
        };
        self.starting_in(run, place)
    }

    fn starting_in(&self, run: usize, place: usize) -> impl Iterator<Item = &[u8]> {
        let runs = self.runs.get(run..).unwrap_or_default().iter();
        runs.flat_map(|run| run.chunks_exact(self.width))
            .skip(place)
    }

    /// Returns the run that contains the entry or would contain it.
    fn run_of(&self, entry: &[u8]) -> Option<usize> {
        let behind = self.runs.partition_point(|run| run[..self.width] <= *entry);
        (!self.runs.is_empty()).then(|| behind.saturating_sub(1))
    }

    /// Returns the position of the entry in a run, or the position to insert it at.
    fn search(&self, run: usize, entry: &[u8]) -> Result<usize, usize> {
        let at = |place: usize| &self.runs[run][place * self.width..][..self.width];
        let (mut low, mut high) = (0, self.runs[run].len() / self.width);
        while low < high {
            let middle = low.midpoint(high);
            match at(middle).cmp(entry) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }
}

/// Returns the first bytes as an integer with the same order. Most comparisons end there, without a
/// look at the entry.
fn prefix(entry: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = entry.len().min(bytes.len());
    bytes[..length].copy_from_slice(&entry[..length]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    fn check(sequence: &Sequence, model: &BTreeSet<[u8; 3]>, state: &mut u64) {
        assert_eq!(sequence.len(), model.len());
        assert!(sequence.runs.iter().all(|run| !run.is_empty()));
        assert!(sequence.runs.iter().all(|run| run.len() < RUN * 3));
        assert!(
            sequence
                .starting_at(0)
                .eq(model.iter().map(|entry| entry.as_slice()))
        );
        for _ in 0..20 {
            let place = random(state) as usize % (model.len() + 2);
            let expected = model.iter().skip(place).take(3);
            assert!(
                sequence
                    .starting_at(place)
                    .take(3)
                    .eq(expected.map(|entry| entry.as_slice()))
            );
            let entry = entry(random(state));
            let expected = model.iter().filter(|one| **one > entry).take(3);
            let behind = sequence.behind(Some(&entry)).take(3);
            assert!(behind.eq(expected.map(|entry| entry.as_slice())));
        }
    }

    /// Returns an entry from a small space, so that duplicates occur.
    fn entry(number: u64) -> [u8; 3] {
        let [low, high, ..] = number.to_le_bytes();
        [high & 0x3f, low, 7]
    }

    #[test]
    fn behaves_like_a_sorted_set() {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let (mut sequence, mut model) = (Sequence::new(3), BTreeSet::new());
        check(&sequence, &model, &mut state);
        for round in 0..40 {
            for _ in 0..1000 {
                let entry = entry(random(&mut state));
                // First mostly growing, then mostly shrinking.
                if (random(&mut state) % 40) > round {
                    assert_eq!(sequence.insert(&entry), model.insert(entry));
                } else {
                    assert_eq!(sequence.remove(&entry), model.remove(&entry));
                }
            }
            check(&sequence, &model, &mut state);
        }
        let all: Vec<_> = model.iter().copied().collect();
        for entry in all {
            assert!(sequence.remove(&entry) && model.remove(&entry));
        }
        check(&sequence, &model, &mut state);
    }

    #[test]
    fn sorted_equals_repeated_insertion() {
        let mut state = 1;
        let model: BTreeSet<[u8; 3]> = (0..5000).map(|_| entry(random(&mut state))).collect();
        let mut bytes: Vec<[u8; 3]> = model.iter().copied().collect();
        bytes.reverse();
        bytes.swap(3, 900);
        let mut sequence = Sequence::sorted(3, bytes.as_flattened());
        check(&sequence, &model, &mut state);
        assert!(!sequence.insert(&bytes[17]));
        let wide: Vec<u8> = (0..=255)
            .rev()
            .flat_map(|last| [[0; 11].as_slice(), &[last]].concat())
            .collect();
        let sequence = Sequence::sorted(12, &wide);
        assert!(sequence.starting_at(0).map(|entry| entry[11]).eq(0..=255));
    }

    #[test]
    fn ascending_insertions_fill_runs() {
        let mut sequence = Sequence::new(4);
        for number in 0..10_000_u32 {
            assert!(sequence.insert(&number.to_be_bytes()));
        }
        assert!(
            sequence.runs.len() <= 10_000 / (RUN - 1) + 1,
            "{}",
            sequence.runs.len()
        );
        let places: Vec<&[u8]> = sequence.starting_at(9_999).collect();
        assert_eq!(places, [9_999_u32.to_be_bytes()]);
    }
}
