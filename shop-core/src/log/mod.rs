//! The log: its records, and the ports to append, read, dead-letter and administer them.

mod admin;
mod dead_letters;
mod gap;
mod headers;
mod identity;
mod port;
mod positions;
mod reason;
mod record;
mod resolve;
mod source;
mod tail;

pub use admin::LogAdmin;
#[cfg(feature = "mock")]
pub use admin::MockLogAdmin;
#[cfg(feature = "mock")]
pub use dead_letters::MockDeadLetters;
pub use dead_letters::{
    DeadLetter, DeadLetterFilter, DeadLetterState, DeadLetters, Resolution, ResolvedDeadLetter,
};
pub use gap::{CUT, Gap, GapCause};
pub use headers::{Headers, HeadersBuilder, InvalidHeaders};
pub use identity::{RecordId, RecordType};
pub use port::{Log, LogWriter, LogWriterExt};
#[cfg(feature = "mock")]
pub use port::{MockLog, MockLogWriter};
pub(crate) use positions::follow_positions;
pub use reason::{Reason, ReasonKind};
pub use record::{LogRecord, RecordPosition};
#[cfg(feature = "mock")]
pub use source::MockLogSource;
pub use source::{
    Batch, CommitOffset, CommitOutcome, ControlEvent, Lag, LogSource, Partition, Revocation,
    RevocationCause, SourceEvent,
};
pub use tail::{Offsets, Tail};
#[doc(hidden)]
pub use {
    admin::{GroupPosition, LogAdminExt, LogUsage},
    positions::{GroupPositions, IngestPositions},
    resolve::{ResolveOptions, resolve},
};
