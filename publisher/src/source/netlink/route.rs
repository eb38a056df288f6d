//! A route: parsed from a netlink message, and as rows, one for each hop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};
use common::{Row, Text};
use ipnet::IpNet;
use netlink_packet_core::{NlaBuffer, NlasIterator, ParseableParametrized, parse_u32};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteLwEnCapType, RouteMetric,
    RouteType, RouteVia,
};

use super::links::Links;
use super::names;

/// The length of a route message's header.
const HEADER: usize = 12;

/// The alignment of attributes and hops.
const ALIGNMENT: usize = 4;

/// The length of a `struct rtnexthop`, which precedes the attributes of a hop in `RTA_MULTIPATH`.
const HOP_HEADER: usize = 8;

/// The parsed attributes that identify a route: `RTA_DST`, `SRC`, `OIF`, `GATEWAY`, `PRIORITY`, `TABLE`, `VIA`.
const ESSENTIAL: [u16; 7] = [1, 2, 4, 5, 6, 15, 18];

/// `RTA_METRICS`.
const METRICS: u16 = 8;

/// `RTA_MULTIPATH`.
const MULTIPATH: u16 = 9;

/// `RTA_FLOW`.
const REALM: u16 = 11;

/// `RTA_ENCAP`.
const TUNNEL: u16 = 22;

/// `LWTUNNEL_ENCAP_SEG6_LOCAL`.
const SEG6_LOCAL: u16 = 7;

/// `SEG6_LOCAL_COUNTERS`, the only part of a tunnel's parameters that changes with traffic.
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
    /// Number of the routing table.
    pub table: u32,
    /// Destination network.
    pub destination: IpNet,
    /// Source network that packets must match, if any (IPv6 only).
    pub from: Option<IpNet>,
    /// Type of service; 0 matches any.
    pub tos: u8,
    /// Priority; the route with the smallest metric is used.
    pub metric: u32,
}

/// A route with some [`RouteKey`].
///
/// To identify a route, the kernel's IPv4 code compares all properties except the flags that it
/// sets itself (`fib_find_info`); its IPv6 code compares only where the packets go
/// (`rt6_duplicate_nexthop`). So this struct holds properties that no column of the table shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Route type: `RTN_UNICAST` and similar.
    pub kind: u8,
    /// Next hops, in the kernel's order; a single hop that is all zero if the route leads to no
    /// hop.
    pub hops: Vec<Hop>,
    /// Routing protocol: `RTPROT_KERNEL` and similar.
    pub protocol: u8,
    /// Scope: `RT_SCOPE_LINK` and similar.
    pub scope: u8,
    /// Preferred source address for packets from this host.
    pub source: Option<IpAddr>,
    /// Nexthop object; 0 if none.
    pub nexthop: u32,
    /// Maximum packet size, in bytes; 0 for the interface's MTU.
    pub mtu: u32,
    /// All metrics (MTU, its lock, MSS, windows, congestion control, …) as the kernel encodes them.
    pub metrics: Vec<u8>,
    /// Router preference (IPv6 only).
    pub preference: Option<u8>,
    /// Flags of the route itself, not of a hop: `RTM_F_OFFLOAD` and similar.
    pub flags: u32,
}

/// A next hop of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// Index of the interface; 0 if none.
    pub interface: u32,
    /// Address of the next router, if any.
    pub gateway: Option<IpAddr>,
    /// Encapsulation type: `LWTUNNEL_ENCAP_MPLS` and similar.
    pub encapsulation: u16,
    /// Parameters of the encapsulation (labels, segments, tunnel id, …) as the kernel encodes them,
    /// without counters.
    pub tunnel: Vec<u8>,
    /// Realms (`RTA_FLOW`).
    pub realm: u32,
    /// Weight of this hop among the hops of its route.
    pub weight: u32,
    /// Hop flags: `RTNH_F_DEAD` and similar.
    pub flags: u32,
}

/// A parsed message about a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedRoute {
    /// Key of the route.
    pub key: RouteKey,
    /// All other properties of the route.
    pub route: Route,
    /// True if the message contains the hops as a list (`RTA_MULTIPATH`).
    pub is_multipath: bool,
}

impl Hop {
    /// Returns true if the kernel's IPv4 code considers both hops the same.
    fn is_like(&self, other: &Self) -> bool {
        let requested = |hop: &Self| Self { flags: hop.flags & ON_LINK, ..hop.clone() };
        requested(self) == requested(other)
    }

    /// Returns true if the kernel's IPv6 code considers both hops the same.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (self.interface, self.gateway) == (other.interface, other.gateway)
            && (self.encapsulation, &self.tunnel) == (other.encapsulation, &other.tunnel)
    }
}

impl Route {
    /// Returns true if the kernel's IPv4 code considers both the same route: they differ at most in
    /// flags that the kernel sets itself.
    pub fn is_like(&self, other: &Self) -> bool {
        let requested = |route: &Self| Self { hops: Vec::new(), flags: 0, ..route.clone() };
        self.hops.len() == other.hops.len()
            && self.hops.iter().zip(&other.hops).all(|(one, two)| one.is_like(two))
            && requested(self) == requested(other)
    }

    /// Returns true if a hop has a gateway.
    pub fn has_gateway(&self) -> bool {
        self.hops.iter().any(|hop| hop.gateway.is_some())
    }
}

impl ReportedRoute {
    /// Parses a message. Returns `None` if the table does not hold such a route.
    ///
    /// # Errors
    /// A description of the malformed message.
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
        let mut found = Found::new(&header, anywhere);
        for attribute in NlasIterator::new(payload.get(HEADER..).unwrap_or_default()) {
            let attribute = attribute.map_err(|error| error.to_string())?;
            match attribute.kind() {
                MULTIPATH => found.hops = Some(Hop::parse_all(attribute.value(), family)?),
                METRICS => found.metrics = attribute.value().to_vec(),
                _ => {}
            }
            if let Some(attribute) = found.hop.take(&attribute, family)? {
                found.take(&attribute);
            }
        }
        found.hop.forget_counters();
        found.reported(&header).map(Some)
    }
}

/// Attributes found in a message so far.
struct Found {
    table: u32,
    destination: IpAddr,
    from: IpAddr,
    metric: u32,
    source: Option<IpAddr>,
    nexthop: u32,
    mtu: u32,
    metrics: Vec<u8>,
    preference: Option<u8>,
    hop: Hop,
    hops: Option<Vec<Hop>>,
}

impl Found {
    fn new(header: &RouteHeader, anywhere: IpAddr) -> Self {
        Self {
            table: header.table.into(),
            destination: anywhere,
            from: anywhere,
            metric: 0,
            source: None,
            nexthop: 0,
            mtu: 0,
            metrics: Vec::new(),
            preference: None,
            hop: Hop { weight: 1, flags: header.flags.bits() & HOP_FLAGS, ..Hop::default() },
            hops: None,
        }
    }

    fn take(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Table(table) => self.table = *table,
            RouteAttribute::Destination(address) => {
                self.destination = ip(address).unwrap_or(self.destination);
            }
            RouteAttribute::Source(address) => self.from = ip(address).unwrap_or(self.from),
            RouteAttribute::Priority(metric) => self.metric = *metric,
            RouteAttribute::PrefSource(address) => self.source = ip(address),
            RouteAttribute::NhId(id) => self.nexthop = *id,
            RouteAttribute::Preference(preference) => self.preference = Some((*preference).into()),
            RouteAttribute::Metrics(metrics) => {
                let mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
                self.mtu = mtu.unwrap_or_default();
            }
            _ => {}
        }
    }

    fn reported(self, header: &RouteHeader) -> Result<ReportedRoute, String> {
        let network = |address, prefix| {
            let network = IpNet::new(address, prefix).map_err(|error| error.to_string())?;
            Ok::<IpNet, String>(network.trunc())
        };
        let from = match header.source_prefix_length {
            0 => None,
            prefix => Some(network(self.from, prefix)?),
        };
        let key = RouteKey {
            table: self.table,
            destination: network(self.destination, header.destination_prefix_length)?,
            from,
            tos: header.tos,
            metric: self.metric,
        };
        let is_multipath = self.hops.is_some();
        let route = Route {
            kind: header.kind.into(),
            hops: self.hops.unwrap_or_else(|| vec![self.hop]),
            protocol: header.protocol.into(),
            scope: header.scope.into(),
            source: self.source,
            nexthop: self.nexthop,
            mtu: self.mtu,
            metrics: self.metrics,
            preference: self.preference,
            flags: header.flags.bits() & ROUTE_FLAGS,
        };
        Ok(ReportedRoute { key, route, is_multipath })
    }
}

impl Hop {
    /// Parses the value of an `RTA_MULTIPATH` attribute: for each hop a `struct rtnexthop` and
    /// attributes.
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
            for attribute in NlasIterator::new(attributes) {
                let attribute = attribute.map_err(|error| error.to_string())?;
                hop.take(&attribute, family)?;
            }
            hop.forget_counters();
            hops.push(hop);
            let next = length.next_multiple_of(ALIGNMENT);
            bytes = bytes.get(next..).unwrap_or_default();
        }
        Ok(hops)
    }

    /// Stores an attribute if it belongs to a hop. Returns its parsed form if it belongs to the
    /// whole route.
    fn take(
        &mut self,
        attribute: &NlaBuffer<&[u8]>,
        family: AddressFamily,
    ) -> Result<Option<RouteAttribute>, String> {
        let kind = attribute.kind();
        match kind {
            MULTIPATH => return Ok(None),
            TUNNEL => {
                self.tunnel = attribute.value().to_vec();
                return Ok(None);
            }
            REALM => {
                self.realm = parse_u32(attribute.value()).unwrap_or_default();
                return Ok(None);
            }
            _ => {}
        }
        let how = (family, RouteType::Unicast, RouteLwEnCapType::None);
        match RouteAttribute::parse_with_param(attribute, how) {
            Ok(RouteAttribute::Oif(index)) => self.interface = index,
            Ok(RouteAttribute::Gateway(address)) => self.gateway = ip(&address),
            Ok(RouteAttribute::Via(RouteVia::Inet(address))) => self.gateway = Some(address.into()),
            Ok(RouteAttribute::Via(RouteVia::Inet6(address))) => {
                self.gateway = Some(address.into());
            }
            Ok(RouteAttribute::EncapType(kind)) => self.encapsulation = kind.into(),
            Ok(of_the_route) => return Ok(Some(of_the_route)),
            Err(error) if ESSENTIAL.contains(&kind) => return Err(error.to_string()),
            Err(_) => {}
        }
        Ok(None)
    }

    /// Removes the values of counters from `tunnel`: the kernel does not compare them, and they
    /// change with every packet.
    fn forget_counters(&mut self) {
        if self.encapsulation != SEG6_LOCAL {
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

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// One hop of a route. If `ip route show table all` has a different name for a field, it is given
/// in parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable, Row)]
#[repr(C)]
pub struct RouteRow {
    /// Destination network; `0.0.0.0/0` and `::/0` are the default routes.
    #[row(key)]
    pub destination: common::IpNet,
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
    value.map_or(Text::truncated(""), |value| Text::truncated(&value.to_string()))
}
