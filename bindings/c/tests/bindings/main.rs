//! The header, and programs in C and C++ that use the installed library.

mod header;
mod installed;
mod readers;
