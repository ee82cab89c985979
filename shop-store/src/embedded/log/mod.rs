//! The log: records, positions and dead letters, in a file for each topic.

mod admin;
#[cfg(test)]
mod admin_test;
mod dead_letters;
#[expect(
    clippy::module_inception,
    reason = "the log itself, beside its ports and options as in every adapter"
)]
mod log;
#[cfg(test)]
mod log_test;
mod notifier;
mod options;
mod position;
mod resolution;
mod retention;
mod rows;
mod scan;
mod schema;
mod sink;
mod source;

pub use dead_letters::EmbeddedDeadLetters;
pub use log::EmbeddedLog;
pub use options::EmbeddedLogOptions;
pub use sink::EmbeddedSink;
pub use source::EmbeddedSource;
