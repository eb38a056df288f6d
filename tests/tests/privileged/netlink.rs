//! `--from routes` and `--from neighbors`, in a private network namespace if the machine allows
//! one, otherwise with the machine's own tables. The published rows are compared with an
//! independent reading of the kernel's tables.

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::netns::mirrored::{Mirrored, namespace, serve, the_machines_own};
use tests::process::Process;
use tests::programs::{example, subscriber};
use tests::{full_or, until};

const ROLE: &str = env!("CARGO_BIN_EXE_role");

/// `RTN_BLACKHOLE` and `RTN_UNREACHABLE`.
const TYPES: [u8; 2] = [6, 7];

#[test]
fn routes_of_both_families_are_dumped_and_followed() {
    let before = ["route add 192.0.2.0/24 via 10.0.0.2", "route add fd77::/64 via fd00::2"];
    let Some(mut mirrored) = Mirrored::start(ROLE, "routes", "routes", &before, &[]) else {
        return;
    };
    assert_eq!(mirrored.of("192.0.2.0/24", "gateway"), ["10.0.0.2"]);
    assert_eq!(mirrored.of("fd77::/64", "interface"), ["a"]);
    mirrored.tell("route add 0.0.0.0/0 via 10.0.0.9 metric 7");
    mirrored.tell("route add ::/0 via fd00::9");
    assert_eq!(mirrored.of("0.0.0.0/0", "metric"), [7]);
    assert_eq!(mirrored.of("::/0", "gateway"), ["fd00::9"]);
    mirrored.tell("route replace 192.0.2.0/24 via 10.1.0.2");
    mirrored.tell("route replace fd77::/64 via fd01::2");
    assert_eq!(mirrored.of("192.0.2.0/24", "interface"), ["b"]);
    assert_eq!(mirrored.of("fd77::/64", "gateway"), ["fd01::2"]);
    mirrored.tell("route delete 192.0.2.0/24");
    mirrored.tell("route delete fd77::/64");
    assert!(mirrored.of("192.0.2.0/24", "hop").is_empty());
    assert!(mirrored.of("fd77::/64", "hop").is_empty());
    // Only the first read was a full dump.
    mirrored.publisher.signal(Signal::SIGTERM);
    mirrored.publisher.ends_with(0);
    let stderr = mirrored.publisher.stderr();
    assert!(stderr.contains("overruns: 0, dumps: 1,"), "{stderr}");
}

#[test]
fn routes_with_equal_destination_are_separate_rows() {
    let Some(mut mirrored) = Mirrored::start(ROLE, "keys", "routes", &[], &[]) else {
        return;
    };
    let [blackhole, unreachable] = TYPES;
    for command in [
        "route add 192.0.2.0/24 via 10.0.0.2",
        "route add 192.0.2.0/24 via 10.0.0.3 table 77",
        "route add 192.0.2.0/24 via 10.0.0.4 metric 9",
        "route add 192.0.2.0/24 via 10.0.0.5 tos 8",
        "route append 192.0.2.0/24 via 10.0.0.6",
        "route prepend 192.0.2.0/24 via 10.0.0.7",
        "route add fd77::/64 via fd00::2",
        "route add fd77::/64 via fd00::3 table 77",
        "route add fd77::/64 via fd00::4 metric 9",
        "route add fd77::/64 from fd00::/64 via fd00::5",
    ] {
        mirrored.tell(command);
    }
    let mut gateways = mirrored.of("192.0.2.0/24", "gateway");
    gateways.sort_by_key(ToString::to_string);
    let expected: Vec<String> = (2..8).map(|last| format!("10.0.0.{last}")).collect();
    assert_eq!(gateways, expected);
    assert_eq!(mirrored.of("fd77::/64", "gateway").len(), 4);
    // The order of appended and prepended routes, with the first one replaced.
    let main = |mirrored: &mut Mirrored| -> Vec<Value> {
        let mut rows = mirrored.agrees();
        rows.retain(|row| row["destination"] == "192.0.2.0/24" && row["table"] == 254);
        rows.retain(|row| row["metric"] == 0 && row["tos"] == 0);
        rows.sort_by_key(|row| row["hop"].as_u64());
        rows.iter().map(|row| row["gateway"].clone()).collect()
    };
    assert_eq!(main(&mut mirrored), ["10.0.0.7", "10.0.0.2", "10.0.0.6"]);
    mirrored.tell("route replace 192.0.2.0/24 via 10.0.0.8");
    assert_eq!(main(&mut mirrored), ["10.0.0.8", "10.0.0.2", "10.0.0.6"]);
    mirrored.tell("route delete 192.0.2.0/24 via 10.0.0.2");
    assert_eq!(main(&mut mirrored), ["10.0.0.8", "10.0.0.6"]);
    mirrored.tell(&format!("route add 198.51.100.0/24 type {blackhole}"));
    mirrored.tell(&format!("route add fd78::/64 type {unreachable}"));
    assert_eq!(mirrored.of("198.51.100.0/24", "type"), ["blackhole"]);
    assert_eq!(mirrored.of("fd78::/64", "type"), ["unreachable"]);
    mirrored.tell("route add 203.0.113.0/24 via fd00::77 dev a");
    assert_eq!(mirrored.of("203.0.113.0/24", "gateway"), ["fd00::77"]);
    mirrored.publisher.signal(Signal::SIGTERM);
    mirrored.publisher.ends_with(0);
    let stderr = mirrored.publisher.stderr();
    assert!(stderr.contains("overruns: 0, dumps: 1,"), "{stderr}");
}

#[test]
fn each_hop_of_multipath_route_is_a_row() {
    let Some(mut mirrored) = Mirrored::start(ROLE, "hops", "routes", &[], &[]) else {
        return;
    };
    mirrored.tell("route add 192.0.2.0/24 hop 10.0.0.2,a,3 hop 10.1.0.2,b,1 hop 10.0.0.2,a,3");
    assert_eq!(mirrored.of("192.0.2.0/24", "weight"), [3, 1, 3]);
    mirrored.tell("route replace 192.0.2.0/24 hop 10.1.0.3,b,1 hop 10.0.0.2,a,2");
    assert_eq!(mirrored.of("192.0.2.0/24", "interface"), ["b", "a"]);
    mirrored.tell("route add fd77::/64 hop fd00::2,a,4 hop fd01::2,b,1");
    assert_eq!(mirrored.of("fd77::/64", "weight"), [4, 1]);
    mirrored.tell("route append fd77::/64 via fd00::3 dev a");
    assert_eq!(mirrored.of("fd77::/64", "gateway"), ["fd00::2", "fd00::3", "fd01::2"]);
    mirrored.tell("route delete fd77::/64 via fd01::2 dev b");
    assert_eq!(mirrored.of("fd77::/64", "gateway"), ["fd00::2", "fd00::3"]);
    mirrored.tell("route delete fd77::/64 via fd00::3 dev a");
    assert_eq!(mirrored.of("fd77::/64", "weight"), [1]);
    mirrored.tell("route replace fd77::/64 hop fd00::4,a,1 hop fd01::4,b,2");
    assert_eq!(mirrored.of("fd77::/64", "gateway"), ["fd00::4", "fd01::4"]);
    mirrored.tell("route replace fd77::/64 via fd01::5");
    assert_eq!(mirrored.of("fd77::/64", "gateway"), ["fd01::5"]);
    mirrored.tell("route delete fd77::/64");
    assert!(mirrored.of("fd77::/64", "hop").is_empty());
}

/// Regression: a row's identity was narrower than the kernel's identity of the object. Two
/// routes that differed only in a property without a column were one row, and deleting either of
/// them deleted it.
///
/// IPv4 (`fib_find_info`): metrics, realms and encapsulation count, all of each hop. IPv6
/// (`rt6_duplicate_nexthop`): of these only the encapsulation, with a gateway (siblings of one
/// multipath route) and without.
#[test]
fn routes_that_differ_in_unlisted_property_are_separate_rows() {
    let pairs = [
        ["192.0.2.0/24 via 10.0.0.2 advmss 1000", "192.0.2.0/24 via 10.0.0.2 advmss 1200"],
        ["192.0.2.0/24 via 10.0.0.2", "192.0.2.0/24 via 10.0.0.2 initcwnd 20"],
        ["192.0.2.0/24 via 10.0.0.2 mtu 1400", "192.0.2.0/24 via 10.0.0.2 locked-mtu 1400"],
        ["192.0.2.0/24 via 10.0.0.2 congestion cubic", "192.0.2.0/24 via 10.0.0.2 congestion reno"],
        ["192.0.2.0/24 via 10.0.0.2 realm 3", "192.0.2.0/24 via 10.0.0.2 realm 4"],
        ["192.0.2.0/24 via 10.0.0.2 tunnel-id 5", "192.0.2.0/24 via 10.0.0.2 tunnel-id 6"],
        ["192.0.2.0/24 dev a segment fd00::5", "192.0.2.0/24 dev a segment fd00::6"],
        [
            "192.0.2.0/24 hop 10.0.0.2,a,1,realm=3 hop 10.1.0.2,b,1",
            "192.0.2.0/24 hop 10.0.0.2,a,1 hop 10.1.0.2,b,1,realm=3",
        ],
        ["fd77::/64 via fd00::2 segment fd00::5", "fd77::/64 via fd00::2 segment fd00::6"],
        ["fd77::/64 dev a segment fd00::5", "fd77::/64 dev a segment fd00::6"],
        ["fd77::/64 via fd00::2", "fd77::/64 via fd00::2 segment fd00::5"],
        [
            "fd77::/64 hop fd00::2,a,1,segment=fd00::5 hop fd00::2,a,1,segment=fd00::6",
            "fd77::/64 via fd00::2 dev a segment fd00::7",
        ],
    ];
    // Once as events of a followed table, once as routes of the first dump.
    let mut followed = Mirrored::start(ROLE, "identity", "routes", &[], &[]);
    for pair in pairs {
        let Some(mirrored) = &mut followed else {
            return;
        };
        let [first, second] = pair;
        let destination = first.split(' ').next().unwrap();
        let hops = |route: &str| route.matches(" hop ").count().max(1);
        mirrored.tell(&format!("route add {first}"));
        mirrored.tell(&format!("route append {second}"));
        let found = mirrored.of(destination, "gateway").len();
        assert_eq!(found, hops(first) + hops(second), "{pair:?}");
        let add = [format!("route add {first}"), format!("route append {second}")];
        let before: Vec<&str> = add.iter().map(String::as_str).collect();
        let mut dumped = Mirrored::start(ROLE, "identity-dumped", "routes", &before, &[]).unwrap();
        for mirrored in [mirrored, &mut dumped] {
            // The kernel deletes the first match, regardless of its realms and encapsulation.
            mirrored.tell(&format!("route delete {first}"));
            let left = mirrored.of(destination, "gateway").len();
            assert!(left > 0, "{pair:?}");
            while !mirrored.of(destination, "hop").is_empty() {
                mirrored.tell(&format!("route delete {destination}"));
            }
        }
    }
}

#[test]
fn routes_removed_without_event_are_deleted() {
    let before = [
        "route add 192.0.2.0/24 via 10.1.0.2",
        "route add 198.51.100.0/24 via 10.0.0.2 src 10.0.0.1",
        "route add 203.0.113.0/24 hop 10.0.0.2,a,1 hop 10.1.0.2,b,1",
        "route add fd77::/64 hop fd00::2,a,1 hop fd01::2,b,1",
    ];
    let Some(mut mirrored) = Mirrored::start(ROLE, "silent", "routes", &before, &[]) else {
        return;
    };
    assert_eq!(mirrored.of("192.0.2.0/24", "interface"), ["b"]);
    mirrored.tell("link down b");
    assert!(mirrored.of("192.0.2.0/24", "interface").is_empty());
    assert_eq!(mirrored.of("203.0.113.0/24", "flags"), ["", "dead linkdown"]);
    mirrored.tell("link up b");
    assert_eq!(mirrored.of("203.0.113.0/24", "flags"), ["", ""]);
    mirrored.tell("address delete 10.0.0.1/24 a");
    assert!(mirrored.of("198.51.100.0/24", "source").is_empty());
    mirrored.tell("link down b");
    mirrored.tell("link rename b renamed");
    mirrored.tell("link up renamed");
    assert!(mirrored.of("fd01::/64", "interface").iter().all(|name| name == "renamed"));
    mirrored.tell("link delete renamed");
    assert!(mirrored.agrees().iter().all(|row| row["interface"] != "renamed"));
}

#[test]
fn neighbors_follow_kernel_changes() {
    const PERMANENT: u16 = 0x80;
    const STALE: u16 = 0x04;
    const NOARP: u16 = 0x40;
    let before = [format!("neighbor set 10.0.0.2 a 02:00:00:00:00:01 {PERMANENT}")];
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let Some(mut mirrored) = Mirrored::start(ROLE, "neighbors", "neighbors", &before, &[]) else {
        return;
    };
    let of = |mirrored: &mut Mirrored, address: &str, field: &str| -> Vec<Value> {
        let rows = mirrored.agrees().into_iter().filter(|row| row["address"] == address);
        rows.map(|row| row[field].clone()).collect()
    };
    assert_eq!(of(&mut mirrored, "10.0.0.2", "lladdr"), ["02:00:00:00:00:01"]);
    mirrored.tell(&format!("neighbor set 10.0.0.2 a 02:00:00:00:00:02 {STALE}"));
    assert_eq!(of(&mut mirrored, "10.0.0.2", "state"), ["STALE"]);
    for device in ["a", "b"] {
        mirrored.tell(&format!("neighbor set fe80::7 {device} 02:00:00:00:00:07 {PERMANENT}"));
    }
    assert_eq!(of(&mut mirrored, "fe80::7", "interface"), ["a", "b"]);
    mirrored.tell("neighbor delete fe80::7 a");
    assert_eq!(of(&mut mirrored, "fe80::7", "interface"), ["b"]);
    mirrored.tell(&format!("neighbor set 10.0.0.2 a 02:00:00:00:00:02 {NOARP}"));
    assert!(of(&mut mirrored, "10.0.0.2", "state").is_empty());
    mirrored.tell("link rename b renamed");
    assert_eq!(of(&mut mirrored, "fe80::7", "interface"), ["renamed"]);
    mirrored.tell("link delete renamed");
    assert!(mirrored.agrees().is_empty());
}

#[test]
fn overrun_and_interrupted_dump_are_repaired() {
    // Enough interfaces that reading them takes a while.
    let pairs = ["link pairs 400"];
    let options = ["--receive-buffer", "1", "-v"];
    let Some(mut mirrored) = Mirrored::start(ROLE, "overrun", "routes", &pairs, &options) else {
        return;
    };
    until("an overrun is logged", || {
        for verb in ["add", "delete"] {
            mirrored.tell(&format!("routes {verb} 4 500 via 10.0.0.2 dev a"));
            mirrored.tell(&format!("routes {verb} 6 500 via fd00::2 dev a"));
        }
        mirrored.publisher.stderr().contains("INFO routes: overrun")
    });
    mirrored.agrees();
    until("a dump is interrupted", || {
        // The process is stopped at a random point, which sometimes is in the middle of reading the
        // interfaces.
        mirrored.tell("link down b");
        mirrored.publisher.signal(Signal::SIGSTOP);
        mirrored.tell("churn 1");
        mirrored.tell("link up b");
        mirrored.publisher.signal(Signal::SIGCONT);
        mirrored.agrees();
        let stderr = mirrored.publisher.stderr();
        stderr.contains("the kernel interrupted it")
    });
    mirrored.tell("routes add 4 3000 via 10.0.0.2 dev a");
    mirrored.tell("routes add 6 3000 via fd00::2 dev a");
    assert!(mirrored.agrees().len() > 6000);
    mirrored.publisher.signal(Signal::SIGTERM);
    mirrored.publisher.ends_with(0);
    let stderr = mirrored.publisher.stderr();
    assert!(!stderr.contains("overruns: 0"), "{stderr}");
    assert_eq!(stderr.matches("WARN routes: events were lost").count(), 1, "{stderr}");
}

#[test]
fn kernel_tables_need_no_privileges() {
    let Some(namespace) = namespace(ROLE) else {
        the_machines_own("nobody", "routes");
        return;
    };
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten();
    let Some(nobody) = nobody.filter(|_| nix::unistd::geteuid().is_root()) else {
        eprintln!("not root: every other test already ran as an ordinary user");
        return;
    };
    let user = Some(nobody.uid.as_raw());
    let mut mirrored = Mirrored::start_in(namespace, "nobody", "routes", &[], user);
    mirrored.tell("route add 192.0.2.0/24 via 10.0.0.2");
    assert_eq!(mirrored.of("192.0.2.0/24", "gateway"), ["10.0.0.2"]);
    mirrored.publisher.signal(Signal::SIGTERM);
    mirrored.publisher.ends_with(0);
}

#[test]
fn takeover_of_routes_commits_only_differences() {
    let before = ["route add 192.0.2.0/24 via 10.0.0.2"];
    let Some(mut mirrored) = Mirrored::start(ROLE, "successor", "routes", &before, &[]) else {
        return;
    };
    let mut watch = subscriber();
    watch.args(["watch", mirrored.table.name(), "--format", "jsonl"]);
    let mut watch = Process::start(&mut watch);
    watch.stdout_until(|text| text.contains("192.0.2.0/24"));
    mirrored.publisher.kill();
    mirrored.tell("route delete 192.0.2.0/24");
    mirrored.tell("route add 198.51.100.0/24 via 10.0.0.2");
    mirrored.publisher = serve(&mirrored.namespace.borrow(), &mirrored.table, "routes", &[], None);
    assert_eq!(mirrored.of("198.51.100.0/24", "gateway"), ["10.0.0.2"]);
    // One commit with only the differences.
    let told = watch.stdout_until(|text| text.contains("198.51.100.0/24"));
    let last: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let version = &last.last().unwrap()["version"];
    let mut ops: Vec<&Value> =
        last.iter().filter(|line| line["version"] == *version).map(|line| &line["op"]).collect();
    ops.sort_by_key(ToString::to_string);
    assert!(
        ops.len() <= 2 && last.iter().filter(|line| line["op"] == "create").count() > 2,
        "{told}"
    );
}

#[test]
fn many_routes_are_followed() {
    let (ipv4, ipv6) = full_or((80_000, 20_000), (8_000, 2_000));
    let before = [
        format!("routes add 4 {ipv4} via 10.0.0.2 dev a"),
        format!("routes add 6 {ipv6} via fd00::2 dev a"),
    ];
    let before = before.each_ref().map(String::as_str);
    let Some(mut mirrored) = Mirrored::start(ROLE, "many", "routes", &before, &[]) else {
        return;
    };
    assert!(mirrored.agrees().len() > ipv4 + ipv6);
    mirrored.tell("route delete 11.0.0.7/32");
    mirrored.tell("route replace fd99::7/128 via fd01::7");
    assert_eq!(mirrored.of("fd99::7/128", "interface"), ["b"]);
}

#[test]
fn routing_example_follows_kernel() {
    let before = ["route add 0.0.0.0/0 via 10.0.0.9 metric 7"];
    let Some(mirrored) = Mirrored::start(ROLE, "example", "routes", &before, &[]) else {
        return;
    };
    let mut routing = example("routing");
    routing.args([mirrored.table.name(), "192.0.2.7", "fd77::1"]);
    let mut routing = Process::start(&mut routing);
    assert_eq!(routing.line(), "192.0.2.7: unicast 0.0.0.0/0 via 10.0.0.9 dev a");
    assert_eq!(routing.line(), "fd77::1: no route");
    let [blackhole, _] = TYPES;
    let blackhole = format!("route add 192.0.2.4/30 type {blackhole}");
    for (command, answer) in [
        // A longer prefix, a lower metric, several hops, the other family; and back.
        ("route add 192.0.2.0/24 via 10.0.0.2 metric 9", "192.0.2.0/24 via 10.0.0.2 dev a"),
        ("route add 192.0.2.0/24 via 10.0.0.3 metric 8", "192.0.2.0/24 via 10.0.0.3 dev a"),
        (
            "route add 192.0.2.0/24 hop 10.0.0.4,a,1 hop 10.1.0.4,b,1",
            "192.0.2.0/24 via 10.0.0.4 dev a, or via 10.1.0.4 dev b",
        ),
        ("route replace 192.0.2.0/24 via 10.1.0.5", "192.0.2.0/24 via 10.1.0.5 dev b"),
        (&blackhole, "blackhole 192.0.2.4/30"),
        ("route delete 192.0.2.4/30", "192.0.2.0/24 via 10.1.0.5 dev b"),
        ("route add 192.0.2.7/32 via 10.0.0.6 tos 8", ""),
        ("route add fd77::/64 via fd00::2", "fd77::1: unicast fd77::/64 via fd00::2 dev a"),
        ("route delete fd77::/64", "fd77::1: no route"),
        ("link down b", "192.0.2.0/24 via 10.0.0.3 dev a"),
    ] {
        mirrored.tell(command);
        if !answer.is_empty() {
            let line = routing.line();
            assert!(line.ends_with(answer), "{command}: {line}");
        }
    }
    mirrored.publisher.signal(Signal::SIGTERM);
    routing.ends_with(0);
}
