//! What a test leaves of a table, and who removes it.

/// A table that is removed when its publisher is gone: to be dropped after that.
pub struct Left(pub String);

impl Drop for Left {
    fn drop(&mut self) {
        // Only if a test fails before there is one, there is none.
        let _removed = common::remove(&self.0);
    }
}
