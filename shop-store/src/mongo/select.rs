//! Pages by keyset, in two stretches: documents with a date in the order of (timestamp, _id), and behind them, in
//! either order of the listing, those of older systems without one, in the order of `_id`. `migrate` empties the
//! second, but for dates that no purchase has.

use super::error::mongo_error;
use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use shop_core::ports::{Cursor, ListOrder, Page, PageRequest, Selector};
use shop_core::{ErrorKind, Purchase, PurchaseId, Result, Timestamp};
use tokio::time::Instant;

use super::connection::Connection;
use super::document;

/// Where a stretch is read from: behind the document with this time and id.
#[derive(Debug)]
pub(super) enum Place {
    /// The documents with a date; `None` at their beginning.
    Dated(Option<(DateTime, Bson)>),
    /// Those without; `None` at their beginning.
    Undated(Option<Bson>),
}

/// The documents that are read at a time at the least: many that are no purchases cost few calls.
const MIN_BATCH: usize = 100;

pub(super) async fn page(
    connection: &Connection,
    selector: &Selector,
    request: &PageRequest,
) -> Result<Page> {
    let (order, limit) = (request.order, request.limit.get());
    let deadline = Instant::now() + connection.options.query_timeout;
    let mut place = Some(start(selector, request)?);
    let mut found = Vec::with_capacity(limit + 1);
    while let Some(from) = place.take().filter(|_| found.len() <= limit) {
        let wanted = (limit + 1 - found.len()).max(MIN_BATCH);
        let documents = documents(connection, query(selector, order, &from), wanted, deadline).await?;
        let is_last = documents.len() < wanted;
        let readable = documents.iter().filter_map(|document| connection.unreadables.purchase(document));
        found.extend(readable.map(|purchase| listed(purchase, &from, order)));
        place = following(&from, documents.last().filter(|_| !is_last));
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(_, last)| Cursor::after(selector, order, last));
    Ok(Page::new(found.into_iter().map(|(purchase, _)| purchase).collect(), next))
}

/// The time that stands in the cursors of the second stretch. Documents that really have this date are in that
/// stretch, too.
const fn undated_timestamp(order: ListOrder) -> Timestamp {
    match order {
        ListOrder::OldestFirst => Timestamp::MAX,
        _ => Timestamp::MIN,
    }
}

/// Where a page begins.
pub(super) fn start(selector: &Selector, request: &PageRequest) -> Result<Place> {
    let Some(cursor) = &request.cursor else { return Ok(Place::Dated(None)) };
    let last = cursor.decode(selector, request.order)?;
    let id = document::id_value(&last.id);
    Ok(if last.timestamp == undated_timestamp(request.order) {
        Place::Undated(Some(id))
    } else {
        Place::Dated(Some((date(last.timestamp), id)))
    })
}

/// Where to go on: behind `last`, or at the end of a stretch with the next one.
fn following(from: &Place, last: Option<&RawDocumentBuf>) -> Option<Place> {
    let (time, id) = last.map(|last| document::place(last)).unwrap_or_default();
    match from {
        Place::Dated(_) => {
            let behind_last = time.zip(id);
            Some(if behind_last.is_some() { Place::Dated(behind_last) } else { Place::Undated(None) })
        }
        Place::Undated(_) => id.map(|id| Place::Undated(Some(id))),
    }
}

/// The purchase, and what its cursor is made from.
fn listed(purchase: Purchase, from: &Place, order: ListOrder) -> (Purchase, Purchase) {
    let mut last = purchase.clone();
    if matches!(from, Place::Undated(_)) {
        last.timestamp = undated_timestamp(order);
    }
    (purchase, last)
}

async fn documents(
    connection: &Connection,
    (filter, sort): (Document, Document),
    limit: usize,
    deadline: Instant,
) -> Result<Vec<RawDocumentBuf>> {
    let time = deadline.saturating_duration_since(Instant::now());
    let (collection, limit) = (&connection.collection, i64::try_from(limit).unwrap_or(i64::MAX));
    let find = || {
        let (collection, filter, sort) = (collection.clone(), filter.clone(), sort.clone());
        async move {
            let cursor = collection.find(filter).sort(sort).limit(limit).max_time(time).await?;
            cursor.try_collect::<Vec<RawDocumentBuf>>().await
        }
    };
    connection.ask(time, find).await
}

/// Filter and sort order of one stretch.
pub(super) fn query(selector: &Selector, order: ListOrder, from: &Place) -> (Document, Document) {
    let (direction, beyond) = match order {
        ListOrder::OldestFirst => (1, "$gt"),
        _ => (-1, "$lt"),
    };
    let mut all = vec![selector_filter(selector)];
    let sort = match from {
        Place::Dated(after) => {
            all.push(doc! { "timestamp": dates(order) });
            if let Some((time, id)) = after {
                // The bound beside the exact condition is where an index is entered.
                let bound = if direction == 1 { "$gte" } else { "$lte" };
                let same = doc! { "$and": [{ "timestamp": *time }, behind(id, beyond)] };
                all.push(doc! { "timestamp": { bound: *time } });
                all.push(doc! { "$or": [{ "timestamp": { beyond: *time } }, same] });
            }
            doc! { "timestamp": direction, "_id": direction }
        }
        Place::Undated(after) => {
            all.extend([without_date(order), purchases_filter()]);
            all.extend(after.iter().map(|id| behind(id, beyond)));
            doc! { "_id": direction }
        }
    };
    (doc! { "$and": all }, sort)
}

/// The dates of the first stretch: those that a purchase can have, but for the one that stands for the second
/// stretch. A bound finds values of its own type only.
fn dates(order: ListOrder) -> Document {
    let (lowest, highest) = (date(Timestamp::MIN), date(Timestamp::MAX));
    match order {
        ListOrder::OldestFirst => doc! { "$gte": lowest, "$lt": highest },
        _ => doc! { "$gt": lowest, "$lte": highest },
    }
}

/// Whatever has none of these [`dates`]. Said by bounds and not by type, as an index serves only these.
fn without_date(order: ListOrder) -> Document {
    let (lowest, highest) = (date(Timestamp::MIN), date(Timestamp::MAX));
    let (lower, above) = match order {
        ListOrder::OldestFirst => ("$gte", "$gte"),
        _ => ("$gt", "$gt"),
    };
    doc! { "$or": [{ "timestamp": { "$not": { lower: lowest } } }, { "timestamp": { above: highest } }] }
}

pub(super) const fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millis())
}

/// The condition of an id that a purchase can have.
pub(super) fn purchases_filter() -> Document {
    doc! { "$or": [{ "_id": { "$type": "string" } }, { "_id": { "$type": "objectId" } }] }
}

/// The condition of an id behind `id`. A comparison finds values of its own type only, and text comes before
/// `ObjectId`s.
pub(super) fn behind(id: &Bson, beyond: &str) -> Document {
    let others = match (id, beyond) {
        (Bson::ObjectId(_), "$lt") => "string",
        (Bson::String(_), "$gt") => "objectId",
        _ => return doc! { "_id": { beyond: id.clone() } },
    };
    doc! { "$or": [{ "_id": { beyond: id.clone() } }, { "_id": { "$type": others } }] }
}

/// The condition of the selected documents. Older systems wrote ids and names that look like numbers as numbers.
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

/// The purchase with this id.
pub(super) async fn by_id(connection: &Connection, id: &PurchaseId) -> Result<Option<Purchase>> {
    let (collection, filter) = (&connection.collection, doc! { "_id": document::id_value(id) });
    let time = connection.options.query_timeout;
    let find = || {
        let (collection, filter) = (collection.clone(), filter.clone());
        async move { collection.find_one(filter).max_time(time).await }
    };
    let found = connection.ask(time, find).await?;
    found.map(|document| document::purchase(&document)).transpose().map_err(|error| {
        mongo_error(ErrorKind::Corrupt, "the document with this id is no purchase")
            .with_context("id", id)
            .with_source(error)
    })
}
