//! `soak [--seconds N] [--readers N] [--seed N]`: see [`tests::soak`].

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tests::soak::{Soak, publish, read};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["publish", name, cpu, seed] => number(cpu)
            .and_then(|cpu| Ok((cpu as usize, number(seed)?)))
            .and_then(|(cpu, seed)| publish(name, cpu, seed)),
        ["read", name, cpu, way] => number(cpu).and_then(|cpu| read(name, cpu as usize, way)),
        _ => direct(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a whole number"))
}

fn direct(words: &[&str]) -> Result<(), String> {
    let (mut seconds, mut readers, mut seed) = (60, 4, rand::random());
    for option in words.chunks(2) {
        match option {
            ["--seconds", value] => seconds = number(value)?,
            ["--readers", value] => readers = number(value)?.clamp(1, 64) as usize,
            ["--seed", value] => seed = number(value)?,
            _ => return Err("usage: soak [--seconds N] [--readers N] [--seed N]".to_owned()),
        }
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    println!("soaking for {seconds} s with {readers} readers, seed {seed}");
    let begun = Instant::now();
    let outcome = Soak::new(program, seed).run(Duration::from_secs(seconds), readers);
    println!(
        "rows checked: {}, at versions: {}; outrun: {}; commits: {}; publishers killed: {}, readers killed: {}, stopped: {}; {:.1?}",
        outcome.rows,
        outcome.versions,
        outcome.outrun,
        outcome.commits,
        outcome.publishers_killed,
        outcome.readers_killed,
        outcome.stopped,
        begun.elapsed()
    );
    match outcome.rows {
        0 => Err("nothing was read".to_owned()),
        _ => Ok(()),
    }
}
