//! A route as it is published.

use bytemuck::{Pod, Zeroable};
use common::{IpNet, Row, Text};

use super::links::Links;
use super::names;
use super::route::{Hop, Route, RouteKey};

/// One hop of a route. What `ip route show table all` calls each field stands in brackets where it is another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct RouteRow {
    /// The network that is reached; `0.0.0.0/0` and `::/0` are the defaults.
    #[row(key)]
    pub destination: IpNet,
    /// `unicast`, `local`, `broadcast`, `blackhole`, …
    #[row(name = "type")]
    pub kind: Text<14>,
    /// Where packets are handed to, maybe of the other family (`via`); empty if they go to their destination itself.
    pub gateway: Text<40>,
    /// The interface that they leave by (`dev`); empty if none.
    pub interface: Text<16>,
    /// The table's number: 255 is `local`, 254 `main`, 253 `default`.
    #[row(key)]
    pub table: u32,
    /// Of several routes the one with the least counts.
    #[row(key)]
    pub metric: u32,
    /// The network that packets must come from, where that is asked; else empty.
    #[row(key)]
    pub from: Text<44>,
    /// The type of service that packets must have; 0 is any.
    #[row(key)]
    pub tos: u32,
    /// The number of this hop among all of the same destination, table, metric, `from` and TOS.
    #[row(key)]
    pub hop: u32,
    /// The number of its route among those: hops with the same number share the traffic, and the first route that is usable
    /// counts.
    pub route: u32,
    /// Who made the route: `kernel`, `static`, `dhcp`, `bgp`, … (`proto`).
    pub protocol: Text<12>,
    /// How far the destination is: `global`, `link`, `host`, …
    pub scope: Text<8>,
    /// The address that packets from here get (`src`); empty if any.
    pub source: Text<40>,
    /// The share of this hop among several.
    pub weight: u32,
    /// The largest packet; 0 is the interface's.
    pub mtu: u32,
    /// The nexthop object that the hop comes from (`nhid`); 0 if none.
    pub nexthop: u32,
    /// The interface's number.
    pub interface_index: u32,
    /// The router's preference, of IPv6 (`pref`): `low`, `medium`, `high`.
    pub preference: Text<8>,
    /// How packets are wrapped (`encap`): `mpls`, `seg6`, …; empty if not.
    pub encapsulation: Text<12>,
    /// `onlink`, `dead`, `linkdown`, …
    pub flags: Text<32>,
}

impl RouteRow {
    /// A row with a key and nothing else.
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

    /// The row of a hop.
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
