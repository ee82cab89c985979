//! Exact counts and sums. The server adds up documents in the current format; all others are read and added up here.

use std::sync::Arc;

use super::error::mongo_error;
use bson::raw::RawBsonRef;
use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use rust_decimal::Decimal;
use shop_core::ports::{Selector, Summary};
use shop_core::{Error, ErrorKind, Price, Result, Timestamp, Total, UserId, UserName};

use super::connection::Connection;
use super::{document, select};

/// Returns the summary of the documents that a listing returns, see [`document::purchase`].
pub(super) async fn summary(connection: &Connection, selector: &Selector) -> Result<Summary> {
    let (current, others) =
        tokio::try_join!(by_server(connection, selector), by_client(connection, others(selector)))?;
    let Some(current) = current else {
        return by_client(connection, select::selector_filter(selector)).await;
    };
    let total = current.total_spent.checked_add(others.total_spent).map_err(|_too_large| not_exact())?;
    Ok(Summary::new(current.count + others.count, total))
}

/// Returns count and sum of the documents in the [`current`] format, added up by the server; `None` if they may include
/// documents that are not purchases.
async fn by_server(connection: &Connection, selector: &Selector) -> Result<Option<Summary>> {
    let pipeline = pipeline(selector);
    let (collection, time) = (&connection.collection, connection.options.query_timeout);
    let add_up = || {
        let (collection, pipeline) = (collection.clone(), pipeline.clone());
        async move {
            let cursor = collection.aggregate(pipeline).max_time(time).with_type::<RawDocumentBuf>().await?;
            cursor.try_collect::<Vec<_>>().await
        }
    };
    let groups = connection.query(time, add_up).await?;
    // A sum has as many decimals as its most precise price. More than a price may have come from another document.
    let of_prices = |sum: &Summary| sum.total_spent.as_decimal().scale() <= Price::MAX_DECIMALS;
    Ok(groups.first().map_or_else(|| Some(Summary::default()), |group| read(group).filter(of_prices)))
}

/// Returns the aggregation. The index finds the selected documents. It does not contain prices, so each is read.
pub(super) fn pipeline(selector: &Selector) -> [Document; 2] {
    let sum = doc! { "_id": null, "count": { "$sum": 1 }, "total": { "$sum": "$price" } };
    [doc! { "$match": { "$and": [select::selector_filter(selector), current()] } }, doc! { "$group": sum }]
}

/// The filter of selected documents in another format, such as those of the replaced systems.
fn others(selector: &Selector) -> Document {
    doc! { "$and": [select::selector_filter(selector), { "$nor": [current()] }] }
}

/// The condition of documents in the current format. [`document::purchase`] reads each of them, unless the price has
/// too many decimals. Purchases in another format do not match.
fn current() -> Document {
    let (min, max) = (document::decimal128(Price::ZERO), document::decimal128(Price::MAX));
    let (first, last) = (select::date(Timestamp::MIN), select::date(Timestamp::MAX));
    // At least one visible character, and no control character. `$` would match before a trailing line feed.
    let text = |max_chars: usize| {
        let regex = format!(r"\A(?=.*[!-~\p{{L}}\p{{N}}])[^\x00-\x1F\x7F-\x9F]{{1,{max_chars}}}\z");
        doc! { "$type": "string", "$regex": regex, "$not": { "$type": "array" } }
    };
    let uuid = r"\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z";
    doc! {
        // Written so that the server does not scan the `_id` index for it.
        "$nor": [{ "$and": [
            { "_id": { "$not": { "$type": "objectId" } } },
            { "_id": { "$not": { "$regex": uuid } } },
        ] }],
        "userid": text(UserId::MAX_CHARS),
        "username": text(UserName::MAX_CHARS),
        "price": { "$type": "decimal", "$gte": min, "$lte": max, "$not": { "$type": "array" } },
        "timestamp": { "$type": "date", "$gte": first, "$lte": last, "$not": { "$type": "array" } },
    }
}

fn read(group: &RawDocumentBuf) -> Option<Summary> {
    let count = match group.get("count").ok()?? {
        RawBsonRef::Int32(count) => u64::try_from(count).ok()?,
        RawBsonRef::Int64(count) => u64::try_from(count).ok()?,
        _ => return None,
    };
    let RawBsonRef::Decimal128(total) = group.get("total").ok()?? else { return None };
    Some(Summary::new(count, Total::from_decimal(decimal(&total.to_string())?)))
}

/// Parses a Decimal128, which has an exponent in small values and small zeros.
fn decimal(text: &str) -> Option<Decimal> {
    Decimal::from_str_exact(text).or_else(|_exponent| Decimal::from_scientific(text)).ok()
}

/// Returns count and sum of the purchases among the documents that match `filter`, and reads each document.
async fn by_client(connection: &Connection, filter: Document) -> Result<Summary> {
    let (collection, time) = (&connection.collection, connection.options.query_timeout);
    let add_up = || {
        let (collection, filter) = (collection.clone(), filter.clone());
        let unreadables = Arc::clone(&connection.unreadables);
        async move {
            let mut documents = collection.find(filter).max_time(time).await?;
            let mut sum = Ok(Summary::default());
            while let Some(document) = documents.try_next().await? {
                if let Some(purchase) = unreadables.purchase(&document) {
                    sum = sum.and_then(|sum| add(sum, purchase.price));
                }
            }
            Ok(sum)
        }
    };
    connection.query(time, add_up).await?
}

fn add(sum: Summary, price: Price) -> Result<Summary> {
    let total = sum.total_spent.checked_add_price(price).map_err(|_too_large| not_exact())?;
    Ok(Summary::new(sum.count + 1, total))
}

fn not_exact() -> Error {
    mongo_error(ErrorKind::Corrupt, "the prices cannot be summed exactly")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_parses_small_values_exactly() {
        for (text, expected) in
            [("1E-8", "0.00000001"), ("0E-8", "0.00000000"), ("29.99", "29.99"), ("5", "5")]
        {
            assert_eq!(decimal(text).unwrap().to_string(), expected);
        }
    }
}
