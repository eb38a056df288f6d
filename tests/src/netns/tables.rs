//! The kernel's tables as JSON arrays, with the names and texts of the published tables.

use std::collections::HashMap;
use std::net::IpAddr;

use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RouteScope, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use serde_json::{Value, json};

use super::kernel::Kernel;

const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// Returns the names of interfaces by index.
///
/// # Errors
/// The error of the kernel.
pub fn interfaces(kernel: &mut Kernel) -> Result<HashMap<u32, String>, String> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let links = kernel.dump(&request).map_err(|error| error.to_string())?;
    let names = links.into_iter().filter_map(|message| {
        let RouteNetlinkMessage::NewLink(link) = message else {
            return None;
        };
        let name = link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        Some((link.header.index, name?))
    });
    Ok(names.collect())
}

/// Returns the routes, one object per hop. `hop` numbers only those of IPv4, where the order has a
/// meaning.
///
/// # Errors
/// The error of the kernel.
pub fn routes(kernel: &mut Kernel) -> Result<String, String> {
    let names = interfaces(kernel)?;
    let mut rows = Vec::new();
    // Numbers of routes and hops that were already numbered, by the fields that the routes share.
    let mut counts = HashMap::<String, (u64, u64)>::new();
    for family in FAMILIES {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let dumped = kernel.dump(&RouteNetlinkMessage::GetRoute(request));
        for message in dumped.map_err(|error| error.to_string())? {
            if let RouteNetlinkMessage::NewRoute(route) = message
                && !route.header.flags.contains(RouteFlags::Cloned)
                && route.header.address_family == family
            {
                let mut hops = hops(&route, &names);
                number(&mut hops, family, &mut counts);
                rows.extend(hops);
            }
        }
    }
    Ok(Value::Array(rows).to_string())
}

/// Numbers a route and its hops. For IPv6 the numbers have no meaning and are null.
fn number(hops: &mut [Value], family: AddressFamily, counts: &mut HashMap<String, (u64, u64)>) {
    let fields = ["destination", "table", "metric", "from", "tos"];
    let key = fields.map(|field| hops[0][field].to_string()).join(" ");
    let (routes, before) = counts.entry(key).or_default();
    for hop in hops {
        let is_v4 = family == AddressFamily::Inet;
        hop["hop"] = if is_v4 { json!(before) } else { Value::Null };
        hop["route"] = if is_v4 { json!(routes) } else { Value::Null };
        *before += 1;
    }
    *routes += 1;
}

fn text(address: &RouteAddress) -> String {
    match address {
        RouteAddress::Inet(address) => address.to_string(),
        RouteAddress::Inet6(address) => address.to_string(),
        other => format!("{other:?}"),
    }
}

fn hops(route: &RouteMessage, names: &HashMap<u32, String>) -> Vec<Value> {
    let header = &route.header;
    let anywhere = if header.address_family == AddressFamily::Inet { "0.0.0.0" } else { "::" };
    let mut row = json!({
        "destination": format!("{anywhere}/0"), "table": header.table, "metric": 0, "from": "", "tos": header.tos,
        "type": format!("{:?}", header.kind).to_lowercase(), "source": "",
        "protocol": format!("{:?}", header.protocol).to_lowercase(),
        "scope": match header.scope {
            RouteScope::Universe => "global".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        },
    });
    let mut several = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Table(table) => row["table"] = json!(table),
            RouteAttribute::Priority(metric) => row["metric"] = json!(metric),
            RouteAttribute::Destination(address) => {
                let prefix = header.destination_prefix_length;
                row["destination"] = json!(format!("{}/{prefix}", text(address)));
            }
            RouteAttribute::Source(address) => {
                let prefix = header.source_prefix_length;
                row["from"] = json!(format!("{}/{prefix}", text(address)));
            }
            RouteAttribute::PrefSource(address) => row["source"] = json!(text(address)),
            RouteAttribute::MultiPath(hops) => several = Some(hops),
            _ => {}
        }
    }
    match several {
        Some(hops) => hops.iter().map(|hop| of_several(row.clone(), hop, names)).collect(),
        None => {
            let flags = RouteNextHopFlags::from_bits_retain(header.flags.bits() as u8);
            vec![with_hop(row, &route.attributes, 1, flags, names)]
        }
    }
}

fn of_several(row: Value, hop: &RouteNextHop, names: &HashMap<u32, String>) -> Value {
    let mut row = with_hop(row, &hop.attributes, u64::from(hop.hops) + 1, hop.flags, names);
    row["interface"] = json!(names.get(&hop.interface_index));
    row
}

fn with_hop(
    mut row: Value,
    attributes: &[RouteAttribute],
    weight: u64,
    flags: RouteNextHopFlags,
    names: &HashMap<u32, String>,
) -> Value {
    row["weight"] = json!(weight);
    row["flags"] = json!(flags.to_string());
    row["gateway"] = json!("");
    row["interface"] = json!("");
    for attribute in attributes {
        match attribute {
            RouteAttribute::Gateway(address) => row["gateway"] = json!(text(address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => {
                row["gateway"] = json!(address.to_string());
            }
            RouteAttribute::Oif(index) => row["interface"] = json!(names.get(index)),
            _ => {}
        }
    }
    row
}

/// Returns the neighbors, as `ip neigh` shows them.
///
/// # Errors
/// The error of the kernel.
pub fn neighbors(kernel: &mut Kernel) -> Result<String, String> {
    let names = interfaces(kernel)?;
    let mut rows = Vec::new();
    for family in FAMILIES {
        let mut request = NeighbourMessage::default();
        request.header.family = family;
        let dumped = kernel.dump(&RouteNetlinkMessage::GetNeighbour(request));
        for message in dumped.map_err(|error| error.to_string())? {
            if let RouteNetlinkMessage::NewNeighbour(neighbor) = message
                && ![NeighbourState::Noarp, NeighbourState::None].contains(&neighbor.header.state)
            {
                rows.push(neighbor_row(&neighbor, &names));
            }
        }
    }
    Ok(Value::Array(rows).to_string())
}

fn neighbor_row(neighbor: &NeighbourMessage, names: &HashMap<u32, String>) -> Value {
    let header = &neighbor.header;
    let mut row = json!({
        "address": "", "interface": names.get(&header.ifindex), "interface_index": header.ifindex, "lladdr": "",
        "state": header.state.to_string().to_uppercase(),
        "flags": if header.flags.contains(NeighbourFlags::Router) { "router" } else { "" },
    });
    for attribute in &neighbor.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                row["address"] = json!(IpAddr::from(*address));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                row["address"] = json!(IpAddr::from(*address));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                row["lladdr"] = json!(bytes.join(":"));
            }
            _ => {}
        }
    }
    row
}
