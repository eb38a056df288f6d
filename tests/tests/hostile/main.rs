//! Shared memory that is damaged, truncated, or attacked by another user.

mod damage;
mod truncation;
mod vandals;
