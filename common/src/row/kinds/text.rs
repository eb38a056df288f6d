//! Text of bounded length in a row.

use std::fmt;
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};

use crate::row::value::check_text;
use crate::{Error, FieldKind, Result};

/// UTF-8 text of at most `N` bytes (1 to 4096) in a row, padded with zeros. It is ordered like
/// `str`.
///
/// ```
/// use common::Text;
///
/// let name: Text<8> = Text::new("Zürich")?;
/// assert_eq!(name.as_str(), "Zürich");
/// assert!(Text::<6>::new("Zürich").is_err(), "the ü takes two bytes");
/// assert_eq!(Text::<2>::truncated("Zürich"), *"Z");
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// Creates a text.
    ///
    /// # Errors
    /// [`Error::TextTooLong`] if it has more than `N` bytes, and [`Error::InvalidValue`] if it
    /// contains a zero byte, which could not be distinguished from the padding.
    pub fn new(text: &str) -> Result<Text<N>> {
        check_text(Self::KIND, text)?;
        Ok(Text::truncated(text))
    }

    /// Creates a text from as many characters as fit before the first zero byte.
    #[must_use]
    pub fn truncated(text: &str) -> Text<N> {
        let end = text.find('\0').unwrap_or(text.len());
        let end = text.floor_char_boundary(end.min(N));
        let mut bytes = [0; N];
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        Text(bytes)
    }

    /// Returns the text. If the bytes are not valid UTF-8, which only a publisher that does not use
    /// this type can write, the returned text ends before the first invalid byte.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        text.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Text<N> {
        Text([0; N])
    }
}

impl<const N: usize> FromStr for Text<N> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Text<N>> {
        Text::new(text)
    }
}

impl<const N: usize> PartialEq<str> for Text<N> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl<const N: usize> PartialEq<&str> for Text<N> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_exactly_n_bytes_fits() {
        assert_eq!(Text::<4>::new("abü").unwrap().as_str(), "abü");
        assert_eq!(Text::<4>::new("").unwrap(), Text::default());
        let error = Text::<4>::new("abcü").unwrap_err();
        assert!(matches!(error, Error::TextTooLong { length: 5, capacity: 4, .. }), "{error}");
        assert!(matches!(Text::<4>::new("a\0").unwrap_err(), Error::InvalidValue { .. }));
    }

    #[test]
    fn truncation_keeps_whole_characters() {
        assert_eq!(Text::<3>::truncated("abü"), "ab");
        assert_eq!(Text::<1>::truncated("ü"), "");
        assert_eq!(Text::<8>::truncated("a\0b"), "a");
        assert_eq!(Text::<2>::truncated("ab"), "ab");
    }

    #[test]
    fn invalid_bytes_are_read_up_to_the_first_invalid_one() {
        assert_eq!(Text([b'a', 0xff, b'b']).as_str(), "a");
        assert_eq!(Text([b'a', 0, b'b']).as_str(), "a");
        assert_eq!(Text([0xff; 3]).as_str(), "");
        assert_eq!(Text([b'a', 0xc3]).as_str(), "a", "half a character");
    }

    #[test]
    fn texts_are_ordered_like_str() {
        let mut texts = ["b", "", "ab", "a", "ü", "z"].map(|text| Text::<4>::new(text).unwrap());
        texts.sort_unstable();
        assert_eq!(texts, ["", "a", "ab", "b", "z", "ü"]);
    }
}
