//! Splits CSV into records.
//!
//! 1. A record ends at LF, CR or CRLF, or at the end of the input. Empty lines and lines that begin
//!    with the comment character are not records. A byte-order mark before a record is skipped,
//!    because concatenated files may have one each. A line such as `sep=;` before the first record names the
//!    delimiter, as spreadsheets write it.
//! 2. A cell that begins with a quote ends at the next quote that is not doubled. Only a delimiter
//!    or a line end may follow that quote; anything else is an error, and so is a quote that is
//!    never closed.
//! 3. In columns, cells are separated by runs of blanks, quotes are ordinary characters, and the last
//!    cell is the rest of the line.
//! 4. A quote anywhere else in a cell is an ordinary character. With `--quote none` all quotes are.
//!
//! The `csv` crate is not used here because it accepts malformed quotes without an error: it reads
//! `"abc"def` as `abcdef`, and a stray quote at the beginning of a cell makes it read the following
//! records as part of that cell. It also ends comments at LF only.

use std::borrow::Cow;

use super::format::{Dialect, SEPARATORS, separator_name};

/// The byte-order mark of UTF-8, which some programs write.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const QUOTE: u8 = b'"';

const REMEDY: &str =
    "double each quote inside a quoted cell, or use --quote none if quotes are ordinary characters";

#[derive(Debug)]
pub struct Record<'i> {
    /// Number of the line in which the record begins. The first line is number 1.
    pub line: u64,
    /// The cells, or a sentence that says what is wrong with the record.
    pub cells: Result<Vec<Cow<'i, str>>, String>,
    /// True if a cell was written in quotes.
    pub has_quotes: bool,
}

/// Splits the input into records.
pub struct Decoder {
    dialect: Dialect,
    max_bytes: usize,
    /// True if the rest of the current line is not part of a record.
    is_skipping: bool,
    line_ends: u64,
    last_byte: Option<u8>,
    /// True before the first record, which a line may precede that names the delimiter.
    may_name_delimiter: bool,
}

/// The undecoded cells of a record.
type Cells<'i> = Vec<Cow<'i, [u8]>>;

enum Failure {
    Incomplete,
    Unclosed,
    /// Something other than a delimiter or a line end follows a closing quote at this position.
    Malformed(usize),
}

impl Decoder {
    /// Creates a decoder that refuses records of more than `max_bytes` bytes.
    pub fn new(dialect: Dialect, max_bytes: usize) -> Self {
        Self {
            dialect,
            max_bytes,
            is_skipping: false,
            line_ends: 0,
            last_byte: None,
            may_name_delimiter: dialect.columns.is_none(),
        }
    }

    /// Returns the dialect, with the delimiter that the input names.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Returns the next record and advances `input` past it. Returns `None` if `input` does not
    /// contain a complete record; the next call needs the rest of `input` with more bytes after it.
    /// If `is_end`, no more bytes follow.
    pub fn next<'i>(&mut self, input: &mut &'i [u8], is_end: bool) -> Option<Record<'i>> {
        if !self.skip_to_record(input, is_end) {
            return None;
        }
        let line = self.line();
        let mut has_quotes = false;
        let (length, cells) = match self.split(input, is_end, &mut has_quotes) {
            Ok((_, end)) if end > self.max_bytes => (end, Err(self.too_long())),
            Ok((cells, end)) => {
                let cells = cells.into_iter().enumerate();
                (end, cells.map(|(index, cell)| text(index + 1, cell)).collect())
            }
            Err(Failure::Incomplete) if input.len() <= self.max_bytes => return None,
            Err(Failure::Incomplete) => {
                self.is_skipping = true;
                (input.len(), Err(self.too_long()))
            }
            Err(Failure::Unclosed) => {
                let reason = "a quote is opened in this record and never closed";
                (input.len(), Err(format!("{reason}: {REMEDY}")))
            }
            Err(Failure::Malformed(at)) => {
                self.is_skipping = true;
                self.skip(input, at);
                (0, Err(self.malformed(line, input[0])))
            }
        };
        self.skip(input, length);
        Some(Record { line, cells, has_quotes })
    }

    /// Returns the number of lines that have begun. A line end at the end of the input does not
    /// begin a line.
    pub fn lines_begun(&self) -> u64 {
        let is_in_line = self.last_byte.is_some_and(|byte| !is_line_end(byte));
        self.line_ends + u64::from(is_in_line)
    }

    /// Skips everything before the next record. Returns false if no record begins in `input`, or if
    /// more input is needed to tell.
    fn skip_to_record(&mut self, input: &mut &[u8], is_end: bool) -> bool {
        loop {
            let Some(first) = input.first().copied() else {
                return false;
            };
            if is_line_end(first) {
                self.is_skipping = false;
                self.skip(input, 1);
            } else if self.is_skipping
                || self.line_ends < self.dialect.skip_lines
                || Some(first) == self.dialect.comment
            {
                let length = input.iter().position(|byte| is_line_end(*byte));
                self.is_skipping = length.is_none();
                self.skip(input, length.unwrap_or(input.len()));
            } else if self.dialect.columns.is_some() && is_blank(first) {
                self.skip(input, 1);
            } else if input.starts_with(BYTE_ORDER_MARK) {
                self.skip(input, BYTE_ORDER_MARK.len());
            } else if !is_end && BYTE_ORDER_MARK.starts_with(input) {
                return false;
            } else if self.may_name_delimiter {
                if !is_end
                    && input.len() < b"sep=;\n".len()
                    && input.iter().zip(b"sep=").all(|(one, other)| one == other)
                {
                    return false;
                }
                self.may_name_delimiter = false;
                self.take_delimiter(input);
            } else {
                return true;
            }
        }
    }

    /// Skips a line such as `sep=;`. Its delimiter counts unless the user gave one.
    fn take_delimiter(&mut self, input: &mut &[u8]) {
        let [b's', b'e', b'p', b'=', delimiter, rest @ ..] = *input else {
            return;
        };
        let is_fit = delimiter.is_ascii() && *delimiter != QUOTE && !is_line_end(*delimiter);
        if is_fit && rest.first().is_none_or(|byte| is_line_end(*byte)) {
            if !std::mem::replace(&mut self.dialect.is_delimiter_given, true) {
                self.dialect.delimiter = *delimiter;
            }
            self.skip(input, b"sep=;".len());
        }
    }

    /// Returns the cells of the first record, and its length without the line end.
    fn split<'i>(
        &self,
        input: &'i [u8],
        is_end: bool,
        has_quotes: &mut bool,
    ) -> Result<(Cells<'i>, usize), Failure> {
        if let Some(columns) = self.dialect.columns {
            let end = input.iter().position(|byte| is_line_end(*byte));
            let end = end.or(is_end.then_some(input.len())).ok_or(Failure::Incomplete)?;
            return Ok((blank_separated(&input[..end], columns), end));
        }
        let mut cells = Vec::new();
        let mut start = 0;
        loop {
            let (cell, end) = if self.dialect.has_quotes && input.get(start) == Some(&QUOTE) {
                *has_quotes = true;
                self.quoted_cell(input, start + 1, is_end)?
            } else {
                let length = input[start..].iter().position(|byte| self.ends_cell(*byte));
                let end = match length {
                    Some(length) => start + length,
                    None if is_end => input.len(),
                    None => return Err(Failure::Incomplete),
                };
                (Cow::Borrowed(&input[start..end]), end)
            };
            cells.push(cell);
            if input.get(end) != Some(&self.dialect.delimiter) {
                return Ok((cells, end));
            }
            start = end + 1;
        }
    }

    /// Returns the quoted cell with text from `start`, and the position after its end.
    fn quoted_cell<'i>(
        &self,
        input: &'i [u8],
        mut start: usize,
        is_end: bool,
    ) -> Result<(Cow<'i, [u8]>, usize), Failure> {
        // The decoded text up to the last doubled quote.
        let mut text = Vec::new();
        loop {
            let length = input[start..].iter().position(|byte| *byte == QUOTE);
            let quote = match length {
                Some(length) => start + length,
                None if is_end => return Err(Failure::Unclosed),
                None => return Err(Failure::Incomplete),
            };
            match input.get(quote + 1) {
                Some(&QUOTE) => {
                    text.extend_from_slice(&input[start..=quote]);
                    start = quote + 2;
                }
                None if !is_end => return Err(Failure::Incomplete),
                Some(byte) if !self.ends_cell(*byte) => return Err(Failure::Malformed(quote + 1)),
                _ if text.is_empty() => return Ok((input[start..quote].into(), quote + 1)),
                _ => {
                    text.extend_from_slice(&input[start..quote]);
                    return Ok((text.into(), quote + 1));
                }
            }
        }
    }

    fn ends_cell(&self, byte: u8) -> bool {
        byte == self.dialect.delimiter || is_line_end(byte)
    }

    /// Skips bytes and counts their lines, which end in LF, CR or CRLF.
    fn skip(&mut self, input: &mut &[u8], length: usize) {
        let (skipped, rest) = input.split_at(length);
        for byte in skipped {
            let is_rest_of_crlf = *byte == b'\n' && self.last_byte == Some(b'\r');
            self.line_ends += u64::from(is_line_end(*byte) && !is_rest_of_crlf);
            self.last_byte = Some(*byte);
        }
        *input = rest;
    }

    fn line(&self) -> u64 {
        self.line_ends + 1
    }

    fn too_long(&self) -> String {
        format!("the record is longer than {} bytes", self.max_bytes)
    }

    fn malformed(&self, first_line: u64, found: u8) -> String {
        let place = match self.line() {
            line if line == first_line => String::new(),
            line => format!(" in line {line}"),
        };
        let reason = format!("text follows the closing quote of a cell{place}: {REMEDY}");
        match SEPARATORS.contains(&found) {
            true => {
                let name = separator_name(found);
                format!("{reason}, or --delimiter {name} if that separates the cells")
            }
            false => reason,
        }
    }
}

fn text(number: usize, cell: Cow<'_, [u8]>) -> Result<Cow<'_, str>, String> {
    let text = match cell {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
    };
    text.ok_or_else(|| format!("cell {number} is not UTF-8: convert the input to UTF-8"))
}

/// Returns at most `columns` cells of a line. The last one is the rest of the line.
fn blank_separated(line: &[u8], columns: usize) -> Cells<'_> {
    let mut cells = Vec::new();
    let mut rest = line.trim_ascii();
    while cells.len() + 1 < columns
        && let Some(end) = rest.iter().position(|byte| is_blank(*byte))
    {
        cells.push(rest[..end].into());
        rest = rest[end..].trim_ascii_start();
    }
    cells.push(rest.into());
    if cells.len() + 1 == columns {
        cells.push(Cow::default());
    }
    cells
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace()
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests;
