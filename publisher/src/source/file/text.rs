//! A file's bytes as text, and where in it something stands.

use super::fault::Fault;

/// The mark that some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What UTF-16 begins with, in either order.
const MARKS_OF_UTF16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// The text, without a byte-order mark.
///
/// # Errors
/// [`Fault`] with the place of the first byte that is no UTF-8.
pub fn of(bytes: &[u8]) -> Result<&str, Fault> {
    if MARKS_OF_UTF16.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(Fault::of_file("it is UTF-16: save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = &bytes[..error.valid_up_to()];
        let line = valid.rsplit(|byte| *byte == b'\n').next().unwrap_or(valid);
        let column = String::from_utf8_lossy(line).chars().count() + 1;
        let reason = format!(
            "column {column} is not UTF-8 (byte {:#04x}): save the file as UTF-8",
            bytes[valid.len()]
        );
        Fault::at(line_at(valid, valid.len()), reason)
    })
}

/// The number of the line that the byte `at` is in. The first is number 1.
pub fn line_at(bytes: &[u8], at: usize) -> u64 {
    let before = &bytes[..at.min(bytes.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_no_text() {
        assert_eq!(of(b"\xef\xbb\xbfid"), Ok("id"));
        assert_eq!(of(b"\xef\xbb\xbf"), Ok(""));
        assert_eq!(of(b""), Ok(""));
        let reason = of(b"\xff\xfei\0d\0").unwrap_err().to_string();
        assert!(reason.contains("UTF-16"), "{reason}");
    }

    #[test]
    fn what_is_no_text_is_found() {
        for (bytes, place) in [
            (&b"\xe9"[..], "line 1: column 1 "),
            (b"a,b\n1,\xff", "line 2: column 3 "),
            ("ä\nää".as_bytes(), ""),
            (b"\xc3\xa4\n\xc3\xa4b\xc3", "line 2: column 3 "),
        ] {
            match of(bytes) {
                Ok(_) => assert_eq!(place, ""),
                Err(fault) => assert!(fault.to_string().starts_with(place), "{fault}"),
            }
        }
    }
}
