//! Short heads: heads that say only what the one before did not say.
//!
//! 1. A head without rows, and at least each second one with rows, is sent whole, with a number.
//! 2. A head in between is short: it has the number of the last whole head, what was added to its
//!    version and time, and the rows. For a commit of one row that is 9 bytes and the row.
//! 3. An importer that has the whole head with that number puts them together. Otherwise the short
//!    head only says that there is something new, which leads to a request. A request in turn
//!    makes the next head a whole one.
//!
//! An exporter never uses a number twice, so that a short head means the same to every importer that
//! can read it. Its numbers grow.

use serde::{Deserialize, Serialize};

use crate::message::{Delta, Entries, Head, MAX_MESSAGE_BYTES, Malformed};
use crate::mutant::{Check, holds};

/// The first byte of a short head: of one that continues the version before it with one row, and of
/// any other one. The first byte of the other messages is their version, which is smaller.
const ONE: u8 = 0x80;
const MANY: u8 = 0x81;
/// Maximum time from a whole head to the last short one that continues it.
const MAX_AGE_NS: u64 = 1_000_000_000;

/// The beginning of every short head. The rows follow without a length.
#[derive(Serialize, Deserialize)]
struct Short<S> {
    /// The number of the whole head.
    number: u64,
    /// The version, after that of the whole head.
    version: u64,
    /// Microseconds from its commit to this one.
    time_us: u32,
    slots: S,
}

/// The slots of a head that is not about a single row.
#[derive(Serialize, Deserialize)]
struct Slots {
    /// Number of versions since the beginning of the changes.
    versions: u64,
    deleted: Vec<u32>,
    slots: Vec<u32>,
}

/// Encodes the heads of an exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HeadEncoder {
    /// The last whole head, without its rows.
    whole: Option<Head>,
}

impl HeadEncoder {
    /// Makes the next head a whole one.
    pub fn begin(&mut self) {
        self.whole = None;
    }

    /// Encodes a head. `number` returns a number that is larger than all that this exporter has used,
    /// for any table.
    pub fn encode(&mut self, head: &Head, number: impl FnOnce() -> u64) -> Vec<u8> {
        if let Some(bytes) = self.whole.as_ref().and_then(|whole| short(whole, head)) {
            return bytes;
        }
        let head = Head { number: number(), ..head.clone() };
        let bytes = head.to_bytes();
        self.whole = Some(Head { delta: None, ..head });
        bytes
    }
}

/// Returns the short form of a head that continues a whole one.
fn short(whole: &Head, head: &Head) -> Option<Vec<u8>> {
    let Delta { from, entries } = head.delta.as_ref()?;
    let version = head.position.version.checked_sub(whole.position.version)?;
    let versions = head.position.version.checked_sub(*from)?;
    let time_ns = head.committed_ns.checked_sub(whole.committed_ns)?;
    let continues = (whole.position.region, whole.epoch, whole.publisher, whole.schema)
        == (head.position.region, head.epoch, head.publisher, head.schema);
    if !continues || time_ns > MAX_AGE_NS {
        return None;
    }
    let (number, time_us) = (whole.number, (time_ns / 1_000) as u32);
    let bytes = match (&*entries.slots, versions) {
        (&[slots], 1) if entries.deleted.is_empty() => {
            postcard::to_extend(&Short { number, version, time_us, slots }, vec![ONE])
        }
        _ => {
            let (deleted, slots) = (entries.deleted.clone(), entries.slots.clone());
            let slots = Slots { versions, deleted, slots };
            postcard::to_extend(&Short { number, version, time_us, slots }, vec![MANY])
        }
    };
    let mut bytes = bytes.ok()?;
    bytes.extend_from_slice(&entries.rows);
    Some(bytes)
}

/// Decodes the heads of an exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HeadDecoder {
    /// The last whole head, without its rows.
    whole: Option<Head>,
}

impl HeadDecoder {
    /// Decodes a head. Returns `None` for a short head whose whole head is not known: it only says
    /// that there is a newer version. A short head has the number of rows of its whole head.
    ///
    /// # Errors
    /// [`Malformed`], also for another version of the messages.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Option<Head>, Malformed> {
        let head = match bytes.split_first() {
            Some((&ONE, rest)) => {
                let (short, rows): (Short<u32>, _) = split(rest)?;
                let slots = Slots { versions: 1, deleted: vec![], slots: vec![short.slots] };
                self.head(
                    Short {
                        number: short.number,
                        version: short.version,
                        time_us: short.time_us,
                        slots,
                    },
                    rows,
                )?
            }
            Some((&MANY, rest)) => {
                let (short, rows) = split(rest)?;
                self.head(short, rows)?
            }
            _ => {
                let head = Head::from_bytes(bytes)?;
                // A late one is not kept: short heads continue the newest one.
                if self.whole.as_ref().is_none_or(|whole| head.number > whole.number) {
                    self.whole = Some(Head { delta: None, ..head.clone() });
                }
                Some(head)
            }
        };
        Ok(head)
    }

    fn head(&self, short: Short<Slots>, rows: &[u8]) -> Result<Option<Head>, Malformed> {
        let is_continued = |whole: &&Head| holds(Check::HeadNumber, whole.number == short.number);
        let Some(whole) = self.whole.as_ref().filter(is_continued) else {
            return Ok(None);
        };
        let Slots { versions, deleted, slots } = short.slots;
        let mut head = whole.clone();
        let version = head.position.version.checked_add(short.version);
        let version = version.ok_or_else(|| Malformed::new("the version is too large"))?;
        let from = version.checked_sub(versions);
        let from = from.ok_or_else(|| Malformed::new("the changes begin before the table"))?;
        head.position.version = version;
        head.committed_ns = head.committed_ns.saturating_add(u64::from(short.time_us) * 1_000);
        head.delta = Some(Delta { from, entries: Entries { deleted, slots, rows: rows.to_vec() } });
        Ok(Some(head))
    }
}

/// Splits a short head into its beginning and its rows.
fn split<'a, S: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(Short<S>, &'a [u8]), Malformed> {
    if bytes.len() >= MAX_MESSAGE_BYTES {
        return Err(Malformed::new("the message is too long"));
    }
    postcard::take_from_bytes(bytes)
        .map_err(|error| Malformed::new(&format!("the message is damaged: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Position, Publisher};

    /// Numbers by xorshift: the same ones in each run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end
        }
    }

    fn head(version: u64, delta: Option<Delta>) -> Head {
        Head {
            number: 0,
            position: Position { region: u64::MAX, version },
            epoch: 1,
            rows: 2,
            publisher: Publisher::Alive,
            schema: u64::MAX,
            committed_ns: 1_000_000_000 + version * 1_000,
            delta,
        }
    }

    fn delta(from: u64, deleted: Vec<u32>, slots: Vec<u32>) -> Option<Delta> {
        let rows = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
        Some(Delta { from, entries: Entries { deleted, slots, rows } })
    }

    #[test]
    fn a_head_of_one_row_takes_nine_bytes() {
        let mut encoder = HeadEncoder::default();
        let whole = encoder.encode(&head(7, delta(6, vec![], vec![1])), || 1);
        assert!(whole.len() > 40);
        let mut next = head(107, delta(106, vec![], vec![99_999]));
        next.committed_ns += 999_000_000;
        let rows = next.delta.as_ref().map_or(0, |delta| delta.entries.rows.len());
        assert_eq!(encoder.encode(&next, || 2).len(), 9 + rows);
    }

    #[test]
    fn a_head_means_the_same_after_loss_repetition_and_reordering() {
        let mut random = Random(1);
        let (mut wholes, mut shorts, mut unknown) = (0, 0, 0);
        for _ in 0..200 {
            let (mut encoder, mut decoder) = (HeadEncoder::default(), HeadDecoder::default());
            let (mut sent, mut numbers) = (Vec::new(), 0);
            let mut next = head(1, None);
            for _ in 0..50 {
                let from = next.position.version;
                next.position.version += 1 + random.below(3) * random.below(200);
                next.committed_ns += random.below(300_000_000) / 1_000 * 1_000;
                let slots = |random: &mut Random| {
                    (0..random.below(3)).map(|_| random.below(1 << 32) as u32).collect()
                };
                next.delta = delta(from, slots(&mut random), slots(&mut random));
                match random.below(20) {
                    0 => next.position = Position { region: random.below(3), version: 1 },
                    1 => next.publisher = Publisher::Gone,
                    2 => next.epoch += 1,
                    3 => next.delta = None,
                    4 => next.committed_ns -= 100_000_000,
                    5 => encoder.begin(),
                    _ => {}
                }
                let bytes = encoder.encode(&next, || {
                    numbers += 1;
                    numbers
                });
                sent.push((next.clone(), bytes));
            }
            for at in 0..100 {
                // Mostly in order, some again, some never.
                let late = (at / 2_u64).saturating_sub(random.below(4)) as usize;
                let (head, bytes) = &sent[late];
                if random.below(4) == 0 {
                    continue;
                }
                let is_short = bytes[0] >= ONE;
                match decoder.decode(bytes) {
                    Ok(Some(decoded)) => {
                        let expected =
                            Head { number: decoded.number, rows: decoded.rows, ..head.clone() };
                        assert_eq!(decoded, expected);
                        if is_short { shorts += 1 } else { wholes += 1 }
                    }
                    Ok(None) => {
                        assert!(is_short);
                        unknown += 1;
                    }
                    Err(malformed) => panic!("{malformed}"),
                }
            }
        }
        assert!(wholes > 1_000 && shorts > 1_000 && unknown > 1_000, "{wholes} {shorts} {unknown}");
    }

    #[test]
    fn damaged_short_heads_are_errors() {
        let (mut encoder, mut decoder) = (HeadEncoder::default(), HeadDecoder::default());
        assert!(decoder.decode(&encoder.encode(&head(5, None), || 1)).is_ok());
        for entries in [delta(5, vec![], vec![1]), delta(4, vec![1], vec![2, 3])] {
            let bytes = encoder.encode(&head(6, entries), || 2);
            assert!(bytes[0] >= ONE);
            for length in 0..5 {
                assert!(decoder.decode(&bytes[..length]).is_err(), "{length}");
            }
            let long = [bytes, vec![0; MAX_MESSAGE_BYTES]].concat();
            assert!(decoder.decode(&long).is_err());
        }
        // It has 2^60 deleted slots, a version beyond the largest, or begins before the first one.
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        for bytes in [
            [&[MANY, 1, 1, 0, 1][..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]]
                .concat(),
            [&[ONE, 1][..], &largest, &[0, 1]].concat(),
            [MANY, 1, 1, 0, 7, 0, 0].to_vec(),
        ] {
            assert!(decoder.decode(&bytes).is_err(), "{bytes:?}");
        }
    }
}
