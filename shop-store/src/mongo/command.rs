//! Serializes the insert command directly to the bytes that the driver sends.
//!
//! `insert_many` creates a document for each purchase, copies it into the command, and builds a map
//! of all ids. Here a batch needs a single buffer.

use std::fmt::Display;
use std::io::Write as _;

use bson::spec::ElementType;
use bson::{RawDocumentBuf, rawdoc};
use shop_core::Purchase;

use super::document::{DETAILS, REFERENCE, REFUNDED_PURCHASE, decimal128};

/// The time in milliseconds for which the server waits until the write is on a majority of the
/// servers. It is below the client's timeout, so that the server reports the error.
pub(super) const WRITE_TIMEOUT: i32 = 10_000;
/// An upper bound in bytes for the size of a purchase's document without its user id, name and
/// details, including its array index.
const MAX_OVERHEAD: usize = 160;

/// Returns the command that inserts `purchases` into `collection`, unordered, with majority and
/// journal.
///
/// The bytes encode `{insert, ordered, writeConcern, documents: [...]}`.
pub(super) fn encode_insert(
    collection: &str,
    purchases: &[Purchase],
) -> bson::error::Result<RawDocumentBuf> {
    let write_concern = rawdoc! { "w": "majority", "j": true, "wtimeout": WRITE_TIMEOUT };
    let head = rawdoc! { "insert": collection, "ordered": false, "writeConcern": write_concern };
    let mut bytes = head.into_bytes();
    bytes.reserve(purchases.iter().map(size_without_details).sum());

    // Removes the terminator of the head, so that the array `documents` can follow.
    bytes.pop();
    append_element_header(&mut bytes, ElementType::Array, "documents");
    append_container(&mut bytes, |bytes| {
        for (index, purchase) in purchases.iter().enumerate() {
            bytes.push(ElementType::EmbeddedDocument as u8);
            // Writing to a vector is infallible.
            drop(write!(bytes, "{index}\0"));
            append_purchase(bytes, purchase);
        }
    });

    bytes.push(0);
    set_length(&mut bytes, 0);
    RawDocumentBuf::from_bytes(bytes)
}

/// Returns an upper bound in bytes for the size of the document of a purchase without details.
fn size_without_details(purchase: &Purchase) -> usize {
    purchase.user_id.as_str().len() + purchase.user_name.as_str().len() + MAX_OVERHEAD
}

/// Appends the document of a purchase. Its first member is `_id`, as in stored documents.
pub(super) fn append_purchase(bytes: &mut Vec<u8>, purchase: &Purchase) {
    append_container(bytes, |bytes| {
        match purchase.id.as_object_id() {
            Some(id) => {
                append_element_header(bytes, ElementType::ObjectId, "_id");
                bytes.extend_from_slice(id);
            }
            None => append_text(bytes, "_id", purchase.id),
        }
        append_text(bytes, "userid", purchase.user_id.as_str());
        append_text(bytes, "username", purchase.user_name.as_str());

        append_element_header(bytes, ElementType::Decimal128, "price");
        bytes.extend_from_slice(&decimal128(purchase.price).bytes());
        append_element_header(bytes, ElementType::DateTime, "timestamp");
        bytes.extend_from_slice(&purchase.timestamp.as_millis().to_le_bytes());

        if let Some(details) = purchase.details.to_json() {
            append_text(bytes, DETAILS, details);
        }
        if let Some(reference) = &purchase.details.reference {
            append_text(bytes, REFERENCE, reference.as_str());
        }
        if let Some(purchase_id) = purchase.details.of {
            append_text(bytes, REFUNDED_PURCHASE, purchase_id);
        }
    });
}

/// Appends the type and the name of a member. The value follows.
fn append_element_header(bytes: &mut Vec<u8>, kind: ElementType, name: &str) {
    bytes.push(kind as u8);
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
}

/// Appends a member with a text: type, name, length, the text, and a zero byte.
fn append_text(bytes: &mut Vec<u8>, name: &str, text: impl Display) {
    append_element_header(bytes, ElementType::String, name);
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    drop(write!(bytes, "{text}"));
    bytes.push(0);
    // The length of a text does not include the length field.
    let length = i32::try_from(bytes.len() - start - 4).unwrap_or(i32::MAX);
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends a document or an array: its length, the members that `append_members` appends, and the
/// terminator.
fn append_container(bytes: &mut Vec<u8>, append_members: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    append_members(bytes);
    bytes.push(0);
    set_length(bytes, start);
}

/// Writes the length of the document that begins at `start`. The length includes its own field.
fn set_length(bytes: &mut [u8], start: usize) {
    let length = i32::try_from(bytes.len() - start).unwrap_or(i32::MAX);
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::{DateTime, RawArrayBuf};
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
        assert_eq!(encode_insert("purchases", &purchases()).unwrap(), expected);
    }
}
