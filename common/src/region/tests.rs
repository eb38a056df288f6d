//! Tests of regions in this machine's /dev/shm.

use super::*;

fn options() -> RegionOptions {
    RegionOptions {
        schema: Arc::new(Schema::parse("id:u64,name:text(24)", None).unwrap()),
        capacity: 1_000_000,
        slots: 4,
        epoch: 1,
        commit: 1,
        access: Access { mode: 0o600, group: None },
    }
}

fn name(test: &str) -> TableName {
    TableName::new(&format!("unit-{test}-{}", std::process::id())).unwrap()
}

#[test]
fn region_grows_without_holes_and_in_proportion_to_its_rows() {
    let name = name("grow");
    let region = PublisherRegion::create(&name, &options()).unwrap();
    let empty = region.file.metadata().unwrap().len();
    assert!(empty < 450_000, "{empty} bytes for a capacity of a million rows");
    for rows in [1, 64, 65, 10_000] {
        region.grow(rows).unwrap();
        let status = region.file.metadata().unwrap();
        assert!(status.blocks() * 512 >= status.len(), "{rows} rows: a hole");
        assert!(status.len() >= region.geometry.words_for(rows) as u64 * 8);
        assert_eq!(region.look().unwrap().1.rows(), rows);
    }
    let size = region.file.metadata().unwrap().len();
    assert!(size < empty + 10_000 * (64 + 32) + 300_000, "{size} bytes for 10,000 rows of 32");
}

#[test]
fn region_that_cannot_take_its_name_leaves_nothing() {
    let name = name("taken");
    let region = PublisherRegion::create(&name, &options()).unwrap();
    let own = format!("{}{}", object::DIRECTORY, name.region());
    std::fs::create_dir(&own).unwrap();
    let refused = region.take_name(&name);
    std::fs::remove_dir(&own).unwrap();
    assert!(refused.is_err());
    assert!(!object::exists(&name.next_region()));
}

#[test]
fn region_is_found_by_its_name_and_mapped_read_only() {
    let name = name("name");
    let region = PublisherRegion::create(&name, &options()).unwrap();
    assert!(ReaderRegion::open(&name, object::own_user(), false).unwrap().is_none());
    region.take_name(&name).unwrap();
    let reader = ReaderRegion::open(&name, object::own_user(), false).unwrap().unwrap();
    assert!(region.has_name() && reader.has_name() && reader.has_publisher().unwrap());
    assert_eq!(reader.schema(), region.schema());
    assert_eq!(reader.publisher(), Identity::own());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let of_reader = maps
        .lines()
        .find(|line| line.ends_with(&region.object[1..]))
        .expect("the publisher mapped the region before it had that name");
    assert_eq!(of_reader.split(' ').nth(1), Some("r--s"));
    object::remove(&region.object).unwrap();
    assert!(!reader.has_name());
}

#[test]
fn read_lock_of_another_process_does_not_count_as_a_publisher() {
    let name = name("lock");
    let region = PublisherRegion::create(&name, &options()).unwrap();
    region.take_name(&name).unwrap();
    drop(region);
    let other = object::open(&name.region(), false, object::own_user(), false).unwrap().unwrap();
    let flock = nix::libc::flock {
        l_type: nix::libc::F_RDLCK as i16,
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&other, nix::fcntl::FcntlArg::F_OFD_SETLK(&flock)).unwrap();
    let left = PublisherRegion::adopt(&name).unwrap().unwrap();
    assert!(!left.is_locked() && !left.has_publisher().unwrap());
    object::remove(&name.region()).unwrap();
}

/// Result of a method that a reader's region does not have.
struct Absent;

/// Methods that a reader's region must not have. An inherent method with one of these names would
/// take precedence over the trait's, and the test would not compile.
trait Writes {
    fn set(&self, _word: usize, _value: u64) -> Absent {
        Absent
    }
    fn sign(&self, _epoch: u64) -> Absent {
        Absent
    }
    fn beat(&self) -> Absent {
        Absent
    }
    fn grow(&self, _rows: usize) -> Absent {
        Absent
    }
    fn take_name(&self, _name: &TableName) -> Absent {
        Absent
    }
    fn acknowledge(&self, _slot: usize, _nonce: u64, _errno: i32) -> Absent {
        Absent
    }
}

impl Writes for ReaderRegion {}

#[test]
fn write_to_a_readers_region_does_not_compile() {
    let name = name("write");
    let region = PublisherRegion::create(&name, &options()).unwrap();
    region.take_name(&name).unwrap();
    let reader = ReaderRegion::open(&name, object::own_user(), false);
    object::remove(&region.object).unwrap();
    let reader = reader.unwrap().unwrap();
    let Absent = reader.set(at::COMMIT, 7);
    let Absent = reader.sign(2);
    let Absent = reader.beat();
    let Absent = reader.grow(1);
    let Absent = reader.take_name(&name);
    let Absent = reader.acknowledge(0, 1, 0);
    region.beat();
    assert_eq!(reader.word(at::COMMIT), 1);
}

#[test]
fn mapping_refuses_a_length_that_overflows() {
    let file = object::create("/test", 0o600, None).unwrap();
    file.set_len(4096).unwrap();
    // The first value times 8 is 4096 modulo 2^64.
    for words in [(1 << 61) + 512, 1 << 60, usize::MAX] {
        let refused =
            [Mapping::read_only(&file, words).err(), WritableMapping::new(&file, words).err()];
        for error in refused {
            let error = error.unwrap_or_else(|| panic!("{words} words were mapped"));
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{words}");
        }
    }
    let mapping = Mapping::read_only(&file, 512).unwrap();
    assert_eq!(mapping.words(512).len(), 512);
}

#[test]
fn growth_beyond_the_capacity_is_an_error() {
    let region = PublisherRegion::create(&name("beyond"), &options()).unwrap();
    let capacity = region.geometry.capacity;
    for rows in [capacity + 1, usize::MAX / 64, usize::MAX] {
        let refused = region.grow(rows);
        assert!(matches!(refused, Err(Error::InvalidSetting { .. })), "{rows}: {refused:?}");
    }
    assert_eq!(region.word(at::ROWS), 0);
    region.look().unwrap();
}

#[test]
fn slot_out_of_range_is_never_acknowledged() {
    let region = PublisherRegion::create(&name("slots"), &options()).unwrap();
    region.acknowledge(3, 7, 0);
    assert_eq!(region.acknowledged(3, 7), Some(0));
    for slot in [4, 1 << 62, usize::MAX] {
        region.acknowledge(slot, 7, 0);
        assert_eq!(region.acknowledged(slot, 7), None);
    }
}
