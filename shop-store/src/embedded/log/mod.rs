//! The embedded log: records, positions of groups and dead letters, in one file for each topic.
//!
//! | module | task |
//! |---|---|
//! | `log` | opens a log, and holds its options and the state that its handles share |
//! | `sink`, `publish` | append the records of purchases, and store the purchases in the same transaction |
//! | `source`, `position`, `gaps` | deliver records to a group, commit its position, and report lost records |
//! | `notifier` | wakes readers when records are appended |
//! | `port`, `scan` | read the log without a group, and administer it |
//! | `dead_letters` | stores records that cannot be processed, and their resolutions |
//! | `retention` | deletes old records |
//! | `rows`, `schema` | convert records to rows, and define the tables |

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
mod port;
mod position;
mod publish;
mod retention;
mod rows;
mod scan;
pub(super) mod schema;
mod sink;
mod source;

pub use log::{EmbeddedLog, EmbeddedLogOptions};
pub(super) use rows::read_content;
pub use sink::EmbeddedSink;
pub use source::EmbeddedSource;
