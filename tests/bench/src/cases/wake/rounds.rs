//! Rounds of sending and receiving between two processes.
//!
//! Each round the sender writes the time into what it sends; the receiver subtracts it from its
//! own, of the same clock, once it holds the row. The sender waits until it does, and then until
//! the receiver is surely asleep again.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::now;
use crate::measure::Figure;
use crate::other::Other;
use crate::peers::plain::Plain;

const ROUNDS: usize = 2_000;
/// Interval at which the sender checks if a round is over.
const POLL: Duration = Duration::from_micros(20);
/// The words of the plain mapping: what is sent, and the round that was received last.
pub const SENT: usize = 0;
/// See [`SENT`].
pub const RECEIVED: usize = 1;

/// Says that it is ready, receives in every round, and says how long each took.
pub fn receive(plain: &Plain, mut receive: impl FnMut() -> u64) {
    println!("ready");
    let taken: Vec<u64> = (1..=ROUNDS)
        .map(|round| {
            let sent = receive();
            let taken = now() - sent;
            let received = plain.signal(RECEIVED);
            received.store(round as u64, Ordering::Release);
            taken
        })
        .collect();
    println!("{}", serde_json::to_string(&taken).expect("numbers"));
}

/// The receiver, and the word in which it reports that it received.
pub struct Receiver<'p> {
    process: Other,
    plain: &'p Plain,
    pause: Duration,
}

impl<'p> Receiver<'p> {
    /// Starts it; it falls asleep again within `pause`.
    pub fn start(role: &str, name: &str, path: &Path, plain: &'p Plain, pause: Duration) -> Self {
        plain.signal(RECEIVED).store(0, Ordering::Relaxed);
        plain.signal(SENT).store(0, Ordering::Relaxed);
        let arguments = [name.to_owned(), path.display().to_string()];
        Self { process: Other::start(role, &arguments), plain, pause }
    }

    /// Time of receiving in each round, and cost of sending.
    pub fn measure(mut self, subject: &str, sender: &str, mut send: impl FnMut()) -> [Figure; 2] {
        let mut cost = Vec::with_capacity(ROUNDS);
        for round in 1..=ROUNDS {
            std::thread::sleep(self.pause);
            let start = Instant::now();
            send();
            cost.push(start.elapsed().as_nanos() as f64);
            while self.plain.signal(RECEIVED).load(Ordering::Acquire) < round as u64 {
                std::thread::sleep(POLL);
            }
        }
        let taken: Vec<f64> = serde_json::from_str(&self.process.answer()).expect("numbers");
        [Figure::of(subject, taken), Figure::of(sender, cost)]
    }
}
