//! A live table: its publisher, some subscribers, and damage in between.

use std::path::PathBuf;
use std::time::Duration;

use common::{UntypedPublisher, UntypedSubscriber};
use libfuzzer_sys::arbitrary::{self, Arbitrary};

use crate::damage::{Patch, clear, damage, region, registry};
use crate::{SLOTS, capacity, fill, key, row, schema, show};

const NAME: &str = "scene";

/// Maximum number of steps of a play. More steps find nothing new.
const MAX_STEPS: usize = 40;

/// Maximum number of subscribers: one more than there are slots.
const MAX_SUBSCRIBERS: usize = SLOTS + 1;

/// The object that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The region. Each result is an error or plausible data.
    Region,
    /// The registry. The only effect may be late wake-ups.
    Registry,
}

/// A sequence of steps on one table.
#[derive(Arbitrary, Clone, Debug)]
pub struct Play {
    schema: u8,
    capacity: u8,
    /// True if other users may register, too.
    is_open: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Clone, Debug)]
enum Step {
    Damage(Patch),
    Commit { number: u8, fill: u8, delete: bool },
    Maintain,
    Refresh,
    Wait,
    Latest { number: u8 },
    Attach,
    Leave,
    Look,
    TakeOver,
}

impl Play {
    /// Runs the play.
    ///
    /// # Panics
    /// If an invariant is violated.
    pub fn on(&self, target: Target) {
        let mut scene = Scene::new(self, target);
        for step in self.steps.iter().take(MAX_STEPS) {
            scene.take(step);
        }
        scene.end();
        clear();
    }
}

struct Scene<'p> {
    play: &'p Play,
    target: Target,
    /// None only while the publisher is being replaced.
    publisher: Option<UntypedPublisher>,
    subscribers: Vec<UntypedSubscriber>,
}

impl<'p> Scene<'p> {
    fn new(play: &'p Play, target: Target) -> Self {
        clear();
        let mut publisher = open(play).expect("a new table");
        fill(&mut publisher);
        let mut scene = Self { play, target, publisher: Some(publisher), subscribers: Vec::new() };
        scene.attach();
        scene
    }

    fn publisher(&mut self) -> &mut UntypedPublisher {
        self.publisher.as_mut().expect("replaced at once")
    }

    /// Returns the object to damage now: the publisher replaces a damaged registry after a while.
    fn object(&self) -> Option<PathBuf> {
        match self.target {
            Target::Region => Some(region(NAME)),
            Target::Registry => {
                common::inspect(NAME, None).ok().map(|info| registry(info.registry_id))
            }
        }
    }

    /// Unwraps a result. Only damage to the region may cause an error.
    fn check<T>(&self, what: &str, result: common::Result<T>) -> Option<T> {
        match result {
            Err(error) if self.target == Target::Registry => panic!("{what}: {error}"),
            result => result.ok(),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Damage(patch) => {
                if let Some(object) = self.object() {
                    damage(&object, std::slice::from_ref(patch));
                }
            }
            Step::Commit { number, fill, delete } => self.commit(*number, *fill, *delete),
            Step::Maintain => {
                let maintained = self.publisher().maintain();
                self.check("maintain", maintained);
            }
            Step::Refresh => self.refresh(),
            Step::Wait => {
                for at in 0..self.subscribers.len() {
                    let waited = self.subscribers[at].wait(Some(Duration::ZERO)).map(drop);
                    self.check("wait", waited);
                }
            }
            Step::Latest { number } => {
                for subscriber in &self.subscribers {
                    let latest = subscriber.latest(&key(subscriber.schema(), *number));
                    if let Some(Some(row)) = self.check("latest", latest) {
                        show(row.as_ref());
                    }
                }
            }
            Step::Attach => self.attach(),
            Step::Leave => drop(self.subscribers.pop()),
            Step::Look => {
                let info = self.check("inspect", common::inspect(NAME, None));
                let tables = self.check("tables", common::tables());
                let _printed = format!("{info:?} {tables:?}");
            }
            Step::TakeOver => self.take_over(),
        }
    }

    fn commit(&mut self, number: u8, fill: u8, delete: bool) {
        let publisher = self.publisher();
        let schema = publisher.schema().clone();
        let mut tx = publisher.begin();
        // A full table or an absent key is an error that the caller handles.
        let _refused = match delete {
            true => tx.delete(&key(&schema, number)),
            false => tx.upsert(&row(&schema, number, fill)),
        };
        let committed = tx.commit();
        self.check("commit", committed);
    }

    /// Refreshes all subscribers. If only the registry was damaged, each then has the publisher's
    /// rows.
    fn refresh(&mut self) {
        for at in 0..self.subscribers.len() {
            let refreshed = self.subscribers[at].refresh().map(drop);
            self.check("refresh", refreshed);
            let subscriber = &self.subscribers[at];
            let changes = subscriber.changes();
            let _printed = changes.iter().count() + subscriber.iter().map(show).sum::<usize>();
            if self.target == Target::Registry {
                let publisher = self.publisher.as_ref().expect("replaced at once");
                assert_eq!(
                    (subscriber.version(), subscriber.len()),
                    (publisher.version(), publisher.len())
                );
                for row in publisher.iter() {
                    let row = row.expect("only the registry was damaged");
                    let found = subscriber.get(&row.key_bytes()).map(|row| row.bytes().to_vec());
                    assert_eq!(found.as_deref(), Some(row.bytes()));
                }
            }
        }
    }

    fn attach(&mut self) {
        let builder = UntypedSubscriber::builder(NAME).recheck(Duration::ZERO);
        if let Some(mut subscriber) = self.check("open", builder.open())
            && self.subscribers.len() < MAX_SUBSCRIBERS
        {
            let waited = subscriber.wait(Some(Duration::ZERO)).map(drop);
            self.check("the first wait", waited);
            self.subscribers.push(subscriber);
        }
    }

    fn take_over(&mut self) {
        // As if the publisher had been killed.
        self.publisher = None;
        let opened = open(self.play);
        self.publisher = self.check("takeover", opened).or_else(|| {
            // The error says to remove the table, and that must work.
            common::remove(NAME).expect("rm removes what is damaged");
            Some(open(self.play).expect("a new table"))
        });
    }

    fn end(mut self) {
        self.refresh();
        let closed = self.publisher.take().map(UntypedPublisher::close);
        if let Some(closed) = closed {
            self.check("close", closed);
        }
        self.refresh_after_the_end();
    }

    fn refresh_after_the_end(&mut self) {
        for subscriber in &mut self.subscribers {
            let _gone = subscriber.refresh().map(drop);
        }
    }
}

fn open(play: &Play) -> common::Result<UntypedPublisher> {
    UntypedPublisher::builder(NAME, schema(play.schema))
        .capacity(capacity(play.capacity))
        .subscribers(SLOTS)
        .mode(if play.is_open { 0o644 } else { 0o600 })
        .open()
}
