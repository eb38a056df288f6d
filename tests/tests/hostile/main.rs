//! Shared memory that is damaged, cut short, or attacked by a neighbour.

mod damage;
mod truncation;
mod vandals;
