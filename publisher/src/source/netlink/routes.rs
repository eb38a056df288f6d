//! The kernel's routes.
//!
//! **Identity.** The kernel looks routes up by table, destination, `from`, TOS and metric, but this
//! key is not unique:
//! - IPv4: `ip route append` and `prepend` add several routes with one such key. They differ in
//!   type, protocol, scope, source, hops, metrics, realms or encapsulation, also in properties that
//!   no column shows. They are ordered; the first usable one is used. The kernel refuses two routes
//!   that are equal in all of this. (It also compares flags such as `RTM_F_EQUALIZE` but does not
//!   report them: routes that differ only in these flags are one row.)
//! - IPv6: routes with one key differ in interface, gateway or encapsulation, such as `fe80::/64`
//!   of each interface; metrics do not distinguish them. Routes with a gateway are siblings:
//!   together they are one multipath route, which the kernel reports in one message. The others are
//!   separate routes. Their order has no meaning: they are sorted here, so that events and a dump
//!   lead to the same rows.
//! - Both: a multipath route has several hops, which may even be equal.
//!
//! So a row is a hop. Its key ends with `hop`, its number among all hops of all routes with the
//! same key. The column `route` shows which hops belong to the same route.
//!
//! **Meaning of events.** IPv4 (`fib_table_insert`): a message with `NLM_F_REPLACE` replaces the
//! first route of its key; with `NLM_F_APPEND` the route is inserted last, otherwise first. A route
//! that exists already, except for its flags, is an update of these flags. A deletion names the
//! whole route. IPv6 (`fib6_add_rt2node`): a list of hops is the whole multipath route; a
//! replacement replaces all siblings; a deletion names one hop, or all of them by a list.
//!
//! If these rules do not determine the result for certain, the effect is [`Effect::Doubt`], and the
//! table is read again. The same holds for everything that the kernel does silently: it removes
//! routes, or marks them dead, when an interface goes down, loses its carrier, an address or its
//! VRF, and when a nexthop object is removed.
//!
//! **Events that arrive during a dump** are replayed over it. For a route that is alone under its
//! key, the last event decides, whatever state the dump saw. So replaying all events in order gives
//! the correct result. With several routes under one key it may not, which is also
//! [`Effect::Doubt`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteMessage;
use nix::libc::{
    AF_INET6, RTM_DELADDR, RTM_DELROUTE, RTM_NEWROUTE, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP,
};

use super::channel::Message;
use super::links::Links;
use super::model::{Effect, Model};
use super::route::{ReportedRoute, Route, RouteKey, RouteRow};

/// `RTM_NEWNEXTHOP` and `RTM_DELNEXTHOP`.
const NEXTHOP_EVENTS: [u16; 2] = [104, 105];

#[derive(Debug, Default)]
pub struct Routes {
    groups: BTreeMap<RouteKey, Vec<Route>>,
    /// True if a route that uses a nexthop object was seen.
    use_nexthops: bool,
}

impl Model for Routes {
    type Key = RouteKey;
    type Row = RouteRow;
    const NAME: &'static str = "routes";
    const GROUPS: &'static [u32] = &[
        RTNLGRP_IPV4_ROUTE,
        RTNLGRP_IPV6_ROUTE,
        RTNLGRP_IPV4_IFADDR,
        RTNLGRP_IPV6_IFADDR,
        RTNLGRP_NEXTHOP,
    ];

    fn request(family: u8) -> RouteNetlinkMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family.into();
        RouteNetlinkMessage::GetRoute(message)
    }

    fn resumes_by_position(family: u8) -> bool {
        i32::from(family) == AF_INET6
    }

    fn dumped(&mut self, message: &Message<'_>) -> Result<(), String> {
        if message.kind == RTM_NEWROUTE
            && let Some(reported) = ReportedRoute::parse(message.payload)?
        {
            self.use_nexthops |= reported.route.nexthop != 0;
            let group = self.groups.entry(reported.key).or_default();
            if is_v6(&reported.key) {
                for route in reported.route.split() {
                    if !group.iter().any(|known| known.is_same_v6(&route)) {
                        group.push(route);
                    }
                }
                group.sort_unstable();
            } else if !group.iter().any(|known| known.is_same_v4(&reported.route)) {
                group.push(reported.route);
            }
        }
        Ok(())
    }

    fn event(
        &mut self,
        message: &Message<'_>,
        is_replay: bool,
    ) -> Result<Effect<RouteKey>, String> {
        match message.kind {
            RTM_NEWROUTE | RTM_DELROUTE => {}
            RTM_DELADDR => return Ok(Effect::Doubt),
            kind if NEXTHOP_EVENTS.contains(&kind) && self.use_nexthops => {
                return Ok(Effect::Doubt);
            }
            _ => return Ok(Effect::None),
        }
        let Some(reported) = ReportedRoute::parse(message.payload)? else {
            return Ok(Effect::None);
        };
        self.use_nexthops |= reported.route.nexthop != 0;
        let key = reported.key;
        let group = self.groups.entry(key).or_default();
        let certain = match (message.kind, is_v6(&key)) {
            (RTM_NEWROUTE, false) => added_v4(group, reported.route, message.flags, is_replay),
            (RTM_NEWROUTE, true) => added_v6(group, &reported, message.flags),
            (_, false) => deleted_v4(group, &reported.route, is_replay),
            (_, true) => deleted_v6(group, &reported.route, is_replay),
        };
        if group.is_empty() {
            self.groups.remove(&key);
        }
        Ok(match certain {
            true => Effect::Changed(key),
            false => Effect::Doubt,
        })
    }

    fn keys(&self) -> impl Iterator<Item = &RouteKey> {
        self.groups.keys()
    }

    fn rows(&self, key: &RouteKey, links: &Links) -> Vec<RouteRow> {
        let group = self.groups.get(key).into_iter().flatten();
        let (siblings, others): (Vec<&Route>, Vec<&Route>) =
            group.partition(|route| is_v6(key) && route.is_sibling());
        // The kernel does not report the weight of the last remaining sibling.
        let alone = siblings.len() == 1;
        let first = u32::from(!siblings.is_empty());
        let numbered = siblings.into_iter().map(|route| (0, route));
        let numbered = numbered.chain((first..).zip(others));
        let hops = numbered.flat_map(|(number, route)| {
            let hops = route.hops.iter();
            hops.map(move |hop| (number, route, hop))
        });
        let rows = hops.zip(0..).map(|((number, route, hop), hop_number)| {
            let mut row = RouteRow::new(key, route, hop, hop_number, links);
            row.route = number;
            if alone && number == 0 {
                row.weight = 1;
            }
            row
        });
        rows.collect()
    }

    fn key_row(key: &RouteKey, number: usize) -> Option<RouteRow> {
        Some(RouteRow::of_key(key, u32::try_from(number).ok()?))
    }
}

fn is_v6(key: &RouteKey) -> bool {
    matches!(key.destination.addr(), IpAddr::V6(_))
}

/// Applies an addition. Returns true if the group is certainly equal to the kernel's, as do
/// [`deleted_v4`], [`added_v6`] and [`deleted_v6`].
fn added_v4(group: &mut Vec<Route>, route: Route, flags: u16, is_replay: bool) -> bool {
    let here = group.iter().position(|known| known.is_same_v4(&route));
    let is_plain = group.len() <= 1 || !is_replay;
    if flags & NLM_F_REPLACE != 0 {
        let was_there = !group.is_empty();
        group.splice(..usize::from(was_there), [route]);
        return is_plain && (was_there || is_replay);
    }
    match here {
        Some(here) => {
            group[here] = route;
            true
        }
        None => {
            let certain = group.is_empty() || !is_replay;
            let place = if flags & NLM_F_APPEND != 0 { group.len() } else { 0 };
            group.insert(place, route);
            certain
        }
    }
}

fn deleted_v4(group: &mut Vec<Route>, route: &Route, is_replay: bool) -> bool {
    match group.iter().position(|known| known.is_same_v4(route)) {
        Some(here) => {
            group.remove(here);
            true
        }
        None => is_replay,
    }
}

fn added_v6(group: &mut Vec<Route>, reported: &ReportedRoute, flags: u16) -> bool {
    let routes: Vec<Route> = reported.route.split().collect();
    let is_reported = |known: &Route| routes.iter().any(|route| route.is_same_v6(known));
    let (again, others): (Vec<Route>, Vec<Route>) = group.drain(..).partition(is_reported);
    let replaces = flags & NLM_F_REPLACE != 0;
    let all_siblings = |routes: &[Route]| routes.iter().all(Route::is_sibling);
    let certain = if replaces {
        again.len() + others.len() <= 1
            || all_siblings(&again) && all_siblings(&others) && all_siblings(&routes)
    } else if reported.is_multipath {
        others.is_empty() && again.iter().all(|route| route.has_equal_attributes(&reported.route))
    } else {
        true
    };
    if !replaces && !reported.is_multipath {
        group.extend(others);
    }
    group.extend(routes);
    group.sort_unstable();
    certain
}

fn deleted_v6(group: &mut Vec<Route>, route: &Route, is_replay: bool) -> bool {
    let mut certain = true;
    for route in route.split() {
        match group.iter().position(|known| known.is_same_v6(&route)) {
            Some(here) => drop(group.remove(here)),
            None => certain &= is_replay,
        }
    }
    certain
}

#[cfg(test)]
mod tests;
