//! The header, and programs in C and C++ that use the installed library.

mod examples;
mod header;
mod installed;
mod readers;
