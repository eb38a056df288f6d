//! The names that `ip route` and `ip neigh` use for the kernel's numbers. A number without a name
//! is shown as a number.

use common::Text;

/// A number and its name.
type Name = (u32, &'static str);

const TYPES: &[Name] = &[
    (1, "unicast"),
    (2, "local"),
    (3, "broadcast"),
    (4, "anycast"),
    (5, "multicast"),
    (6, "blackhole"),
    (7, "unreachable"),
    (8, "prohibit"),
    (9, "throw"),
    (10, "nat"),
    (11, "xresolve"),
];

const SCOPES: &[Name] =
    &[(0, "global"), (200, "site"), (253, "link"), (254, "host"), (255, "nowhere")];

const PROTOCOLS: &[Name] = &[
    (1, "redirect"),
    (2, "kernel"),
    (3, "boot"),
    (4, "static"),
    (8, "gated"),
    (9, "ra"),
    (10, "mrt"),
    (11, "zebra"),
    (12, "bird"),
    (13, "dnrouted"),
    (14, "xorp"),
    (15, "ntk"),
    (16, "dhcp"),
    (18, "keepalived"),
    (42, "babel"),
    (84, "ovn"),
    (99, "openr"),
    (186, "bgp"),
    (187, "isis"),
    (188, "ospf"),
    (189, "rip"),
    (192, "eigrp"),
];

const ENCAPSULATIONS: &[Name] = &[
    (0, ""),
    (1, "mpls"),
    (2, "ip"),
    (3, "ila"),
    (4, "ip6"),
    (5, "seg6"),
    (6, "bpf"),
    (7, "seg6local"),
    (8, "rpl"),
    (9, "ioam6"),
    (10, "xfrm"),
];

const PREFERENCES: &[Name] = &[(0, "medium"), (1, "high"), (3, "low")];

const ROUTE_FLAGS: &[Name] = &[
    (0x1, "dead"),
    (0x2, "pervasive"),
    (0x4, "onlink"),
    (0x8, "offload"),
    (0x10, "linkdown"),
    (0x20, "unresolved"),
    (0x40, "trap"),
    (0x4000, "rt_offload"),
    (0x8000, "rt_trap"),
    (0x2000_0000, "rt_offload_failed"),
];

const STATES: &[Name] = &[
    (0x01, "INCOMPLETE"),
    (0x02, "REACHABLE"),
    (0x04, "STALE"),
    (0x08, "DELAY"),
    (0x10, "PROBE"),
    (0x20, "FAILED"),
    (0x40, "NOARP"),
    (0x80, "PERMANENT"),
];

const NEIGHBOR_FLAGS: &[Name] = &[
    (0x80, "router"),
    (0x08, "proxy"),
    (0x10, "extern_learn"),
    (0x20, "offload"),
    (0x40, "sticky"),
];

const EXTENDED_NEIGHBOR_FLAGS: &[Name] = &[(0x1, "managed"), (0x4, "extern_valid")];

fn one<const N: usize>(names: &[Name], number: u32) -> Text<N> {
    match names.iter().find(|name| name.0 == number) {
        Some((_, name)) => Text::truncated(name),
        None => Text::truncated(&number.to_string()),
    }
}

fn set(names: &[Name], bits: u32) -> impl Iterator<Item = &str> {
    let named = names.iter().filter(move |(bit, _)| bits & bit != 0);
    named.map(|(_, name)| *name)
}

fn joined<'a, const N: usize>(names: impl Iterator<Item = &'a str>) -> Text<N> {
    Text::truncated(&names.collect::<Vec<_>>().join(" "))
}

/// Returns the name of a route type: `unicast`, `blackhole`, …
pub fn route_type<const N: usize>(number: u8) -> Text<N> {
    one(TYPES, number.into())
}

/// Returns the name of a scope: `global`, `link`, …
pub fn scope<const N: usize>(number: u8) -> Text<N> {
    one(SCOPES, number.into())
}

/// Returns the name of a routing protocol: `kernel`, `static`, …; empty for 0.
pub fn protocol<const N: usize>(number: u8) -> Text<N> {
    match number {
        0 => Text::truncated(""),
        number => one(PROTOCOLS, number.into()),
    }
}

/// Returns the name of an encapsulation: `mpls`, `seg6`, …; empty for none.
pub fn encapsulation<const N: usize>(number: u16) -> Text<N> {
    one(ENCAPSULATIONS, number.into())
}

/// Returns the name of a router preference: `low`, `medium`, `high`; empty for none.
pub fn preference<const N: usize>(number: Option<u8>) -> Text<N> {
    number.map_or(Text::truncated(""), |number| one(PREFERENCES, number.into()))
}

/// Returns the names of a route's flags: `onlink`, `linkdown`, …
pub fn route_flags<const N: usize>(bits: u32) -> Text<N> {
    joined(set(ROUTE_FLAGS, bits))
}

/// Returns the name of a neighbor's state: `REACHABLE`, `STALE`, …
pub fn neighbor_state<const N: usize>(bits: u16) -> Text<N> {
    one(STATES, bits.into())
}

/// Returns the names of a neighbor's flags: `router`, `extern_learn`, …
pub fn neighbor_flags<const N: usize>(bits: u8, extended: u32) -> Text<N> {
    joined(set(NEIGHBOR_FLAGS, bits.into()).chain(set(EXTENDED_NEIGHBOR_FLAGS, extended)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_names_or_stay_numbers() {
        assert_eq!(route_type::<14>(7).as_str(), "unreachable");
        assert_eq!(scope::<8>(253).as_str(), "link");
        assert_eq!(protocol::<12>(186).as_str(), "bgp");
        assert_eq!((protocol::<12>(0).as_str(), protocol::<12>(77).as_str()), ("", "77"));
        assert_eq!(preference::<8>(None).as_str(), "");
        assert_eq!(route_flags::<36>(0x14).as_str(), "onlink linkdown");
        assert_eq!(neighbor_state::<12>(4).as_str(), "STALE");
        assert_eq!(neighbor_flags::<36>(0x90, 1).as_str(), "router extern_learn managed");
    }
}
