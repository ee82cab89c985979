//! The log: its records, and the ports that append, read, dead-letter and administer them.
//!
//! | port | task |
//! |---|---|
//! | [`Log`] | gives access to the other ports of one topic |
//! | [`LogWriter`] | appends records |
//! | [`LogSource`] | reads records as a member of a consumer group, and commits the group's positions |
//! | [`DeadLetters`] | stores the records that can never be processed |
//! | [`LogAdmin`] | reads the log outside of any group, and resolves dead letters |
//! | [`LogGroups`] | manages the consumer groups, if the log keeps them itself |
//!
//! Kafka, the embedded log and the log in memory implement these ports.

mod admin;
mod dead_letters;
mod gap;
mod groups;
mod headers;
mod identity;
mod port;
mod reason;
mod record;
mod resolve;
mod source;
mod tail;

pub(crate) use tail::follow_positions;
#[doc(hidden)]
pub use {
    admin::LogAdminExt,
    groups::{GroupPosition, LogUsage},
    resolve::resolve,
    tail::{GroupPositions, IngestPositions},
};
#[cfg(feature = "mock")]
pub use {
    admin::MockLogAdmin,
    dead_letters::MockDeadLetters,
    groups::MockLogGroups,
    port::{MockLog, MockLogWriter},
    source::MockLogSource,
};
pub use {
    admin::{LogAdmin, LogFaults},
    dead_letters::{
        DeadLetter, DeadLetterFilter, DeadLetterState, DeadLetters, Resolution, ResolvedDeadLetter,
    },
    gap::{CUT_HEADER, Gap, GapCause},
    groups::LogGroups,
    headers::{Headers, HeadersBuilder, InvalidHeaders},
    identity::{RecordId, RecordType},
    port::{Log, LogWriter, LogWriterExt},
    reason::{Reason, ReasonKind},
    record::{LogRecord, RecordPosition},
    resolve::ResolveOptions,
    source::{
        Batch, CommitOffset, CommitOutcome, ControlEvent, Lag, LogSource, Partition, Revocation,
        RevocationCause, SourceEvent,
    },
    tail::{LogTail, Offsets},
};
