//! An event in the document of its row.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, RawDocumentBuf, cstr, doc, rawdoc};
use mongodb::IndexModel;
use mongodb::options::IndexOptions;
use serde::Deserialize;
use shop_core::log::{Headers, LogRecord};
use shop_core::outbox::OutboxEntry;
use shop_core::{Bytes, Clock, Error, ErrorKind, Result, SystemClock, Timestamp};

use crate::mongo::error::mongo_error;

/// The number of an event, for an index that contains only documents with events.
pub(super) const NUMBER: &str = "outbox.number";

/// The sparse index of pending events.
pub(super) fn index() -> IndexModel {
    let options = IndexOptions::builder().sparse(true).build();
    IndexModel::builder().keys(doc! { NUMBER: 1 }).options(options).build()
}

/// Event `number` as a document.
pub(super) fn encode(number: i64, event: &LogRecord) -> RawDocumentBuf {
    let binary = |bytes: &Bytes| Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() };
    let time = DateTime::from_millis(SystemClock.now().as_millis());
    let mut document =
        rawdoc! { "number": number, "time": time, "headers": binary(event.headers.as_bytes()) };
    if let Some(key) = &event.key {
        document.append(cstr!("key"), binary(key));
    }
    if let Some(value) = &event.value {
        document.append(cstr!("value"), binary(value));
    }
    document
}

/// A document with pending events.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    #[serde(rename = "_id")]
    id: Bson,
    outbox: Vec<Event>,
}

#[derive(Debug, Deserialize)]
struct Event {
    number: i64,
    time: DateTime,
    key: Option<Binary>,
    headers: Binary,
    value: Option<Binary>,
}

impl Row {
    /// The events of the row.
    pub(super) fn entries(self) -> Result<Vec<OutboxEntry>> {
        self.outbox.into_iter().map(|event| event.entry(&self.id)).collect()
    }
}

impl Event {
    fn entry(self, row: &Bson) -> Result<OutboxEntry> {
        let bytes = |binary: Binary| Bytes::from(binary.bytes);
        let Self { number, time, key, headers, value } = self;
        let time = Timestamp::from_millis(time.timestamp_millis()).map_err(|error| unreadable(row, error))?;
        let headers = Headers::from_bytes(bytes(headers)).map_err(|error| unreadable(row, error))?;
        let record = LogRecord::new(0, Timestamp::MIN, value.map(bytes));
        Ok(OutboxEntry::new(number, time, record.with_key(key.map(bytes)).with_headers(headers)))
    }
}

/// The error for a document with an event that cannot be read.
pub(super) fn unreadable(row: &Bson, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = "the event in a document's member `outbox` cannot be read";
    mongo_error(ErrorKind::Corrupt, message).with_context("id", row).with_source(error)
}
