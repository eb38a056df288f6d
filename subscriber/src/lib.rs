//! Reads and watches tables from the command line.

pub mod shell;
