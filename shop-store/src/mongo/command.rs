//! Encodes the insert command as the bytes that the driver sends.
//!
//! `insert_many` copies each document into the command, and builds a map of all ids. Here a batch is
//! encoded once, and no map is needed.

use bson::oid::ObjectId;
use bson::{RawArrayBuf, RawDocumentBuf, cstr, rawdoc};
use shop_core::Purchase;

use super::document::{decimal128, to_bson_date};

/// The time in milliseconds for which the server waits until the write is on a majority of the
/// servers. It is below the client's timeout, so that the server reports the error.
pub(super) const WRITE_TIMEOUT: i32 = 10_000;

/// Returns the command that inserts `purchases` into `collection`, unordered, with majority and
/// journal.
pub(super) fn encode_insert(collection: &str, purchases: &[Purchase]) -> RawDocumentBuf {
    let mut documents = RawArrayBuf::new();
    for purchase in purchases {
        documents.push(purchase_document(purchase));
    }
    let write_concern = rawdoc! { "w": "majority", "j": true, "wtimeout": WRITE_TIMEOUT };
    rawdoc! {
        "insert": collection,
        "ordered": false,
        "writeConcern": write_concern,
        "documents": documents,
    }
}

/// Returns the document of a purchase. Its first member is `_id`, as in stored documents.
pub(super) fn purchase_document(purchase: &Purchase) -> RawDocumentBuf {
    let mut document = match purchase.id.as_object_id() {
        Some(id) => rawdoc! { "_id": ObjectId::from_bytes(*id) },
        None => rawdoc! { "_id": purchase.id.to_string() },
    };
    document.append(cstr!("userid"), purchase.user_id.as_str());
    document.append(cstr!("username"), purchase.user_name.as_str());
    document.append(cstr!("price"), decimal128(purchase.price));
    document.append(cstr!("timestamp"), to_bson_date(purchase.timestamp));

    // The names of these members are `DETAILS`, `REFERENCE` and `REFUNDED_PURCHASE`.
    if let Some(details) = purchase.details.to_json() {
        document.append(cstr!("details"), details);
    }
    if let Some(reference) = &purchase.details.reference {
        document.append(cstr!("reference"), reference.as_str());
    }
    if let Some(purchase_id) = purchase.details.of {
        document.append(cstr!("of"), purchase_id.to_string());
    }
    document
}

#[cfg(test)]
mod tests {
    use bson::DateTime;
    use shop_core::Timestamp;

    use super::*;

    fn purchases() -> Vec<Purchase> {
        let ids = [
            "0190163d-8694-739b-aea5-966c26f8ad91",
            "65f0c0ffee0123456789abcd",
        ];
        let purchase = |number: usize| {
            let at =
                Timestamp::from_millis(1_772_355_600_250 - 1_000_000_000_000 * (number as i64 % 3))
                    .unwrap();
            let (user, price) = (format!("u{number}"), format!("{number}.50"));
            let name = "Ädä".repeat(number % 5 + 1);
            let id = ids[number % 2].parse().unwrap();
            Purchase::new(
                id,
                user.parse().unwrap(),
                name.parse().unwrap(),
                price.parse().unwrap(),
                at,
            )
        };
        (0..101).map(purchase).collect()
    }

    #[test]
    fn inserts_are_encoded_like_the_bson_library() {
        let mut documents = RawArrayBuf::new();
        for purchase in &purchases() {
            let mut document = match purchase.id.as_object_id() {
                Some(id) => rawdoc! { "_id": ObjectId::from_bytes(*id) },
                None => rawdoc! { "_id": purchase.id.to_string() },
            };
            document.append(bson::cstr!("userid"), purchase.user_id.as_str());
            document.append(bson::cstr!("username"), purchase.user_name.as_str());
            document.append(bson::cstr!("price"), decimal128(purchase.price));
            document.append(
                bson::cstr!("timestamp"),
                DateTime::from_millis(purchase.timestamp.as_millis()),
            );
            documents.push(document);
        }
        let concern = rawdoc! { "w": "majority", "j": true, "wtimeout": 10_000 };
        let expected = rawdoc! {
            "insert": "purchases", "ordered": false, "writeConcern": concern, "documents": documents
        };
        assert_eq!(encode_insert("purchases", &purchases()), expected);
    }
}
