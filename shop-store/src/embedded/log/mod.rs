//! The embedded log: records, group positions and dead letters, one file for each topic.

mod admin;
#[cfg(test)]
mod admin_test;
mod dead_letters;
mod gaps;
#[expect(
    clippy::module_inception,
    reason = "the same file names as in the other adapters"
)]
mod log;
#[cfg(test)]
mod log_test;
mod notifier;
mod options;
mod position;
mod publish;
mod retention;
mod rows;
mod scan;
pub(super) mod schema;
mod shared;
mod sink;
mod source;

pub use dead_letters::EmbeddedDeadLetters;
pub use log::EmbeddedLog;
pub use options::EmbeddedLogOptions;
pub(super) use publish::{PublishJob, publish_jobs};
pub(super) use rows::content;
pub use sink::EmbeddedSink;
pub use source::EmbeddedSource;
