//! The event of a row: the member `outbox` of its document until it is published.

use bson::spec::BinarySubtype;
use bson::{Binary, DateTime, RawDocumentBuf, cstr, doc, rawdoc};
use mongodb::IndexModel;
use mongodb::options::IndexOptions;
use shop_core::log::LogRecord;
use shop_core::{Bytes, Clock, SystemClock};

/// Repeats the row's number, for an index that contains only rows with a pending event.
pub(super) const NUMBER: &str = "outbox.number";

/// The sparse index of pending events.
pub(super) fn index() -> IndexModel {
    let options = IndexOptions::builder().sparse(true).build();
    IndexModel::builder().keys(doc! { NUMBER: 1 }).options(options).build()
}

/// Adds the event to the document of row `number`.
pub(super) fn with_event(mut row: RawDocumentBuf, number: i64, event: &LogRecord) -> RawDocumentBuf {
    let binary = |bytes: &Bytes| Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() };
    let time = DateTime::from_millis(SystemClock.now().as_millis());
    let mut entry = rawdoc! { "number": number, "time": time, "headers": binary(event.headers.as_bytes()) };
    if let Some(key) = &event.key {
        entry.append(cstr!("key"), binary(key));
    }
    if let Some(value) = &event.value {
        entry.append(cstr!("value"), binary(value));
    }
    row.append(cstr!("outbox"), entry);
    row
}
