//! Cleanup of tables that tests create.

/// Removes the table of this name when dropped. Drop it after the publisher.
pub struct Left(pub String);

impl Drop for Left {
    fn drop(&mut self) {
        // There is no table if the test failed before it created one.
        let _removed = common::remove(&self.0);
    }
}
