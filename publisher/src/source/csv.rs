//! Splits CSV into records, from bytes that arrive in pieces.
//!
//! 1. A record ends at LF, CR or CRLF, or at the end of the input. Empty lines and lines that begin
//!    with the comment character are not records. A byte-order mark before a record is skipped,
//!    because concatenated files may have one each.
//! 2. A cell that begins with a quote ends at the next quote that is not doubled. Only a delimiter
//!    or a line end may follow that quote; anything else is an error, and so is a quote that is
//!    never closed.
//! 3. A quote anywhere else in a cell is an ordinary character. With `--quote none` all quotes are.
//!
//! The `csv` crate is not used here because it accepts malformed quotes without an error: it reads
//! `"abc"def` as `abcdef`, and a stray quote at the beginning of a cell makes it read the following
//! records as part of that cell. It also ends comments at LF only.

use super::format::{Dialect, SEPARATORS, separator_name};

/// The byte-order mark of UTF-8, which some programs write.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const QUOTE: u8 = b'"';

const REMEDY: &str =
    "double each quote inside a quoted cell, or use --quote none if quotes are ordinary characters";

/// A streaming decoder that holds the record it read last.
pub struct Decoder {
    dialect: Dialect,
    max_bytes: usize,
    max_cells: usize,
    state: State,
    lines: LineCounter,
    /// The cells of the record, stored back to back, and the end of each cell.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    has_quotes: bool,
    /// Number of the line in which the record begins.
    first_line: u64,
}

/// The part of the input that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The beginning of a record, after this many bytes of a byte-order mark.
    Record(usize),
    Comment,
    Cell,
    PlainCell,
    QuotedCell,
    /// After a quote in a quoted cell. The quote closes the cell unless it is doubled.
    Quote,
    /// The rest of a refused line.
    Refused,
}

impl Decoder {
    /// Creates a decoder without limits on the size of a record.
    pub fn new(dialect: Dialect) -> Self {
        Self::bounded(dialect, usize::MAX, usize::MAX)
    }

    /// Creates a decoder that refuses records with more than `max_bytes` bytes or `max_cells`
    /// cells.
    pub fn bounded(dialect: Dialect, max_bytes: usize, max_cells: usize) -> Self {
        Self {
            dialect,
            max_bytes,
            max_cells,
            state: State::Record(0),
            lines: LineCounter::default(),
            bytes: Vec::new(),
            ends: Vec::new(),
            has_quotes: false,
            first_line: 1,
        }
    }

    /// Reads up to the end of the next record and advances `input` past it. Returns `None` if the
    /// input ends before that; the next call continues with more of it.
    ///
    /// # Errors
    /// Returns a sentence that says what is wrong with the record. The last line of the record is
    /// skipped, and the next call continues after it.
    pub fn read(&mut self, input: &mut &[u8]) -> Option<Result<(), String>> {
        while let Some(byte) = input.first().copied() {
            let mut is_complete = false;
            match self.state {
                State::Record(0) if is_line_end(byte) => self.skip(input, 1),
                State::Record(0) if Some(byte) == self.dialect.comment => {
                    self.state = State::Comment;
                }
                State::Record(matched) if byte == BYTE_ORDER_MARK[matched] => {
                    self.state = State::Record((matched + 1) % BYTE_ORDER_MARK.len());
                    self.skip(input, 1);
                }
                State::Record(matched) => self.begin_record(matched),
                State::Comment | State::Refused => {
                    let length = input.iter().position(|byte| is_line_end(*byte));
                    if length.is_some() {
                        self.state = State::Record(0);
                    }
                    self.skip(input, length.unwrap_or(input.len()));
                }
                State::Cell if byte == QUOTE && self.dialect.has_quotes => {
                    self.state = State::QuotedCell;
                    self.has_quotes = true;
                    self.skip(input, 1);
                }
                State::Cell => self.state = State::PlainCell,
                State::PlainCell => {
                    let delimiter = self.dialect.delimiter;
                    self.keep(input, |byte| byte == delimiter || is_line_end(byte));
                    is_complete = self.ends_cell(input);
                }
                State::QuotedCell => {
                    self.keep(input, |byte| byte == QUOTE);
                    if !input.is_empty() {
                        self.state = State::Quote;
                        self.skip(input, 1);
                    }
                }
                State::Quote if byte == QUOTE => {
                    self.bytes.push(QUOTE);
                    self.state = State::QuotedCell;
                    self.skip(input, 1);
                }
                State::Quote if byte == self.dialect.delimiter || is_line_end(byte) => {
                    is_complete = self.ends_cell(input);
                }
                State::Quote => {
                    self.state = State::Refused;
                    return Some(Err(self.malformed(byte)));
                }
            }
            if self.bytes.len() > self.max_bytes || self.ends.len() > self.max_cells {
                if !is_complete {
                    self.state = State::Refused;
                }
                self.bytes.clear();
                self.ends.clear();
                return Some(Err(format!(
                    "the record has more than {} bytes or {} cells",
                    self.max_bytes, self.max_cells
                )));
            }
            if is_complete {
                return Some(Ok(()));
            }
        }
        None
    }

    /// Reads the last record of the input, which needs no line end.
    ///
    /// # Errors
    /// Returns a sentence if the record has a quote that is not closed.
    pub fn finish(&mut self) -> Option<Result<(), String>> {
        if let State::Record(matched @ 1..) = self.state {
            self.begin_record(matched);
        }
        match std::mem::replace(&mut self.state, State::Record(0)) {
            State::Record(_) | State::Comment | State::Refused => None,
            State::QuotedCell => Some(Err(format!(
                "a quote is opened in this record and never closed: {REMEDY}"
            ))),
            State::Cell | State::PlainCell | State::Quote => {
                self.ends.push(self.bytes.len());
                Some(Ok(()))
            }
        }
    }

    /// Returns the number of the line in which the last record begins. The first line is number 1.
    pub fn first_line(&self) -> u64 {
        self.first_line
    }

    /// Returns the number of lines that have begun. A line end at the end of the input does not
    /// begin a line.
    pub fn lines_begun(&self) -> u64 {
        let is_in_line = self.lines.last.is_some_and(|byte| !is_line_end(byte));
        self.lines.ends + u64::from(is_in_line)
    }

    /// Returns true if a cell of the last record was written in quotes.
    pub fn has_quotes(&self) -> bool {
        self.has_quotes
    }

    /// Returns the cells of the last record.
    ///
    /// # Errors
    /// Returns a sentence if a cell is not UTF-8.
    pub fn cells(&self) -> Result<Vec<&str>, String> {
        let mut start = 0;
        let mut cells = Vec::with_capacity(self.ends.len());
        for end in &self.ends {
            let cell = std::str::from_utf8(&self.bytes[start..*end]).map_err(|_| {
                let number = cells.len() + 1;
                format!("cell {number} is not UTF-8: convert the input to UTF-8")
            })?;
            cells.push(cell);
            start = *end;
        }
        Ok(cells)
    }

    /// Begins a record. Its first `matched` bytes were read as a possible byte-order mark.
    fn begin_record(&mut self, matched: usize) {
        self.bytes.clear();
        self.ends.clear();
        self.has_quotes = false;
        self.first_line = self.line();
        self.bytes.extend_from_slice(&BYTE_ORDER_MARK[..matched]);
        self.state = if matched == 0 {
            State::Cell
        } else {
            State::PlainCell
        };
    }

    /// Appends the input to the cell, up to the first byte for which `is_end` returns true.
    fn keep(&mut self, input: &mut &[u8], is_end: impl Fn(u8) -> bool) {
        let length = input.iter().position(|byte| is_end(*byte));
        let length = length.unwrap_or(input.len());
        self.bytes.extend_from_slice(&input[..length]);
        self.skip(input, length);
    }

    /// Ends the cell if a delimiter or a line end follows. Returns true if that ends the record.
    fn ends_cell(&mut self, input: &mut &[u8]) -> bool {
        let Some(byte) = input.first().copied() else {
            return false;
        };
        self.ends.push(self.bytes.len());
        self.skip(input, 1);
        let ends_record = is_line_end(byte);
        self.state = if ends_record {
            State::Record(0)
        } else {
            State::Cell
        };
        ends_record
    }

    fn skip(&mut self, input: &mut &[u8], length: usize) {
        let (skipped, rest) = input.split_at(length);
        self.lines.count(skipped);
        *input = rest;
    }

    /// Returns the number of the line that the next byte belongs to.
    fn line(&self) -> u64 {
        self.lines.ends + 1
    }

    fn malformed(&self, found: u8) -> String {
        let place = match self.line() {
            line if line == self.first_line => String::new(),
            line => format!(" in line {line}"),
        };
        let delimiter = match SEPARATORS.contains(&found) {
            true => format!(
                ", or --delimiter {} if that separates the cells",
                separator_name(found)
            ),
            false => String::new(),
        };
        format!("text follows the closing quote of a cell{place}: {REMEDY}{delimiter}")
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Counts lines that end in LF, CR or CRLF, in text that arrives in pieces.
#[derive(Clone, Copy, Debug, Default)]
struct LineCounter {
    ends: u64,
    last: Option<u8>,
}

impl LineCounter {
    fn count(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let is_rest_of_crlf = *byte == b'\n' && self.last == Some(b'\r');
            self.last = Some(*byte);
            self.ends += u64::from(is_line_end(*byte) && !is_rest_of_crlf);
        }
    }
}

#[cfg(test)]
mod tests;
