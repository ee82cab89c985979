//! Exact counts and sums: the server adds up what is exact there, and what older systems wrote is added up here.

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

/// Of the same documents that a listing has: see [`document::purchase`].
pub(super) async fn summary(connection: &Connection, selector: &Selector) -> Result<Summary> {
    let (sure, others) =
        tokio::try_join!(sure(connection, selector), one_by_one(connection, others(selector)))?;
    let Some(sure) = sure else { return one_by_one(connection, select::selector_filter(selector)).await };
    let total = sure.total_spent.checked_add(others.total_spent).map_err(|_too_large| not_exact())?;
    Ok(Summary::new(sure.count + others.count, total))
}

/// Count and sum of the documents that are [`plain`], by the server; `None` if it cannot tell that all of them are
/// purchases.
async fn sure(connection: &Connection, selector: &Selector) -> Result<Option<Summary>> {
    let pipeline = pipeline(selector);
    let (collection, time) = (&connection.collection, connection.options.query_timeout);
    let add_up = || {
        let (collection, pipeline) = (collection.clone(), pipeline.clone());
        async move {
            let cursor = collection.aggregate(pipeline).max_time(time).with_type::<RawDocumentBuf>().await?;
            cursor.try_collect::<Vec<_>>().await
        }
    };
    let groups = connection.ask(time, add_up).await?;
    // A sum has as many decimals as the price that has most: more than a price's are those of no purchase.
    let of_prices = |sum: &Summary| sum.total_spent.as_decimal().scale() <= Price::MAX_DECIMALS;
    Ok(groups.first().map_or_else(|| Some(Summary::default()), |group| read(group).filter(of_prices)))
}

/// What adds them up. The index finds the selected documents; as it does not hold their prices, each is read.
pub(super) fn pipeline(selector: &Selector) -> [Document; 2] {
    let sum = doc! { "_id": null, "count": { "$sum": 1 }, "total": { "$sum": "$price" } };
    [doc! { "$match": { "$and": [select::selector_filter(selector), plain()] } }, doc! { "$group": sum }]
}

/// Selected documents of another form, such as older systems wrote.
fn others(selector: &Selector) -> Document {
    doc! { "$and": [select::selector_filter(selector), { "$nor": [plain()] }] }
}

/// The condition of documents in the form that we write: each is a purchase to [`document::purchase`] too, unless its
/// price has too many decimals. What is a purchase in another form does not meet it.
fn plain() -> Document {
    let (least, most) = (document::decimal128(Price::ZERO), document::decimal128(Price::MAX));
    let (first, last) = (select::date(Timestamp::MIN), select::date(Timestamp::MAX));
    // Some letter, digit or sign, and no control character: `$` would allow for a line end behind the last one.
    let text = |most: usize| {
        let regex = format!(r"\A(?=.*[!-~\p{{L}}\p{{N}}])[^\x00-\x1F\x7F-\x9F]{{1,{most}}}\z");
        doc! { "$type": "string", "$regex": regex, "$not": { "$type": "array" } }
    };
    let uuid = r"\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z";
    doc! {
        // Said so that no index of `_id` is walked for it.
        "$nor": [{ "$and": [
            { "_id": { "$not": { "$type": "objectId" } } },
            { "_id": { "$not": { "$regex": uuid } } },
        ] }],
        "userid": text(UserId::MAX_CHARS),
        "username": text(UserName::MAX_CHARS),
        "price": { "$type": "decimal", "$gte": least, "$lte": most, "$not": { "$type": "array" } },
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

/// Decimal128 writes small values and small zeros with an exponent.
fn decimal(text: &str) -> Option<Decimal> {
    Decimal::from_str_exact(text).or_else(|_exponent| Decimal::from_scientific(text)).ok()
}

/// Count and sum of the purchases among the documents that meet `filter`, each of which is read.
async fn one_by_one(connection: &Connection, filter: Document) -> Result<Summary> {
    let (collection, time) = (&connection.collection, connection.options.query_timeout);
    let add_up = || {
        let (collection, filter) = (collection.clone(), filter.clone());
        let unreadables = Arc::clone(&connection.unreadables);
        async move {
            let mut documents = collection.find(filter).max_time(time).await?;
            let mut sum = Ok(Summary::default());
            while let Some(document) = documents.try_next().await? {
                if let Some(purchase) = unreadables.purchase(&document) {
                    sum = sum.and_then(|sum| plus(sum, purchase.price));
                }
            }
            Ok(sum)
        }
    };
    connection.ask(time, add_up).await?
}

fn plus(sum: Summary, price: Price) -> Result<Summary> {
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
    fn small_sums_are_exact_too() {
        for (text, expected) in
            [("1E-8", "0.00000001"), ("0E-8", "0.00000000"), ("29.99", "29.99"), ("5", "5")]
        {
            assert_eq!(decimal(text).unwrap().to_string(), expected);
        }
    }
}
