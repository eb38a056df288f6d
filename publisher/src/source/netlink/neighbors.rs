//! The kernel's neighbors: who answers to which address on which interface.
//!
//! Address and interface together are unique. As `ip neigh` does, entries are left out that nobody has asked for yet
//! (`NONE`) or that need no asking (`NOARP`), and so are proxy entries: the kernel has them in a table of their own and reports no change
//! of it. Bridges' forwarding entries are no neighbors. The kernel keeps two changes to itself until the next one: an
//! entry that begins to be asked for, and one that is about to be asked for again (`DELAY`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytemuck::{Pod, Zeroable};
use common::{Row, Text};
use netlink_packet_core::{NlasIterator, ParseableParametrized};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::libc::{NUD_NOARP, RTM_DELNEIGH, RTM_NEWNEIGH, RTNLGRP_NEIGH};

use super::links::Links;
use super::message::Message;
use super::model::{Effect, Model, When};
use super::names;

/// The length of a neighbor message's header.
const HEADER: usize = 12;

/// A neighbor as it is published. What `ip neigh` calls each field stands in brackets where it is another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct NeighborRow {
    /// Its address.
    #[row(key)]
    pub address: Text<40>,
    /// The interface that it is reached by (`dev`).
    pub interface: Text<16>,
    /// The interface's number.
    #[row(key)]
    pub interface_index: u32,
    /// Its address on the link, in whatever length such addresses have there; empty while it is not known.
    pub lladdr: Text<64>,
    /// `REACHABLE`, `STALE`, `FAILED`, …
    pub state: Text<12>,
    /// `router`, `extern_learn`, …
    pub flags: Text<36>,
    /// Who made the entry (`proto`); empty if that was not said.
    pub protocol: Text<12>,
}

/// All neighbors.
#[derive(Debug, Default)]
pub struct Neighbors(BTreeMap<NeighborKey, Neighbor>);

/// Address and interface.
type NeighborKey = (IpAddr, u32);

#[derive(Debug, Default)]
struct Neighbor {
    lladdr: Vec<u8>,
    state: u16,
    flags: u8,
    extended_flags: u32,
    protocol: u8,
}

impl Model for Neighbors {
    type Key = NeighborKey;
    type Row = NeighborRow;
    const WHAT: &'static str = "neighbors";
    const GROUPS: &'static [u32] = &[RTNLGRP_NEIGH];

    fn request(family: u8) -> RouteNetlinkMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = family.into();
        RouteNetlinkMessage::GetNeighbour(message)
    }

    fn is_counted(_family: u8) -> bool {
        true
    }

    fn dumped(&mut self, message: &Message<'_>) -> Result<(), String> {
        self.event(message, When::Replayed).map(drop)
    }

    fn event(&mut self, message: &Message<'_>, _: When) -> Result<Effect<NeighborKey>, String> {
        if ![RTM_NEWNEIGH, RTM_DELNEIGH].contains(&message.kind) {
            return Ok(Effect::None);
        }
        let Some((key, neighbor)) = parse(message.payload)? else {
            return Ok(Effect::None);
        };
        let is_shown = neighbor.state & !NUD_NOARP != 0;
        if message.kind == RTM_NEWNEIGH && is_shown {
            self.0.insert(key, neighbor);
        } else {
            self.0.remove(&key);
        }
        Ok(Effect::Changed(key))
    }

    fn keys(&self) -> impl Iterator<Item = &NeighborKey> {
        self.0.keys()
    }

    fn rows(&self, key: &NeighborKey, links: &Links) -> Vec<NeighborRow> {
        let rows = self.0.get(key).zip(Self::key_row(key, 0));
        let rows = rows.map(|(neighbor, row)| NeighborRow {
            interface: Text::truncated(&links.name(key.1)),
            lladdr: Text::truncated(&link_address(&neighbor.lladdr)),
            state: names::neighbor_state(neighbor.state),
            flags: names::neighbor_flags(neighbor.flags, neighbor.extended_flags),
            protocol: names::protocol(neighbor.protocol),
            ..row
        });
        rows.into_iter().collect()
    }

    fn key_row(&(address, interface_index): &NeighborKey, number: usize) -> Option<NeighborRow> {
        (number == 0).then(|| NeighborRow {
            address: Text::truncated(&address.to_string()),
            interface_index,
            ..NeighborRow::zeroed()
        })
    }
}

/// None if it is no neighbor that the table holds.
fn parse(payload: &[u8]) -> Result<Option<(NeighborKey, Neighbor)>, String> {
    let header = NeighbourHeader::parse(payload).map_err(|error| error.to_string())?;
    let is_ip = matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6);
    if !is_ip || header.flags.contains(NeighbourFlags::Proxy) {
        return Ok(None);
    }
    let mut address = None;
    let mut neighbor = Neighbor {
        state: header.state.into(),
        flags: header.flags.bits(),
        ..Neighbor::default()
    };
    for attribute in NlasIterator::new(payload.get(HEADER..).unwrap_or_default()) {
        let attribute = attribute.map_err(|error| error.to_string())?;
        match NeighbourAttribute::parse_with_param(&attribute, header.family) {
            Ok(NeighbourAttribute::Destination(NeighbourAddress::Inet(v4))) => {
                address = Some(v4.into());
            }
            Ok(NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6))) => {
                address = Some(v6.into());
            }
            Ok(NeighbourAttribute::LinkLayerAddress(bytes)) => neighbor.lladdr = bytes,
            Ok(NeighbourAttribute::Protocol(protocol)) => neighbor.protocol = protocol.into(),
            Ok(NeighbourAttribute::ExtFlags(flags)) => neighbor.extended_flags = flags.bits(),
            // Nothing that a row shows.
            Ok(_) | Err(_) => {}
        }
    }
    let address = address.ok_or("it has no address")?;
    Ok(Some(((address, header.ifindex), neighbor)))
}

fn link_address(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}
