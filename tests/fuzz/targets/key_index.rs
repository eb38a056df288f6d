//! Generations of the key index that are damaged, removed and misnamed while readers look up keys.
//!
//! The rows are not damaged, so every lookup succeeds, and a row that it returns is the current row
//! of its key. Damage may hide a key until the next takeover, which writes a new generation.
#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use common::{Reader, Row, Schema, UntypedPublisher, UntypedReader, bytemuck};
use fuzz::damage::{Patch, clear, damage, indexes, region};
use fuzz::{SLOTS, capacity, fill, key, row, schema};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const NAME: &str = "key-index";

/// Maximum number of steps of a play. More steps find nothing new.
const MAX_STEPS: usize = 40;
/// Offset of the number of the current generation in a region, in bytes.
const GENERATION: u64 = 0x138;
/// Words of a generation: its number, and the version that an absence is compared with.
const NUMBER: u8 = 3;
const REMOVED: u8 = 16;
/// Offset of the entries in a generation, in bytes.
const ENTRIES: u64 = 0x100;

/// A row of the first schema.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
#[bytemuck(crate = "bytemuck")]
#[repr(C)]
struct Id {
    #[row(key)]
    id: u64,
}

/// A sequence of steps on one table.
#[derive(Arbitrary, Debug)]
struct Play {
    schema: u8,
    capacity: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Harm(Harm),
    Commit { number: u8, fill: u8, delete: bool },
    Get { number: u8 },
    GetMany { numbers: Vec<u8> },
    Entry { number: u8, harm: Harm },
    Open,
    Maintain,
    TakeOver,
}

#[derive(Arbitrary, Debug)]
enum Harm {
    /// Damages every generation.
    Patch(Patch),
    /// Overwrites all entries of every generation, so that there may be no free one.
    Fill { entry: u32 },
    /// Overwrites the version that an absence is compared with, in every generation.
    Removed { version: u64 },
    /// Stores another number in the region, and may create copies of a generation for it.
    Name { generation: u64, has_object: bool },
    /// Removes every generation.
    Remove,
}

struct Scene {
    play: Play,
    schema: Schema,
    /// None only while the publisher is being replaced.
    publisher: Option<UntypedPublisher>,
    reader: UntypedReader,
    /// True if damage may hide keys from readers.
    is_harmed: bool,
    /// True if the number in the region was overwritten. Readers may then use an old generation
    /// that has the number of a new one.
    is_misnamed: bool,
}

fuzz_target!(|play: Play| {
    clear();
    let mut publisher = open(&play);
    fill(&mut publisher);
    let reader = UntypedReader::open(NAME).expect("a new table");
    let (schema, steps) = (schema(play.schema), play.steps.len().min(MAX_STEPS));
    let (publisher, is_harmed, is_misnamed) = (Some(publisher), false, false);
    let mut scene = Scene { play, schema, publisher, reader, is_harmed, is_misnamed };
    for step in 0..steps {
        scene.take(step);
    }
    scene.get_many(&(0..=u8::MAX).step_by(7).collect::<Vec<u8>>());
    let closed = scene.publisher.take().map(UntypedPublisher::close);
    closed.expect("replaced at once").expect("the rows are intact");
    clear();
});

fn open(play: &Play) -> UntypedPublisher {
    let builder = UntypedPublisher::builder(NAME, schema(play.schema));
    let builder = builder.capacity(capacity(play.capacity)).subscribers(SLOTS);
    builder.open().expect("the rows are intact")
}

impl Scene {
    fn publisher(&mut self) -> &mut UntypedPublisher {
        self.publisher.as_mut().expect("replaced at once")
    }

    fn take(&mut self, step: usize) {
        match &self.play.steps[step] {
            Step::Harm(harm) => {
                let is_misnamed = harm.apply();
                self.note_harm(is_misnamed);
            }
            Step::Commit { number, fill, delete } => {
                let (number, fill, delete) = (*number, *fill, *delete);
                self.commit(number, fill, delete);
            }
            Step::Get { number } => self.get(*number),
            Step::GetMany { numbers } => self.get_many(numbers),
            Step::Entry { number, harm } => {
                let is_misnamed = self.entry(*number, harm);
                self.note_harm(is_misnamed);
            }
            Step::Open => self.reader = UntypedReader::open(NAME).expect("the rows are intact"),
            Step::Maintain => self.publisher().maintain().expect("the rows are intact"),
            Step::TakeOver => {
                // As if the publisher had been killed.
                self.publisher = None;
                self.publisher = Some(open(&self.play));
                self.is_harmed = false;
            }
        }
    }

    fn note_harm(&mut self, is_misnamed: bool) {
        self.is_harmed = true;
        self.is_misnamed |= is_misnamed;
    }

    fn commit(&mut self, number: u8, fill: u8, delete: bool) {
        let (key, row) = (key(&self.schema, number), row(&self.schema, number, fill));
        let mut tx = self.publisher().begin();
        // A full table or an absent key is an error that the caller handles.
        let _refused = if delete { tx.delete(&key) } else { tx.upsert(&row) };
        tx.commit().expect("the rows are intact");
    }

    /// Checks the result of a lookup against the publisher's private index.
    fn check(&self, number: u8, found: Option<&[u8]>) {
        let publisher = self.publisher.as_ref().expect("replaced at once");
        let row = publisher.get(&key(&self.schema, number)).expect("the rows are intact");
        let expected = row.as_ref().map(|row| row.bytes());
        let may_be_hidden = self.is_harmed || self.is_misnamed;
        assert!(found == expected || (found.is_none() && may_be_hidden), "{number}: {found:?}");
    }

    fn get(&self, number: u8) {
        let key = key(&self.schema, number);
        let found = self.reader.get(&key).expect("the rows are intact");
        self.check(number, found.as_ref().map(|row| row.bytes()));
        let contains = self.reader.contains_key(&key).expect("the rows are intact");
        assert_eq!(contains, found.is_some());
    }

    fn get_many(&self, numbers: &[u8]) {
        let keys: Vec<_> = numbers.iter().map(|number| key(&self.schema, *number)).collect();
        let mut visited = 0;
        let version = self.reader.get_many(&keys, |index, row| {
            self.check(numbers[index], row.map(|row| row.bytes()));
            visited += 1;
        });
        let publisher = self.publisher.as_ref().expect("replaced at once");
        assert_eq!(version.expect("the rows are intact"), publisher.version());
        assert_eq!(visited, numbers.len());
    }

    /// Reads a row by its handle before and after harm. Returns the result of [`Harm::apply`].
    fn entry(&self, number: u8, harm: &Harm) -> bool {
        // Tables of other schemas refuse this type.
        let reader = Reader::<Id>::open(NAME).ok();
        let entry = reader
            .as_ref()
            .and_then(|reader| reader.entry(&u64::from(number)).expect("the rows are intact"));
        let is_misnamed = harm.apply();
        if let Some(mut entry) = entry {
            let row = entry.read().expect("the rows are intact").expect("nobody deleted it");
            self.check(number, Some(bytemuck::bytes_of(&row)));
        }
        is_misnamed
    }
}

impl Harm {
    /// Applies the harm. Returns true if it overwrote the number in the region.
    fn apply(&self) -> bool {
        match self {
            Self::Patch(patch) => {
                indexes().iter().for_each(|object| damage(object, std::slice::from_ref(patch)));
            }
            Self::Fill { entry } => indexes().iter().for_each(|object| overwrite(object, *entry)),
            Self::Removed { version } => {
                let patch = Patch::Header { at: REMOVED, value: *version };
                indexes().iter().for_each(|object| damage(object, std::slice::from_ref(&patch)));
            }
            Self::Name { generation, has_object } => {
                for object in indexes().iter().filter(|_| *has_object) {
                    // The copy's own header is right, so that readers accept it.
                    let other = object.with_extension(generation.to_string());
                    if std::fs::copy(object, &other).is_ok() {
                        damage(&other, &[Patch::Header { at: NUMBER, value: *generation }]);
                    }
                }
                let region = File::options().write(true).open(region(NAME)).expect("a live table");
                region.write_all_at(&generation.to_le_bytes(), GENERATION).expect("a live table");
            }
            Self::Remove => indexes().iter().for_each(|object| {
                std::fs::remove_file(object).expect("an object of this run");
            }),
        }
        matches!(self, Self::Name { .. })
    }
}

fn overwrite(object: &PathBuf, entry: u32) {
    let file = File::options().write(true).open(object).expect("an object of this run");
    let length = file.metadata().map_or(0, |status| status.len());
    let entries = length.saturating_sub(ENTRIES) / 4;
    let bytes = entry.to_le_bytes().repeat(entries as usize);
    file.write_all_at(&bytes, ENTRIES).expect("the file has this length");
}
