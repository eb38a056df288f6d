//! A route: parsed from a netlink message, and as rows, one for each hop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};
use common::{Row, Text};
use ipnet::IpNet;
use netlink_packet_core::{DecodeError, NlasIterator, parse_u8, parse_u16, parse_u32};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteFlags, RouteHeader, RouteVia};
use nix::libc::{
    RTA_DST, RTA_FLOW, RTA_GATEWAY, RTA_METRICS, RTA_MULTIPATH, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY,
    RTA_SRC, RTA_TABLE, RTPROT_REDIRECT,
};

use super::channel::{ALIGNMENT, address, each_attribute};
use super::links::Links;
use super::names;

const HEADER: usize = 12;

/// The length of a `struct rtnexthop`, which precedes the attributes of a hop in `RTA_MULTIPATH`.
const HOP_HEADER: usize = 8;

const RTPROT_RA: u8 = 9;
const RTA_VIA: u16 = 18;
const RTA_PREF: u16 = 20;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
const RTA_NH_ID: u16 = 30;
const RTAX_MTU: u16 = 2;
const LWTUNNEL_ENCAP_SEG6_LOCAL: u16 = 7;

/// The only part of a tunnel's parameters that changes with traffic.
const SEG6_LOCAL_COUNTERS: u16 = 10;

/// `RTNH_F_ONLINK`: the only flag of a hop that a user requests and the kernel reports. The kernel
/// sets all other flags itself.
const ON_LINK: u32 = 4;

/// The flags of a route that describe its hop, if it has only one.
const HOP_FLAGS: u32 = 0xff;

/// `RTM_F_OFFLOAD`, `TRAP`, `OFFLOAD_FAILED`: the flags that describe the route itself.
const ROUTE_FLAGS: u32 = 0x2000_c000;

/// The key by which the kernel looks routes up. Several routes can share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    pub table: u32,
    pub destination: IpNet,
    /// Source network that packets must match, if any (IPv6 only).
    pub from: Option<IpNet>,
    pub tos: u8,
    pub metric: u32,
}

/// A route, without its [`RouteKey`].
///
/// To identify a route, the kernel's IPv4 code compares all properties except the flags that it
/// sets itself (`fib_find_info`); its IPv6 code compares only where the packets go
/// (`rt6_duplicate_nexthop`). So this struct holds properties that no column of the table shows,
/// and some of them as the kernel encodes them. Fields without a comment are as in [`RouteRow`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub kind: u8,
    /// Next hops in the kernel's order. A route without a hop has one next hop of zeros.
    pub hops: Vec<Hop>,
    pub protocol: u8,
    pub scope: u8,
    pub source: Option<IpAddr>,
    pub nexthop: u32,
    pub mtu: u32,
    /// All metrics (MTU, its lock, MSS, windows, …) as the kernel encodes them.
    pub metrics: Vec<u8>,
    pub preference: Option<u8>,
    pub flags: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    pub interface: u32,
    pub gateway: Option<IpAddr>,
    pub encapsulation: u16,
    /// Parameters of the encapsulation as the kernel encodes them, without counters.
    pub tunnel: Vec<u8>,
    pub realm: u32,
    pub weight: u32,
    pub flags: u32,
}

/// A parsed message about a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedRoute {
    pub key: RouteKey,
    pub route: Route,
    /// True if the message contains the hops as a list (`RTA_MULTIPATH`).
    pub is_multipath: bool,
}

impl Route {
    /// Returns true if the kernel's IPv4 code considers both the same route: they differ at most in
    /// flags that the kernel sets itself.
    pub fn is_same_v4(&self, other: &Self) -> bool {
        let requested = |route: &Self| {
            let mut route = Self { flags: 0, ..route.clone() };
            route.hops.iter_mut().for_each(|hop| hop.flags &= ON_LINK);
            route
        };
        requested(self) == requested(other)
    }

    /// Returns true if the kernel's IPv6 code considers both the same route. Each has one hop.
    pub fn is_same_v6(&self, other: &Self) -> bool {
        (self.kind, self.nexthop) == (other.kind, other.nexthop)
            && self.hops.iter().zip(&other.hops).all(|(one, two)| {
                (one.interface, one.gateway) == (two.interface, two.gateway)
                    && (one.encapsulation, &one.tunnel) == (two.encapsulation, &two.tunnel)
            })
    }

    /// Returns true if both are equal except for their hops, as the siblings of one message are.
    pub fn has_equal_attributes(&self, other: &Self) -> bool {
        let body =
            |route: &Self| (route.protocol, route.source, route.mtu, route.preference, route.flags);
        body(self) == body(other)
    }

    /// Returns true if IPv6 combines this route with other siblings into one multipath route.
    pub fn is_sibling(&self) -> bool {
        self.hops.iter().any(|hop| hop.gateway.is_some())
            && self.nexthop == 0
            && ![RTPROT_REDIRECT, RTPROT_RA].contains(&self.protocol)
    }

    /// Returns one route for each hop.
    pub fn split(&self) -> impl Iterator<Item = Self> + '_ {
        self.hops.iter().map(|hop| Self { hops: vec![hop.clone()], ..self.clone() })
    }
}

impl ReportedRoute {
    /// Parses a message. Returns `None` for a route that the published table does not contain, and
    /// the description of a malformed message as the error.
    pub fn parse(payload: &[u8]) -> Result<Option<Self>, String> {
        let header = RouteHeader::parse(payload).map_err(|error| error.to_string())?;
        let family = header.address_family;
        let anywhere: IpAddr = match family {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            // Multicast forwarding and MPLS have separate tables.
            _ => return Ok(None),
        };
        // A cloned route caches the kernel's lookup of a single destination.
        if header.flags.contains(RouteFlags::Cloned) {
            return Ok(None);
        }
        let (mut destination, mut from) = (anywhere, anywhere);
        let (mut table, mut metric) = (u32::from(header.table), 0);
        let flags = header.flags.bits();
        let mut hop = Hop { weight: 1, flags: flags & HOP_FLAGS, ..Hop::default() };
        let mut hops = None;
        let mut route = Route {
            kind: header.kind.into(),
            protocol: header.protocol.into(),
            scope: header.scope.into(),
            flags: flags & ROUTE_FLAGS,
            ..Route::default()
        };
        each_attribute(&payload[HEADER..], |kind, value| {
            match kind {
                RTA_DST => destination = address(family, value)?,
                RTA_SRC => from = address(family, value)?,
                RTA_PRIORITY => metric = number(value)?,
                RTA_TABLE => table = number(value)?,
                RTA_MULTIPATH => hops = Some(Hop::parse_all(value, family)?),
                RTA_PREFSRC => route.source = address(family, value).ok(),
                RTA_PREF => route.preference = parse_u8(value).ok(),
                RTA_NH_ID => route.nexthop = number(value).unwrap_or_default(),
                RTA_METRICS => (route.metrics, route.mtu) = (value.to_vec(), mtu(value)),
                _ => hop.take(kind, value, family)?,
            }
            Ok(())
        })?;
        hop.forget_counters();
        let network = |address, prefix| match IpNet::new(address, prefix) {
            Ok(network) => Ok(network.trunc()),
            Err(error) => Err(error.to_string()),
        };
        let key = RouteKey {
            table,
            destination: network(destination, header.destination_prefix_length)?,
            from: match header.source_prefix_length {
                0 => None,
                prefix => Some(network(from, prefix)?),
            },
            tos: header.tos,
            metric,
        };
        let is_multipath = hops.is_some();
        route.hops = hops.unwrap_or_else(|| vec![hop]);
        Ok(Some(Self { key, route, is_multipath }))
    }
}

impl Hop {
    /// Parses the value of `RTA_MULTIPATH`: for each hop a `struct rtnexthop` and attributes.
    fn parse_all(mut bytes: &[u8], family: AddressFamily) -> Result<Vec<Self>, String> {
        let mut hops = Vec::new();
        while let Some((&header, _)) = bytes.split_first_chunk::<HOP_HEADER>() {
            let [l0, l1, flags, share, interface @ ..] = header;
            let length = usize::from(u16::from_ne_bytes([l0, l1]));
            let attributes = bytes.get(HOP_HEADER..length);
            let attributes = attributes.ok_or("a hop is longer than its list")?;
            let mut hop = Self {
                interface: u32::from_ne_bytes(interface),
                weight: u32::from(share) + 1,
                flags: flags.into(),
                ..Self::default()
            };
            each_attribute(attributes, |kind, value| hop.take(kind, value, family))?;
            hop.forget_counters();
            hops.push(hop);
            bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        }
        Ok(hops)
    }

    /// Stores an attribute if it belongs to a hop. Malformed attributes that do not identify the
    /// hop are ignored.
    fn take(&mut self, kind: u16, value: &[u8], family: AddressFamily) -> Result<(), String> {
        match kind {
            RTA_OIF => self.interface = number(value)?,
            RTA_GATEWAY => self.gateway = Some(address(family, value)?),
            RTA_VIA => match RouteVia::parse(value).map_err(|error| error.to_string())? {
                RouteVia::Inet(address) => self.gateway = Some(address.into()),
                RouteVia::Inet6(address) => self.gateway = Some(address.into()),
                _ => {}
            },
            RTA_ENCAP_TYPE => self.encapsulation = parse_u16(value).unwrap_or_default(),
            RTA_ENCAP => self.tunnel = value.to_vec(),
            RTA_FLOW => self.realm = number(value).unwrap_or_default(),
            _ => {}
        }
        Ok(())
    }

    /// Removes the values of counters from `tunnel`: the kernel does not compare them, and they
    /// change with every packet.
    fn forget_counters(&mut self) {
        if self.encapsulation != LWTUNNEL_ENCAP_SEG6_LOCAL {
            return;
        }
        let attributes = NlasIterator::new(&self.tunnel[..]).map_while(Result::ok);
        let kept = attributes.flat_map(|attribute| match attribute.kind() {
            SEG6_LOCAL_COUNTERS => SEG6_LOCAL_COUNTERS.to_ne_bytes().to_vec(),
            kind => [&kind.to_ne_bytes()[..], attribute.value()].concat(),
        });
        self.tunnel = kept.collect();
    }
}

fn number(value: &[u8]) -> Result<u32, String> {
    parse_u32(value).map_err(|error: DecodeError| error.to_string())
}

/// Returns the MTU in the value of `RTA_METRICS`, or 0.
fn mtu(metrics: &[u8]) -> u32 {
    let mut metrics = NlasIterator::new(metrics).map_while(Result::ok);
    let mtu = metrics.find(|metric| metric.kind() == RTAX_MTU);
    mtu.map_or(0, |mtu| number(mtu.value()).unwrap_or_default())
}

/// One hop of a route, as it is published. Where `ip route show table all` has another name for a
/// field, it is given in parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct RouteRow {
    /// Destination network; `0.0.0.0/0` and `::/0` are the default routes.
    #[row(key)]
    pub destination: common::IpNet,
    /// Route type: `unicast`, `local`, `broadcast`, `blackhole`, …
    #[row(name = "type")]
    pub kind: Text<14>,
    /// Address of the next hop, possibly of the other family (`via`); empty if there is none.
    pub gateway: Text<40>,
    /// Outgoing interface (`dev`); empty if there is none.
    pub interface: Text<16>,
    /// Number of the routing table: 255 is `local`, 254 `main`, 253 `default`.
    #[row(key)]
    pub table: u32,
    /// Priority; among several routes the one with the smallest metric is used.
    #[row(key)]
    pub metric: u32,
    /// Source network that packets must match; empty if every source matches.
    #[row(key)]
    pub from: Text<44>,
    /// Type of service that packets must have; 0 if every type matches.
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
    /// Preferred source address for packets from this host (`src`); empty if there is none.
    pub source: Text<40>,
    /// Weight of this hop among the hops of its route.
    pub weight: u32,
    /// Maximum packet size, in bytes; 0 for the interface's MTU.
    pub mtu: u32,
    /// Nexthop object that the hop comes from (`nhid`); 0 if none.
    pub nexthop: u32,
    pub interface_index: u32,
    /// Router preference, IPv6 only (`pref`): `low`, `medium`, `high`.
    pub preference: Text<8>,
    /// Encapsulation of packets (`encap`): `mpls`, `seg6`, …; empty if none.
    pub encapsulation: Text<12>,
    pub flags: Text<32>,
}

impl RouteRow {
    /// Returns a row with only the fields of the key.
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

    pub fn new(key: &RouteKey, route: &Route, hop: &Hop, number: u32, links: &Links) -> Self {
        Self {
            kind: names::one(names::TYPES, route.kind),
            gateway: text(hop.gateway),
            interface: Text::truncated(&links.name(hop.interface)),
            protocol: names::one(names::PROTOCOLS, route.protocol),
            scope: names::one(names::SCOPES, route.scope),
            source: text(route.source),
            weight: hop.weight,
            mtu: route.mtu,
            nexthop: route.nexthop,
            interface_index: hop.interface,
            preference: route.preference.map_or(Text::truncated(""), |preference| {
                names::one(names::PREFERENCES, preference)
            }),
            encapsulation: names::one(names::ENCAPSULATIONS, hop.encapsulation),
            flags: names::set(names::ROUTE_FLAGS, route.flags | hop.flags),
            ..Self::of_key(key, number)
        }
    }
}

fn text<const N: usize>(value: Option<impl ToString>) -> Text<N> {
    value.map_or(Text::truncated(""), |value| Text::truncated(&value.to_string()))
}
