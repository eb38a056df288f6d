//! Longest-prefix lookup of routes in the local copy of `--from routes`, following live changes.
//!
//! ```sh
//! publisher serve routes --from routes &
//! cargo run -p common --example routing -- routes 192.0.2.7 2001:db8::1
//! ```
//!
//! The program prints the route for each address, and again whenever the route changes, until
//! Ctrl-C or the end of the table. Without addresses in its arguments it first reads them from
//! stdin, one per line.
//!
//! The order of rows in the published table does not help a prefix lookup. So this program keeps
//! its own index next to the local copy, a prefix trie for each of the kernel's tables, and updates
//! it with the changes of each refresh. A lookup then only reads memory of this process: no system
//! call, no lock, no request to another process.
//!
//! This is a sketch of the kernel's lookup. It searches the tables `local`, `main` and `default` in
//! this order, as the kernel does without custom rules (`ip rule`), and ignores routes for packets
//! of a certain TOS or origin.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::net::IpAddr;

use common::{Change, Error, RowRef, UntypedSubscriber, Value};
use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

/// `local`, `main`, `default`.
const TABLES: [u64; 3] = [255, 254, 253];

/// Sort key of a hop among those of the same destination: metric, then route, then the hop's
/// number.
type Rank = (u64, u64, u64);

/// The parts of a row that are kept: the type of its route, and its description.
type Hop = (String, String);

/// The routes of one table: a trie of destinations for both families, and the hops of each
/// destination, best first.
type Trie = JointPrefixMap<IpNet, BTreeMap<Rank, Hop>>;

#[derive(Default)]
struct Router(HashMap<u64, Trie>);

fn number(row: RowRef<'_>, field: &str) -> u64 {
    match row.field(field) {
        Some(Value::U64(number)) => number,
        _ => 0,
    }
}

fn text(row: RowRef<'_>, field: &str) -> String {
    row.field(field).map_or(String::new(), |value| value.to_string())
}

impl Router {
    /// Applies the changes of a refresh.
    fn apply(&mut self, change: Change<RowRef<'_>>) {
        let (old, new) = match change {
            Change::Created(new) => (None, Some(new)),
            Change::Updated { old, new } => (Some(old), Some(new)),
            Change::Deleted(old) => (Some(old), None),
        };
        if let Some(old) = old.filter(|row| is_usable(*row)) {
            self.remove(old);
        }
        if let Some(new) = new.filter(|row| is_usable(*row)) {
            let (table, destination, rank) = place(new);
            let trie = self.0.entry(table).or_default();
            trie.entry(destination).or_default().insert(rank, hop(new));
        }
    }

    fn remove(&mut self, row: RowRef<'_>) {
        let (table, destination, rank) = place(row);
        let Some(trie) = self.0.get_mut(&table) else {
            return;
        };
        if let Some(hops) = trie.get_mut(&destination) {
            hops.remove(&rank);
            if hops.is_empty() {
                trie.remove(&destination);
            }
        }
    }

    /// Returns the way to an address: all hops of the best route of the longest prefix, in the
    /// first table that has one.
    fn lookup(&self, address: IpAddr) -> String {
        let tries = TABLES.iter().filter_map(|table| self.0.get(table));
        for trie in tries {
            let Some((destination, hops)) = trie.get_lpm(&address.into()) else {
                continue;
            };
            let (&(metric, route, _), (kind, _)) =
                hops.first_key_value().expect("empty ones are removed");
            // This type of route (`throw`) means: continue with the next table.
            if kind == "throw" {
                continue;
            }
            let ways: Vec<&str> = hops
                .range((metric, route, 0)..=(metric, route, u64::MAX))
                .map(|(_, (_, way))| way.as_str())
                .collect();
            return format!("{kind} {destination} {}", ways.join(", or ")).trim_end().to_owned();
        }
        "no route".to_owned()
    }
}

/// Returns true if ordinary packets may take this route now.
fn is_usable(row: RowRef<'_>) -> bool {
    let is_dead = text(row, "flags").split(' ').any(|flag| flag == "dead");
    number(row, "tos") == 0 && text(row, "from").is_empty() && !is_dead
}

fn place(row: RowRef<'_>) -> (u64, IpNet, Rank) {
    let destination = match row.field("destination") {
        Some(Value::IpNet(network)) => network,
        other => panic!("{other:?} is not a destination: is this a table of `--from routes`?"),
    };
    let rank = (number(row, "metric"), number(row, "route"), number(row, "hop"));
    (number(row, "table"), destination, rank)
}

fn hop(row: RowRef<'_>) -> Hop {
    let mut way = Vec::new();
    for (word, field) in [("via", "gateway"), ("dev", "interface"), ("src", "source")] {
        let value = text(row, field);
        if !value.is_empty() {
            way.push(format!("{word} {value}"));
        }
    }
    (text(row, "type"), way.join(" "))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("usage: routing TABLE [ADDRESS]...")?;
    let mut addresses = arguments.map(|text| text.parse()).collect::<Result<Vec<IpAddr>, _>>()?;
    if addresses.is_empty() {
        for line in std::io::stdin().lock().lines() {
            addresses.push(line?.trim().parse()?);
        }
    }

    let mut routes = UntypedSubscriber::open(&name)?;
    let mut router = Router::default();
    routes.iter().for_each(|row| router.apply(Change::Created(row)));
    let mut answers = vec![String::new(); addresses.len()];
    loop {
        for (address, answer) in addresses.iter().zip(&mut answers) {
            let now = router.lookup(*address);
            if now != *answer {
                println!("{address}: {now}");
                *answer = now;
            }
        }
        // Sleeps until a commit has changed rows, or the state of the publisher has changed.
        match routes.wait(None) {
            Ok(changes) => changes.iter().for_each(|change| router.apply(change)),
            // The publisher was faster than the copy, which is unchanged.
            Err(Error::Outrun { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if !routes.publisher_state().is_alive() {
            eprintln!("{name}: nobody publishes it any more");
            return Ok(());
        }
    }
}
