//! The peers: their versions, the differences in what they and Tablecast promise, and how they were
//! set up.

use std::fmt::Write;

/// The versions that this program was built with.
const LOCK: &str = include_str!("../../Cargo.lock");

struct Peer {
    package: &'static str,
    beyond: &'static str,
    lacks: &'static str,
    set_up: &'static str,
}

const PEERS: &[Peer] = &[
    Peer {
        package: "iceoryx2",
        beyond: "also publish and subscribe, request and response, without copying; values of different types; other systems than Linux; C, C++, Python",
        lacks: "several values atomically; which ones changed; keys that are added later; the event is a separate service and has no data of the blackboard",
        set_up: "blackboard of `ipc` services, an entry held for each key, as in its blackboard example; looking a key up goes through all keys, so that tables are of 1,000 rows; its event as the wake-up",
    },
    Peer {
        package: "mmap-sync",
        beyond: "a value of any shape that rkyv can archive, read in place; runs elsewhere than on Linux",
        lacks: "changing a part: a write copies the whole value; which part changed; a wake-up",
        set_up: "its files in /dev/shm, as its README advises under \"Tuning performance\"; read without validation, which is its fastest way",
    },
    Peer {
        package: "heed",
        beyond: "durable; ordered; keys and values of any length; several tables in a transaction; any process may write; one copy for all",
        lacks: "which rows changed; a wake-up; readers can stop the file from shrinking, and must be able to write its lock file",
        set_up: "in /dev/shm with MDB_NOSYNC and MDB_WRITEMAP, so that it pays for no disk; MDB_INTEGERKEY; a read transaction is kept open for many reads, as its documents advise",
    },
    Peer {
        package: "seqlock",
        beyond: "within one process: no system calls, any `Copy` type",
        lacks: "other processes, keys, several rows atomically",
        set_up: "one row in it",
    },
    Peer {
        package: "arc-swap",
        beyond: "within one process: the old value stays for those who hold it",
        lacks: "other processes, keys, several rows atomically",
        set_up: "one row in it",
    },
];

/// Returns the version of a package in the lock file.
fn version<'l>(lock: &'l str, package: &str) -> Option<&'l str> {
    let named = format!("name = \"{package}\"\nversion = \"");
    let begin = lock.find(&named)? + named.len();
    lock[begin..].split('"').next()
}

fn locked(package: &str) -> &'static str {
    version(LOCK, package).unwrap_or("of an unknown version")
}

/// All versions, in a sentence.
pub fn versions(lmdb: &str) -> String {
    let all: Vec<String> =
        PEERS.iter().map(|peer| format!("{} {}", peer.package, locked(peer.package))).collect();
    format!("Peers: {}; heed is over {lmdb}.", all.join(", "))
}

/// A row for each peer.
pub fn table(lmdb: &str) -> String {
    let mut text = format!("\n## The peers\n\n{}\n\n", versions(lmdb));
    text += "| | version | beyond Tablecast | what Tablecast has and it has not | how it was set up |\n|---|---|---|---|---|\n";
    for peer in PEERS {
        let Peer { package, beyond, lacks, set_up } = peer;
        let version = locked(package);
        writeln!(text, "| {package} | {version} | {beyond} | {lacks} | {set_up} |")
            .expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_found_in_the_lock_file() {
        for peer in PEERS {
            assert!(version(LOCK, peer.package).is_some(), "{}", peer.package);
        }
        assert_eq!(version(LOCK, "nobody"), None);
    }
}
