//! Keyset pagination over two ranges: documents with a date, ordered by (timestamp, _id), then
//! documents without a date, ordered by `_id`. Other programs wrote the latter. `migrate`
//! moves them to the first range, except for dates that are not valid for a purchase.
//!
//! Each query of the first range reads one range of an index, without conditions that are checked
//! in documents.

use std::collections::{HashSet, VecDeque};

use async_trait::async_trait;
use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, doc};
use mongodb::options::FindOptions;
use shop_core::ports::{
    Bucket, Cursor, ListOrder, Lookup, Page, PageRequest, PurchaseQuery, ScanBatch, Selector,
    Summary, TimeRange, TotalsRequest, UserNames,
};
use shop_core::{ErrorKind, Purchase, PurchaseId, Result, Timestamp};
use tokio::time::Instant;

use super::connection::is_cut_off;
use super::document::{
    MAX_DATE, MIN_DATE, REFERENCE, id_value, member_value, not_a_mark_condition, read_stored_row,
    to_bson_date,
};
use super::error::mongo_error;
use super::{MongoStore, scan, totals};

/// A position in one of the two ranges of a listing: behind the document with this time and id, or
/// at the start of the range.
#[derive(Clone)]
pub(super) enum RangePosition {
    /// In the range of documents with a date.
    Dated(Option<(DateTime, Bson)>),
    /// In the range of documents without a date.
    Undated(Option<Bson>),
}

/// The minimum number of documents that a query reads, so that many unreadable documents need only
/// a few queries.
const MIN_BATCH: usize = 100;

#[async_trait]
impl PurchaseQuery for MongoStore {
    /// A range does not include documents without a date, see [`migrate`](Self::migrate).
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let position = page_start(selector, request)?;
        let limit = request.limit;
        let deadline = Instant::now() + self.connection.options.query_timeout;
        let read_from = |position| self.read_range(selector, request, position, deadline);

        let is_dated = matches!(position, RangePosition::Dated(_));
        // A document without a date is in no range of time. So a listing with a range of time reads
        // the first range alone.
        let needs_both_ranges = request.range == TimeRange::ALL && is_dated;
        let is_first_page_of_user =
            matches!(position, RangePosition::Dated(None)) && !matches!(selector, Selector::All);

        let mut purchases = Vec::new();
        let mut undated_purchases = Vec::new();
        // The first page of a user is rarely full. It continues in the second range, which is read
        // first, so the read of the first range here would be repeated below.
        if !needs_both_ranges || !is_first_page_of_user {
            purchases = read_from(position.clone()).await?;
        }
        // `migrate` moves documents from the second range to the first. The second range is read
        // before the first one, so that no moved document is missed.
        if needs_both_ranges && Page::full_length(&purchases, limit) == purchases.len() {
            undated_purchases = read_from(RangePosition::Undated(None)).await?;
            purchases = read_from(position).await?;
        }
        let dated_count = if is_dated { purchases.len() } else { 0 };

        // A document that was moved between the two reads is in both results. It is listed once.
        let listed_ids: HashSet<PurchaseId> =
            purchases.iter().map(|purchase| purchase.id).collect();
        undated_purchases.retain(|purchase| !listed_ids.contains(&purchase.id));
        purchases.append(&mut undated_purchases);

        let length = Page::full_length(&purchases, limit);
        let has_next_page = purchases.len() > length;
        purchases.truncate(length);
        // The cursor of a purchase without a date gets the timestamp that marks the second range.
        let next = match purchases.last() {
            Some(last) if has_next_page => {
                let mut last = last.clone();
                if length > dated_count {
                    last.timestamp = undated_timestamp(request.order);
                }
                Some(Cursor::after(selector, request, &last))
            }
            _ => None,
        };
        Ok(Page::new(purchases, next))
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        let buckets = self.totals(selector, &TotalsRequest::default()).await?;
        Ok(buckets
            .first()
            .map(|bucket| bucket.summary)
            .unwrap_or_default())
    }

    /// A range does not include documents without a date, see [`migrate`](Self::migrate).
    async fn totals(&self, selector: &Selector, request: &TotalsRequest) -> Result<Vec<Bucket>> {
        totals::period_totals(&self.connection, selector, request).await
    }

    /// Looks up the entry: every read has read concern majority, so an entry that can be seen is on a
    /// majority of the servers, as after an insert.
    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        let stored = self.connection.find_by_id(id_value(id)).await?;
        let Some(document) = stored else {
            return self.look_up_waiting(id).await;
        };
        read_stored_row(&document).into_lookup(|| {
            let message = "the document with this id is not a purchase";
            mongo_error(ErrorKind::Corrupt, message).with_context("id", id)
        })
    }

    async fn scan_batch(&self, after: Option<&Cursor>) -> Result<ScanBatch> {
        scan::read_scan_batch(&self.connection, after).await
    }

    async fn check_reads(&self) -> Result<()> {
        self.connection.ping().await
    }
}

#[async_trait]
impl UserNames for MongoStore {
    /// Names that another program wrote as numbers are not found.
    async fn next_name(&self, from: &str) -> Result<Option<String>> {
        let options = FindOptions::builder()
            .sort(doc! { "username": 1 })
            .limit(1)
            .projection(doc! { "_id": 0, "username": 1 })
            .build();
        let filter = doc! { "username": { "$gte": from } };
        let documents = self
            .connection
            .find(&self.connection.collection, &filter, options)
            .await?;
        let name = documents
            .first()
            .and_then(|document| document.get_str("username").ok());
        Ok(name.map(str::to_owned))
    }
}

/// Returns the timestamp that marks the cursors of the second range: the last one in the order of
/// the listing.
///
/// A document whose date is this timestamp belongs to the second range too.
const fn undated_timestamp(order: ListOrder) -> Timestamp {
    match order {
        ListOrder::OldestFirst => Timestamp::MAX,
        _ => Timestamp::MIN,
    }
}

/// Returns the position at which a page starts: behind the cursor of `request`, or at the start of
/// the first range.
///
/// # Errors
/// The error of [`PageRequest::bounds`], for example if the cursor belongs to another listing.
pub(super) fn page_start(selector: &Selector, request: &PageRequest) -> Result<RangePosition> {
    let Some(last) = request.bounds(selector)?.after else {
        return Ok(RangePosition::Dated(None));
    };
    let id = id_value(&last.id);

    if request.range == TimeRange::ALL && last.timestamp == undated_timestamp(request.order) {
        return Ok(RangePosition::Undated(Some(id)));
    }
    Ok(RangePosition::Dated(Some((
        to_bson_date(last.timestamp),
        id,
    ))))
}

impl MongoStore {
    /// Reads purchases from one range, from `position` on, up to one more than those of a full page.
    ///
    /// The extra purchase tells the caller that there is another page. Documents that are not
    /// purchases are skipped, so several queries may be necessary, which share `deadline`.
    async fn read_range(
        &self,
        selector: &Selector,
        request: &PageRequest,
        mut position: RangePosition,
        deadline: Instant,
    ) -> Result<Vec<Purchase>> {
        let connection = &self.connection;
        let limit = request.limit;
        let mut purchases = Vec::with_capacity(limit.get() + 1);
        let (mut filters, sort) = range_queries(selector, request, &position);

        while Page::full_length(&purchases, limit) == purchases.len()
            && let Some(filter) = filters.pop_front()
        {
            let query_limit = (limit.get() + 1 - purchases.len()).max(MIN_BATCH);
            let options = FindOptions::builder()
                .sort(sort.clone())
                .limit(query_limit as i64)
                .max_time(deadline.saturating_duration_since(Instant::now()))
                .build();
            let documents = connection.find_limited(&filter, options).await?;

            // The query returned its maximum, so the range may contain more. The next filters begin
            // behind the last document.
            if (documents.len() == query_limit || is_cut_off(&documents))
                && let Some(last) = documents.last()
            {
                let id = member_value(last, "_id");
                position = match position {
                    RangePosition::Dated(_) => {
                        RangePosition::Dated(last.get_datetime("timestamp").ok().zip(id))
                    }
                    RangePosition::Undated(_) => RangePosition::Undated(id),
                };
                filters = range_queries(selector, request, &position).0;
            }

            for document in &documents {
                purchases.extend(connection.unreadables.read_purchase(document));
            }
        }
        Ok(purchases)
    }
}

/// Returns the filters of the queries that read the rest of a range, one after the other, and their
/// common sort order.
///
/// Behind a document of the first range there are up to three queries: for the remaining ids of the
/// same time, one for each type of id, and for the later times. Each query reads one range of an
/// index.
pub(super) fn range_queries(
    selector: &Selector,
    request: &PageRequest,
    position: &RangePosition,
) -> (VecDeque<Document>, Document) {
    let order = request.order;
    let (direction, operator) = match order {
        ListOrder::OldestFirst => (1, "$gt"),
        ListOrder::NewestFirst => (-1, "$lt"),
    };
    let selected_and = |conditions: &[Document]| {
        let conditions = [&[selector_filter(selector)], conditions].concat();
        doc! { "$and": conditions }
    };

    match position {
        RangePosition::Dated(last) => {
            let mut filters = VecDeque::new();
            let mut later_conditions =
                vec![doc! { "timestamp": dated_condition(order, request.range) }];
            if let Some((time, id)) = last {
                // The ids of the same time are read by separate queries: a single condition for
                // them and for later times would be checked in all documents of that time. The time
                // is compared by `$gte` and `$lte`, because DocumentDB reads two indexes for an
                // equal time.
                let same_time = doc! { "$gte": *time, "$lte": *time };
                for ids in ids_after(id, operator) {
                    let remaining_ids = doc! { "timestamp": &same_time, "_id": ids };
                    filters.push_back(selected_and(&[remaining_ids]));
                }
                later_conditions.push(doc! { "timestamp": { operator: *time } });
            }
            filters.push_back(selected_and(&later_conditions));
            (filters, doc! { "timestamp": direction, "_id": direction })
        }
        RangePosition::Undated(last) => {
            let mut conditions = vec![
                undated_condition(order),
                purchases_filter(),
                not_a_mark_condition(),
            ];
            if let Some(id) = last {
                let remaining_ids: Vec<Document> = ids_after(id, operator)
                    .into_iter()
                    .map(|ids| doc! { "_id": ids })
                    .collect();
                conditions.push(doc! { "$or": remaining_ids });
            }
            (
                [selected_and(&conditions)].into(),
                doc! { "_id": direction },
            )
        }
    }
}

/// Returns the operators on `timestamp` for the first range, the documents with a date in `range`.
///
/// Without a range of time, these are all valid dates except the one that marks the second range. A
/// comparison matches values of the same type only, so documents without a date do not match.
fn dated_condition(order: ListOrder, range: TimeRange) -> Document {
    match order {
        _ if range != TimeRange::ALL => dates_in(range),
        ListOrder::OldestFirst => doc! { "$gte": MIN_DATE, "$lt": MAX_DATE },
        ListOrder::NewestFirst => doc! { "$gt": MIN_DATE, "$lte": MAX_DATE },
    }
}

/// Returns the condition of the dates in a range of time: from its start, and before its end.
pub(super) fn dates_in(range: TimeRange) -> Document {
    let mut dates = doc! { "$gte": range.from().map_or(MIN_DATE, to_bson_date) };
    match range.to() {
        Some(to) => dates.insert("$lt", to_bson_date(to)),
        None => dates.insert("$lte", MAX_DATE),
    };
    dates
}

/// Returns the filter of the second range, the documents whose timestamp does not match
/// [`dated_condition`] without a range of time.
///
/// The condition consists of bounds and not of types, so that the server uses an index.
fn undated_condition(order: ListOrder) -> Document {
    let from = if order == ListOrder::OldestFirst {
        "$gte"
    } else {
        "$gt"
    };
    doc! { "$or": [{ "timestamp": { "$not": { from: MIN_DATE } } }, { "timestamp": { from: MAX_DATE } }] }
}

/// Returns the condition of an `_id` that a purchase can have: a text or an `ObjectId`.
fn purchases_filter() -> Document {
    doc! { "$or": [{ "_id": { "$type": "string" } }, { "_id": { "$type": "objectId" } }] }
}

/// Returns the conditions of the purchase ids after `id`, one for each type, in the order of the
/// listing.
///
/// `operator` is `$gt` for ascending and `$lt` for descending ids. A comparison matches values of
/// the same type only, and MongoDB sorts texts before `ObjectId`s.
fn ids_after(id: &Bson, operator: &str) -> Vec<Document> {
    let own = doc! { operator: id.clone() };
    let texts = doc! { "$gte": "" };
    let object_ids = doc! { "$gte": ObjectId::from_bytes([0; 12]) };
    match (id, operator) {
        (Bson::String(_), "$gt") => vec![own, object_ids],
        (Bson::ObjectId(_), "$lt") => vec![own, texts],
        (Bson::String(_) | Bson::ObjectId(_), _) => vec![own],
        // A number is the `_id` of a document that is not a purchase. Numbers sort before both
        // types.
        (_, "$gt") => vec![texts, object_ids],
        _ => Vec::new(),
    }
}

/// Returns the condition of the documents that `selector` selects.
///
/// A user id or name that reads as a number also matches this number, because other programs may
/// have written ids and names as numbers.
pub(super) fn selector_filter(selector: &Selector) -> Document {
    let (member, text) = match selector {
        Selector::User(id) => ("userid", id.as_str()),
        Selector::Name(name) => ("username", name.as_str()),
        Selector::Reference(reference, user) => {
            let mut filter = doc! { REFERENCE: reference.as_str() };
            if let Some(user) = user {
                filter.insert("userid", user.as_str());
            }
            return filter;
        }
        Selector::All => return Document::new(),
    };
    match as_number(text) {
        Some(number) => doc! { member: { "$in": [text, number] } },
        None => doc! { member: text },
    }
}

/// Returns the number that prints as exactly `text`, if there is one: an integer or a double.
fn as_number(text: &str) -> Option<Bson> {
    if let Ok(integer) = text.parse::<i64>()
        && integer.to_string() == text
    {
        return Some(Bson::Int64(integer));
    }
    if let Ok(double) = text.parse::<f64>()
        && double.to_string() == text
    {
        return Some(Bson::Double(double));
    }
    None
}
