//! Reproducible random numbers for unit tests.

/// Returns the next number below `bound` (Marsaglia's xorshift64). `state` must not be zero.
pub fn random(state: &mut u64, bound: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % bound
}
