//! Messages, and the checks of those that arrive.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Version of the messages. It is the first byte of each of them.
const PROTOCOL: u8 = 1;

/// Maximum length of a message in bytes. Longer ones are refused.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Maximum length of a row in bytes.
pub const MAX_ROW_BYTES: usize = 64 << 10;

/// The region of a table and its version. The default is the position before the first version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The id of the region; 0 before the first version.
    pub region: u64,
    /// The number of the last commit.
    pub version: u64,
}

impl Position {
    /// Returns true if an exporter at this position has something for a copy at another one. An
    /// older position of the same region has nothing.
    pub(crate) fn is_news_for(self, copy: Position) -> bool {
        self.region != copy.region || self.version > copy.version
    }

    /// Returns the newest of two positions, or the default if their regions differ.
    pub(crate) fn newest(self, other: Self) -> Self {
        if self.region == other.region {
            Self { version: self.version.max(other.version), ..self }
        } else {
            Self::default()
        }
    }
}

/// The state of the origin's publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Publisher {
    /// The publisher is alive.
    Alive,
    /// The publisher died. The table keeps its last commit.
    Gone,
    /// The publisher closed the table.
    Closed,
}

impl Publisher {
    /// Returns the state as a word: `alive`, `gone` or `closed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Gone => "gone",
            Self::Closed => "closed",
        }
    }
}

/// The hint that a table has a version. Sent by the exporter after each commit and once a second.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// The number by which [short heads](crate::HeadEncoder) refer to this one; 0 if none do.
    pub number: u64,
    /// The position of the origin.
    pub position: Position,
    /// Number of publishers that the origin has had.
    pub epoch: u64,
    /// Number of rows.
    pub rows: u64,
    /// The state of the publisher.
    pub publisher: Publisher,
    /// Fingerprint of the schema.
    pub schema: u64,
    /// Time of the commit in nanoseconds since 1970, by the clock of the exporter's host; 0 if it is
    /// unknown. Only for display.
    pub committed_ns: u64,
    /// The slots that were written since an earlier version, if they are few.
    pub delta: Option<Delta>,
}

/// The slots that were written since a version, as of the head's position.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Delta {
    /// The version, in the same region.
    pub from: u64,
    /// The slots.
    pub entries: Entries,
}

/// Slots of the origin and their rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entries {
    /// Slots whose row was deleted.
    pub deleted: Vec<u32>,
    /// Slots that hold a row, in the order of `rows`.
    pub slots: Vec<u32>,
    /// The rows, without gaps.
    #[serde(with = "serde_bytes")]
    pub rows: Vec<u8>,
}

impl Entries {
    /// Returns the number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.deleted.len() + self.slots.len()
    }

    /// Returns true if there are no slots.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if each slot with a row has `row_bytes` bytes.
    pub(crate) fn fits(&self, row_bytes: usize) -> bool {
        self.slots.len().checked_mul(row_bytes) == Some(self.rows.len())
    }
}

/// Requests the slots that were written since a position, or a range of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    /// The position of the importer.
    pub since: Position,
    /// True if the importer's copy cannot have had a newer version of a region than an answer with
    /// all rows that the exporter keeps. False if the copy has rows of unknown position.
    pub accepts_older: bool,
    /// The number of the answer; 0 requests a new answer.
    pub answer: u64,
    /// The first entry of the range.
    pub first: u64,
    /// Maximum number of entries; 0 leaves the number to the exporter.
    pub count: u32,
}

/// The reply to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// A range of the answer.
    Piece(Piece),
    /// The exporter does not have the answer any more.
    Gone,
    /// The exporter cannot keep another answer now.
    Busy,
    /// The table cannot be read, and why.
    Failed(String),
}

/// A range of an answer: entries of all slots that were written between two positions. Deleted slots
/// come before those with a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Piece {
    /// The number of the answer.
    pub answer: u64,
    /// The version after which the slots were written, in the region of `to`; 0 if the answer has
    /// all rows of the table.
    pub from: u64,
    /// The position of the rows.
    pub to: Position,
    /// Number of publishers that the origin has had.
    pub epoch: u64,
    /// Fingerprint of the schema.
    pub fingerprint: u64,
    /// The schema, in the first piece of an answer with all rows.
    #[serde(with = "serde_bytes")]
    pub schema: Option<Vec<u8>>,
    /// Length of a row in bytes.
    pub row_bytes: u32,
    /// Number of entries of the answer.
    pub total: u64,
    /// Number of the first entry of this piece.
    pub first: u64,
    /// The entries.
    pub entries: Entries,
}

/// A message that is not one of this protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

impl Malformed {
    pub(crate) fn new(why: &str) -> Self {
        Self(why.to_owned())
    }
}

/// Encodes a message.
fn encode(message: &impl Serialize) -> Vec<u8> {
    // The messages have no maps and no types that the format cannot express.
    postcard::to_extend(message, vec![PROTOCOL]).unwrap_or_default()
}

fn decode<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> Result<M, Malformed> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(Malformed(format!("the message is longer than {MAX_MESSAGE_BYTES} bytes")));
    }
    match bytes.split_first() {
        Some((&PROTOCOL, message)) => match postcard::take_from_bytes(message) {
            Ok((message, [])) => Ok(message),
            Ok(_) => Err(Malformed("the message is too long".to_owned())),
            Err(error) => Err(Malformed(format!("the message is damaged: {error}"))),
        },
        Some((other, _)) => Err(Malformed(format!(
            "the other side uses version {other} of the messages, and this program version {PROTOCOL}: use the same release on both sides"
        ))),
        None => Err(Malformed("the message is empty".to_owned())),
    }
}

macro_rules! message {
    ($($type:ty),*) => {$(
        impl $type {
            /// Encodes the message.
            #[must_use]
            pub fn to_bytes(&self) -> Vec<u8> {
                encode(self)
            }

            /// Decodes a message.
            ///
            /// # Errors
            /// [`Malformed`], also for another version of the messages.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
                decode(bytes)
            }
        }
    )*};
}

message!(Head, Request, Reply);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_encoding() {
        let entries = Entries { deleted: vec![7, u32::MAX], slots: vec![1], rows: vec![1, 2, 3] };
        let position = Position { region: u64::MAX, version: 3 };
        let head = Head {
            number: 0,
            position,
            epoch: 1,
            rows: 2,
            publisher: Publisher::Gone,
            schema: 5,
            committed_ns: 6,
            delta: Some(Delta { from: 2, entries: entries.clone() }),
        };
        assert_eq!(Head::from_bytes(&head.to_bytes()), Ok(head));
        let request =
            Request { since: position, accepts_older: true, answer: 1, first: 2, count: 3 };
        assert_eq!(Request::from_bytes(&request.to_bytes()), Ok(request));
        let piece = Piece {
            answer: 1,
            from: 2,
            to: position,
            epoch: 3,
            fingerprint: 4,
            schema: Some(vec![5]),
            row_bytes: 3,
            total: 3,
            first: 0,
            entries,
        };
        for reply in [Reply::Piece(piece), Reply::Gone, Reply::Failed("why".to_owned())] {
            assert_eq!(Reply::from_bytes(&reply.to_bytes()), Ok(reply));
        }
    }

    #[test]
    fn damaged_messages_are_errors() {
        let since = Position::default();
        let request = Request { since, accepts_older: false, answer: 1, first: 2, count: 3 };
        let mut bytes = request.to_bytes();
        for length in 0..bytes.len() {
            assert!(Request::from_bytes(&bytes[..length]).is_err());
        }
        bytes.push(0);
        assert!(Request::from_bytes(&bytes).is_err());
        bytes.resize(MAX_MESSAGE_BYTES + 1, 0);
        assert!(Request::from_bytes(&bytes).unwrap_err().to_string().contains("longer"));
        bytes.truncate(1);
        bytes[0] = PROTOCOL + 1;
        let error = Request::from_bytes(&bytes).unwrap_err();
        assert!(error.to_string().contains("same release"), "{error}");
    }

    #[test]
    fn a_length_beyond_the_message_allocates_nothing() {
        // A reply with entries that claim 2^60 deleted slots.
        let mut bytes = Reply::Gone.to_bytes();
        bytes.truncate(1);
        bytes.extend([0, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0]);
        bytes.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
        assert!(Reply::from_bytes(&bytes).is_err());
    }
}
