//! Helpers of the tests.

pub mod certificates;

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

/// Returns a port of the loopback that nothing listens at.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until a condition holds.
///
/// # Panics
/// Panics after a minute.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "still waiting: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Returns the sockets of this process that others can reach: listeners of TCP, and all of UDP.
pub fn open_sockets() -> Vec<String> {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let own: Vec<_> = links.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok()).collect();
    let mut found = Vec::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        let table = std::fs::read_to_string(format!("/proc/self/net/{protocol}"));
        // A kernel without IPv6 has no table of it.
        for line in table.unwrap_or_default().lines().skip(1) {
            let words: Vec<_> = line.split_whitespace().collect();
            let (address, state, inode) = (words[1], words[3], words[9]);
            let is_own = own.contains(&format!("socket:[{inode}]").into());
            let listens = protocol.starts_with("udp") || state == "0A";
            if is_own && listens {
                found.push(format!("{protocol} {address}"));
            }
        }
    }
    found
}
