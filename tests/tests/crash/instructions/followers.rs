//! Subscribers and successors of a publisher that is stepped or killed.

use std::os::fd::AsFd;
use std::time::Duration;

use common::{Cause, Error, Publisher, PublisherState, Row, Subscriber};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tests::LIMIT;
use tests::scenario::{Rows, Scenario};
use tests::script::{Item, ItemKey};

use super::expected::Expected;

/// Returns the rows of a local copy.
pub fn rows_of(subscriber: &Subscriber<Item>) -> Rows {
    let rows = subscriber.iter();
    rows.map(|item| (item.key(), *item)).collect()
}

/// A parked subscriber that only a wake-up wakes.
pub struct Sleeper(pub Subscriber<Item>);

impl Sleeper {
    /// Attaches and parks.
    pub fn attach(name: &str, recheck: Duration) -> Self {
        let subscriber = Subscriber::builder(name).recheck(recheck).open().unwrap();
        let mut sleeper = Self(subscriber);
        // From here on a refresh that finds no change parks.
        sleeper.0.as_fd();
        sleeper.fall_asleep();
        sleeper
    }

    /// Refreshes until there is no change, which parks the subscriber again.
    pub fn fall_asleep(&mut self) {
        while self.0.refresh().unwrap().cause() != Cause::Nothing {}
    }

    /// Waits for wake-ups until the condition holds.
    pub fn woken_until(&mut self, what: &str, holds: impl Fn(&Subscriber<Item>) -> bool) {
        while !holds(&self.0) {
            let timeout = PollTimeout::try_from(LIMIT).unwrap();
            let mut news = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut news, timeout).unwrap();
            assert_eq!(ready, 1, "not woken until {what}");
            self.fall_asleep();
        }
    }
}

/// Attaches if the table exists.
pub fn newcomer(name: &str) -> Option<Subscriber<Item>> {
    match Subscriber::<Item>::builder(name).open() {
        Ok(subscriber) => Some(subscriber),
        Err(Error::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Waits until the subscriber has the version and rows of a publisher in this process.
pub fn follow(subscriber: &mut Subscriber<Item>, publisher: &Publisher<Item>, rows: &Rows) {
    let state = PublisherState::Alive { epoch: publisher.epoch(), pid: std::process::id() };
    tests::until("a subscriber follows the successor", || {
        subscriber.refresh().unwrap();
        subscriber.version() == publisher.version() && subscriber.publisher_state() == state
    });
    assert_eq!(&rows_of(subscriber), rows);
}

/// A key that only successors insert.
const NEW_KEY: ItemKey = (1, 0);

/// Commits a row that only successors commit, and replaces the last row by one with a new key. A
/// full table has room for that too.
fn commit_rows(publisher: &mut Publisher<Item>, rows: &mut Rows) {
    let value = 1000 + publisher.version();
    let mut tx = publisher.begin();
    if rows.len() > 1
        && let Some((last, _)) = rows.pop_last()
    {
        tx.delete(&last).unwrap();
    }
    for item in [Item::new((0, 0), value), Item::new(NEW_KEY, value)] {
        tx.upsert(&item).unwrap();
        rows.insert(item.key(), item);
    }
    tx.commit().unwrap();
}

/// Takes over a table that must have exactly the rows of `version`, and commits. Returns the
/// publisher and the rows after the commit.
pub fn succeed(
    scenario: Scenario,
    name: &str,
    expected: &Expected,
    version: Option<u64>,
    epoch: u64,
) -> (Publisher<Item>, Rows) {
    let mut publisher = scenario.open(name).unwrap();
    let mut rows = version.map_or_else(Rows::new, |version| expected.rows(version).clone());
    let found: Rows = publisher.iter().map(Result::unwrap).map(|item| (item.key(), item)).collect();
    assert_eq!(found, rows, "the successor has exactly the committed rows");
    let opened = version.map_or(1, |version| version + 1);
    assert_eq!(publisher.version(), opened, "versions count up");
    assert_eq!(publisher.epoch(), epoch + 1, "epochs count up");
    commit_rows(&mut publisher, &mut rows);
    assert_eq!(publisher.version(), opened + 1);
    (publisher, rows)
}
