//! Changes of the kernel's tables, a line each:
//!
//! ```text
//! link add NAME                      a pair of interfaces, NAME and p-NAME, both up
//! link pairs COUNT                   that many pairs, all down
//! link up|down|delete NAME           link rename NAME NEW
//! address add|delete ADDRESS/PREFIX NAME
//! route add|append|prepend|replace|delete NETWORK [via A] [dev D] [table N] [metric N] [tos N] [type T] [from NETWORK]
//!       [src A] [advmss N] [initcwnd N] [mtu N] [locked-mtu N] [congestion NAME] [realm N]
//!       [segment A] [tunnel-id N] [hop A,DEVICE,WEIGHT[,realm=N][,segment=A][,tunnel-id=N]]…
//! routes add|delete FAMILY COUNT via A dev D          that many routes of single addresses
//! neighbor set|delete ADDRESS NAME [MAC STATE]
//! churn ROUNDS                                        a pair of interfaces added and deleted
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAttribute, RouteIpTunnel, RouteLwEnCapType, RouteLwTunnelEncap, RouteMessage, RouteMetric,
    RouteNextHop, RouteProtocol, RouteRealm, RouteScope, RouteSeg6IpTunnel, RouteType, RouteVia,
    Seg6Header, Seg6Mode,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Netlink};

use super::kernel::Kernel;
use super::tables::interfaces;

/// Bit of the MTU in the mask of locked metrics (`1 << RTAX_MTU`).
const MTU_LOCK: u32 = 1 << 2;

type Done = Result<(), String>;

/// Carries out the command in `words`.
///
/// # Errors
/// The error of the kernel, or an unknown command.
pub fn carry_out(kernel: &mut Kernel, words: &[&str]) -> Done {
    match words {
        ["link", "add", name] => add_pair(kernel, name),
        ["link", "pairs", count] => {
            (0..number(count)?).try_for_each(|pair: u32| make_pair(kernel, &format!("pair{pair}")))
        }
        ["link", what, name, more @ ..] => change_link(kernel, what, name, more),
        ["address", what, address, name] => address_of(kernel, what, address, name),
        ["route", verb, network, options @ ..] => route(kernel, verb, network, options),
        ["routes", verb, family, count, options @ ..] => {
            routes(kernel, verb, family, number(count)?, options)
        }
        ["neighbor", what, address, name, more @ ..] => neighbor(kernel, what, address, name, more),
        ["churn", rounds] => (0..number::<u32>(rounds)?).try_for_each(|_| {
            add_pair(kernel, "churn")?;
            change_link(kernel, "delete", "churn", &[])
        }),
        _ => Err(format!("no such command: {words:?}")),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text}: not of that kind"))
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, prefix) = text.split_once('/').ok_or("a network has a prefix")?;
    Ok((number(address)?, number(prefix)?))
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn index(kernel: &mut Kernel, name: &str) -> Result<u32, String> {
    let interfaces = interfaces(kernel)?;
    let found = interfaces.into_iter().find(|(_, one)| one == name);
    found.map(|(index, _)| index).ok_or_else(|| format!("no interface {name}"))
}

fn ask(kernel: &mut Kernel, message: Netlink, flags: u16) -> Done {
    kernel.change(message, flags).map_err(|error| error.to_string())
}

fn up(message: &mut LinkMessage, is_up: bool) {
    message.header.change_mask = LinkFlags::Up;
    message.header.flags = if is_up { LinkFlags::Up } else { LinkFlags::empty() };
}

fn add_pair(kernel: &mut Kernel, name: &str) -> Done {
    make_pair(kernel, name)?;
    change_link(kernel, "up", &format!("p-{name}"), &[])?;
    change_link(kernel, "up", name, &[])?;
    // The kernel detects the carrier a moment later and reports it as a change.
    crate::until("the pair is running", || are_running(kernel, name));
    Ok(())
}

fn are_running(kernel: &mut Kernel, name: &str) -> bool {
    let links = kernel.dump(&Netlink::GetLink(LinkMessage::default()));
    let is_of_pair = |link: &LinkMessage| {
        link.attributes.iter().any(|attribute| match attribute {
            LinkAttribute::IfName(one) => one == name || one.strip_prefix("p-") == Some(name),
            _ => false,
        })
    };
    let running = links.into_iter().flatten().filter(|message| match message {
        Netlink::NewLink(link) => {
            is_of_pair(link) && link.header.flags.contains(LinkFlags::Running)
        }
        _ => false,
    });
    running.count() == 2
}

fn make_pair(kernel: &mut Kernel, name: &str) -> Done {
    let peer_name = format!("p-{name}");
    let mut peer = LinkMessage::default();
    peer.attributes.push(LinkAttribute::IfName(peer_name));
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    ask(kernel, Netlink::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

fn change_link(kernel: &mut Kernel, what: &str, name: &str, more: &[&str]) -> Done {
    let mut message = LinkMessage::default();
    message.header.index = index(kernel, name)?;
    match (what, more) {
        ("delete", []) => return ask(kernel, Netlink::DelLink(message), 0),
        ("up" | "down", []) => up(&mut message, what == "up"),
        ("rename", [new]) => message.attributes.push(LinkAttribute::IfName((*new).to_owned())),
        _ => return Err(format!("no such change of a link: {what}")),
    }
    ask(kernel, Netlink::SetLink(message), 0)
}

fn address_of(kernel: &mut Kernel, what: &str, address: &str, name: &str) -> Done {
    const NO_DUPLICATE_DETECTION: u32 = 2;
    let (address, prefix) = network(address)?;
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = prefix;
    message.header.index = index(kernel, name)?;
    message.header.flags = netlink_packet_route::address::AddressHeaderFlags::from_bits_retain(
        NO_DUPLICATE_DETECTION as u8,
    );
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    match what {
        "add" => ask(kernel, Netlink::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL),
        _ => ask(kernel, Netlink::DelAddress(message), 0),
    }
}

fn verb_flags(verb: &str) -> Result<Option<u16>, String> {
    Ok(Some(match verb {
        "add" => NLM_F_CREATE | NLM_F_EXCL,
        "append" => NLM_F_CREATE | NLM_F_APPEND,
        "prepend" => NLM_F_CREATE,
        "replace" => NLM_F_CREATE | NLM_F_REPLACE,
        "delete" => return Ok(None),
        _ => return Err(format!("no such verb: {verb}")),
    }))
}

fn route(kernel: &mut Kernel, verb: &str, destination: &str, options: &[&str]) -> Done {
    let mut message = RouteMessage::default();
    let (address, prefix) = network(destination)?;
    aim(&mut message, address, prefix);
    set_up(kernel, &mut message, verb, options)?;
    send(kernel, message, verb)
}

/// Adds or deletes `count` routes of one address each.
fn routes(kernel: &mut Kernel, verb: &str, of: &str, count: u32, options: &[&str]) -> Done {
    const V4: u32 = 11 << 24;
    const V6: u128 = 0xfd99 << 112;
    let mut model = RouteMessage::default();
    set_up(kernel, &mut model, verb, options)?;
    for number in 0..count {
        let mut message = model.clone();
        match of {
            "4" => aim(&mut message, Ipv4Addr::from_bits(V4 + number).into(), 32),
            _ => aim(&mut message, Ipv6Addr::from_bits(V6 + u128::from(number)).into(), 128),
        }
        send(kernel, message, verb)?;
    }
    Ok(())
}

fn aim(message: &mut RouteMessage, address: IpAddr, prefix: u8) {
    message.header.address_family = family(address);
    message.header.destination_prefix_length = prefix;
    message.attributes.push(RouteAttribute::Destination(address.into()));
}

fn send(kernel: &mut Kernel, message: RouteMessage, verb: &str) -> Done {
    match verb_flags(verb)? {
        Some(flags) => ask(kernel, Netlink::NewRoute(message), flags),
        None => ask(kernel, Netlink::DelRoute(message), 0),
    }
}

fn set_up(kernel: &mut Kernel, message: &mut RouteMessage, verb: &str, options: &[&str]) -> Done {
    let header = &mut message.header;
    header.table = 254;
    if verb == "delete" {
        header.scope = RouteScope::NoWhere;
    } else {
        header.protocol = RouteProtocol::Static;
        header.kind = RouteType::Unicast;
        header.scope = RouteScope::Universe;
    }
    let mut hops = Vec::new();
    for option in options.chunks(2) {
        let [name, value] = option else {
            return Err(format!("no value for {option:?}"));
        };
        let attribute = match *name {
            "via" => gateway(message, number(value)?),
            "dev" => RouteAttribute::Oif(index(kernel, value)?),
            "table" => RouteAttribute::Table(number(value)?),
            "metric" => RouteAttribute::Priority(number(value)?),
            "src" => RouteAttribute::PrefSource(number::<IpAddr>(value)?.into()),
            "from" => {
                let (address, prefix) = network(value)?;
                message.header.source_prefix_length = prefix;
                RouteAttribute::Source(address.into())
            }
            "tos" => {
                message.header.tos = number(value)?;
                continue;
            }
            "advmss" => RouteAttribute::Metrics(vec![RouteMetric::Advmss(number(value)?)]),
            "initcwnd" => RouteAttribute::Metrics(vec![RouteMetric::InitCwnd(number(value)?)]),
            "mtu" => RouteAttribute::Metrics(vec![RouteMetric::Mtu(number(value)?)]),
            "locked-mtu" => RouteAttribute::Metrics(vec![
                RouteMetric::Lock(MTU_LOCK),
                RouteMetric::Mtu(number(value)?),
            ]),
            "congestion" => RouteAttribute::Metrics(vec![RouteMetric::CcAlgo((*value).to_owned())]),
            "realm" | "segment" | "tunnel-id" => {
                message.attributes.extend(way(name, value)?);
                continue;
            }
            "scope" => {
                message.header.scope = RouteScope::from(number::<u8>(value)?);
                continue;
            }
            "type" => {
                message.header.kind = RouteType::from(number::<u8>(value)?);
                continue;
            }
            "hop" => {
                hops.push(hop(kernel, value)?);
                continue;
            }
            other => return Err(format!("no such option: {other}")),
        };
        message.attributes.push(attribute);
    }
    if !hops.is_empty() {
        message.attributes.push(RouteAttribute::MultiPath(hops));
    }
    Ok(())
}

fn gateway(message: &RouteMessage, address: IpAddr) -> RouteAttribute {
    let is_v4 = message.header.address_family != AddressFamily::Inet6;
    match address {
        IpAddr::V6(address) if is_v4 && !message.attributes.is_empty() => {
            RouteAttribute::Via(RouteVia::from(address))
        }
        address => RouteAttribute::Gateway(address.into()),
    }
}

/// Returns the attributes for a property of a hop: realms, or an encapsulation and its parameters.
fn way(name: &str, value: &str) -> Result<Vec<RouteAttribute>, String> {
    let (kind, tunnel) = match name {
        "realm" => {
            let destination = number(value)?;
            let realm = RouteRealm { source: 0, destination };
            return Ok(vec![RouteAttribute::Realm(realm)]);
        }
        "segment" => {
            let mut header = Seg6Header::default();
            header.mode = Seg6Mode::Encap;
            header.segments = vec![number(value)?];
            let tunnel = RouteLwTunnelEncap::Seg6(RouteSeg6IpTunnel::Seg6(header));
            (RouteLwEnCapType::Seg6, tunnel)
        }
        "tunnel-id" => {
            let tunnel = RouteLwTunnelEncap::Ip(RouteIpTunnel::Id(number(value)?));
            (RouteLwEnCapType::Ip, tunnel)
        }
        _ => return Err(format!("no such property of a hop: {name}")),
    };
    Ok(vec![RouteAttribute::Encap(vec![tunnel]), RouteAttribute::EncapType(kind)])
}

fn hop(kernel: &mut Kernel, text: &str) -> Result<RouteNextHop, String> {
    let parts: Vec<&str> = text.split(',').collect();
    let [address, name, weight, more @ ..] = &parts[..] else {
        return Err(format!("not a hop: {text}"));
    };
    let mut hop = RouteNextHop::default();
    hop.hops = number::<u8>(weight)? - 1;
    hop.interface_index = index(kernel, name)?;
    hop.attributes.push(RouteAttribute::Gateway(number::<IpAddr>(address)?.into()));
    for property in more {
        let (name, value) = property.split_once('=').ok_or("a property has a value")?;
        hop.attributes.extend(way(name, value)?);
    }
    Ok(hop)
}

fn neighbor(kernel: &mut Kernel, what: &str, address: &str, name: &str, more: &[&str]) -> Done {
    let address: IpAddr = number(address)?;
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index(kernel, name)?;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    let [mac, state] = more else {
        return ask(kernel, Netlink::DelNeighbour(message), 0);
    };
    if what != "set" {
        return Err(format!("unknown change of a neighbor: {what}"));
    }
    let bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let bytes: Result<Vec<u8>, _> = bytes.collect();
    let bytes = bytes.map_err(|error| error.to_string())?;
    message.header.state = NeighbourState::from(number::<u16>(state)?);
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(bytes));
    ask(kernel, Netlink::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}
