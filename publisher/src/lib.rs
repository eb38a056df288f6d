//! Publishes tables from the command line.
