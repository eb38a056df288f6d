//! Decodes bytes from a terminal into keys.
//!
//! It decodes letters, a few control characters, and the sequences that xterm and the Linux console
//! send for cursor keys, in both cursor modes. All other sequences are skipped as a whole. An escape
//! character at the end of a read is the Escape key, because terminals send each sequence in one
//! write.
//!
//! Why not crossterm's reader: it loops forever on a terminal that was closed, and it buffers bytes
//! internally, so a loop that polls the descriptor misses them.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A printable character.
    Letter(char),
    /// A letter pressed with Control.
    Control(char),
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Backspace.
    Backspace,
    /// Up arrow.
    Up,
    /// Down arrow.
    Down,
    /// Left arrow.
    Left,
    /// Right arrow.
    Right,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
}

/// Maximum length of an escape sequence, in bytes. Terminals send none that is longer.
const MOST_BYTES: usize = 32;
const ESCAPE: u8 = 0x1b;

/// Decoder that keeps the bytes of an incomplete key between reads.
#[derive(Default)]
pub struct Keys {
    begun: Vec<u8>,
}

/// First item in a buffer.
enum Beginning {
    /// An item of this many bytes, and its key if it has one.
    Whole(usize, Option<Key>),
    /// An incomplete sequence or letter.
    Part,
}

impl Keys {
    /// Returns the keys that `bytes` complete.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.begun.extend_from_slice(bytes);
        let (mut keys, mut at) = (Vec::new(), 0);
        while at < self.begun.len() {
            match beginning(&self.begun[at..]) {
                Beginning::Whole(length, key) => {
                    keys.extend(key);
                    at += length;
                }
                Beginning::Part if self.begun.len() - at > MOST_BYTES => at = self.begun.len(),
                Beginning::Part => break,
            }
        }
        self.begun.drain(..at);
        keys
    }
}

fn beginning(bytes: &[u8]) -> Beginning {
    match bytes {
        [ESCAPE] => Beginning::Whole(1, Some(Key::Escape)),
        [ESCAPE, b'[', rest @ ..] => sequence(rest, 2),
        [ESCAPE, b'O', rest @ ..] => match rest {
            [] => Beginning::Part,
            [last, ..] => Beginning::Whole(3, arrow(*last)),
        },
        [ESCAPE, ESCAPE, ..] => Beginning::Whole(1, Some(Key::Escape)),
        // A letter with Alt.
        [ESCAPE, rest @ ..] => match beginning(rest) {
            Beginning::Whole(length, _) => Beginning::Whole(1 + length, None),
            Beginning::Part => Beginning::Part,
        },
        [b'\r' | b'\n', ..] => Beginning::Whole(1, Some(Key::Enter)),
        [0x7f | 0x08, ..] => Beginning::Whole(1, Some(Key::Backspace)),
        [control @ 1..0x1b, ..] => {
            Beginning::Whole(1, Some(Key::Control(char::from(control + b'a' - 1))))
        }
        [0..0x20, ..] | [] => Beginning::Whole(1, None),
        _ => letter(bytes),
    }
}

/// Decodes a sequence after its introducer `ESC [` of `taken` bytes.
fn sequence(bytes: &[u8], taken: usize) -> Beginning {
    if let [b'[', _, ..] = bytes {
        // A function key of the Linux console.
        return Beginning::Whole(taken + 2, None);
    }
    let Some(last) = bytes
        .iter()
        .position(|byte| (0x40..0x7f).contains(byte) && *byte != b'[')
    else {
        return Beginning::Part;
    };
    let number = bytes[..last].split(|byte| *byte == b';').next();
    let key = match (bytes[last], number.unwrap_or_default()) {
        (b'~', b"1" | b"7") => Some(Key::Home),
        (b'~', b"4" | b"8") => Some(Key::End),
        (b'~', b"5") => Some(Key::PageUp),
        (b'~', b"6") => Some(Key::PageDown),
        (last, _) => arrow(last),
    };
    Beginning::Whole(taken + last + 1, key)
}

fn arrow(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        _ => return None,
    })
}

/// Decodes a UTF-8 letter. Invalid bytes are skipped.
fn letter(bytes: &[u8]) -> Beginning {
    let length = match bytes[0] {
        0..0x80 => 1,
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        _ => return Beginning::Whole(1, None),
    };
    let Some(letter) = bytes.get(..length) else {
        return Beginning::Part;
    };
    match std::str::from_utf8(letter) {
        Ok(letter) => Beginning::Whole(length, letter.chars().next().map(Key::Letter)),
        Err(_) => Beginning::Whole(1, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &str) -> Vec<Key> {
        let all = Keys::default().read(bytes.as_bytes());
        // The result is the same if the input arrives in pieces, except for an escape that ends
        // one.
        let mut keys = Keys::default();
        let mut pieces = Vec::new();
        for piece in bytes.as_bytes().chunk_by(|before, _| *before == ESCAPE) {
            pieces.extend(keys.read(piece));
        }
        assert_eq!(pieces, all, "{bytes:?}");
        assert!(keys.begun.is_empty());
        all
    }

    #[test]
    fn decodes_letters_and_control_characters() {
        assert_eq!(read("aß日"), ['a', 'ß', '日'].map(Key::Letter));
        assert_eq!(
            read("\r\n\u{7f}\u{8}\u{3}\u{1a}\u{0}"),
            [
                Key::Enter,
                Key::Enter,
                Key::Backspace,
                Key::Backspace,
                Key::Control('c'),
                Key::Control('z'),
            ]
        );
        assert_eq!(
            Keys::default().read(b"\xffa\xc3("),
            [Key::Letter('a'), Key::Letter('(')]
        );
    }

    #[test]
    fn decodes_cursor_sequences() {
        for (text, key) in [
            ("\x1b[A", Key::Up),
            ("\x1bOA", Key::Up),
            ("\x1b[1;5B", Key::Down),
            ("\x1bOC", Key::Right),
            ("\x1b[D", Key::Left),
            ("\x1b[H", Key::Home),
            ("\x1b[1~", Key::Home),
            ("\x1b[7~", Key::Home),
            ("\x1bOF", Key::End),
            ("\x1b[4~", Key::End),
            ("\x1b[5~", Key::PageUp),
            ("\x1b[6;2~", Key::PageDown),
            ("\x1b", Key::Escape),
        ] {
            assert_eq!(read(text), [key], "{text:?}");
        }
        // Unknown sequences are skipped as a whole, and the key behind them is decoded.
        for text in [
            "\x1b[15~",
            "\x1b[[A",
            "\x1bx",
            "\x1bOP",
            "\x1b[<35;1;1M",
            "\x1b[?1;2c",
        ] {
            assert_eq!(read(&format!("{text}q")), [Key::Letter('q')], "{text:?}");
        }
        let twice = Keys::default().read(b"\x1b\x1b");
        assert_eq!(twice, [Key::Escape; 2]);
    }

    #[test]
    fn endless_sequence_is_bounded() {
        let mut keys = Keys::default();
        assert_eq!(keys.read(b"\x1b["), []);
        for _ in 0..100 {
            let _given_up_or_not = keys.read(b"0");
            assert!(keys.begun.len() <= MOST_BYTES + 1);
        }
    }
}
