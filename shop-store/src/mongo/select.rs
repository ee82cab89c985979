//! Keyset pagination by (timestamp, _id).
//!
//! A store with a [`DocumentDecoder`](super::DocumentDecoder) also lists documents without a date,
//! which only other programs write. So its listings have two ranges: documents with a date, ordered
//! by (timestamp, _id), then documents without a date, ordered by `_id`. `migrate` moves documents
//! from the second range to the first range, unless their date is not valid for a purchase.
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
    MAX_DATE, MIN_DATE, REFERENCE, id_value, member_value, not_a_mark_condition, to_bson_date,
};
use super::error::mongo_error;
use super::reader::DocumentReader;
use super::{MongoStore, scan, totals};

/// A position in one of the ranges of a listing: behind the document with this time and id, or at
/// the start of the range.
#[derive(Clone)]
pub(super) enum RangePosition {
    /// In the range of documents with a date.
    Dated(Option<(DateTime, Bson)>),
    /// In the range of documents without a date, which only a listing with a decoder has.
    Undated(Option<Bson>),
}

/// The minimum number of documents that a query reads, so that many unreadable documents need only
/// a few queries.
const MIN_BATCH: usize = 100;

#[async_trait]
impl PurchaseQuery for MongoStore {
    /// A range of time does not include documents without a date, see [`migrate`](Self::migrate).
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let reader = &self.connection.reader;
        let limit = request.limit;
        let position = page_start(selector, request, reader)?;
        let is_dated = matches!(position, RangePosition::Dated(_));
        let (mut purchases, mut undated_purchases) =
            self.read_ranges(selector, request, position).await?;
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
        let next_cursor = match purchases.last() {
            Some(last) if has_next_page => {
                let mut last = last.clone();
                let is_undated = length > dated_count;
                if is_undated {
                    last.timestamp = undated_timestamp(request.order);
                }
                Some(Cursor::after(selector, request, &last))
            }
            _ => None,
        };
        Ok(Page::new(purchases, next_cursor))
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        let buckets = self.totals(selector, &TotalsRequest::default()).await?;
        Ok(buckets
            .first()
            .map(|bucket| bucket.summary)
            .unwrap_or_default())
    }

    /// A range of time does not include documents without a date, see [`migrate`](Self::migrate).
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
        let stored_row = self.connection.reader.read_stored_row(&document);
        stored_row.into_lookup(|| {
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

/// Returns whether a listing of `range` has a second range, of documents without a date.
///
/// A document without a date is in no range of time, and is a purchase only for a decoder.
fn has_undated_range(range: TimeRange, reader: &DocumentReader) -> bool {
    range == TimeRange::ALL && reader.reads_undated()
}

/// Returns the position at which a page starts: behind the cursor of `request`, or at the start of
/// the first range.
///
/// # Errors
/// The error of [`PageRequest::bounds`], for example if the cursor belongs to another listing.
pub(super) fn page_start(
    selector: &Selector,
    request: &PageRequest,
    reader: &DocumentReader,
) -> Result<RangePosition> {
    let Some(last) = request.bounds(selector)?.after else {
        return Ok(RangePosition::Dated(None));
    };
    let id = id_value(&last.id);

    if has_undated_range(request.range, reader)
        && last.timestamp == undated_timestamp(request.order)
    {
        return Ok(RangePosition::Undated(Some(id)));
    }
    Ok(RangePosition::Dated(Some((
        to_bson_date(last.timestamp),
        id,
    ))))
}

impl MongoStore {
    /// Reads the purchases of a page from the range of `position` and, if they do not fill the page,
    /// from the range of documents without a date. Returns the purchases of the two ranges.
    ///
    /// [`migrate`](Self::migrate) moves documents from the second range to the first. So the second
    /// range is read before the first one, and no moved document is missed.
    async fn read_ranges(
        &self,
        selector: &Selector,
        request: &PageRequest,
        position: RangePosition,
    ) -> Result<(Vec<Purchase>, Vec<Purchase>)> {
        let deadline = Instant::now() + self.connection.options.query_timeout;
        let read_from = |position| self.read_range(selector, request, position, deadline);
        let may_need_both_ranges = matches!(position, RangePosition::Dated(_))
            && has_undated_range(request.range, &self.connection.reader);
        if !may_need_both_ranges {
            return Ok((read_from(position).await?, Vec::new()));
        }

        // A page that the first range fills needs no other range. The first page of a user is rarely
        // full, so for this page the first range is not read here, to be read again below.
        let is_first_page_of_user =
            matches!(position, RangePosition::Dated(None)) && !matches!(selector, Selector::All);
        if !is_first_page_of_user {
            let dated_purchases = read_from(position.clone()).await?;
            if Page::full_length(&dated_purchases, request.limit) < dated_purchases.len() {
                return Ok((dated_purchases, Vec::new()));
            }
        }

        let undated_purchases = read_from(RangePosition::Undated(None)).await?;
        let dated_purchases = read_from(position).await?;
        Ok((dated_purchases, undated_purchases))
    }

    /// Reads the purchases of a full page from one range, from `position` on, and one more purchase if
    /// the range contains it.
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
        let (mut filters, sort) = range_queries(selector, request, &position, &connection.reader);

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

            // If the query returned its maximum, the range may contain further documents. The next
            // filters begin behind the last document.
            let may_have_more = documents.len() == query_limit || is_cut_off(&documents);
            if may_have_more && let Some(last) = documents.last() {
                let id = member_value(last, "_id");
                position = match position {
                    RangePosition::Dated(_) => {
                        RangePosition::Dated(last.get_datetime("timestamp").ok().zip(id))
                    }
                    RangePosition::Undated(_) => RangePosition::Undated(id),
                };
                (filters, _) = range_queries(selector, request, &position, &connection.reader);
            }

            for document in &documents {
                purchases.extend(connection.reader.read_listed(document));
            }
        }
        Ok(purchases)
    }
}

/// Returns the filters of the queries that read the rest of a range, one after the other, and their
/// common sort order.
///
/// Behind a document of the first range there are up to three queries: one for each type of id among
/// the remaining documents of the same time, and one for the documents of later times. Each query
/// reads one range of an index.
pub(super) fn range_queries(
    selector: &Selector,
    request: &PageRequest,
    position: &RangePosition,
    reader: &DocumentReader,
) -> (VecDeque<Document>, Document) {
    let order = request.order;
    let (direction, operator) = match order {
        ListOrder::OldestFirst => (1, "$gt"),
        ListOrder::NewestFirst => (-1, "$lt"),
    };
    let selected_and = |conditions: &[Document]| {
        let conditions = [&[selector_filter(selector, reader)], conditions].concat();
        doc! { "$and": conditions }
    };

    match position {
        RangePosition::Dated(last) => {
            let mut filters = VecDeque::new();
            let dates = if has_undated_range(request.range, reader) {
                dates_before_undated(order)
            } else {
                dates_in(request.range)
            };
            let mut later_conditions = vec![doc! { "timestamp": dates }];
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

/// Returns the operators on `timestamp` for the first of two ranges: all valid dates, except the one
/// that marks the second range.
fn dates_before_undated(order: ListOrder) -> Document {
    match order {
        ListOrder::OldestFirst => doc! { "$gte": MIN_DATE, "$lt": MAX_DATE },
        ListOrder::NewestFirst => doc! { "$gt": MIN_DATE, "$lte": MAX_DATE },
    }
}

/// Returns the operators on `timestamp` for the dates in a range of time: from its start, and before
/// its end. A comparison matches values of the same type only, so documents without a date do not
/// match.
pub(super) fn dates_in(range: TimeRange) -> Document {
    let mut dates = doc! { "$gte": range.from().map_or(MIN_DATE, to_bson_date) };
    match range.to() {
        Some(to) => dates.insert("$lt", to_bson_date(to)),
        None => dates.insert("$lte", MAX_DATE),
    };
    dates
}

/// Returns the filter of the second range, the documents whose timestamp does not match
/// [`dates_before_undated`].
///
/// The condition consists of bounds and not of types, so that the server uses an index.
fn undated_condition(order: ListOrder) -> Document {
    // A timestamp of another type fails every comparison with a date, so `$not` matches it.
    let operator = if order == ListOrder::OldestFirst {
        "$gte"
    } else {
        "$gt"
    };
    doc! { "$or": [{ "timestamp": { "$not": { operator: MIN_DATE } } }, { "timestamp": { operator: MAX_DATE } }] }
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
    let same_type = doc! { operator: id.clone() };
    let texts = doc! { "$gte": "" };
    let object_ids = doc! { "$gte": ObjectId::from_bytes([0; 12]) };
    match (id, operator) {
        (Bson::String(_), "$gt") => vec![same_type, object_ids],
        (Bson::ObjectId(_), "$lt") => vec![same_type, texts],
        (Bson::String(_) | Bson::ObjectId(_), _) => vec![same_type],
        // A number is the `_id` of a document that is not a purchase. Numbers sort before both
        // types, so all purchases follow in ascending order, and none in descending order.
        (_, "$gt") => vec![texts, object_ids],
        _ => Vec::new(),
    }
}

/// Returns the condition of the documents that `selector` selects.
///
/// A user id or a name also selects the values that another program may have written for it, as far
/// as the decoder of `reader` knows such values.
pub(super) fn selector_filter(selector: &Selector, reader: &DocumentReader) -> Document {
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

    let mut values = reader.values_with_text(text);
    if values.is_empty() {
        return doc! { member: text };
    }
    values.insert(0, text.into());
    doc! { member: { "$in": values } }
}
