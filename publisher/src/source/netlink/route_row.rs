//! A route as it is published.

use bytemuck::{Pod, Zeroable};
use common::{IpNet, Row, Text};

use super::links::Links;
use super::names;
use super::route::{Hop, Route, RouteKey};

/// One hop of a route. If `ip route show table all` has a different name for a field, it is given
/// in parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct RouteRow {
    /// Destination network; `0.0.0.0/0` and `::/0` are the default routes.
    #[row(key)]
    pub destination: IpNet,
    /// Route type: `unicast`, `local`, `broadcast`, `blackhole`, …
    #[row(name = "type")]
    pub kind: Text<14>,
    /// Address of the next hop, possibly of the other family (`via`); empty if the destination is
    /// reached directly.
    pub gateway: Text<40>,
    /// Outgoing interface (`dev`); empty if none.
    pub interface: Text<16>,
    /// Number of the routing table: 255 is `local`, 254 `main`, 253 `default`.
    #[row(key)]
    pub table: u32,
    /// Priority; among several routes the one with the smallest metric is used.
    #[row(key)]
    pub metric: u32,
    /// Source network that packets must match; empty if any.
    #[row(key)]
    pub from: Text<44>,
    /// Type of service that packets must have; 0 if any.
    #[row(key)]
    pub tos: u32,
    /// Number of this hop among all hops with the same destination, table, metric, `from` and TOS.
    #[row(key)]
    pub hop: u32,
    /// Number of the hop's route among the routes with that key. Hops with the same number share
    /// the traffic; the first usable route is used.
    pub route: u32,
    /// Origin of the route: `kernel`, `static`, `dhcp`, `bgp`, … (`proto`).
    pub protocol: Text<12>,
    /// Scope of the destination: `global`, `link`, `host`, …
    pub scope: Text<8>,
    /// Preferred source address for packets from this host (`src`); empty if any.
    pub source: Text<40>,
    /// Weight of this hop among the hops of its route.
    pub weight: u32,
    /// Maximum packet size, in bytes; 0 for the interface's MTU.
    pub mtu: u32,
    /// Nexthop object that the hop comes from (`nhid`); 0 if none.
    pub nexthop: u32,
    /// Index of the interface.
    pub interface_index: u32,
    /// Router preference, IPv6 only (`pref`): `low`, `medium`, `high`.
    pub preference: Text<8>,
    /// Encapsulation of packets (`encap`): `mpls`, `seg6`, …; empty if none.
    pub encapsulation: Text<12>,
    /// Flags: `onlink`, `dead`, `linkdown`, …
    pub flags: Text<32>,
}

impl RouteRow {
    /// Returns a row with this key and all other fields zero.
    pub fn of_key(key: &RouteKey, hop: u32) -> Self {
        Self {
            destination: key.destination.into(),
            table: key.table,
            metric: key.metric,
            from: text(key.from),
            tos: key.tos.into(),
            hop,
            ..Self::zeroed()
        }
    }

    /// Returns the row of a hop.
    pub fn new(key: &RouteKey, route: &Route, hop: &Hop, number: u32, links: &Links) -> Self {
        Self {
            kind: names::route_type(route.kind),
            gateway: text(hop.gateway),
            interface: Text::truncated(&links.name(hop.interface)),
            protocol: names::protocol(route.protocol),
            scope: names::scope(route.scope),
            source: text(route.source),
            weight: hop.weight,
            mtu: route.mtu,
            nexthop: route.nexthop,
            interface_index: hop.interface,
            preference: names::preference(route.preference),
            encapsulation: names::encapsulation(hop.encapsulation),
            flags: names::route_flags(route.flags | hop.flags),
            ..Self::of_key(key, number)
        }
    }
}

fn text<const N: usize>(value: Option<impl ToString>) -> Text<N> {
    value.map_or(Text::truncated(""), |value| {
        Text::truncated(&value.to_string())
    })
}
