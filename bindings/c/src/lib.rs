//! Readers and subscribers for C: thin views over the untyped ones of `common`.
//!
//! The documentation of each exported item is also its comment in `include/tablecast.h`, which a
//! test generates from this crate and compares. So it is written for programmers of C, and the
//! sections about safety that Rust expects are missing: the header says what each pointer must be.
//!
//! `call.rs` has the rules for all functions: panics and errors become numbers, arguments are
//! checked, and handles are refused in a forked child. A function that would need exclusive access
//! while another thread uses the handle returns an error.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod call;
mod reader;
mod schema;
mod snapshot;
mod subscriber;
