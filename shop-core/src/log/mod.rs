//! The log: raw records of any kind, where they are appended, where they are read, and where those go that can
//! never be stored.

mod dead_letters;
mod forward;
mod headers;
mod reason;
mod record;
mod resolution;
mod source;
mod writer;

#[cfg(feature = "mock")]
pub use dead_letters::MockDeadLetters;
pub use dead_letters::{DeadLetter, DeadLetters};
pub use headers::{Headers, HeadersBuilder, InvalidHeaders};
pub use reason::{Reason, ReasonKind};
pub use record::{LogRecord, RecordPosition};
pub use resolution::{DeadLetterState, InvalidPlace, Place, Resolution, ResolvedDeadLetter};
#[cfg(feature = "mock")]
pub use source::MockLogSource;
pub use source::{
    Batch, CommitOffset, CommitOutcome, ControlEvent, Lag, LogSource, Partition, Revocation, RevocationCause,
    SourceEvent,
};
pub use writer::LogWriter;
#[cfg(feature = "mock")]
pub use writer::MockLogWriter;
