//! The names that `ip route` and `ip neigh` use for the kernel's numbers. A number without a name
//! is shown as a number.

use common::Text;

type Name = (u32, &'static str);

pub const TYPES: &[Name] = &[
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

pub const SCOPES: &[Name] =
    &[(0, "global"), (200, "site"), (253, "link"), (254, "host"), (255, "nowhere")];

pub const PROTOCOLS: &[Name] = &[
    (0, ""),
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

pub const ENCAPSULATIONS: &[Name] = &[
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

pub const PREFERENCES: &[Name] = &[(0, "medium"), (1, "high"), (3, "low")];

pub const ROUTE_FLAGS: &[Name] = &[
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

pub const STATES: &[Name] = &[
    (0x01, "INCOMPLETE"),
    (0x02, "REACHABLE"),
    (0x04, "STALE"),
    (0x08, "DELAY"),
    (0x10, "PROBE"),
    (0x20, "FAILED"),
    (0x40, "NOARP"),
    (0x80, "PERMANENT"),
];

/// The flags in the header of a neighbor, and from bit 8 on the extended flags.
pub const NEIGHBOR_FLAGS: &[Name] = &[
    (0x80, "router"),
    (0x08, "proxy"),
    (0x10, "extern_learn"),
    (0x20, "offload"),
    (0x40, "sticky"),
    (0x1 << 8, "managed"),
    (0x4 << 8, "extern_valid"),
];

pub fn one<const N: usize>(names: &[Name], number: impl Into<u32>) -> Text<N> {
    let number = number.into();
    match names.iter().find(|name| name.0 == number) {
        Some((_, name)) => Text::truncated(name),
        None => Text::truncated(&number.to_string()),
    }
}

/// Returns the names of the bits that are set.
pub fn set<const N: usize>(names: &[Name], bits: u32) -> Text<N> {
    let named = names.iter().filter(|(bit, _)| bits & bit != 0);
    Text::truncated(&named.map(|(_, name)| *name).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_names_or_stay_numbers() {
        assert_eq!(one::<14>(TYPES, 7_u8).as_str(), "unreachable");
        assert_eq!(one::<8>(SCOPES, 253_u8).as_str(), "link");
        let protocol = |number: u8| one::<12>(PROTOCOLS, number);
        assert_eq!([186, 0, 77].map(protocol), ["bgp", "", "77"].map(Text::truncated));
        assert_eq!(set::<36>(ROUTE_FLAGS, 0x14).as_str(), "onlink linkdown");
        assert_eq!(one::<12>(STATES, 4_u16).as_str(), "STALE");
        assert_eq!(set::<36>(NEIGHBOR_FLAGS, 0x190).as_str(), "router extern_learn managed");
    }
}
