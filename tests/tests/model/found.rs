//! Programs that failed once, as they were printed.

use tests::full_or;
use tests::model::operation::After::{Continue, Kill};
use tests::model::operation::Call::{Fill, Upsert};
use tests::model::operation::End::{Commit, Forget};
use tests::model::operation::Inner;
use tests::model::operation::Object::{Lock, Region};
use tests::model::operation::Operation::{
    Interrupted, Maintain, Open, Raced, Reshape, Second, Transaction, Unlink,
};
use tests::model::shape::Shape::{Id, Nine, Pair};

use crate::generate::Place;
use crate::seat::can_step;
use crate::{confined, replay};

#[test]
fn commit_after_the_region_was_unlinked_keeps_the_committed_rows() {
    if !can_step() {
        return;
    }
    let confined = confined();
    // After this number of instructions the row is written, but not committed.
    for at in (0..1500).step_by(150) {
        replay(
            Place::Traced,
            confined.is_some(),
            &[
                Open { shape: Pair, capacity: 1, max_capacity: None, typed: false },
                Transaction(vec![Fill(1, 0)], Commit),
                Unlink(Region),
                Maintain,
                Interrupted(at, Continue, Inner::new(Transaction(vec![Upsert(0, 2)], Commit))),
            ],
        );
    }
}

#[test]
fn snapshots_during_first_row_of_small_table_are_whole() {
    let confined = confined();
    // Few of the races hit the critical moment.
    for _ in 0..full_or(1000, 200) {
        replay(
            Place::Here,
            confined.is_some(),
            &[
                Open { shape: Pair, capacity: 64, max_capacity: None, typed: false },
                Raced(Inner::new(Transaction(vec![Upsert(0, 0)], Commit))),
            ],
        );
    }
}

#[test]
fn forgotten_transaction_is_rolled_back() {
    let confined = confined();
    replay(
        Place::Here,
        confined.is_some(),
        &[
            Open { shape: Pair, capacity: 1, max_capacity: None, typed: false },
            Transaction(vec![Upsert(0, 0)], Forget),
            Transaction(vec![], Commit),
        ],
    );
}

#[test]
fn successor_with_other_schema_and_equal_rows_is_reported() {
    let confined = confined();
    replay(
        Place::Here,
        confined.is_some(),
        &[
            Open { shape: Pair, capacity: 1, max_capacity: None, typed: false },
            Reshape(Id, 1, None),
        ],
    );
}

/// The refused publisher leaves a lock object that nobody holds.
#[test]
fn publisher_opens_after_lock_and_region_were_unlinked() {
    let confined = confined();
    replay(
        Place::Here,
        confined.is_some(),
        &[
            Open { shape: Pair, capacity: 1, max_capacity: None, typed: false },
            Unlink(Lock),
            Second,
            Unlink(Region),
            Second,
        ],
    );
}

/// Both tables have the same schema and rows, and differ only in their capacity.
#[test]
fn killed_reshape_to_another_capacity_leaves_one_of_both_tables() {
    if !can_step() {
        return;
    }
    let confined = confined();
    // Before the first instruction, somewhere in the middle, and after the last one.
    for at in [0, 50_000, 100_000, 1_000_000] {
        replay(
            Place::Traced,
            confined.is_some(),
            &[
                Open { shape: Nine, capacity: 1, max_capacity: None, typed: false },
                Interrupted(at, Kill, Inner::new(Reshape(Nine, 64, None))),
                Open { shape: Pair, capacity: 17, max_capacity: Some(255), typed: false },
            ],
        );
    }
}
