//! The traits of typed records: [`Record`] for what ingest reads, [`Event`] for what a service
//! publishes.
//!
//! [`Purchase`] implements [`Record`]. A type that implements [`JsonEvent`] is an [`Event`] and a
//! [`Record`] without further code.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{DecodeError, SCHEMA_VERSION, decode, header};
use crate::domain::RecordOrigin;
use crate::log::{Headers, LogRecord, Partition, RecordType};
use crate::{Error, ErrorKind, Purchase, RequestContext, Result, Timestamp};

/// The record type of a topic: a [`Purchase`], an [`Event`], or a record of your own.
///
/// A record of your own, in JSON:
///
/// ```
/// use serde::Deserialize;
/// use shop_core::Timestamp;
/// use shop_core::log::{LogRecord, Partition, RecordType};
/// use shop_core::record::{DecodeError, Record};
///
/// #[derive(Debug, Clone, Deserialize)]
/// struct Refund {
///     order: String,
///     amount: String,
/// }
///
/// impl Record for Refund {
///     const TYPE: RecordType = RecordType::new("refund");
///
///     fn decode(record: &LogRecord, _partition: &Partition) -> Result<Self, DecodeError> {
///         let value = record.value.as_deref().ok_or(DecodeError::Empty)?;
///         serde_json::from_slice(value).map_err(|error| DecodeError::NotAnEvent(error.to_string()))
///     }
///
///     fn id(&self) -> Option<String> {
///         Some(self.order.clone())
///     }
/// }
///
/// let value = r#"{"order": "order-7", "amount": "29.99"}"#;
/// let record = LogRecord::new(0, Timestamp::MIN, Some(value.into()));
/// let partition = Partition::new("cluster".into(), "refunds".into(), 0, 0);
/// let refund = Refund::decode(&record, &partition)?;
/// assert_eq!((refund.order.as_str(), refund.amount.as_str()), ("order-7", "29.99"));
/// # Ok::<(), DecodeError>(())
/// ```
///
/// An [`Ingest`](crate::ingest::Ingest) reads such records from a log, and applies them to a
/// [`RecordStore`](crate::ports::RecordStore) for their type.
pub trait Record: Debug + Clone + Send + Sync + 'static {
    /// The name of one record in messages, and the header with its id, if there is one.
    const TYPE: RecordType = RecordType::new("record");

    /// Decodes `record`, which was read from `partition`.
    ///
    /// [`Ingest`](crate::ingest::Ingest) calls this for every record. A record that does not decode
    /// becomes a dead letter.
    ///
    /// # Errors
    /// [`DecodeError`] if the record is not of this type. Retrying is pointless.
    fn decode(record: &LogRecord, partition: &Partition) -> Result<Self, DecodeError>;

    /// Returns the id by which operators know this record, or `None` (the default) if there is
    /// none.
    fn id(&self) -> Option<String> {
        None
    }
}

/// A record that a service publishes about one of its rows, for other services.
///
/// An event has an identity, so consuming it twice changes nothing.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use shop_core::log::{LogRecord, Partition};
/// use shop_core::memory::InMemoryLog;
/// use shop_core::record::{DecodeError, Event, Record};
/// use shop_core::{Error, ErrorKind, Timestamp};
///
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// struct Refund {
///     order: String,
/// }
///
/// impl Record for Refund {
///     fn decode(record: &LogRecord, _partition: &Partition) -> Result<Self, DecodeError> {
///         let value = record.value.as_deref().ok_or(DecodeError::Empty)?;
///         serde_json::from_slice(value).map_err(|error| DecodeError::NotAnEvent(error.to_string()))
///     }
/// }
///
/// impl Event for Refund {
///     const TOPIC: &'static str = "refunds";
///
///     fn encode(&self) -> shop_core::Result<LogRecord> {
///         let value = serde_json::to_vec(self)
///             .map_err(|error| Error::new(ErrorKind::Internal, "not JSON").with_source(error))?;
///         // Records with one key are in one partition, in order.
///         let key = self.order.clone().into_bytes();
///         Ok(LogRecord::new(0, Timestamp::MIN, Some(value.into())).with_key(Some(key.into())))
///     }
/// }
///
/// let log = InMemoryLog::default();
/// let position = log.append(Refund { order: "order-7".to_owned() }.encode()?);
/// assert_eq!(position.offset, 0);
/// # Ok::<(), Error>(())
/// ```
///
/// To publish an event exactly when its row is written, use an outbox of `shop-accounts`.
pub trait Event: Record {
    /// The name of the topic that contains these events.
    const TOPIC: &'static str;

    /// Encodes this event as a record. The log assigns offset and timestamp when it appends the
    /// record.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) if the event cannot be encoded, which would be a
    /// defect.
    fn encode(&self) -> Result<LogRecord>;
}

/// An [`Event`] whose value is JSON, as serde writes it.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use shop_core::log::LogExt;
/// use shop_core::memory::InMemoryLog;
/// use shop_core::record::JsonEvent;
///
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// struct Refund {
///     order: String,
///     amount: String,
/// }
///
/// impl JsonEvent for Refund {
///     const TOPIC: &'static str = "refunds";
///
///     fn key(&self) -> String {
///         self.order.clone()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shop_core::Result<()> {
/// let log = InMemoryLog::default();
/// log.publish(&Refund { order: "order-7".to_owned(), amount: "29.99".to_owned() }).await?;
/// # use shop_core::log::{LogSource, SourceEvent};
/// # let SourceEvent::Batch(batch) = log.source("group").next().await? else { unreachable!() };
/// # assert_eq!(batch.records[0].key.as_deref(), Some(&b"order-7"[..]));
/// # Ok(())
/// # }
/// ```
pub trait JsonEvent: Serialize + DeserializeOwned + Debug + Clone + Send + Sync + 'static {
    /// The name of the topic that contains these events.
    const TOPIC: &'static str;
    /// The name of one event in messages: see [`Record::TYPE`].
    const TYPE: RecordType = RecordType::new("event");

    /// Returns the identity of the event for operators, which is also the key of its record. A log
    /// keeps records of one key in order.
    fn key(&self) -> String;
}

impl<T: JsonEvent> Record for T {
    const TYPE: RecordType = <T as JsonEvent>::TYPE;

    fn decode(record: &LogRecord, _partition: &Partition) -> Result<Self, DecodeError> {
        decode_event(record)
    }

    fn id(&self) -> Option<String> {
        Some(self.key())
    }
}

impl<T: JsonEvent> Event for T {
    const TOPIC: &'static str = <T as JsonEvent>::TOPIC;

    fn encode(&self) -> Result<LogRecord> {
        encode_event(self.key(), self)
    }
}

impl Record for Purchase {
    const TYPE: RecordType = RecordType::new("purchase").with_id_header(header::PURCHASE_ID);

    /// Decodes a purchase or a refund.
    ///
    /// A refund carries the position of its record in its context. It may wait in the store for its
    /// purchase, and become a dead letter long after the position of its group passed that record.
    fn decode(record: &LogRecord, partition: &Partition) -> Result<Self, DecodeError> {
        let mut purchase = decode(record, partition)?;
        if purchase.is_refund() {
            let origin = RecordOrigin::new(
                Arc::clone(&partition.cluster),
                Arc::clone(&partition.topic),
                partition.index,
                record.offset,
                record.time,
            );
            purchase.context = Some(Box::new(RequestContext::from_origin(origin)));
        }
        Ok(purchase)
    }

    fn id(&self) -> Option<String> {
        Some(self.id.to_string())
    }
}

/// Encodes an event with `body` as JSON, in a record with `key` and the schema header.
///
/// # Errors
/// [`Internal`](ErrorKind::Internal) if `body` cannot be written as JSON.
pub fn encode_event(key: impl Display, body: &impl Serialize) -> Result<LogRecord> {
    let value = serde_json::to_vec(body).map_err(|error| {
        Error::new(ErrorKind::Internal, "an event could not be written as JSON").with_source(error)
    })?;
    let headers = Headers::builder().with(header::SCHEMA, Some(SCHEMA_VERSION.as_bytes()));
    // The offset and the timestamp are placeholders, which the log replaces.
    Ok(LogRecord::new(0, Timestamp::MIN, Some(value.into()))
        .with_key(Some(key.to_string().into()))
        .with_headers(headers.build()))
}

/// Decodes the body of an event from the JSON value of `record`.
///
/// A record without a schema header is accepted, because another producer may have written it.
///
/// # Errors
/// - [`DecodeError::Empty`] if the record has no value
/// - [`DecodeError::UnknownSchema`] if the record states another schema version than
///   [`SCHEMA_VERSION`]
/// - [`DecodeError::NotAnEvent`] if the value is not the JSON of a `B`
pub fn decode_event<'a, B: Deserialize<'a>>(record: &'a LogRecord) -> Result<B, DecodeError> {
    let value = record.value.as_deref().ok_or(DecodeError::Empty)?;
    if let Some(version) = record.headers.get(header::SCHEMA)
        && version != SCHEMA_VERSION.as_bytes()
    {
        return Err(DecodeError::UnknownSchema(
            String::from_utf8_lossy(version).into_owned(),
        ));
    }
    serde_json::from_slice(value).map_err(|error| DecodeError::NotAnEvent(error.to_string()))
}
