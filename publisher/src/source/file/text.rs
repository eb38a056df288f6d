//! Decodes a file as text and counts its lines.

use super::fault::Fault;

/// The byte-order mark of UTF-8, which some programs write.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The byte-order marks of UTF-16, in both byte orders.
const MARKS_OF_UTF16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Returns the bytes without a leading byte-order mark of UTF-8.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// Refuses UTF-16, which is recognised by its byte-order mark.
///
/// # Errors
/// Returns a [`Fault`] that says what to do.
pub fn refuse_utf16(bytes: &[u8]) -> Result<(), Fault> {
    match MARKS_OF_UTF16.iter().any(|mark| bytes.starts_with(mark)) {
        true => Err(Fault::of_file("it is UTF-16: save it as UTF-8")),
        false => Ok(()),
    }
}

/// Returns a file's bytes as text, without a byte-order mark.
///
/// # Errors
/// Returns a [`Fault`] with the line and column of the first byte that is not UTF-8.
pub fn of(bytes: &[u8]) -> Result<&str, Fault> {
    refuse_utf16(bytes)?;
    let bytes = without_mark(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = &bytes[..error.valid_up_to()];
        let mut lines = valid.rsplit(|byte| matches!(byte, b'\r' | b'\n'));
        let line = lines.next().unwrap_or(valid);
        let column = String::from_utf8_lossy(line).chars().count() + 1;
        let reason = format!(
            "column {column} is not UTF-8 (byte {:#04x}): save the file as UTF-8",
            bytes[valid.len()]
        );
        let mut counter = LineCounter::default();
        counter.count(valid);
        Fault::at(counter.line(), reason)
    })
}

/// Counts lines that end in LF, CR or CRLF, in text that arrives in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineCounter {
    ends: u64,
    last: Option<u8>,
}

impl LineCounter {
    /// Counts the next bytes of the text.
    pub fn count(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let is_rest_of_crlf = *byte == b'\n' && self.last == Some(b'\r');
            self.last = Some(*byte);
            self.ends += u64::from(matches!(byte, b'\r' | b'\n') && !is_rest_of_crlf);
        }
    }

    /// Returns the number of the line that the next byte belongs to. The first line is number 1.
    pub fn line(&self) -> u64 {
        self.ends + 1
    }

    /// Returns the number of lines that have begun. A line end at the end of the text does not
    /// begin a line.
    pub fn lines_begun(&self) -> u64 {
        let is_in_line = self.last.is_some_and(|byte| !matches!(byte, b'\r' | b'\n'));
        self.ends + u64::from(is_in_line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_are_not_part_of_the_text() {
        assert_eq!(of(b"\xef\xbb\xbfid"), Ok("id"));
        assert_eq!(of(b"\xef\xbb\xbf"), Ok(""));
        assert_eq!(of(b""), Ok(""));
        let reason = of(b"\xff\xfei\0d\0").unwrap_err().to_string();
        assert!(reason.contains("UTF-16"), "{reason}");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_located() {
        for (bytes, place) in [
            (&b"\xe9"[..], "line 1: column 1 "),
            (b"a,b\n1,\xff", "line 2: column 3 "),
            ("ä\nää".as_bytes(), ""),
            (b"\xc3\xa4\n\xc3\xa4b\xc3", "line 2: column 3 "),
            (b"a,b\r1,2\r3,\xff\r", "line 3: column 3 "),
            (b"a,b\r\n1,2\r\n\n3,\xff", "line 4: column 3 "),
        ] {
            match of(bytes) {
                Ok(_) => assert_eq!(place, ""),
                Err(fault) => assert!(fault.to_string().starts_with(place), "{fault}"),
            }
        }
    }

    #[test]
    fn line_ends_are_counted_across_pieces() {
        for (pieces, line) in [
            (&["a\nb\n"][..], 3),
            (&["a\r\nb\r\n"], 3),
            (&["a\r", "\nb\r", "c"], 3),
            (&["a\rb\r\rc\n\r"], 6),
            (&[""], 1),
        ] {
            let mut counter = LineCounter::default();
            pieces
                .iter()
                .for_each(|piece| counter.count(piece.as_bytes()));
            assert_eq!(counter.line(), line, "{pieces:?}");
        }
    }
}
