//! Snapshots: all rows at one version, read directly from shared memory, without the local copy.

use std::sync::Arc;

use super::Subscriber;
use super::untyped::{PASSES, UntypedSubscriber, checked, convert_all};
use crate::error::Result;
use crate::memory::{AlignedWords, NoMemory, try_extend};
use crate::protocol::catch_up::{Destination, copy_all};
use crate::protocol::journal::Cursor;
use crate::protocol::words::set_bits;
use crate::row::{Row, RowBuf};

/// Typed rows whose type is a whole number of words and aligned to words.
struct Typed<'v, R>(&'v mut Vec<R>);

impl<R: Row> Typed<'_, R> {
    const FITS: bool =
        size_of::<R>().is_multiple_of(size_of::<u64>()) && align_of::<R>() == align_of::<u64>();
}

impl<R: Row> Destination for Typed<'_, R> {
    fn reserve(&mut self, words: usize) -> std::result::Result<(), NoMemory> {
        try_extend(self.0, words / (size_of::<R>() / size_of::<u64>()))
    }

    #[inline]
    fn words(&mut self) -> &mut [u64] {
        bytemuck::cast_slice_mut(self.0)
    }
}

impl UntypedSubscriber {
    /// Copies all rows as of the last commit directly from shared memory and returns them with their
    /// version. The local copy does not change.
    ///
    /// # Errors
    /// [`Error::Outrun`](crate::Error::Outrun), [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Limit`](crate::Error::Limit)
    /// if memory is too short for the rows.
    pub fn snapshot(&self) -> Result<(u64, Vec<RowBuf>)> {
        let (mut words, mut live) = (AlignedWords::default(), Vec::new());
        let version = self.copy_all(&mut words, &mut live)?;
        if let Some(conversion) = &self.conversion {
            words = convert_all(&self.region, conversion, self.schema(), &words, &live)?;
        }
        let (row_words, row_size) = (self.schema().row_words(), self.schema().row_size());
        let rows = set_bits(&live).map(|slot| {
            let bytes = bytemuck::cast_slice(&words[slot * row_words..][..row_words]);
            RowBuf::from_bytes(Arc::clone(self.schema()), &bytes[..row_size])
        });
        Ok((version, rows.collect::<Result<_>>()?))
    }

    fn copy_all(&self, rows: &mut impl Destination, live: &mut Vec<u64>) -> Result<u64> {
        let reached = copy_all(rows, live, PASSES, || self.region.look());
        Ok(checked(&self.name, &self.region, Cursor::START, reached)?.version)
    }
}

impl<R: Row> Subscriber<R> {
    /// Fills `rows` with all rows as of the last commit, directly from shared memory, and returns their
    /// version. The order of the rows is unspecified. The local copy does not change. Reusing the vector
    /// saves the allocation.
    ///
    /// ```
    /// # use common::{Publisher, Row, Subscriber};
    /// # #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable, Row)]
    /// # #[repr(C)]
    /// # struct Price { #[row(key)] instrument: u64, bid: u64 }
    /// # fn main() -> common::Result<()> {
    /// # let name = format!("doc-snapshot-{}", std::process::id());
    /// let mut publisher = Publisher::<Price>::builder(&name).open()?;
    /// let prices = Subscriber::<Price>::open(&name)?;
    /// let mut tx = publisher.begin();
    /// tx.insert(&Price { instrument: 7, bid: 3 })?;
    /// tx.commit()?;
    ///
    /// let mut rows = Vec::new();
    /// assert_eq!(prices.snapshot(&mut rows)?, publisher.version());
    /// assert_eq!(rows, [Price { instrument: 7, bid: 3 }]);
    /// assert!(prices.is_empty(), "it was not refreshed");
    /// # publisher.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Outrun`](crate::Error::Outrun), [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Limit`](crate::Error::Limit)
    /// if memory is too short for the rows, and [`Error::TextTooLong`](crate::Error::TextTooLong) for a text that does not fit its
    /// field of `R`. The contents of `rows` are then unspecified.
    pub fn snapshot(&self, rows: &mut Vec<R>) -> Result<u64> {
        if !Typed::<R>::FITS || self.inner.conversion.is_some() {
            let (version, found) = self.inner.snapshot()?;
            rows.clear();
            rows.extend(
                found
                    .iter()
                    .map(|row| bytemuck::pod_read_unaligned::<R>(row.bytes())),
            );
            return Ok(version);
        }
        let mut live = Vec::new();
        let version = self.inner.copy_all(&mut Typed(rows), &mut live)?;
        // Close the gaps of slots that are not live.
        let dense = live.iter().take_while(|bits| **bits == u64::MAX).count();
        let mut count = dense * 64;
        for slot in set_bits(&live[dense..]) {
            rows[count] = rows[dense * 64 + slot];
            count += 1;
        }
        rows.truncate(count);
        Ok(version)
    }
}
