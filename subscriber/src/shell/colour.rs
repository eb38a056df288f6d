//! `--color`: decides whether tables, logs and clap's messages are coloured.
//!
//! The choice is global to the process (in `anstream`), so that all output uses the same one.
//! `auto` colours a terminal unless `NO_COLOR`, `CLICOLOR=0` or `TERM=dumb` forbids it, and any
//! output if `CLICOLOR_FORCE` requires it.

use std::ffi::OsString;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;

use super::environment;

/// Returns true if output to the stream is coloured.
pub fn is_wanted(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Takes the choice from arguments that are not parsed yet, so that it applies to clap's messages
/// about them too.
pub fn choose(arguments: &[OsString]) {
    let variable = std::env::var_os(environment::variable("color"));
    let word = typed(arguments).or(variable);
    let choice = word.and_then(|word| clap::ColorChoice::from_str(word.to_str()?, false).ok());
    let choice = match choice.unwrap_or_default() {
        clap::ColorChoice::Auto => ColorChoice::Auto,
        clap::ColorChoice::Always => ColorChoice::Always,
        clap::ColorChoice::Never => ColorChoice::Never,
    };
    choice.write_global();
}

/// Returns the value of `--color WORD` or `--color=WORD`, before any `--`.
fn typed(arguments: &[OsString]) -> Option<OsString> {
    let own = arguments.split(|argument| argument == "--").next()?;
    own.iter().enumerate().rev().find_map(|(at, argument)| {
        let rest = argument.to_str()?.strip_prefix("--color")?;
        match rest.strip_prefix('=') {
            Some(word) => Some(word.into()),
            None if rest.is_empty() => own.get(at + 1).cloned(),
            None => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_found_wherever_it_stands() {
        let typed = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            typed(&words)
        };
        assert_eq!(typed("s ls --color never"), Some("never".into()));
        assert_eq!(typed("s --color=always ls -v"), Some("always".into()));
        assert_eq!(typed("s ls --colors --color"), None);
        assert_eq!(typed("s watch t -- ls --color=always"), None);
    }
}
