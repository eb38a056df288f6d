//! The interface of a table that the kernel can dump and reports changes of.

use bytemuck::Pod;
use common::Row;
use netlink_packet_route::RouteNetlinkMessage;

use super::channel::Message;
use super::links::Links;

/// A private copy of one of the kernel's tables. Its rows form groups: no event of the kernel moves
/// a row from one group to another.
pub trait Model: Default {
    /// Identifier of a group.
    type Key: Ord + Clone;
    /// A row as it is published.
    type Row: Row + Pod;
    /// Name of the table in reports.
    const NAME: &'static str;
    /// Multicast groups to join in addition to that of the interfaces.
    const GROUPS: &'static [u32];

    /// Returns the dump request for one address family.
    fn request(family: u8) -> RouteNetlinkMessage;

    /// Returns true if the kernel resumes a dump of this family by position and not by key, so that
    /// a change during the dump can hide unchanged rows.
    fn resumes_by_position(family: u8) -> bool;

    /// Applies an answer of a dump. A malformed message is ignored, and its description returned as
    /// the error.
    fn dumped(&mut self, message: &Message<'_>) -> Result<(), String>;

    /// Applies an event. If `is_replay`, the copy was dumped while events arrived, and may be older
    /// or newer than the event. Otherwise it has the state that the kernel's table had before the
    /// event. A malformed message is ignored, and its description returned as the error.
    fn event(
        &mut self,
        message: &Message<'_>,
        is_replay: bool,
    ) -> Result<Effect<Self::Key>, String>;

    /// Iterates over the keys of all groups.
    fn keys(&self) -> impl Iterator<Item = &Self::Key>;

    /// Returns the rows of a group, numbered from 0 if a group can have several.
    fn rows(&self, key: &Self::Key, links: &Links) -> Vec<Self::Row>;

    /// Returns a row with the key of row `number` of a group, or `None` if a group cannot have that
    /// many rows.
    fn key_row(key: &Self::Key, number: usize) -> Option<Self::Row>;
}

/// Effects of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<K> {
    /// The copy is unchanged.
    None,
    /// The group was changed as the event says.
    Changed(K),
    /// The effect cannot be determined: the table must be dumped again.
    Doubt,
}
