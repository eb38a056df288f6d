//! A process of another user that may read a table, and so register with it, and does all the harm
//! that this allows.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use common::internals::registry as at;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rand::RngExt;
use rand::rngs::ThreadRng;

/// Number of bytes on which locks are tried: all slots of a registry, and more.
const BYTES: i64 = 2048;

/// A kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Locks every byte of registry and region, for writing where possible, otherwise for reading.
    Lock,
    /// Writes words into the registry: random words anywhere, the current version into park words,
    /// and random nonces into records.
    Scribble,
    /// Truncates the registry.
    Cut,
    /// Tries operations that only the owner may do: removing the table's objects, opening them for
    /// writing, taking its lock.
    Usurp,
    /// All of the above.
    All,
}

impl Harm {
    /// Returns the harm with this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "lock" => Some(Self::Lock),
            "scribble" => Some(Self::Scribble),
            "cut" => Some(Self::Cut),
            "usurp" => Some(Self::Usurp),
            "all" => Some(Self::All),
            _ => None,
        }
    }

    fn includes(self, harm: Self) -> bool {
        self == harm || self == Self::All
    }
}

/// The current objects of a table, opened as far as permissions allow, and locked.
struct Victim {
    registry: File,
    registry_id: u64,
    region: File,
}

impl Victim {
    fn open(name: &str, owner: u32, harm: Harm) -> Option<Self> {
        let info = common::inspect(name, Some(owner)).ok()?;
        let registry = registry(info.registry_id);
        let registry = File::options().read(true).write(true).open(registry).ok()?;
        let region = File::open(format!("/dev/shm/tablecast.table.{name}")).ok()?;
        if harm.includes(Harm::Lock) {
            for byte in 0..BYTES {
                if !lock(&registry, libc::F_WRLCK, byte, 1) {
                    lock(&registry, libc::F_RDLCK, byte, 1);
                }
            }
        }
        Some(Self { registry, registry_id: info.registry_id, region })
    }

    /// Returns true if the publisher still uses the registry.
    fn is_current(&self) -> bool {
        registry(self.registry_id).exists()
    }

    fn scribble(&self, version: u64, dice: &mut ThreadRng) {
        let length = self.registry.metadata().map_or(0, |status| status.len());
        let words = (length / 8).max(1);
        let (at, word) = match dice.random_range(0..4) {
            0 => (dice.random_range(0..words), dice.random()),
            // The header, which identifies the registry.
            1 if dice.random_range(0..50) == 0 => (dice.random_range(0..4), dice.random()),
            // As if a subscriber that just registered were parked there.
            2 => (at::PARKS as u64 + dice.random_range(0..64), version),
            _ => {
                let record = at::record(1024, dice.random_range(0..64)) + at::NONCE;
                (record as u64, dice.random())
            }
        };
        let _cut_by_now = self.registry.write_all_at(&u64::to_le_bytes(word), at * 8);
    }

    fn cut(&self, dice: &mut ThreadRng) {
        let length = self.registry.metadata().map_or(0, |status| status.len());
        let _refused = self.registry.set_len(dice.random_range(0..=length));
    }
}

/// Tries operations that must be refused. Returns an error if one is not.
fn usurp(name: &str, registry_id: u64) -> Result<(), String> {
    let object = |kind: &str| PathBuf::from(format!("/dev/shm/tablecast.{kind}.{name}"));
    let (lock, table, registry) = (object("lock"), object("table"), registry(registry_id));
    for path in [&lock, &table, &registry] {
        let told = path.display();
        if std::fs::remove_file(path).is_ok() {
            return Err(format!("{told} could be removed"));
        }
        if std::fs::rename(path, object("next")).is_ok() {
            return Err(format!("{told} could be renamed"));
        }
    }
    if File::options().write(true).open(&table).is_ok() {
        return Err("the region could be opened to write".to_owned());
    }
    match File::open(&lock) {
        Ok(_) => Err("the lock could be opened".to_owned()),
        Err(_) => Ok(()),
    }
}

fn registry(id: u64) -> PathBuf {
    format!("/dev/shm/tablecast.subs.{id:016x}").into()
}

fn lock(file: &File, kind: i32, start: i64, length: i64) -> bool {
    let lock = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).is_ok()
}

/// Does `harm` to table `name` of user `owner`, and to each table that replaces it, until
/// `is_over`. Calls `begun` once after the first harm.
///
/// # Errors
/// An operation that should have been refused and was not.
pub fn rage(
    name: &str,
    owner: u32,
    harm: Harm,
    is_over: impl Fn() -> bool,
    begun: impl FnOnce(),
) -> Result<(), String> {
    let mut dice = rand::rng();
    let (mut victim, mut begun) = (None, Some(begun));
    while !is_over() {
        // The old objects stay locked while the new ones are opened.
        if !victim.as_ref().is_some_and(Victim::is_current) {
            victim = Victim::open(name, owner, harm).or(victim);
        }
        let Some(victim) = &victim else {
            continue;
        };
        let version = common::inspect(name, Some(owner)).map_or(0, |info| info.version);
        for _ in 0..100 {
            if harm.includes(Harm::Scribble) {
                victim.scribble(version, &mut dice);
            }
        }
        if harm.includes(Harm::Lock) {
            // The kernel refuses this lock while a publisher lives. The vandal holds it when the
            // next publisher comes.
            lock(&victim.region, libc::F_RDLCK, 0, 0);
        }
        if harm.includes(Harm::Cut) {
            victim.cut(&mut dice);
        }
        if harm.includes(Harm::Usurp) {
            usurp(name, victim.registry_id)?;
        }
        if let Some(begun) = begun.take() {
            begun();
        }
        std::thread::yield_now();
    }
    Ok(())
}
