//! Sets of numbers as bits of words.

use std::ops::Range;

/// The numbers of the bits that are set.
#[inline]
pub fn set_bits(words: &[u64]) -> SetBits<'_> {
    SetBits {
        words,
        word: 0,
        bits: words.first().copied().unwrap_or(0),
    }
}

/// Iterator of [`set_bits`].
#[derive(Clone)]
pub struct SetBits<'w> {
    words: &'w [u64],
    word: usize,
    bits: u64,
}

impl Iterator for SetBits<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.bits == 0 {
            self.bits = *self.words.get(self.word + 1)?;
            self.word += 1;
        }
        let bit = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(self.word * 64 + bit)
    }
}

/// Where bits that are set follow each other.
pub fn runs(mut bits: u64) -> impl Iterator<Item = Range<usize>> {
    std::iter::from_fn(move || {
        let start = (bits != 0).then(|| bits.trailing_zeros())?;
        let end = start + (bits >> start).trailing_ones();
        bits &= u64::MAX.checked_shl(end).unwrap_or(0);
        Some(start as usize..end as usize)
    })
}

/// Sorts numbers, of which each stays once, and none that is not below `end`.
pub fn sort_below(end: usize, numbers: &mut Vec<u32>) {
    if numbers.len() < end / 64 {
        numbers.sort_unstable();
        numbers.dedup();
        numbers.truncate(numbers.partition_point(|number| (*number as usize) < end));
        return;
    }
    // So many are sooner marked and found again.
    let mut bits = vec![0; end.div_ceil(64)];
    for number in numbers.drain(..).map(|number| number as usize) {
        if number < end {
            bits[number / 64] |= 1 << (number % 64);
        }
    }
    numbers.extend(set_bits(&bits).map(|number| number as u32));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_found_by_themselves_and_in_runs() {
        let numbers = |bits: &[u64]| set_bits(bits).collect::<Vec<_>>();
        assert_eq!(numbers(&[0, 1 << 63 | 1, 0, 2]), [64, 127, 193]);
        assert_eq!(numbers(&[u64::MAX]), (0..64).collect::<Vec<_>>());
        let found = |bits| runs(bits).collect::<Vec<_>>();
        assert!(found(0).is_empty());
        assert_eq!(runs(u64::MAX).next(), Some(0..64));
        assert_eq!(found(1 << 63 | 0b110_1101), [0..1, 2..4, 5..7, 63..64]);
    }

    #[test]
    fn few_numbers_and_many_are_sorted_alike() {
        for (count, end) in [
            (0, 0),
            (1, 0),
            (3, 1000),
            (100, 1000),
            (5000, 1000),
            (64, 64),
        ] {
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
