//! A thread replaces a value and frees the former one, while another thread uses the value.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;

use super::check;
use crate::protocol::hazard::{Hazard, drop_unused, publish};
use crate::protocol::sync::{AtomicU64, Ordering};

/// The values 1 and 2.
struct Values {
    current: AtomicU64,
    hazards: [Hazard; 1],
    /// The memory that each value refers to, which holds the value's number.
    contents: [AtomicU64; 2],
    /// Accessed by the use of the value 1 and by its end, which must not be concurrent.
    first: UnsafeCell<()>,
}

/// Runs `replace` on another thread while this one uses the value. Returns the value that it used,
/// and the result of `replace`.
fn use_value<T: 'static>(replace: impl FnOnce(&Values) -> T + 'static) -> (u64, T) {
    let values = Arc::new(Values {
        current: AtomicU64::new(1),
        hazards: [Hazard::new()],
        contents: [AtomicU64::new(1), AtomicU64::new(0)],
        first: UnsafeCell::new(()),
    });
    let written = Arc::clone(&values);
    let writer = thread::spawn(move || replace(&written));
    let [hazard] = &values.hazards;
    let value = hazard.protect(&values.current).expect("nothing else uses the hazard");
    assert_eq!(hazard.protect(&values.current), None, "the hazard is in use");
    assert_eq!(values.contents[value as usize - 1].load(Ordering::Relaxed), value);
    if value == 1 {
        values.first.with(|_| ());
    }
    hazard.clear();
    (value, writer.join().unwrap())
}

fn replace(values: &Values) {
    values.contents[1].store(2, Ordering::Relaxed);
    publish(&values.current, 2);
}

#[test]
fn value_is_not_freed_while_a_thread_uses_it() {
    check("hazard", 4, |outcomes| {
        outcomes.saw(use_value(|values| {
            replace(values);
            let mut replaced = vec![1];
            drop_unused(&mut replaced, &values.hazards, |value| *value);
            if replaced.is_empty() {
                values.first.with_mut(|_| ());
            }
            replaced.is_empty()
        }));
    });
}

/// Loom runs no other thread between a store and a fence that follows it, so this model has no
/// fence after the store.
#[test]
fn thread_that_uses_a_value_sees_its_contents() {
    check("published value", 2, |outcomes| outcomes.saw(use_value(replace)));
}
