//! Lookups of single records in the store: is the purchase of a record stored as it was published?

use crate::log::{LogRecord, RecordId, RecordPosition};
use crate::ports::{
    ListOrder, Lookup, PageLimit, PageRequest, PurchaseQuery, Selector, TimeRange,
    read_with_retries,
};
use crate::record::header;
use crate::{Purchase, PurchaseId, Result, Timestamp};

/// A record that is looked up in the store.
#[derive(Debug)]
pub(super) struct PendingRecord {
    pub(super) record_id: RecordId,
    pub(super) position: RecordPosition,
    /// The id of the purchase, or the id of the record if the record does not decode.
    pub(super) id: PurchaseId,
    /// The purchase in the record; `None` if the record does not decode.
    pub(super) purchase: Option<Purchase>,
    /// Whether the id is stored with other content.
    pub(super) differs: bool,
    /// Whether the record carries no id, as another program wrote it.
    pub(super) is_foreign: bool,
}

/// The result of a lookup of one record in the store.
pub(super) enum RecordVerdict {
    /// The store contains the purchase with the same content.
    Stored(Purchase),
    /// The store contains the purchase twice: under its id, and under an `ObjectId` of another
    /// consumer.
    StoredTwice(PurchaseId),
    /// The store contains the purchase only under an `ObjectId` of another consumer.
    StoredByOther,
    /// The store contains a mark that the purchase was erased.
    Erased,
    /// The store does not contain the purchase, which is older than the retention.
    Expired,
    /// The store contains the refund, which waits for its purchase.
    Waiting,
    /// The store does not contain the purchase, or contains its id with other content; or the
    /// record does not decode.
    NotFound(PendingRecord),
}

/// Looks up the purchase of `record` in the store, and decides whether it is stored as published.
///
/// The store may have deleted purchases whose time is before `retained_from`. The look-ups are
/// retried after transient errors.
///
/// # Errors
/// Returns the errors of the store; transient errors only if they last for about half a minute.
pub(super) async fn look_up_record(
    query: &dyn PurchaseQuery,
    retained_from: Option<Timestamp>,
    mut record: PendingRecord,
) -> Result<RecordVerdict> {
    let Some(purchase) = &record.purchase else {
        return Ok(RecordVerdict::NotFound(record));
    };
    match read_with_retries(|| query.look_up(&purchase.id)).await? {
        Lookup::Stored(stored) if stored.same_content(purchase) => {
            if record.is_foreign && is_stored_by_other(query, purchase).await? {
                return Ok(RecordVerdict::StoredTwice(record.id));
            }
            return Ok(RecordVerdict::Stored(stored));
        }
        // The id belongs to a purchase with other content. The record stays pending, because its
        // dead letter may still be on its way.
        Lookup::Stored(_) => record.differs = true,
        Lookup::Erased => return Ok(RecordVerdict::Erased),
        Lookup::Waiting(_) => return Ok(RecordVerdict::Waiting),
        Lookup::Missing => {
            record.differs = false;
            if record.is_foreign && is_stored_by_other(query, purchase).await? {
                return Ok(RecordVerdict::StoredByOther);
            }
            let may_be_deleted =
                retained_from.is_some_and(|first_time| purchase.timestamp < first_time);
            if may_be_deleted {
                return Ok(RecordVerdict::Expired);
            }
        }
    }
    Ok(RecordVerdict::NotFound(record))
}

/// Checks whether `record` carries the id of its purchase, under which [ingest](crate::ingest)
/// stores it.
///
/// The records of other programs carry none.
pub(super) fn has_id(record: &LogRecord) -> bool {
    record.headers.contains(header::PURCHASE_ID)
}

/// Checks whether another consumer of the topic stored `purchase`: whether the store contains a
/// purchase with the same content and time under an `ObjectId`.
///
/// # Errors
/// Returns the errors of the store; transient errors only if they last for about half a minute.
pub(super) async fn is_stored_by_other(
    query: &dyn PurchaseQuery,
    purchase: &Purchase,
) -> Result<bool> {
    // The range contains the millisecond of the purchase, and no other one.
    let end = Timestamp::from_millis(purchase.timestamp.as_millis() + 1).ok();
    let range = TimeRange::new(Some(purchase.timestamp), end)?;
    let request = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX).with_range(range);
    let selector = Selector::User(purchase.user_id.clone());
    let page = read_with_retries(|| query.page(&selector, &request)).await?;

    Ok(page
        .items
        .iter()
        .any(|other| other.id.as_object_id().is_some() && other.same_content(purchase)))
}
