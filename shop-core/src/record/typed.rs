//! Records that say something: the types that a topic may hold.

use std::fmt::Debug;

use super::{DecodeError, decode, header};
use crate::log::{LogRecord, Partition, RecordType};
use crate::{Purchase, Result, Timestamp};

/// What the records of one topic say: a [`Purchase`], or an [`Event`].
pub trait Record: Debug + Clone + Send + Sync + 'static {
    /// What they are called in texts, and the header with their id if they have one.
    const TYPE: RecordType = RecordType::new("record");

    /// What `record` says, which stands in `partition`.
    ///
    /// # Errors
    /// [`DecodeError`] when it says no such thing; decoding it again will not change that.
    fn decode(record: &LogRecord, partition: &Partition) -> Result<Self, DecodeError>;

    /// When it came to be, if it tells.
    fn event_time(&self) -> Option<Timestamp> {
        None
    }

    /// The id of what it says, for operators, if it has one.
    fn id(&self) -> Option<String> {
        None
    }
}

/// A record that one service writes beside a row of its own, for others to hear of it.
///
/// An event has an identity of its own, so that hearing of it twice changes nothing.
pub trait Event: Record {
    /// The topic of such events.
    const TOPIC: &'static str;

    /// The record of this event; the log sets its offset and time.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) if it has no JSON, which would be a defect.
    fn encode(&self) -> Result<LogRecord>;
}

impl Record for Purchase {
    const TYPE: RecordType = RecordType::new("purchase")
        .with_id_header(header::PURCHASE_ID, |value| super::decode::read_id(value).map(|id| id.to_string()));

    fn decode(record: &LogRecord, partition: &Partition) -> Result<Self, DecodeError> {
        decode(record, partition)
    }

    fn event_time(&self) -> Option<Timestamp> {
        Some(self.timestamp)
    }

    fn id(&self) -> Option<String> {
        Some(self.id.to_string())
    }
}
