//! Processes that are killed or stopped: takeover, orphans and sweeps, and death at every
//! instruction of a publisher.

mod instructions;
mod orphans;
mod soak;
mod stopped;
mod sweep;
mod takeover;
