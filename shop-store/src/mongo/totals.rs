//! Exact counts and sums: the server adds up what is exact there, and what older systems wrote is added up here.

use bson::raw::RawBsonRef;
use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use rust_decimal::Decimal;
use shop_core::ports::{Selector, Summary};
use shop_core::{Error, ErrorKind, Price, Result, Total};

use super::connection::Connection;
use super::{document, select};

pub(super) async fn summary(connection: &Connection, selector: &Selector) -> Result<Summary> {
    let (exact, old) = tokio::try_join!(exact(connection, selector), old(connection, selector))?;
    let total = exact.total_spent.and(old.total_spent).map_err(|_too_large| not_exact())?;
    Ok(Summary::new(exact.count + old.count, total))
}

/// Count and sum of the prices that are exact in the server.
async fn exact(connection: &Connection, selector: &Selector) -> Result<Summary> {
    let pipeline = pipeline(selector);
    let (collection, time) = (&connection.collection, connection.options.query_deadline);
    let add_up = || {
        let (collection, pipeline) = (collection.clone(), pipeline.clone());
        async move {
            let cursor = collection.aggregate(pipeline).max_time(time).with_type::<RawDocumentBuf>().await?;
            cursor.try_collect::<Vec<_>>().await
        }
    };
    let groups = connection.ask(time, add_up).await?;
    groups.first().map_or_else(|| Ok(Summary::default()), |group| read(group).ok_or_else(not_exact))
}

/// What adds them up. The index finds the selected documents; as it does not hold their prices, each is read.
pub(super) fn pipeline(selector: &Selector) -> [Document; 2] {
    // What is beyond, or no number, is no price, and is not listed either.
    let (least, most) = (document::decimal128(Price::ZERO), document::decimal128(Price::MAX));
    let mut filter = select::of(selector);
    filter.insert("price", doc! { "$type": "decimal", "$gte": least, "$lte": most });
    let sum = doc! { "_id": null, "count": { "$sum": 1 }, "total": { "$sum": "$price" } };
    [doc! { "$match": filter }, doc! { "$group": sum }]
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

/// Count and sum of the prices that older systems wrote as doubles, integers and text.
async fn old(connection: &Connection, selector: &Selector) -> Result<Summary> {
    let mut filter = select::of(selector);
    filter.insert("price", doc! { "$not": { "$type": "decimal" } });
    let (collection, time) = (&connection.collection, connection.options.query_deadline);
    let add_up = || {
        let (collection, filter) = (collection.clone(), filter.clone());
        async move {
            let prices = doc! { "price": 1 };
            let mut documents = collection.find(filter).projection(prices).max_time(time).await?;
            let mut sum = Ok(Summary::default());
            while let Some(document) = documents.try_next().await? {
                sum = sum.and_then(|sum| plus(sum, &document));
            }
            Ok(sum)
        }
    };
    connection.ask(time, add_up).await?
}

fn plus(sum: Summary, document: &RawDocumentBuf) -> Result<Summary> {
    match document::price(document) {
        Ok(price) => {
            let total = sum.total_spent.plus(price).map_err(|_too_large| not_exact())?;
            Ok(Summary::new(sum.count + 1, total))
        }
        Err(error) => {
            tracing::warn!(%error, "a document that is no purchase was left out of a sum");
            Ok(sum)
        }
    }
}

fn not_exact() -> Error {
    Error::new(ErrorKind::Corrupt, "the prices cannot be summed exactly").with_origin("mongodb")
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
