//! The re-check: which region has the table's name, and is the publisher alive.

use std::time::Duration;

use super::PublisherState;
use super::untyped::{Copied, UntypedSubscriber, copied};
use crate::clock::monotonic_ns;
use crate::error::Result;
use crate::protocol::layout::State;
use crate::region::ReaderRegion;

/// Maximum re-check interval of a subscriber that the publisher cannot wake in any way.
const UNWOKEN_RECHECK: Duration = Duration::from_millis(50);

impl UntypedSubscriber {
    /// Performs the re-check: which region has the name, is the publisher alive, and is the registry the
    /// publisher's.
    pub(super) fn check(&mut self) -> Result<()> {
        self.set_next_check();
        if !self.region.has_name() {
            if !self.changes.items.is_empty() {
                // Report these changes first. The next refresh moves to the other region.
                self.next_check_ns = 0;
                return Ok(());
            }
            if let Some(region) = self.settings.region(&self.name)? {
                self.move_to(region)?;
            }
        }
        self.region.check_length()?;
        self.observe()?;
        self.check_place();
        self.set_next_check();
        Ok(())
    }

    /// Performs the re-check. If there are changes to return first, an error is left to the next re-check.
    pub(super) fn check_or_later(&mut self) -> Result<()> {
        match self.check() {
            Err(error) if self.schema_changed || !self.changes.items.is_empty() => {
                tracing::debug!("to be looked at again: {error}");
                self.next_check_ns = 0;
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn set_next_check(&mut self) {
        let interval = if self.is_wakeable() {
            self.settings.recheck
        } else {
            self.settings.recheck.min(UNWOKEN_RECHECK)
        };
        self.next_check_ns =
            monotonic_ns().saturating_add(u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Returns the time until the next re-check.
    pub(super) fn until_check(&self) -> Duration {
        Duration::from_nanos(self.next_check_ns.saturating_sub(monotonic_ns()))
    }

    /// Reads state, epoch and lock of the publisher.
    pub(super) fn observe(&mut self) -> Result<()> {
        self.known = self.state_words();
        self.region.check_whole()?;
        let [state, epoch, _] = self.known;
        let state = match State::from_word(state) {
            Some(State::Closed) => PublisherState::Closed { epoch },
            Some(State::Running) if self.region.has_publisher()? => PublisherState::Alive {
                epoch,
                pid: self.region.publisher().pid,
            },
            Some(State::Running | State::Superseded) => PublisherState::Gone { epoch },
            None => {
                return Err(self
                    .region
                    .corrupt("its publisher is in no state that there is".to_owned()));
            }
        };
        if state != self.state {
            self.state = state;
            self.publisher_changed = true;
            let alive = matches!(state, PublisherState::Alive { .. });
            self.waiter
                .watch_publisher(alive.then(|| self.region.publisher()))?;
        }
        Ok(())
    }

    /// Moves to another region of the same name. The changes are the rows that differ.
    fn move_to(&mut self, region: ReaderRegion) -> Result<()> {
        let Copied {
            mark,
            copy,
            conversion,
        } = copied(&self.name, &self.settings, &region)?;
        self.copy.differences(&copy, &mut self.changes);
        self.schema_changed |= self.copy.schema() != copy.schema();
        if self.changes.items.is_empty() {
            // Rows that are committed from here on have the new schema.
            self.changes.clear(copy.schema());
        }
        self.region = region;
        self.copy = copy;
        self.conversion = conversion;
        self.mark = mark;
        self.note_delay();
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Change, Schema, UntypedPublisher, Value};

    #[test]
    fn a_row_committed_during_the_move_to_a_new_schema_is_reported_in_that_schema() {
        for (number, fields) in [
            ["id:u64,a:u32,b:u32,c:u64", "id:u64,c:u64"],
            ["id:u64,c:u64", "id:u64,a:u32,b:u32,c:u64"],
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("test-move-{number}-{}", std::process::id());
            let [before, after] = fields.map(|fields| Schema::parse(fields, None).unwrap());
            let row = |schema: &Schema, value: u64| {
                let mut row = vec![0; schema.row_size()];
                let (_, field) = schema.field("c").unwrap();
                row[field.range()].copy_from_slice(&value.to_le_bytes());
                row
            };
            let mut publisher = UntypedPublisher::builder(&name, before.clone())
                .open()
                .unwrap();
            let mut tx = publisher.begin();
            tx.insert(&row(&before, 4)).unwrap();
            tx.commit().unwrap();
            let mut subscriber = UntypedSubscriber::open(&name).unwrap();
            publisher
                .reshape(after.clone(), 10, [row(&after, 4)])
                .unwrap();
            // A refresh, with a commit between its steps.
            subscriber.changes.clear(subscriber.copy.schema());
            subscriber.check().unwrap();
            assert!(subscriber.schema_changed && subscriber.changes.items.is_empty());
            let mut tx = publisher.begin();
            tx.update(&row(&after, 5)).unwrap();
            tx.commit().unwrap();
            subscriber.take_over(0).unwrap();
            let changes = subscriber.changes();
            let changes: Vec<_> = changes.iter().collect();
            match &changes[..] {
                [Change::Updated { old, new }] => {
                    let values = [old, new].map(|row| row.field("c"));
                    assert_eq!(values, [4, 5].map(|value| Some(Value::U64(value))));
                }
                other => panic!("{other:?}"),
            }
            publisher.close().unwrap();
        }
    }
}
