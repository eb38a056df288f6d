//! One point of an axis: the figures of a table of some shape.

use std::hint::black_box;
use std::time::{Duration, Instant};

use common::Subscriber;

use super::{Do, Shape};
use crate::cases::unique;
use crate::machine::pin;
use crate::measure::{Figure, batches, prepared};
use crate::other::{HERE, Other};
use crate::row::Random;
use crate::wide::Wide;

const READS: usize = 2_500;
/// Maximum and minimum number of refreshes of a figure, and their approximate duration with the
/// commits before them.
const REFRESHES: usize = 200;
/// See [`REFRESHES`].
const LEAST: usize = 5;
/// See [`REFRESHES`].
const TIME: Duration = Duration::from_secs(1);

/// Commit, refresh, get, latest, attach.
pub fn reading(shape: &Shape) -> Vec<Figure> {
    point(shape, true)
}

/// Commit and refresh.
pub fn changing(shape: &Shape) -> Vec<Figure> {
    point(shape, false)
}

fn point(shape: &Shape, reads: bool) -> Vec<Figure> {
    pin(HERE);
    let name = unique("growth");
    let mut arguments = vec![name.clone()];
    arguments.extend(shape.arguments());
    let mut host = Other::start("growth-host", &arguments);
    shape.with(Point { name: &name, rows: shape.rows, reads, host: &mut host })
}

struct Point<'a> {
    name: &'a str,
    rows: usize,
    reads: bool,
    host: &'a mut Other,
}

impl Do for Point<'_> {
    type Answer = Vec<Figure>;

    fn with<R: Wide>(self) -> Vec<Figure> {
        let commit = self.host.ask("measure");
        let mut figures = vec![serde_json::from_str(&commit).expect("a figure")];
        let open = || Subscriber::<R>::open(self.name).expect("it is published");
        let mut subscriber = open();
        figures.push(refresh(&mut subscriber, self.host));
        if self.reads {
            figures.extend(by_key(&subscriber, self.rows));
            drop(subscriber);
            figures.push(batches("attach", 1, || {
                black_box(open().get(&0));
            }));
        }
        figures
    }
}

fn refresh<R: Wide>(subscriber: &mut Subscriber<R>, host: &mut Other) -> Figure {
    let begun = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < REFRESHES && (samples.len() < LEAST || begun.elapsed() < TIME) {
        host.ask("commit");
        let start = Instant::now();
        let changes = black_box(subscriber.refresh().expect("whole").len());
        samples.push(start.elapsed().as_nanos() as f64);
        assert!(changes > 0, "it was committed");
    }
    Figure::of("refresh", samples)
}

fn by_key<R: Wide>(subscriber: &Subscriber<R>, rows: usize) -> [Figure; 2] {
    let mut random = Random::new(7);
    let mut keys = || random.numbers(READS, rows);
    [
        prepared("get", READS, &mut keys, |keys| {
            for key in keys {
                black_box(*subscriber.get(&(key as u32)).expect("the key"));
            }
        }),
        prepared("latest", READS, &mut keys, |keys| {
            for key in keys {
                black_box(subscriber.latest(&(key as u32)).expect("whole"));
            }
        }),
    ]
}
