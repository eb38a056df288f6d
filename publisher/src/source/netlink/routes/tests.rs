//! Checks the rules on messages built like the kernel's. The tests with real kernels check that the
//! kernel builds them this way.

use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteLwEnCapType, RouteNextHop, RouteType,
};

use super::*;

const CREATE: u16 = NLM_F_CREATE;
const APPEND: u16 = NLM_F_CREATE | NLM_F_APPEND;
const REPLACE: u16 = NLM_F_REPLACE;

/// Returns the gateway whose last byte is `last`.
fn gateway(v6: bool, last: u8) -> IpAddr {
    if v6 { format!("fd00::{last}").parse().unwrap() } else { [10, 0, 0, last].into() }
}

fn message(v6: bool, gateways: &[u8]) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, network) = match v6 {
        true => (AddressFamily::Inet6, "fd77::"),
        false => (AddressFamily::Inet, "192.0.2.0"),
    };
    message.header.address_family = family;
    message.header.destination_prefix_length = 24;
    message.header.kind = RouteType::Unicast;
    let network: IpAddr = network.parse().unwrap();
    message.attributes.push(RouteAttribute::Destination(network.into()));
    message.attributes.push(RouteAttribute::Table(254));
    if let [one] = gateways {
        message.attributes.push(RouteAttribute::Oif(1));
        message.attributes.push(RouteAttribute::Gateway(gateway(v6, *one).into()));
    } else {
        let hops = gateways.iter().map(|last| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = 1;
            hop.attributes.push(RouteAttribute::Gateway(gateway(v6, *last).into()));
            hop
        });
        message.attributes.push(RouteAttribute::MultiPath(hops.collect()));
    }
    message
}

fn bytes(message: &RouteMessage) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

/// A table with one destination.
struct Table {
    v6: bool,
    routes: Routes,
}

impl Table {
    fn of(v6: bool, dumped: &[&[u8]]) -> Self {
        let mut routes = Routes::default();
        for gateways in dumped {
            let payload = bytes(&message(v6, gateways));
            let message =
                Message { kind: RTM_NEWROUTE, flags: 0, sequence: 0, port: 0, payload: &payload };
            routes.dumped(&message).unwrap();
        }
        Self { v6, routes }
    }

    /// Applies an event. Returns true if its effect is certain.
    fn event(&mut self, kind: u16, flags: u16, gateways: &[u8], is_replay: bool) -> bool {
        let payload = bytes(&message(self.v6, gateways));
        let message = Message { kind, flags, sequence: 0, port: 0, payload: &payload };
        match self.routes.event(&message, is_replay).unwrap() {
            Effect::Changed(_) => true,
            Effect::Doubt => false,
            Effect::None => panic!("no effect: {message:?}"),
        }
    }

    fn gateways(&self) -> Vec<u8> {
        let links = Links::default();
        let rows = self.routes.keys().flat_map(|key| self.routes.rows(key, &links));
        let rows: Vec<RouteRow> = rows.collect();
        let numbers: Vec<u32> = rows.iter().map(|row| row.hop).collect();
        assert!(numbers.into_iter().eq(0..rows.len() as u32), "{rows:?}");
        assert!(rows.iter().all(|row| row.preference.as_str().is_empty()), "none is reported");
        let last = |row: &RouteRow| row.gateway.as_str().rsplit(['.', ':']).next().map(str::parse);
        rows.iter().map(|row| last(row).unwrap().unwrap()).collect()
    }
}

/// The dumped routes; kind, flags and gateways of an event; the gateways after it; and whether its
/// effect is certain when it is live, and when it is replayed.
type Case<'a> = (&'a [&'a [u8]], u16, u16, &'a [u8], &'a [u8], [bool; 2]);

fn check(v6: bool, cases: &[Case<'_>]) {
    for (dumped, kind, flags, reported, expected, certain) in cases {
        for (is_replay, certain) in [false, true].into_iter().zip(certain) {
            let mut table = Table::of(v6, dumped);
            let found = table.event(*kind, *flags, reported, is_replay);
            let case = format!("{dumped:?} {kind} {flags:x} {reported:?} {is_replay}");
            assert_eq!(found, *certain, "{case}");
            assert_eq!(table.gateways(), *expected, "{case}");
        }
    }
}

#[test]
fn ipv4_routes_keep_the_kernels_order() {
    const NEW: u16 = RTM_NEWROUTE;
    const DELETE: u16 = RTM_DELROUTE;
    check(
        false,
        &[
            (&[], NEW, CREATE, &[1], &[1], [true, true]),
            (&[&[1]], NEW, CREATE, &[1], &[1], [true, true]),
            (&[&[1]], NEW, CREATE, &[2], &[2, 1], [true, false]),
            (&[&[1]], NEW, APPEND, &[2], &[1, 2], [true, false]),
            (&[&[1]], NEW, REPLACE, &[2], &[2], [true, true]),
            (&[&[1], &[2]], NEW, REPLACE, &[3], &[3, 2], [true, false]),
            (&[], NEW, REPLACE, &[3], &[3], [false, true]),
            (&[], NEW, CREATE, &[1, 1, 2], &[1, 1, 2], [true, true]),
            (&[&[1, 2]], DELETE, 0, &[1, 2], &[], [true, true]),
            (&[&[1], &[2], &[3]], DELETE, 0, &[2], &[1, 3], [true, true]),
            (&[&[1]], DELETE, 0, &[2], &[1], [false, true]),
            (&[], DELETE, 0, &[2], &[], [false, true]),
        ],
    );
}

#[test]
fn ipv6_siblings_are_one_set() {
    const NEW: u16 = RTM_NEWROUTE;
    const DELETE: u16 = RTM_DELROUTE;
    check(
        true,
        &[
            (&[], NEW, CREATE, &[1], &[1], [true, true]),
            // The kernel reports the newest sibling first, but dumps the oldest first.
            (&[&[1, 2]], NEW, CREATE, &[3, 1, 2], &[1, 2, 3], [true, true]),
            (&[&[1, 2]], NEW, APPEND, &[1, 2, 3], &[1, 2, 3], [true, true]),
            (&[&[1, 2]], NEW, CREATE, &[1, 3], &[1, 3], [false, false]),
            (&[&[1, 2]], NEW, REPLACE, &[3], &[3], [true, true]),
            (&[&[1, 2]], NEW, REPLACE, &[3, 4], &[3, 4], [true, true]),
            (&[&[1, 2]], DELETE, 0, &[1], &[2], [true, true]),
            (&[&[1, 2]], DELETE, 0, &[1, 2], &[], [true, true]),
            (&[&[1, 2]], DELETE, 0, &[3], &[1, 2], [false, true]),
        ],
    );
}

/// An IPv6 route with `encap seg6local … count`: the parameters hold an action and a counter of
/// packets.
fn counting_route(action: u32, packets: u64) -> Vec<u8> {
    let nla = |kind: u16, value: &[u8]| {
        let nla = DefaultNla::new(kind, value.to_vec());
        let mut bytes = vec![0; nla.buffer_len()];
        nla.emit(&mut bytes);
        bytes
    };
    let counters = nla(10, &nla(2, &packets.to_ne_bytes()));
    let tunnel = [nla(1, &action.to_ne_bytes()), counters].concat();
    let mut message = message(true, &[1]);
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Other(DefaultNla::new(22, tunnel)));
    attributes.push(RouteAttribute::EncapType(RouteLwEnCapType::Seg6Local));
    bytes(&message)
}

#[test]
fn tunnel_counters_are_not_part_of_a_routes_identity() {
    let mut table = Table::of(true, &[]);
    let mut event = |kind: u16, payload: &[u8]| {
        let message = Message { kind, flags: CREATE, sequence: 0, port: 0, payload };
        let effect = table.routes.event(&message, false).unwrap();
        assert!(matches!(effect, Effect::Changed(_)), "{message:?}");
        table.gateways().len()
    };
    assert_eq!(event(RTM_NEWROUTE, &counting_route(2, 0)), 1);
    assert_eq!(event(RTM_NEWROUTE, &counting_route(2, 7)), 1);
    assert_eq!(event(RTM_NEWROUTE, &counting_route(3, 7)), 2);
    assert_eq!(event(RTM_DELROUTE, &counting_route(2, 9)), 1);
}

#[test]
fn list_of_hops_with_a_wrong_length_is_an_error() {
    for length in [0_u16, 7, 9, u16::MAX] {
        let hop = [&length.to_ne_bytes()[..], &[0; 6]].concat();
        let mut message = message(false, &[1]);
        message.attributes.push(RouteAttribute::Other(DefaultNla::new(9, hop)));
        let reported = ReportedRoute::parse(&bytes(&message));
        assert!(reported.is_err(), "{length}: {reported:?}");
    }
}

#[test]
fn last_sibling_has_weight_one() {
    let mut table = Table::of(true, &[&[1, 2]]);
    for group in table.routes.groups.values_mut() {
        group.iter_mut().for_each(|route| route.hops[0].weight = 7);
    }
    let weights = |table: &Table| -> Vec<u32> {
        let rows = table.routes.keys().flat_map(|key| table.routes.rows(key, &Links::default()));
        rows.map(|row| row.weight).collect()
    };
    assert_eq!(weights(&table), [7, 7]);
    assert!(table.event(RTM_DELROUTE, 0, &[2], false));
    assert_eq!(weights(&table), [1]);
}

#[test]
fn silent_changes_are_doubtful_and_messages_without_a_route_have_no_effect() {
    let mut table = Table::of(false, &[&[1]]);
    let event = |table: &mut Table, kind: u16, payload: &[u8]| {
        let message = Message { kind, flags: 0, sequence: 0, port: 0, payload };
        table.routes.event(&message, false)
    };
    assert_eq!(event(&mut table, RTM_DELADDR, &[]), Ok(Effect::Doubt));
    assert_eq!(event(&mut table, NEXTHOP_EVENTS[1], &[]), Ok(Effect::None), "none is used");
    let mut cached = message(false, &[2]);
    cached.header.flags = RouteFlags::Cloned;
    assert_eq!(event(&mut table, RTM_NEWROUTE, &bytes(&cached)), Ok(Effect::None));
    assert!(event(&mut table, RTM_NEWROUTE, &[2, 24]).is_err());
    let mut odd = message(false, &[2]);
    odd.header.destination_prefix_length = 33;
    assert!(event(&mut table, RTM_NEWROUTE, &bytes(&odd)).is_err());
    assert_eq!(table.gateways(), [1]);
    let mut with_object = message(false, &[2]);
    with_object.attributes.push(RouteAttribute::NhId(7));
    assert!(event(&mut table, RTM_NEWROUTE, &bytes(&with_object)).is_ok());
    assert_eq!(event(&mut table, NEXTHOP_EVENTS[1], &[]), Ok(Effect::Doubt));
}
