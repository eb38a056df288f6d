//! The kernel's neighbors: the link-layer addresses of hosts on each interface.
//!
//! Address and interface together are unique. As in `ip neigh`, entries that the kernel has not
//! tried to resolve yet (`NONE`) or that need no resolution (`NOARP`) are left out. Proxy entries
//! are left out too: the kernel keeps them in a separate table and does not report its changes.
//! Forwarding entries of bridges are not neighbors. The kernel sends no event when it starts to
//! resolve an entry or delays the next probe of one (`DELAY`). Both become visible with the next
//! event of the entry.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytemuck::{Pod, Zeroable};
use common::{Row, Text};
use netlink_packet_core::{parse_u8, parse_u32};
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourHeader, NeighbourMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::libc::{NDA_DST, NDA_LLADDR, NUD_NOARP, RTM_DELNEIGH, RTM_NEWNEIGH, RTNLGRP_NEIGH};

use super::channel::{Message, address, each_attribute};
use super::links::Links;
use super::model::{Effect, Model};
use super::names;

const HEADER: usize = 12;

const NDA_PROTOCOL: u16 = 12;
const NDA_FLAGS_EXT: u16 = 15;

/// A neighbor as it is published. If `ip neigh` has a different name for a field, it is given in
/// parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct NeighborRow {
    /// IP address of the neighbor.
    #[row(key)]
    pub address: Text<40>,
    /// Interface by which the neighbor is reached (`dev`).
    pub interface: Text<16>,
    #[row(key)]
    pub interface_index: u32,
    /// Link-layer address, in the length that the link uses; empty while it is unknown.
    pub lladdr: Text<64>,
    /// State: `REACHABLE`, `STALE`, `FAILED`, …
    pub state: Text<12>,
    /// Flags: `router`, `extern_learn`, …
    pub flags: Text<36>,
    /// Origin of the entry (`proto`); empty if the kernel does not report one.
    pub protocol: Text<12>,
}

/// All neighbors, by address and interface. Their rows lack the interface's name.
#[derive(Debug, Default)]
pub struct Neighbors(BTreeMap<NeighborKey, NeighborRow>);

type NeighborKey = (IpAddr, u32);

impl Model for Neighbors {
    type Key = NeighborKey;
    type Row = NeighborRow;
    const NAME: &'static str = "neighbors";
    const GROUPS: &'static [u32] = &[RTNLGRP_NEIGH];

    fn request(family: u8) -> RouteNetlinkMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = family.into();
        RouteNetlinkMessage::GetNeighbour(message)
    }

    fn resumes_by_position(_family: u8) -> bool {
        true
    }

    fn dumped(&mut self, message: &Message<'_>) -> Result<(), String> {
        self.event(message, true).map(drop)
    }

    fn event(&mut self, message: &Message<'_>, _: bool) -> Result<Effect<NeighborKey>, String> {
        if ![RTM_NEWNEIGH, RTM_DELNEIGH].contains(&message.kind) {
            return Ok(Effect::None);
        }
        let header = NeighbourHeader::parse(message.payload).map_err(|error| error.to_string())?;
        let is_ip = matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6);
        if !is_ip || header.flags.contains(NeighbourFlags::Proxy) {
            return Ok(Effect::None);
        }
        let mut ip = None;
        let (state, mut flags) = (u16::from(header.state), u32::from(header.flags.bits()));
        let mut row = NeighborRow { state: names::one(names::STATES, state), ..Zeroable::zeroed() };
        each_attribute(&message.payload[HEADER..], |kind, value| {
            match kind {
                NDA_DST => ip = address(header.family, value).ok(),
                NDA_LLADDR => row.lladdr = Text::truncated(&link_address(value)),
                NDA_PROTOCOL => {
                    row.protocol =
                        names::one(names::PROTOCOLS, parse_u8(value).unwrap_or_default());
                }
                NDA_FLAGS_EXT => flags |= parse_u32(value).unwrap_or_default() << 8,
                _ => {}
            }
            Ok(())
        })?;
        let key = (ip.ok_or("it has no address")?, header.ifindex);
        (row.address, row.interface_index) = (Text::truncated(&key.0.to_string()), key.1);
        row.flags = names::set(names::NEIGHBOR_FLAGS, flags);
        if message.kind == RTM_NEWNEIGH && state & !NUD_NOARP != 0 {
            self.0.insert(key, row);
        } else {
            self.0.remove(&key);
        }
        Ok(Effect::Changed(key))
    }

    fn keys(&self) -> impl Iterator<Item = &NeighborKey> {
        self.0.keys()
    }

    fn rows(&self, key: &NeighborKey, links: &Links) -> Vec<NeighborRow> {
        let row = self
            .0
            .get(key)
            .map(|row| NeighborRow { interface: Text::truncated(&links.name(key.1)), ..*row });
        row.into_iter().collect()
    }

    fn key_row(&(address, interface_index): &NeighborKey, number: usize) -> Option<NeighborRow> {
        (number == 0).then(|| NeighborRow {
            address: Text::truncated(&address.to_string()),
            interface_index,
            ..NeighborRow::zeroed()
        })
    }
}

fn link_address(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}
