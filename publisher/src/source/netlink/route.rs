//! One route, as a message tells it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NlaBuffer, NlasIterator, ParseableParametrized, parse_u32};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteLwEnCapType, RouteMetric,
    RouteType, RouteVia,
};

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

/// `RTNH_F_ONLINK`: the only flag of a hop that a user requests and the kernel reports. It sets the others by itself.
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
///
/// For IPv4 the kernel compares all of it except the flags that it sets by itself (`fib_find_info`), for IPv6 only where the
/// packets go (`rt6_duplicate_nexthop`). So this holds properties that no column of the table shows.
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
    /// All metrics (MTU, its lock, MSS, windows, congestion control, …) as the kernel encodes them.
    pub metrics: Vec<u8>,
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
    /// `LWTUNNEL_ENCAP_MPLS` and its like.
    pub encapsulation: u16,
    /// The parameters of the encapsulation (labels, segments, tunnel id, …) as the kernel encodes them, without counters.
    pub tunnel: Vec<u8>,
    /// The realms (`RTA_FLOW`).
    pub realm: u32,
    /// The share of this hop among several.
    pub weight: u32,
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
    /// Returns true if the kernel's IPv4 code takes both hops for the same.
    fn is_like(&self, other: &Self) -> bool {
        let requested = |hop: &Self| Self {
            flags: hop.flags & ON_LINK,
            ..hop.clone()
        };
        requested(self) == requested(other)
    }

    /// Returns true if the kernel's IPv6 code takes both hops for the same.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (self.interface, self.gateway) == (other.interface, other.gateway)
            && (self.encapsulation, &self.tunnel) == (other.encapsulation, &other.tunnel)
    }
}

impl Route {
    /// Returns true if the kernel's IPv4 code takes both for the same route: they differ at most in flags that the
    /// kernel sets by itself.
    pub fn is_like(&self, other: &Self) -> bool {
        let requested = |route: &Self| Self {
            hops: Vec::new(),
            flags: 0,
            ..route.clone()
        };
        self.hops.len() == other.hops.len()
            && self
                .hops
                .iter()
                .zip(&other.hops)
                .all(|(one, two)| one.is_like(two))
            && requested(self) == requested(other)
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
            hop: Hop {
                weight: 1,
                flags: header.flags.bits() & HOP_FLAGS,
                ..Hop::default()
            },
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
        Ok(Told {
            key,
            route,
            is_multipath,
        })
    }
}

impl Hop {
    /// Reads the value of an `RTA_MULTIPATH`: for each hop a `struct rtnexthop` and attributes.
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

    /// Takes over an attribute if it belongs to a hop. Returns its parsed form if it belongs to the whole route.
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

    /// Takes the values of counters out of `tunnel`: the kernel does not compare them, and they change with every packet.
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
