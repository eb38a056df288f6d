//! A market feed: quotes of a thousand instruments, in batches, to a consumer that measures their
//! latency.
//!
//! ```sh
//! cargo run --release -p common --example market_feed              # both, in one process
//! cargo run --release -p common --example market_feed -- feed      # the one half
//! cargo run --release -p common --example market_feed -- consume   # the other one, as often as you like
//! ```
//!
//! Ctrl-C ends it. There are two tables, because some fields rarely change and others always do:
//! `market.symbols` (properties of an instrument) and `market.quotes` (its best bid and ask). Each
//! commit is one batch from the exchange, and becomes visible atomically. No transaction spans both
//! tables, but an order of operations gives the guarantee that is needed here:
//!
//! - the publisher commits a symbol before the quotes that need it, and
//! - the consumer refreshes quotes before symbols.
//!
//! So a consumer that has a quote also has the quote's symbol.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable};
use common::{Error, Publisher, Row, Subscriber, Text};

#[derive(Clone, Copy, Debug, Pod, Zeroable, Row)]
#[repr(C)]
struct Symbol {
    #[row(key)]
    instrument: u32,
    name: Text<8>,
    /// Smallest step of a price, in units of 1/10,000.
    tick: u32,
}

/// A quote. Prices are integers, so that equality and sums are exact.
#[derive(Clone, Copy, Debug, Pod, Zeroable, Row)]
#[repr(C)]
struct Quote {
    #[row(key)]
    instrument: u32,
    /// Prices, in units of 1/10,000.
    bid: u32,
    ask: u32,
    bid_size: u32,
    ask_size: u32,
}

const INSTRUMENTS: u32 = 1_000;
/// Number of instruments at the start. More are listed over time.
const LISTED_FIRST: u32 = 900;
/// Number of quotes in a batch, and the interval between batches.
const BATCH: u32 = 50;
const BEAT: Duration = Duration::from_millis(1);
/// Interval at which the consumer prints a report.
const REPORT: Duration = Duration::from_secs(1);

/// Set by Ctrl-C.
static ENDED: AtomicBool = AtomicBool::new(false);

fn has_ended() -> bool {
    ENDED.load(Ordering::Relaxed)
}

/// Marsaglia's xorshift64, which is good enough for a simulated exchange.
fn random(state: &mut u64) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 32) as u32
}

fn symbol(instrument: u32) -> common::Result<Symbol> {
    let letter = |place: u32| char::from(b'A' + (instrument / 26_u32.pow(place) % 26) as u8);
    let name: String = [2, 1, 0].map(letter).iter().collect();
    Ok(Symbol { instrument, name: Text::new(&name)?, tick: 1 + instrument % 5 * 5 })
}

fn quote(symbol: Symbol, state: &mut u64) -> Quote {
    let middle = 100_000 + symbol.instrument * 100 + random(state) % 200;
    let bid = middle - middle % symbol.tick;
    Quote {
        instrument: symbol.instrument,
        bid,
        ask: bid + symbol.tick * (1 + random(state) % 4),
        bid_size: 100 * (1 + random(state) % 50),
        ask_size: 100 * (1 + random(state) % 50),
    }
}

fn feed(prefix: &str) -> common::Result<()> {
    let [symbols, quotes] = ["symbols", "quotes"].map(|table| format!("{prefix}.{table}"));
    let mut symbols = Publisher::<Symbol>::builder(&symbols).open()?;
    let mut quotes = Publisher::<Quote>::builder(&quotes).open()?;
    let mut tx = symbols.begin();
    for instrument in 0..LISTED_FIRST {
        tx.upsert(&symbol(instrument)?)?;
    }
    tx.commit()?;

    let (mut listed, mut state) = (LISTED_FIRST, 42);
    for batch in 1_u64.. {
        if has_ended() {
            break;
        }
        if listed < INSTRUMENTS && batch % 100 == 0 {
            let mut tx = symbols.begin();
            tx.upsert(&symbol(listed)?)?;
            tx.commit()?;
            listed += 1;
        } else if batch % 500 == 0 {
            // Once all instruments are listed, this table has no more commits to maintain it.
            symbols.maintain()?;
        }
        let mut tx = quotes.begin();
        for _ in 0..BATCH {
            let instrument = random(&mut state) % listed;
            tx.upsert(&quote(symbol(instrument)?, &mut state))?;
        }
        tx.commit()?;
        std::thread::sleep(BEAT);
    }
    quotes.close()?;
    symbols.close()
}

/// Updates received since the last report.
#[derive(Default)]
struct Seen {
    quotes: usize,
    steps: usize,
    /// Times from a commit to its application in this process. Steps that combine several commits
    /// are not measured.
    delays: Vec<Duration>,
}

impl Seen {
    /// Returns the delay at this percentile.
    fn delay(&mut self, percent: usize) -> Duration {
        self.delays.sort_unstable();
        let last = self.delays.len().saturating_sub(1);
        let delay = self.delays.get(last * percent / 100);
        delay.copied().unwrap_or_default()
    }
}

fn consume(prefix: &str) -> common::Result<()> {
    let [symbols, quotes] = ["symbols", "quotes"].map(|table| format!("{prefix}.{table}"));
    let patience = Duration::from_secs(10);
    let mut quotes = Subscriber::<Quote>::builder(&quotes).open_within(patience)?;
    let mut symbols = Subscriber::<Symbol>::builder(&symbols).open_within(patience)?;
    let (mut seen, mut reported) = (Seen::default(), Instant::now());
    while !has_ended() {
        match quotes.wait(Some(REPORT)) {
            Ok(changes) => {
                seen.quotes += changes.len();
                seen.steps += usize::from(!changes.is_empty());
                seen.delays.extend(quotes.untyped().delay());
            }
            // The publisher was faster than the copy, which is unchanged. The next wait returns all
            // changes.
            Err(Error::Outrun { .. }) => {}
            Err(error) => return Err(error),
        }
        if reported.elapsed() >= REPORT {
            report(&quotes, &mut symbols, &mut seen)?;
            (seen, reported) = (Seen::default(), Instant::now());
        }
    }
    Ok(())
}

/// Prints the number of updates, their latency, and the state of the market at one version of the
/// quotes.
fn report(
    quotes: &Subscriber<Quote>,
    symbols: &mut Subscriber<Symbol>,
    seen: &mut Seen,
) -> common::Result<()> {
    let [median, late] = [50, 99].map(|percent| seen.delay(percent));
    let (count, steps) = (seen.quotes, seen.steps);
    println!("{count} quotes in {steps} steps, delay p50 {median:.1?} p99 {late:.1?}");

    // Symbols are refreshed after the quotes (see the top of this file), so every quote has its
    // symbol.
    symbols.refresh()?;
    let is_unknown = |quote: &&Quote| symbols.get(&quote.instrument).is_none();
    let unknown = quotes.iter().filter(is_unknown).count();
    let spread = |quote: &Quote| u64::from(quote.ask - quote.bid);
    let mean = quotes.iter().map(spread).sum::<u64>() / quotes.len().max(1) as u64;
    print!("  {} instruments, {unknown} unknown, mean spread {}", quotes.len(), price(mean));
    let widest = quotes.iter().max_by_key(|quote| spread(quote));
    let symbol = widest.and_then(|quote| symbols.get(&quote.instrument));
    if let (Some(quote), Some(symbol)) = (widest, symbol) {
        let [bid, ask] = [quote.bid, quote.ask].map(|side| price(side.into()));
        print!(", widest {} {bid} / {ask}", symbol.name);
    }
    println!();
    Ok(())
}

fn price(units: u64) -> String {
    format!("{}.{:04}", units / 10_000, units % 10_000)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    ctrlc::set_handler(|| ENDED.store(true, Ordering::Relaxed))?;
    let mut arguments = std::env::args().skip(1);
    let half = arguments.next();
    let prefix = arguments.next().unwrap_or("market".to_owned());
    match half.as_deref() {
        Some("feed") => feed(&prefix)?,
        Some("consume") => consume(&prefix)?,
        None | Some("both") => std::thread::scope(|scope| {
            let feeding = scope.spawn(|| feed(&prefix));
            consume(&prefix)?;
            feeding.join().expect("it does not panic")
        })?,
        Some(_) => return Err("usage: market_feed [both | feed | consume] [PREFIX]".into()),
    }
    Ok(())
}
