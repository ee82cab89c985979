//! The log: its records, and the ports that append, read, dead-letter and administer them.
//!
//! | port | task |
//! |---|---|
//! | [`Log`] | appends, scans and finds the records of one topic, and keeps its dead letters |
//! | [`LogSource`] | reads records as a member of a consumer group, and commits the group's positions |
//!
//! What only some logs can do, [`LogInfo`] contains:
//!
//! | port | task |
//! |---|---|
//! | [`GroupMembers`] | reports the members of a consumer group |
//! | [`LogGroups`] | manages the consumer groups, if the log keeps them itself |
//! | [`RecordEraser`] | erases single records |
//!
//! Kafka, the embedded log and the log in memory implement these ports.

mod dead_letters;
mod ext;
mod gap;
mod groups;
mod headers;
mod identity;
mod info;
mod port;
mod positions;
mod reason;
mod record;
mod resolve;
mod scan;
mod source;

pub(crate) use positions::follow_positions;
pub use {
    dead_letters::{DeadLetter, DeadLetterFilter, DeadLetterState, Resolution, ResolvedDeadLetter},
    ext::LogExt,
    gap::{CUT_HEADER, Gap, GapCause},
    groups::LogGroups,
    headers::{Headers, HeadersBuilder, InvalidHeaders},
    identity::{RecordId, RecordType},
    info::{GroupMembers, LogFaults, LogInfo, RecordEraser},
    port::Log,
    reason::{Reason, ReasonKind},
    record::{LogRecord, RecordPosition},
    resolve::ResolveOptions,
    scan::{LogScan, Offsets, ScanEnd},
    source::{
        Batch, CommitOffset, CommitOutcome, ControlEvent, Lag, LogSource, Partition, Revocation,
        RevocationCause, SourceEvent,
    },
};
#[cfg(feature = "mock")]
pub use {groups::MockLogGroups, port::MockLog, source::MockLogSource};
pub use {
    groups::{GroupPosition, LogUsage},
    positions::{GroupPositions, IngestPositions},
    resolve::resolve,
};
