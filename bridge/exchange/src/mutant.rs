//! Checks that the model leaves out, one at a time, to show that it would notice.

/// A check of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Check {
    /// A delta applies only to a position that is not before its beginning.
    DeltaBegins = 1,
    /// A delta applies only to its own region.
    DeltaRegion,
    /// Only the reply to an outstanding request counts.
    Outstanding,
    /// All pieces are of one answer.
    OneAnswer,
    /// An update has all pieces.
    AllPieces,
    /// An answer is not older than the copy.
    NotBack,
    /// The exporter returns pieces only of the answer that was requested.
    Kept,
    /// The exporter reuses an answer only for the region that the table has now.
    ReusedRegion,
    /// A head that arrives during a request leads to another request.
    NewsAgain,
    /// A request that failed is repeated.
    RetryFailed,
}

#[cfg(test)]
pub(crate) static LEFT_OUT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Returns true if the condition holds, or if the model leaves the check out.
#[inline]
pub(crate) fn holds(check: Check, condition: bool) -> bool {
    condition || is_left_out(check)
}

#[cfg(test)]
fn is_left_out(check: Check) -> bool {
    LEFT_OUT.load(std::sync::atomic::Ordering::Relaxed) == check as u8
}

#[cfg(not(test))]
#[inline]
fn is_left_out(_: Check) -> bool {
    false
}
