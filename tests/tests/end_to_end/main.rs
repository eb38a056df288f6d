//! Both programs as a user runs them: arguments, output, exit codes, sources, signals and services.

mod chain;
mod command_line;
mod command_source;
mod documented;
mod edit;
mod endings;
mod examples;
mod exit_codes;
mod expiry;
mod file_input;
mod file_signals;
mod files;
mod formats;
mod hz;
mod metrics;
mod named_pipe;
mod schema_changes;
mod service;
mod silence;
mod stdin_versions;
mod terminal;
mod top;
mod view_watch;
mod views;
mod watch_command;
mod watch_formats;
