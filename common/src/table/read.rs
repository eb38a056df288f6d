//! One row at one version.

use super::Table;
use crate::layout::Tag;
use crate::sync::{Ordering, Point, applies, fence};

/// The row was rewritten twice since the version was taken: take a new version and try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overtaken;

impl Table<'_> {
    /// Copies the row of `slot` as of `version` into `row`, if it was written after `since`. The tag that is returned
    /// says by which version, and whether it was deleted; `row` holds a row only if the tag is live and after `since`.
    ///
    /// # Errors
    /// [`Overtaken`].
    ///
    /// # Panics
    /// If there is no such slot, or `row` is not of the table's width.
    #[inline]
    pub fn read(
        &self,
        slot: usize,
        version: u64,
        since: u64,
        row: &mut [u64],
    ) -> Result<Tag, Overtaken> {
        let [first, second] = self.tags(slot);
        let counts = [first.version() <= version, second.version() <= version];
        let which = match counts {
            [false, false] => return Err(self.overtaken()),
            [true, true] => usize::from(second > first),
            [first_counts, _] => usize::from(!first_counts),
        };
        let tag = [first, second][which];
        let holds = if tag.is_live() && tag.version() > since {
            self.copies(slot)[which].try_read(tag, row)
        } else {
            // Both tags at most `version`: neither can have been another at that version. Else the tag that counts
            // may have been loaded before the other copy was committed and then this one rewritten.
            counts == [true, true]
                || !applies(Point::RecheckAnswer)
                || self.copies(slot)[which].is_still(tag)
        };
        if holds {
            Ok(tag)
        } else {
            Err(self.overtaken())
        }
    }

    /// What was seen is of a later transaction than the version: the commits before that one are seen from here on, so
    /// that the next version taken is greater.
    #[cold]
    fn overtaken(&self) -> Overtaken {
        // Partner: the fence after the commit, which stands before the tags of the transaction that was seen.
        fence(Point::Overtaken, Ordering::Acquire);
        Overtaken
    }
}
