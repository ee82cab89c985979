//! Typed records.

use std::fmt::Debug;

use super::{DecodeError, decode, header};
use crate::log::{LogRecord, Partition, RecordType};
use crate::{Purchase, Result, Timestamp};

/// The record type of a topic: a [`Purchase`] or an [`Event`].
pub trait Record: Debug + Clone + Send + Sync + 'static {
    /// The name of one record in messages, and its id header, if any.
    const TYPE: RecordType = RecordType::new("record");

    /// Decodes `record`, which is in `partition`.
    ///
    /// # Errors
    /// [`DecodeError`] when the record is not of this type. Retrying is pointless.
    fn decode(record: &LogRecord, partition: &Partition) -> Result<Self, DecodeError>;

    /// When it happened, if the record states that.
    fn event_time(&self) -> Option<Timestamp> {
        None
    }

    /// Its id for operators, if it has one.
    fn id(&self) -> Option<String> {
        None
    }
}

/// A record that a service publishes about one of its rows, for other services.
///
/// An event has an identity, so consuming it twice changes nothing.
pub trait Event: Record {
    /// The topic of these events.
    const TOPIC: &'static str;

    /// Encodes this event. The log assigns offset and timestamp.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) when it cannot be encoded, which would be a defect.
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
