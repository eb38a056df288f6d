//! One route, as a message tells it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NlasIterator, ParseableParametrized};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteLwEnCapType, RouteMetric,
    RouteNextHop, RouteVia,
};

/// The length of a route message's header.
const HEADER: usize = 12;

/// The attributes without which a route would be another one: `RTA_DST`, `SRC`, `OIF`, `GATEWAY`, `PRIORITY`, `MULTIPATH`,
/// `TABLE`, `VIA`.
const ESSENTIAL: [u16; 8] = [1, 2, 4, 5, 6, 9, 15, 18];

/// `RTNH_F_ONLINK`: the only one of a next hop's flags that somebody asked for. The others are the kernel's findings.
const ON_LINK: u32 = 4;

/// Those of a route's flags that are its hop's, if it has only one.
const HOP_FLAGS: u32 = 0xff;

/// `RTM_F_OFFLOAD`, `TRAP`, `OFFLOAD_FAILED`: those that are its own.
const ROUTE_FLAGS: u32 = 0x2000_c000;

/// What the kernel finds a route by. Several routes can have it in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// The table's number.
    pub table: u32,
    /// The network that is reached.
    pub destination: IpNet,
    /// Where packets come from, if that is asked (IPv6 only).
    pub from: Option<IpNet>,
    /// The type of service; 0 is any.
    pub tos: u8,
    /// The least counts first.
    pub metric: u32,
}

/// A route of a [`RouteKey`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// `RTN_UNICAST` and its like.
    pub kind: u8,
    /// Where packets go, in the kernel's order; one hop that is all zero, if they go nowhere.
    pub hops: Vec<Hop>,
    /// `RTPROT_KERNEL` and its like.
    pub protocol: u8,
    /// `RT_SCOPE_LINK` and its like.
    pub scope: u8,
    /// The address that packets from here get.
    pub source: Option<IpAddr>,
    /// The nexthop object; 0 if none.
    pub nexthop: u32,
    /// The largest packet; 0 is the interface's.
    pub mtu: u32,
    /// The router's, of IPv6.
    pub preference: Option<u8>,
    /// Of the route, not of a hop: `RTM_F_OFFLOAD` and its like.
    pub flags: u32,
}

/// Where packets go.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The interface's number; 0 if none.
    pub interface: u32,
    /// Whom packets are handed to.
    pub gateway: Option<IpAddr>,
    /// The share of this hop among several.
    pub weight: u32,
    /// `LWTUNNEL_ENCAP_MPLS` and its like.
    pub encapsulation: u16,
    /// `RTNH_F_DEAD` and its like.
    pub flags: u32,
}

/// A message about a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it is found by.
    pub key: RouteKey,
    /// All the rest of it.
    pub route: Route,
    /// Whether the hops came as a list (`RTA_MULTIPATH`).
    pub is_multipath: bool,
}

impl Hop {
    /// Whether both are the same but for what the kernel finds out by itself.
    fn is_like(&self, other: &Self) -> bool {
        (self.interface, self.gateway, self.weight)
            == (other.interface, other.gateway, other.weight)
            && self.encapsulation == other.encapsulation
            && self.flags & ON_LINK == other.flags & ON_LINK
    }
}

impl Route {
    /// Whether both are the same but for what the kernel finds out by itself.
    pub fn is_like(&self, other: &Self) -> bool {
        let body = |route: &Self| {
            let Self {
                kind,
                protocol,
                scope,
                source,
                nexthop,
                mtu,
                ..
            } = *route;
            (kind, protocol, scope, source, nexthop, mtu)
        };
        body(self) == body(other)
            && self.hops.len() == other.hops.len()
            && self
                .hops
                .iter()
                .zip(&other.hops)
                .all(|(one, two)| one.is_like(two))
    }

    /// Whether a hop has a gateway.
    pub fn has_gateway(&self) -> bool {
        self.hops.iter().any(|hop| hop.gateway.is_some())
    }
}

impl Told {
    /// Reads a message; None if it is about none that the table holds.
    ///
    /// # Errors
    /// What is odd with it.
    pub fn parse(payload: &[u8]) -> Result<Option<Self>, String> {
        let header = RouteHeader::parse(payload).map_err(|error| error.to_string())?;
        let family = header.address_family;
        let anywhere: IpAddr = match family {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            // Multicast forwarding and MPLS have tables of their own.
            _ => return Ok(None),
        };
        // What the kernel found for single destinations.
        if header.flags.contains(RouteFlags::Cloned) {
            return Ok(None);
        }
        let mut found = Found::new(&header, anywhere);
        for attribute in NlasIterator::new(payload.get(HEADER..).unwrap_or_default()) {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let kind = attribute.kind();
            let how = (family, header.kind, RouteLwEnCapType::None);
            match RouteAttribute::parse_with_param(&attribute, how) {
                Ok(attribute) => found.take(attribute),
                Err(error) if ESSENTIAL.contains(&kind) => return Err(error.to_string()),
                Err(_) => {}
            }
        }
        found.told(&header).map(Some)
    }
}

/// What was found in a message so far.
struct Found {
    table: u32,
    destination: IpAddr,
    from: IpAddr,
    metric: u32,
    source: Option<IpAddr>,
    nexthop: u32,
    mtu: u32,
    preference: Option<u8>,
    hop: Hop,
    hops: Option<Vec<RouteNextHop>>,
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
            preference: None,
            hop: Hop {
                weight: 1,
                flags: header.flags.bits() & HOP_FLAGS,
                ..Hop::default()
            },
            hops: None,
        }
    }

    fn take(&mut self, attribute: RouteAttribute) {
        match attribute {
            RouteAttribute::Table(table) => self.table = table,
            RouteAttribute::Destination(address) => {
                self.destination = ip(&address).unwrap_or(self.destination);
            }
            RouteAttribute::Source(address) => self.from = ip(&address).unwrap_or(self.from),
            RouteAttribute::Priority(metric) => self.metric = metric,
            RouteAttribute::PrefSource(address) => self.source = ip(&address),
            RouteAttribute::NhId(id) => self.nexthop = id,
            RouteAttribute::Preference(preference) => self.preference = Some(preference.into()),
            RouteAttribute::Metrics(metrics) => {
                let mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
                self.mtu = mtu.unwrap_or_default();
            }
            RouteAttribute::MultiPath(hops) => self.hops = Some(hops),
            of_a_hop => self.hop.take(&of_a_hop),
        }
    }

    fn told(self, header: &RouteHeader) -> Result<Told, String> {
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
            hops: match self.hops {
                Some(hops) => hops.iter().map(Hop::of).collect(),
                None => vec![self.hop],
            },
            protocol: header.protocol.into(),
            scope: header.scope.into(),
            source: self.source,
            nexthop: self.nexthop,
            mtu: self.mtu,
            preference: self.preference,
            flags: header.flags.bits() & ROUTE_FLAGS,
        };
        Ok(Told {
            key,
            route,
            is_multipath,
        })
    }
}

impl Hop {
    fn of(hop: &RouteNextHop) -> Self {
        let mut found = Self {
            interface: hop.interface_index,
            weight: u32::from(hop.hops) + 1,
            flags: hop.flags.bits().into(),
            ..Self::default()
        };
        hop.attributes
            .iter()
            .for_each(|attribute| found.take(attribute));
        found
    }

    fn take(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Oif(index) => self.interface = *index,
            RouteAttribute::Gateway(address) => self.gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => self.gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => self.gateway = Some((*address).into()),
            RouteAttribute::EncapType(kind) => self.encapsulation = (*kind).into(),
            _ => {}
        }
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
