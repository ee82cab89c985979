//! Keyset pagination over two ranges: documents with a date, ordered by (timestamp, _id), then documents without a
//! date, ordered by `_id`. The replaced systems wrote the latter. `migrate` empties the second range, except for dates
//! that are not valid for a purchase.

use async_trait::async_trait;
use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use mongodb::options::FindOptions;
use shop_core::ports::{
    Bucket, Cursor, ListOrder, Lookup, Page, PageRequest, PurchaseQuery, ScanBatch, ScanPosition, Selector,
    Summary, TimeRange, TotalsRequest,
};
use shop_core::{ErrorKind, Purchase, PurchaseId, Result, Timestamp};
use tokio::time::Instant;

use super::error::mongo_error;
use super::{MongoStore, document, erase, scan, totals};

/// A position in one of the two ranges: after the document with this time and id, or at the start.
#[derive(Debug)]
pub(super) enum RangePosition {
    /// In the range of documents with a date.
    Dated(Option<(DateTime, Bson)>),
    /// In the range of documents without a date.
    Undated(Option<Bson>),
}

/// Minimum number of documents of a query: many unreadable documents then need few queries.
const MIN_BATCH: usize = 100;

#[async_trait]
impl PurchaseQuery for MongoStore {
    /// A range does not include documents without a date, see [`migrate`](Self::migrate).
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let (connection, order, limit) = (&self.connection, request.order, request.limit.get());
        let deadline = Instant::now() + connection.options.query_timeout;
        let mut place = Some(start(selector, request)?);
        let mut found = Vec::with_capacity(limit + 1);
        while let Some(from) = place.take().filter(|_| found.len() <= limit) {
            let wanted = (limit + 1 - found.len()).max(MIN_BATCH);
            let (filter, sort) = query(selector, request, &from);
            let time = deadline.saturating_duration_since(Instant::now());
            let options = FindOptions::builder().sort(sort).limit(wanted as i64).max_time(time).build();
            let documents = connection.find(&connection.collection, &filter, options).await?;
            let is_last = documents.len() < wanted;
            let readable = documents.iter().filter_map(|document| connection.unreadables.purchase(document));
            found.extend(readable.map(|purchase| listed(purchase, &from, order)));
            place = following(&from, documents.last().filter(|_| !is_last));
            // Without a date a document is in no range of time.
            place = place
                .filter(|place| request.range == TimeRange::ALL || matches!(place, RangePosition::Dated(_)));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(_, last)| Cursor::after(selector, request, last));
        Ok(Page::new(found.into_iter().map(|(purchase, _)| purchase).collect(), next))
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        let buckets = self.totals(selector, &TotalsRequest::default()).await?;
        Ok(buckets.first().map(|bucket| bucket.summary).unwrap_or_default())
    }

    /// A range does not include documents without a date, see [`migrate`](Self::migrate).
    async fn totals(&self, selector: &Selector, request: &TotalsRequest) -> Result<Vec<Bucket>> {
        totals::per_period(&self.connection, selector, request).await
    }

    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        Ok(self.look_up(id).await?.stored())
    }

    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        let filter = doc! { "_id": document::id_value(id) };
        let options = FindOptions::builder().limit(1).build();
        match self.connection.find(&self.connection.on_primary(), &filter, options).await?.pop() {
            None => Ok(Lookup::Missing),
            Some(document) if erase::is_mark(&document) => Ok(Lookup::Erased),
            Some(document) => document::purchase(&document).map(Lookup::Stored).map_err(|error| {
                mongo_error(ErrorKind::Corrupt, "the document with this id is not a purchase")
                    .with_context("id", id)
                    .with_source(error)
            }),
        }
    }

    /// The replaced systems wrote numeric names as numbers, which are not found.
    async fn next_name(&self, from: &str) -> Result<Option<String>> {
        let options = FindOptions::builder().sort(doc! { "username": 1 }).limit(1);
        let options = options.projection(doc! { "_id": 0, "username": 1 }).build();
        let filter = doc! { "username": { "$gte": from } };
        let found = self.connection.find(&self.connection.collection, &filter, options).await?;
        Ok(found.first().and_then(|found| found.get_str("username").ok()).map(str::to_owned))
    }

    async fn scan_batch(&self, after: Option<&ScanPosition>) -> Result<ScanBatch> {
        scan::batch(&self.connection, after).await
    }

    async fn check_reads(&self) -> Result<()> {
        self.connection.ping().await
    }
}

/// The timestamp that marks cursors of the second range. Documents with this date are in the second range too.
const fn undated_timestamp(order: ListOrder) -> Timestamp {
    match order {
        ListOrder::OldestFirst => Timestamp::MAX,
        _ => Timestamp::MIN,
    }
}

/// Returns the start of a page.
pub(super) fn start(selector: &Selector, request: &PageRequest) -> Result<RangePosition> {
    let Some(last) = request.bounds(selector)?.after else { return Ok(RangePosition::Dated(None)) };
    let id = document::id_value(&last.id);
    Ok(if request.range == TimeRange::ALL && last.timestamp == undated_timestamp(request.order) {
        RangePosition::Undated(Some(id))
    } else {
        RangePosition::Dated(Some((date(last.timestamp), id)))
    })
}

/// Returns the next position: after `last`, or at the start of the next range.
fn following(from: &RangePosition, last: Option<&RawDocumentBuf>) -> Option<RangePosition> {
    let (time, id) = last.map(|last| document::sort_key(last)).unwrap_or_default();
    match from {
        RangePosition::Dated(_) => {
            let behind_last = time.zip(id);
            Some(if behind_last.is_some() {
                RangePosition::Dated(behind_last)
            } else {
                RangePosition::Undated(None)
            })
        }
        RangePosition::Undated(_) => id.map(|id| RangePosition::Undated(Some(id))),
    }
}

/// Returns the purchase, and the purchase from which its cursor is created.
fn listed(purchase: Purchase, from: &RangePosition, order: ListOrder) -> (Purchase, Purchase) {
    let mut last = purchase.clone();
    if matches!(from, RangePosition::Undated(_)) {
        last.timestamp = undated_timestamp(order);
    }
    (purchase, last)
}

/// Returns the filter and the sort order for one range.
pub(super) fn query(
    selector: &Selector,
    request: &PageRequest,
    from: &RangePosition,
) -> (Document, Document) {
    let order = request.order;
    let (direction, operator) = match order {
        ListOrder::OldestFirst => (1, "$gt"),
        _ => (-1, "$lt"),
    };
    let mut all = vec![selector_filter(selector)];
    let sort = match from {
        RangePosition::Dated(after) => {
            all.push(doc! { "timestamp": dates(order, request.range) });
            if let Some((time, id)) = after {
                // Redundant to the exact condition, but the index scan starts at this bound.
                let bound = if direction == 1 { "$gte" } else { "$lte" };
                let same = doc! { "$and": [{ "timestamp": *time }, after_id(id, operator)] };
                all.push(doc! { "timestamp": { bound: *time } });
                all.push(doc! { "$or": [{ "timestamp": { operator: *time } }, same] });
            }
            doc! { "timestamp": direction, "_id": direction }
        }
        RangePosition::Undated(after) => {
            all.extend([without_date(order), purchases_filter(), erase::no_mark()]);
            all.extend(after.iter().map(|id| after_id(id, operator)));
            doc! { "_id": direction }
        }
    };
    (doc! { "$and": all }, sort)
}

/// The condition of the first range: all valid dates but the one that marks the second range, or those of a listing with a
/// range of time. A comparison matches values of the same type only.
fn dates(order: ListOrder, range: TimeRange) -> Document {
    let (lowest, highest) = (date(Timestamp::MIN), date(Timestamp::MAX));
    match order {
        _ if range != TimeRange::ALL => dates_in(range),
        ListOrder::OldestFirst => doc! { "$gte": lowest, "$lt": highest },
        _ => doc! { "$gt": lowest, "$lte": highest },
    }
}

/// The condition of the dates in a range of time.
pub(super) fn dates_in(range: TimeRange) -> Document {
    let mut dates = doc! { "$gte": date(range.from().unwrap_or(Timestamp::MIN)) };
    match range.to() {
        Some(to) => dates.insert("$lt", date(to)),
        None => dates.insert("$lte", date(Timestamp::MAX)),
    };
    dates
}

/// The condition of the second range: no value in [`dates`]. Expressed by bounds and not by type, so an index is used.
fn without_date(order: ListOrder) -> Document {
    let (lowest, highest) = (date(Timestamp::MIN), date(Timestamp::MAX));
    let from = if order == ListOrder::OldestFirst { "$gte" } else { "$gt" };
    doc! { "$or": [{ "timestamp": { "$not": { from: lowest } } }, { "timestamp": { from: highest } }] }
}

pub(super) const fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millis())
}

/// The condition of an id that a purchase can have.
pub(super) fn purchases_filter() -> Document {
    doc! { "$or": [{ "_id": { "$type": "string" } }, { "_id": { "$type": "objectId" } }] }
}

/// The condition of an id after `id`. A comparison matches values of the same type only, and text sorts before
/// `ObjectId`s.
pub(super) fn after_id(id: &Bson, operator: &str) -> Document {
    let others = match (id, operator) {
        (Bson::ObjectId(_), "$lt") => "string",
        (Bson::String(_), "$gt") => "objectId",
        _ => return doc! { "_id": { operator: id.clone() } },
    };
    doc! { "$or": [{ "_id": { operator: id.clone() } }, { "_id": { "$type": others } }] }
}

/// The condition of the selected documents. The replaced systems wrote numeric ids and names as numbers.
pub(super) fn selector_filter(selector: &Selector) -> Document {
    let (member, text) = match selector {
        Selector::User(id) => ("userid", id.as_str()),
        Selector::Name(name) => ("username", name.as_str()),
        _ => return Document::new(),
    };
    let integer = text.parse::<i64>().ok().filter(|number| number.to_string() == text).map(Bson::Int64);
    let double = || text.parse::<f64>().ok().filter(|number| number.to_string() == text).map(Bson::Double);
    match integer.or_else(double) {
        Some(number) => doc! { member: { "$in": [text, number] } },
        None => doc! { member: text },
    }
}
