//! The protocol by which a copy of a table on another host follows its origin. Nothing here does
//! input or output: messages go in, and messages and updates come out.
//!
//! An *exporter* is next to the origin, the table that a publisher commits to. An *importer* keeps
//! a copy on another host.
//!
//! 1. After each commit, and once a second, the exporter sends a [`Head`]: the position of the
//!    origin, which is the id of its region and its version. A head may be lost.
//! 2. An importer that is behind sends a [`Request`] with its own position. The exporter replies
//!    with the slots that were written since, as of one version. If they do not fit into one
//!    [`Piece`], the exporter keeps the answer for a while, and the importer requests the remaining
//!    pieces, a few at a time.
//! 3. When the importer has all pieces, it returns one [`Update`], which its caller applies as one
//!    transaction.
//! 4. A head may carry a [`Delta`], the slots that were written since an earlier head. The importer
//!    applies it without a request if its own position is not older than the delta's beginning.
//!    Most of these heads are encoded in a [short form](HeadEncoder).
//!
//! A lost or late message makes the next step larger, and never leaves a gap.
//!
//! # Why a copy never goes back
//!
//! A head is only a hint. An importer has one request outstanding for an answer, and accepts only the
//! reply to that request, so an answer is as new as the request. One exception saves copies of large
//! tables: an exporter may give an answer with all rows, which it created for another importer
//! shortly before, to an importer that has nothing of this region and never had. Within a region,
//! versions also prove it: an answer or a delta below the position is refused. Clocks are never
//! compared.
//!
//! # Limits
//!
//! The exporter keeps no state of its importers. It keeps at most [`MAX_ANSWERS`] answers, which any
//! importer may request pieces of. Each message is at most [`MAX_MESSAGE_BYTES`] long. An importer
//! keeps the entries of one answer, whose number the caller limits, and a few deltas.

mod exporter;
mod importer;
mod message;
#[cfg(test)]
mod model;
mod mutant;
mod series;

pub use exporter::{Changes, Exporter, MAX_ANSWERS, Origin};
pub use importer::{Action, Importer, Update};
pub use message::{
    Delta, Entries, Head, MAX_MESSAGE_BYTES, MAX_ROW_BYTES, Malformed, Piece, Position, Publisher,
    Reply, Request,
};
pub use series::{HeadDecoder, HeadEncoder};

/// Returns a size, which is smaller in the model, so that its few small rows need several pieces and
/// reach every limit.
const fn sized(real: usize, in_model: usize) -> usize {
    if cfg!(test) { in_model } else { real }
}
