//! Settings for a publisher.

use crate::error::{Error, Result};
use crate::protocol::layout::{MAX_CAPACITY, MAX_SLOTS};
use crate::region::object::Access;

/// Settings for a publisher. `S` describes its rows: a type with [`Row`](crate::Row), or a
/// [`Schema`](crate::Schema).
///
/// # Examples
/// ```
/// # use common::{Publisher, Row};
/// # #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// # #[repr(C)]
/// # struct Price { #[row(key)] instrument: u64, bid: f64 }
/// # fn main() -> common::Result<()> {
/// # let name = format!("doc-builder-{}", std::process::id());
/// let publisher = Publisher::<Price>::builder(&name).capacity(1_000_000).mode(0o640).open()?;
/// # publisher.close()
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "open it"]
pub struct PublisherBuilder<S> {
    name: String,
    settings: Settings,
    rows: S,
}

/// Capacity, registry size and access of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Maximum number of rows.
    pub capacity: usize,
    /// Number of subscriber slots in the registry.
    pub slots: usize,
    /// Mode and group of the table's objects.
    pub access: Access,
}

impl<S> PublisherBuilder<S> {
    pub(super) fn new(name: &str, rows: S) -> Self {
        let access = Access { mode: 0o600, group: None };
        Self {
            name: name.to_owned(),
            settings: Settings { capacity: 1 << 20, slots: 1024, access },
            rows,
        }
    }

    /// Sets the maximum number of rows. The default is 1,048,576. Unused capacity costs an eighth
    /// of a byte per row, and enlarges the journal, which takes at most 256 KiB.
    pub fn capacity(mut self, rows: usize) -> Self {
        self.settings.capacity = rows;
        self
    }

    /// Sets the number of subscriber slots in the registry. The default is 1,024. A subscriber
    /// without a slot sleeps on a futex that all such subscribers share. If it selected another
    /// kind of wake-up, it checks the table at least every 50 ms instead.
    pub fn subscribers(mut self, slots: usize) -> Self {
        self.settings.slots = slots;
        self
    }

    /// Sets the mode of the table's region. The default is `0o600`, for the owner only. `0o640`
    /// adds read access for a group, `0o644` for all users. A user with read access may also
    /// register for wake-ups. The umask has no effect.
    pub fn mode(mut self, mode: u32) -> Self {
        self.settings.access.mode = mode;
        self
    }

    /// Sets the group id of the table's objects.
    pub fn group(mut self, group: u32) -> Self {
        self.settings.access.group = Some(group);
        self
    }

    /// Returns the name, the description of the rows, and the settings.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if a setting is out of range.
    pub(super) fn checked(self) -> Result<(String, S, Settings)> {
        let Settings { capacity, slots, access } = self.settings;
        let reason = if !(1..=MAX_CAPACITY).contains(&capacity) {
            format!("capacity of {capacity} rows: choose 1 to {MAX_CAPACITY}")
        } else if !(1..=MAX_SLOTS).contains(&slots) {
            format!("{slots} subscribers: choose 1 to {MAX_SLOTS}")
        } else if access.mode & !0o644 != 0 || access.mode & 0o600 != 0o600 {
            let mode = access.mode;
            format!("mode {mode:o}: choose 600, with read bits for group (040) and others (004)")
        } else {
            return Ok((self.name, self.rows, self.settings));
        };
        Err(Error::InvalidSetting { reason })
    }
}
