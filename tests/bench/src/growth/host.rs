//! The publisher's side: commits on request, and times its commits.

use common::Publisher;

use super::{Do, Shape};
use crate::machine::pin;
use crate::measure::prepared;
use crate::other::{THERE, serve};
use crate::row::Random;
use crate::wide::Wide;

/// About how many rows a timed batch of commits writes.
const BATCH_ROWS: usize = 10_000;

/// Publishes a table of a shape. `commit` commits once; `measure` answers with a figure.
pub fn host(arguments: &[String]) {
    pin(THERE);
    let [name, shape @ ..] = arguments else { panic!("name, shape") };
    let shape = Shape::of(shape);
    shape.with(Host { name, shape: &shape });
}

struct Host<'a> {
    name: &'a str,
    shape: &'a Shape,
}

impl Do for Host<'_> {
    type Answer = ();

    fn with<R: Wide>(self) {
        let Shape { rows, changes, .. } = *self.shape;
        let builder = Publisher::<R>::builder(self.name).capacity(rows).subscribers(1024);
        let mut publisher = builder.open().expect("room");
        fill(&mut publisher, rows);
        let (mut random, mut version) = (Random::new(7), 1);
        let mut commit = |keys: &[usize]| {
            version += 1;
            let mut tx = publisher.begin();
            for key in keys {
                tx.upsert(&R::new(*key as u32, version)).expect("room");
            }
            tx.commit().expect("room");
        };
        let count = (BATCH_ROWS / changes).max(1);
        serve(|what| match what {
            "measure" => {
                let keys = || random.numbers(count * changes, rows);
                let figure = prepared("commit", count, keys, |keys| {
                    keys.chunks(changes).for_each(&mut commit);
                });
                serde_json::to_string(&figure).expect("numbers")
            }
            _ => {
                commit(&random.numbers(changes, rows));
                String::new()
            }
        });
        publisher.close().expect("a live table");
    }
}

/// Rows of a transaction while the table is filled: staging takes memory, too.
const FILL: usize = 1 << 20;

fn fill<R: Wide>(publisher: &mut Publisher<R>, rows: usize) {
    for first in (0..rows).step_by(FILL) {
        let mut tx = publisher.begin();
        for key in first..rows.min(first + FILL) {
            tx.insert(&R::new(key as u32, 1)).expect("room");
        }
        tx.commit().expect("room");
    }
}
