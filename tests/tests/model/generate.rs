//! Random programs. The state kept here only serves to choose useful steps; the reference table
//! predicts their outcome.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::ReferenceStateMachine;
use tests::model::operation::{After, Call, End, Inner, Object, Operation, Who};
use tests::model::shape::Shape;

use crate::seat::can_step;

/// The process of the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the test's own process.
    Here,
    /// In a child process.
    Child,
    /// In a child process that is stepped through its steps.
    Traced,
}

/// A rough state of the table after the steps so far.
#[derive(Clone, Debug)]
pub struct Sketch {
    pub place: Place,
    is_open: bool,
    is_typed: bool,
    shape: Shape,
    /// Capacity up to which the table grows.
    capacity: usize,
    /// True before the first transaction.
    is_new: bool,
    /// True if an object was unlinked that `maintain` creates again.
    is_unlinked: bool,
    /// True if `maintain` has just created it again.
    is_renewed: bool,
}

/// Generates programs with a publisher in the test's own process, or else in a child process.
pub struct Machine<const HERE: bool>;

impl<const HERE: bool> ReferenceStateMachine for Machine<HERE> {
    type State = Sketch;
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<Sketch> {
        let places = match HERE {
            true => vec![Place::Here],
            false if can_step() => vec![Place::Child, Place::Traced],
            false => vec![Place::Child],
        };
        let sketch = |place| Sketch {
            place,
            is_open: false,
            is_typed: false,
            shape: Shape::Pair,
            capacity: 1,
            is_new: false,
            is_unlinked: false,
            is_renewed: false,
        };
        select(places).prop_map(sketch).boxed()
    }

    fn transitions(sketch: &Sketch) -> BoxedStrategy<Operation> {
        if sketch.is_open {
            prop_oneof![
                20 => published(sketch),
                8 => others(),
                2 => prop_oneof![
                    Just(Operation::Close),
                    Just(Operation::Keep),
                    Just(Operation::Drop),
                    Just(Operation::Kill),
                    Just(Operation::Fork),
                    Just(Operation::Second),
                ],
            ]
            .boxed()
        } else {
            prop_oneof![4 => open(), 1 => others()].boxed()
        }
    }

    fn preconditions(sketch: &Sketch, operation: &Operation) -> bool {
        let is_possible = match operation {
            Operation::Open { .. } => !sketch.is_open,
            _ => sketch.is_open || !operation.needs_publisher(),
        };
        is_possible && !(sketch.is_typed && operation.is_reshape())
    }

    fn apply(mut sketch: Sketch, operation: &Operation) -> Sketch {
        match operation {
            Operation::Open { shape, capacity, max_capacity, typed } => {
                (sketch.shape, sketch.capacity) = (*shape, max_capacity.unwrap_or(*capacity));
                (sketch.is_open, sketch.is_typed) = (true, *typed);
                sketch.is_new = true;
            }
            Operation::Reshape(shape, capacity, _) => {
                (sketch.shape, sketch.capacity) = (*shape, *capacity);
            }
            Operation::Close
            | Operation::Keep
            | Operation::Drop
            | Operation::Kill
            | Operation::Fork
            | Operation::Interrupted(_, After::Kill, _) => sketch.is_open = false,
            Operation::Raced(inner) | Operation::Interrupted(_, After::Continue, inner) => {
                return Self::apply(sketch, inner);
            }
            Operation::Transaction(..) => (sketch.is_new, sketch.is_renewed) = (false, false),
            Operation::Unlink(_) => sketch.is_unlinked = true,
            Operation::Maintain => {
                sketch.is_renewed = std::mem::take(&mut sketch.is_unlinked);
            }
            _ => {}
        }
        sketch
    }
}

fn capacity() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => select(vec![1_usize, 2, 5, 17, 63, 64, 65]),
        2 => 1_usize..200,
        1 => select(vec![4096_usize, 4097, 5000]),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    select(Shape::ALL.to_vec())
}

fn open() -> impl Strategy<Value = Operation> {
    let growth = prop_oneof![Just(None), (1_usize..20).prop_map(Some)];
    let settings = (shape(), capacity(), growth, any::<bool>());
    settings.prop_map(|(shape, capacity, growth, typed)| {
        let max_capacity = growth.map(|growth| (capacity * growth).min(6000));
        Operation::Open { shape, capacity, max_capacity, typed }
    })
}

/// Generates a key out of one and a half times the capacity, the first keys more often.
fn key(capacity: usize) -> impl Strategy<Value = u64> {
    let keys = (capacity + capacity / 2 + 1) as u64;
    prop_oneof![3 => 0..keys.min(8), 1 => 0..keys]
}

/// There are few values, so that a row sometimes changes back to an earlier one.
fn row(capacity: usize) -> impl Strategy<Value = (u64, u64)> {
    (key(capacity), 0_u64..5)
}

fn call(capacity: usize) -> BoxedStrategy<Call> {
    prop_oneof![
        5 => row(capacity).prop_map(|(key, value)| Call::Upsert(key, value)),
        4 => row(capacity).prop_map(|(key, value)| Call::Insert(key, value)),
        3 => row(capacity).prop_map(|(key, value)| Call::Update(key, value)),
        4 => key(capacity).prop_map(Call::Delete),
        2 => (1..=capacity as u64 + 1, 0_u64..5).prop_map(|(count, value)| Call::Fill(count, value)),
        1 => vec(row(capacity), 0..=capacity.min(10)).prop_map(Call::ReplaceWith),
        1 => Just(Call::Clear),
    ]
    .boxed()
}

fn transaction(capacity: usize) -> impl Strategy<Value = Operation> {
    let end = prop_oneof![8 => Just(End::Commit), 1 => Just(End::Abort), 1 => Just(End::Forget)];
    (vec(call(capacity), 1..6), end).prop_map(|(calls, end)| Operation::Transaction(calls, end))
}

fn reshape() -> impl Strategy<Value = Operation> {
    (shape(), capacity()).prop_flat_map(|(shape, capacity)| {
        let rows = vec(row(capacity), 0..=capacity.min(10));
        let rows = prop_oneof![2 => Just(None), 1 => rows.prop_map(Some)];
        rows.prop_map(move |rows| Operation::Reshape(shape, capacity, rows))
    })
}

/// Generates steps of an open publisher in this place.
fn published(sketch: &Sketch) -> BoxedStrategy<Operation> {
    let maintains = if sketch.is_unlinked { 12 } else { 1 };
    let plain = match sketch.is_typed {
        true => {
            prop_oneof![14 => transaction(sketch.capacity), maintains => Just(Operation::Maintain)]
                .boxed()
        }
        false => prop_oneof![
            14 => transaction(sketch.capacity),
            maintains => Just(Operation::Maintain),
            3 => reshape(),
        ]
        .boxed(),
    };
    // Immediately after these steps, the publisher's bookkeeping and the region are most likely to
    // disagree.
    let often = if sketch.is_new || sketch.is_renewed { 6 } else { 1 };
    let raced = plain.clone().prop_map(|step| Operation::Raced(Inner::new(step)));
    let interrupted = |longest: u64| {
        let after = prop_oneof![3 => Just(After::Continue), 1 => Just(After::Kill)];
        // Early moments are more frequent, because a small commit is short.
        let moment = prop_oneof![0..longest / 10, 0..longest];
        let all = (moment, after, plain.clone());
        all.prop_map(|(at, after, step)| Operation::Interrupted(at, after, Inner::new(step)))
    };
    match sketch.place {
        Place::Here => prop_oneof![3 => plain, often => raced].boxed(),
        Place::Child => {
            prop_oneof![2 => plain.clone(), often => raced, often => interrupted(500)].boxed()
        }
        Place::Traced => prop_oneof![1 => plain.clone(), 2 * often => interrupted(10_000)].boxed(),
    }
}

/// Generates steps that need no publisher.
fn others() -> impl Strategy<Value = Operation> {
    let who = [Who::Untyped, Who::Typed, Who::Waiting, Who::Slow, Who::SlowTyped];
    let object = [Object::Region, Object::Region, Object::Lock, Object::Registry];
    prop_oneof![
        3 => Just(Operation::Refresh),
        2 => select(who.to_vec()).prop_map(Operation::Attach),
        5 => select(object.to_vec()).prop_map(Operation::Unlink),
        1 => Just(Operation::Remove),
        1 => Just(Operation::Sweep),
        1 => any::<bool>().prop_map(Operation::FullDisk),
    ]
}
