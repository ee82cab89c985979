//! Computes exact counts and sums of purchases.
//!
//! The server adds up the documents of which a condition proves that they are purchases. The client
//! reads the other documents: purchases that another program wrote, and documents that are not
//! purchases.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bson::{Bson, DateTime, Decimal128, Document, RawDocument, RawDocumentBuf, bson, doc};
use futures_util::TryStreamExt;
use mongodb::action::{Action as _, Aggregate, Find};
use rust_decimal::Decimal;
use serde::Deserialize;
use shop_core::ports::{Bucket, Selector, Summary, TimeRange, Totals, TotalsRequest};
use shop_core::{Price, Result, Timestamp, Total, UserId, UserName};

use super::connection::MongoConnection;
use super::document::{
    MAX_DATE, MIN_DATE, REFUNDED_PURCHASE, decimal128, not_a_mark_condition, to_timestamp,
};
use super::reader::DocumentReader;
use super::select;
use crate::limits::row_limit;

/// The maximum number of times that the server's sums are tried, while another process changes
/// documents in between.
const MAX_ATTEMPTS: usize = 3;

/// Returns the count and the sum of the selected purchases, for each period of `request`.
///
/// The totals cover exactly the documents that a listing returns, see
/// [`read_purchase`](DocumentReader::read_purchase). Two queries add them up: the server sums the
/// documents that match [`current_format_condition`], and [`add_up_in_client`] reads the other
/// documents. If the server's sums cannot be used, [`add_up_in_client`] reads all documents.
///
/// # Errors
/// - the error of the query, if the server does not answer in time
/// - the error of [`Totals::add_summary`] or [`Totals::add_purchase`], such as too many periods
pub(super) async fn period_totals(
    connection: &MongoConnection,
    selector: &Selector,
    request: &TotalsRequest,
) -> Result<Vec<Bucket>> {
    let filter = totals_filter(selector, request.range, &connection.reader);
    let timeout = connection.options.query_timeout;
    let pipeline = totals_pipeline(filter.clone(), selector, request);
    let add_up_in_server = |collation| {
        let collection = connection.collection.clone();
        let pipeline = pipeline.clone();
        async move {
            collection
                .aggregate(pipeline)
                .optional(collation, Aggregate::collation)
                .max_time(timeout)
                .with_type()
                .await?
                .try_collect()
                .await
        }
    };

    // The two queries read the collection at different times. They are repeated if their counts do
    // not match.
    for _ in 0..MAX_ATTEMPTS {
        let reply: Vec<RawDocumentBuf> = connection.query(timeout, add_up_in_server).await?;
        // The server's sums are not used if they may include documents that are not purchases.
        let Some((sums, expected_others)) = reply.first().and_then(|reply| parse_reply(reply))
        else {
            break;
        };

        let mut totals = Totals::new(*request);
        let mut added_others = 0;
        if expected_others > 0 {
            let other_format = doc! { "$nor": [current_format_condition(selector)] };
            let others_filter =
                doc! { "$and": [filter.clone(), other_format, not_a_mark_condition()] };
            (totals, added_others) = add_up_in_client(connection, others_filter, request).await?;
        }

        // The counts differ if `migrate` moved documents from one format to the other between the
        // two queries.
        if added_others == expected_others {
            for (time, sum) in sums {
                totals.add_summary(time, sum)?;
            }
            return Ok(totals.into_buckets());
        }
    }

    let (totals, _document_count) = add_up_in_client(connection, filter, request).await?;
    Ok(totals.into_buckets())
}

/// Returns the filter of the documents of `selector` in a range of time.
///
/// The filter does not test the format of a document, because the server would choose an index by
/// such a test.
pub(super) fn totals_filter(
    selector: &Selector,
    range: TimeRange,
    reader: &DocumentReader,
) -> Document {
    let selected = select::selector_filter(selector, reader);
    match range {
        TimeRange::ALL => selected,
        _ => doc! { "$and": [selected, { "timestamp": select::dates_in(range) }] },
    }
}

/// Returns the aggregation pipeline that sums the documents that match
/// [`current_format_condition`], one sum for each slot.
///
/// A slot is a period of [`Totals::slots`]. The reply also counts all selected documents, so that
/// the caller knows how many are in another format. The index finds the selected documents, but the
/// server reads each document, because the index does not contain prices.
pub(super) fn totals_pipeline(
    filter: Document,
    selector: &Selector,
    request: &TotalsRequest,
) -> [Document; 2] {
    let slot = Totals::slots(request).map_or(Bson::Null, |(shift, length)| {
        let millis = doc! { "$subtract": ["$timestamp", DateTime::from_millis(-shift)] };
        bson!({ "$subtract": [millis.clone(), { "$mod": [millis, length] }] })
    });
    let sums = doc! {
        "_id": slot,
        "count": { "$sum": 1 },
        "refunds": { "$sum": { "$cond": [{ "$lt": ["$price", 0] }, 1, 0] } },
        "total": { "$sum": "$price" },
        "first": { "$min": "$timestamp" },
    };
    // One slot more than the maximum is enough to reject the request.
    let limit = row_limit(Totals::MAX_SLOTS + 1);
    let counts = doc! {
        "current": [
            { "$match": current_format_condition(selector) },
            { "$group": sums },
            { "$limit": limit },
        ],
        "all": [{ "$match": not_a_mark_condition() }, { "$count": "count" }],
    };
    [doc! { "$match": filter }, doc! { "$facet": counts }]
}

/// Returns the filter of documents in the format of this store, which the server can add up.
///
/// [`read_purchase`](DocumentReader::read_purchase) reads each matching document, unless its price
/// has too many decimals. Documents in the formats of other programs do not match. The filter is used
/// together with the filter of `selector`, and does not repeat it.
///
/// MongoDB also matches an array if one of its elements matches. So each member has the condition
/// that it is no array.
fn current_format_condition(selector: &Selector) -> Document {
    let lowest = decimal128(Price::MAX.negated());
    let highest = decimal128(Price::MAX);
    // The filter of the selector compares this member with an id or a name that is already valid. So
    // the text of the member needs no pattern.
    let selected_text = doc! { "$type": "string", "$not": { "$type": "array" } };
    let mut user_id = valid_text_condition(UserId::MAX_CHARS);
    let mut user_name = valid_text_condition(UserName::MAX_CHARS);
    match selector {
        Selector::User(_) => user_id = selected_text,
        Selector::Name(_) => user_name = selected_text,
        Selector::Reference(..) | Selector::All => {}
    }
    let uuid = r"\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z";
    doc! {
        // The `_id` is an ObjectId, or the text of a UUID. The condition has the form "not (not an
        // ObjectId and not a UUID)", because the server would scan the index of `_id` for a plain
        // `$or`.
        "$nor": [{ "$and": [
            { "_id": { "$not": { "$type": "objectId" } } },
            { "_id": { "$not": { "$regex": uuid } } },
        ] }],
        "userid": user_id,
        "username": user_name,
        "price": { "$type": "decimal", "$gte": lowest, "$lte": highest, "$not": { "$type": "array" } },
        // Only a refund may have a negative price.
        "$or": [{ "price": { "$gte": decimal128(Price::ZERO) } }, { REFUNDED_PURCHASE: { "$type": "string" } }],
        "timestamp": { "$type": "date", "$gte": MIN_DATE, "$lte": MAX_DATE, "$not": { "$type": "array" } },
    }
}

/// Returns the condition of a member that is a valid id or name with at most `max_chars` characters.
///
/// A valid text contains at least one visible character and no control character. `\z` ends the
/// pattern, because `$` would also match before a trailing line feed.
fn valid_text_condition(max_chars: usize) -> Document {
    let regex = format!(r"\A(?=.*[!-~\p{{L}}\p{{N}}])[^\x00-\x1F\x7F-\x9F]{{1,{max_chars}}}\z");
    doc! { "$type": "string", "$regex": regex, "$not": { "$type": "array" } }
}

/// The server's reply to the [`totals_pipeline`].
#[derive(Deserialize)]
struct TotalsReply {
    current: Vec<SlotSum>,
    all: Vec<HashMap<String, u64>>,
}

/// The sums of the documents of one slot.
#[derive(Deserialize)]
struct SlotSum {
    count: u64,
    refunds: u64,
    total: Decimal128,
    first: DateTime,
}

/// Parses the reply to the [`totals_pipeline`].
///
/// Returns the sum of each slot, with the earliest time in the slot, and the number of documents in
/// another format. Returns `None` if the sums cannot be used, such as a sum with too many decimals.
fn parse_reply(reply: &RawDocument) -> Option<(Vec<(Timestamp, Summary)>, u64)> {
    let TotalsReply { current, all } = bson::deserialize_from_slice(reply.as_bytes()).ok()?;

    let mut others = 0;
    // A reply with too many slots is an error in any case, so the other documents are not counted.
    // A reply without a count means that no document is selected.
    if current.len() <= Totals::MAX_SLOTS
        && let Some(counts) = all.first()
        && let Some(all_count) = counts.get("count")
    {
        others = all_count.saturating_sub(current.iter().map(|slot| slot.count).sum());
    }

    let mut sums = Vec::with_capacity(current.len());
    for slot in current {
        let first = to_timestamp(slot.first)?;
        let count = slot.count.saturating_sub(slot.refunds);
        let total = parse_sum(&slot.total.to_string())?;
        sums.push((first, Summary::new(count, total)));
    }
    Some((sums, others))
}

/// Parses a sum of prices, which MongoDB prints with an exponent if the sum is small.
///
/// Returns `None` if the sum has more decimals than a price may have. A sum has as many decimals as
/// its most precise price, so such a sum includes a document that is not a purchase.
fn parse_sum(sum_text: &str) -> Option<Total> {
    // `from_scientific` fails for a text without an exponent, which needs no conversion.
    let plain_text = match Decimal::from_scientific(sum_text) {
        Ok(sum) => sum.to_string(),
        Err(_no_exponent) => sum_text.to_owned(),
    };
    let decimal_count = plain_text
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());

    if decimal_count > Price::MAX_DECIMALS as usize {
        return None;
    }
    plain_text.parse().ok()
}

/// Reads each document that matches `filter`, and adds up the purchases among these documents.
///
/// Returns the totals, and the number of documents that were read, including documents that are not
/// purchases.
///
/// # Errors
/// - the error of the query
/// - the error of [`Totals::add_purchase`]
async fn add_up_in_client(
    connection: &MongoConnection,
    filter: Document,
    request: &TotalsRequest,
) -> Result<(Totals, u64)> {
    let timeout = connection.options.query_timeout;
    let request = *request;
    let add_up = |collation| {
        let collection = connection.collection.clone();
        let filter = filter.clone();
        let reader = Arc::clone(&connection.reader);
        async move {
            let find = collection.find(filter).max_time(timeout);
            let mut documents = find.optional(collation, Find::collation).await?;
            // An index yields documents without a date first. If `migrate` gives such a document a
            // date during the query, the query yields the document a second time. It is added only
            // once, because `undated_ids` contains its id.
            let mut totals = Totals::new(request);
            let mut document_count = 0;
            let mut undated_ids = HashSet::new();
            while let Some(document) = documents.try_next().await? {
                document_count += 1;
                let Some(purchase) = reader.read_listed(&document) else {
                    continue;
                };
                let is_dated = document.get_datetime("timestamp").is_ok();
                let is_new = if is_dated {
                    !undated_ids.contains(&purchase.id)
                } else {
                    undated_ids.insert(purchase.id)
                };
                if is_new
                    && let Err(error) = totals.add_purchase(purchase.timestamp, purchase.price)
                {
                    return Ok(Err(error));
                }
            }
            Ok(Ok((totals, document_count)))
        }
    };
    connection.query(timeout, add_up).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_any_size_are_exact() {
        let large = "99999999999999999999999999.99999999";
        for (text, expected) in [
            ("1E-8", "0.00000001"),
            ("0E-8", "0"),
            ("29.99", "29.99"),
            ("5", "5"),
            ("-5.5", "-5.5"),
            ("-1E-8", "-0.00000001"),
            (large, large),
        ] {
            assert_eq!(parse_sum(text).unwrap().to_string(), expected);
        }
        assert_eq!(parse_sum("1.000000000"), None);
    }
}
