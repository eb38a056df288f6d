//! What a table of the kernel's must know of itself, so that [`follow`](super::follow) can keep a copy of it.

use bytemuck::Pod;
use common::Row;
use netlink_packet_route::RouteNetlinkMessage;

use super::links::Links;
use super::message::Message;

/// A private copy of one of the kernel's tables: rows in groups, a group being all that the kernel's events cannot move
/// from or to another one.
pub trait Model: Default {
    /// What a group is found by.
    type Key: Ord + Clone;
    /// A row as it is published.
    type Row: Row + Pod;
    /// What it is called in reports.
    const WHAT: &'static str;
    /// The multicast groups to join besides that of the interfaces.
    const GROUPS: &'static [u32];

    /// The request for a dump of one address family.
    fn request(family: u8) -> RouteNetlinkMessage;

    /// Whether a change in the middle of a dump may hide rows that did not change: the kernel then goes on by counting, and
    /// not by key.
    fn is_counted(family: u8) -> bool;

    /// Takes over an answer.
    ///
    /// # Errors
    /// What is odd with it: it is left out.
    fn dumped(&mut self, message: &Message<'_>) -> Result<(), String>;

    /// Takes over an event.
    ///
    /// # Errors
    /// What is odd with it: it is left out.
    fn event(&mut self, message: &Message<'_>, when: When) -> Result<Effect<Self::Key>, String>;

    /// All groups.
    fn keys(&self) -> impl Iterator<Item = &Self::Key>;

    /// The rows of a group, numbered from 0 where there can be several.
    fn rows(&self, key: &Self::Key, links: &Links) -> Vec<Self::Row>;

    /// A row with the key that row `number` of a group has, if there can be that many.
    fn key_row(key: &Self::Key, number: usize) -> Option<Self::Row>;
}

/// What is known of the copy that an event finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It is as it was when the event came.
    Live,
    /// It was read while events came, and may be older or newer than this one.
    Replayed,
}

/// What an event did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<K> {
    /// Nothing.
    None,
    /// A group is as the event says.
    Changed(K),
    /// What the event leads to cannot be known: the table must be read again.
    Doubt,
}
