//! Objects of a dead publisher, damaged before they are read, attached to, taken over and removed.
#![no_main]

use std::cell::OnceCell;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use common::{UntypedPublisher, UntypedSubscriber};
use fuzz::damage::{Patch, clear, damage, region, registry};
use fuzz::{CAPACITIES, SCHEMAS, SLOTS, capacity, fill, key, row, schema, show};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const NAME: &str = "attach";

/// Maximum number of patches. More damage finds nothing new.
const MAX_PATCHES: usize = 30;

#[derive(Arbitrary, Debug)]
struct Left {
    schema: u8,
    capacity: u8,
    /// The schema and capacity of the publisher that takes over.
    next_schema: u8,
    next_capacity: u8,
    is_open: bool,
    region: Vec<Patch>,
    registry: Vec<Patch>,
}

/// The bytes of the region and the registry of a dead publisher, and the number of the registry.
type Bytes = (Vec<u8>, Vec<u8>, u64);

/// Creates the objects that a publisher of that schema and capacity leaves.
fn left(which: u8, capacity: usize) -> Bytes {
    clear();
    let builder = UntypedPublisher::builder(NAME, schema(which));
    let mut publisher = builder.capacity(capacity).subscribers(SLOTS).open().expect("a new table");
    fill(&mut publisher);
    let mut subscriber = UntypedSubscriber::open(NAME).expect("a whole table");
    subscriber.wait(Some(Duration::ZERO)).expect("a whole table");
    let id = common::inspect(NAME, None).expect("a whole table").registry_id;
    let read = |path: &Path| std::fs::read(path).expect("an object of this run");
    (read(&region(NAME)), read(&registry(id)), id)
}

thread_local! {
    static LEFT: [[OnceCell<Bytes>; CAPACITIES.len()]; SCHEMAS.len()] =
        const { [const { [const { OnceCell::new() }; CAPACITIES.len()] }; SCHEMAS.len()] };
}

fn make(path: &Path, bytes: &[u8], patches: &[Patch], mode: u32) {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true).mode(mode);
    let written =
        options.open(path).and_then(|mut file| std::io::Write::write_all(&mut file, bytes));
    written.expect("a new object");
    damage(path, &patches[..patches.len().min(MAX_PATCHES)]);
}

fuzz_target!(|input: Left| {
    LEFT.with(|all| {
        let which = usize::from(input.schema) % SCHEMAS.len();
        let size = usize::from(input.capacity) % CAPACITIES.len();
        let (region_bytes, registry_bytes, id) =
            all[which][size].get_or_init(|| left(which as u8, CAPACITIES[size]));
        clear();
        let (table_mode, registry_mode) =
            if input.is_open { (0o644, 0o666) } else { (0o600, 0o600) };
        make(&region(NAME), region_bytes, &input.region, table_mode);
        make(&registry(*id), registry_bytes, &input.registry, registry_mode);
    });
    let _printed = format!("{:?} {:?}", common::inspect(NAME, None), common::tables());
    let mut subscriber = UntypedSubscriber::builder(NAME).recheck(Duration::ZERO).open().ok();
    if let Some(subscriber) = &mut subscriber {
        follow(subscriber);
    }
    let builder = UntypedPublisher::builder(NAME, schema(input.next_schema));
    let opened = builder.capacity(capacity(input.next_capacity)).subscribers(SLOTS).open();
    if let Ok(mut publisher) = opened {
        publish(&mut publisher);
        if let Some(subscriber) = &mut subscriber {
            follow(subscriber);
        }
        // Every other table is kept, as after a death.
        if input.is_open {
            let _refused = publisher.close();
        }
    }
    // In every state, the table can be removed, and a new one can be created.
    match common::remove(NAME) {
        Ok(_) | Err(common::Error::NotFound { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    if let Some(subscriber) = &mut subscriber {
        let _gone = subscriber.refresh().map(drop);
    }
    UntypedPublisher::builder(NAME, schema(input.schema))
        .subscribers(SLOTS)
        .capacity(1)
        .open()
        .expect("a new table");
    clear();
});

fn follow(subscriber: &mut UntypedSubscriber) {
    let _printed = subscriber.iter().map(show).sum::<usize>();
    let _answer = subscriber.latest(&key(subscriber.schema(), 3));
    for _ in 0..2 {
        if let Ok(changes) = subscriber.wait(Some(Duration::ZERO)) {
            let _counted = changes.iter().count();
        }
    }
}

fn publish(publisher: &mut UntypedPublisher) {
    let schema = publisher.schema().clone();
    for number in [0, 100, 250] {
        let mut tx = publisher.begin();
        let _refused =
            tx.upsert(&row(&schema, number, number)).and_then(|()| tx.delete(&key(&schema, 5)));
        let _refused = tx.commit();
        let _refused = publisher.maintain();
    }
    let _printed = publisher.iter().flatten().map(|row| show(row.as_ref())).sum::<usize>();
}
