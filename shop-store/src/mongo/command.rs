//! The insert command, written once: straight from what is inserted into the bytes that the driver sends.
//!
//! `insert_many` makes a document of its own of each purchase, copies it into the command, and keeps a map of all
//! ids. Here a batch costs one buffer.

use std::fmt::Display;
use std::io::Write as _;

use bson::spec::ElementType;
use bson::{RawDocumentBuf, rawdoc};
use shop_core::Purchase;

use super::document::decimal128;

/// What a document has beside its two texts, with its place in the list; in bytes, and rather too much.
const BESIDE_TEXTS: usize = 160;

/// What can be inserted: whatever can be written as a document.
pub(super) trait Insertable: Send + Sync {
    /// The bytes of its document with its place in the list, or rather more.
    fn size(&self) -> usize;

    /// Appends its document. `_id` comes first, as the server would put it there.
    fn append_to(&self, bytes: &mut Vec<u8>);
}

/// The command that inserts `documents` into `collection`, in any order, with majority and journal.
///
/// `patience` is how long the server waits for a majority, in milliseconds.
pub(super) fn insert(
    collection: &str,
    documents: &[impl Insertable],
    patience: i32,
) -> bson::error::Result<RawDocumentBuf> {
    let durable = rawdoc! { "w": "majority", "j": true, "wtimeout": patience };
    let head = rawdoc! { "insert": collection, "ordered": false, "writeConcern": durable };
    let mut bytes = head.into_bytes();
    bytes.reserve(documents.iter().map(Insertable::size).sum());
    // Open at its end again, for one element more.
    bytes.pop();
    element(&mut bytes, ElementType::Array, b"documents");
    enclosed(&mut bytes, |bytes| {
        for (index, document) in documents.iter().enumerate() {
            bytes.push(ElementType::EmbeddedDocument as u8);
            // Into a vector nothing fails.
            drop(write!(bytes, "{index}\0"));
            document.append_to(bytes);
        }
    });
    bytes.push(0);
    set_length(&mut bytes, 0);
    RawDocumentBuf::from_bytes(bytes)
}

impl Insertable for Purchase {
    fn size(&self) -> usize {
        self.user_id.as_str().len() + self.user_name.as_str().len() + BESIDE_TEXTS
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        enclosed(bytes, |bytes| {
            match self.id.as_object_id() {
                Some(id) => {
                    element(bytes, ElementType::ObjectId, b"_id");
                    bytes.extend_from_slice(id);
                }
                None => text(bytes, b"_id", self.id),
            }
            text(bytes, b"userid", self.user_id.as_str());
            text(bytes, b"username", self.user_name.as_str());
            element(bytes, ElementType::Decimal128, b"price");
            bytes.extend_from_slice(&decimal128(self.price).bytes());
            element(bytes, ElementType::DateTime, b"timestamp");
            bytes.extend_from_slice(&self.timestamp.as_millis().to_le_bytes());
        });
    }
}

/// One that is written already.
impl Insertable for RawDocumentBuf {
    fn size(&self) -> usize {
        self.as_bytes().len() + BESIDE_TEXTS
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.as_bytes());
    }
}

fn element(bytes: &mut Vec<u8>, kind: ElementType, name: &[u8]) {
    bytes.push(kind as u8);
    bytes.extend_from_slice(name);
    bytes.push(0);
}

fn text(bytes: &mut Vec<u8>, name: &[u8], text: impl Display) {
    element(bytes, ElementType::String, name);
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    drop(write!(bytes, "{text}"));
    bytes.push(0);
    // A text's length counts what follows it.
    let length = i32::try_from(bytes.len() - start - 4).unwrap_or(i32::MAX);
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends a member with an integer.
pub(super) fn integer(bytes: &mut Vec<u8>, name: &[u8], number: i64) {
    element(bytes, ElementType::Int64, name);
    bytes.extend_from_slice(&number.to_le_bytes());
}

/// Appends a document or an array: its length, what `fill` appends, and the end.
pub(super) fn enclosed(bytes: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    fill(bytes);
    bytes.push(0);
    set_length(bytes, start);
}

/// The length of a document counts itself.
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
        let ids = ["0190163d-8694-739b-aea5-966c26f8ad91", "65f0c0ffee0123456789abcd"];
        let purchase = |number: usize| {
            let at =
                Timestamp::from_millis(1_772_355_600_250 - 1_000_000_000_000 * (number as i64 % 3)).unwrap();
            let (user, price) = (format!("u{number}"), format!("{number}.50"));
            let name = "Ädä".repeat(number % 5 + 1);
            let id = ids[number % 2].parse().unwrap();
            Purchase::new(id, user.parse().unwrap(), name.parse().unwrap(), price.parse().unwrap(), at)
        };
        (0..101).map(purchase).collect()
    }

    #[test]
    fn it_is_what_the_library_of_bson_would_write() {
        let mut documents = RawArrayBuf::new();
        for purchase in &purchases() {
            let mut document = match purchase.id.as_object_id() {
                Some(id) => rawdoc! { "_id": ObjectId::from_bytes(*id) },
                None => rawdoc! { "_id": purchase.id.to_string() },
            };
            document.append(bson::cstr!("userid"), purchase.user_id.as_str());
            document.append(bson::cstr!("username"), purchase.user_name.as_str());
            document.append(bson::cstr!("price"), decimal128(purchase.price));
            document.append(bson::cstr!("timestamp"), DateTime::from_millis(purchase.timestamp.as_millis()));
            documents.push(document);
        }
        let concern = rawdoc! { "w": "majority", "j": true, "wtimeout": 10_000 };
        let expected = rawdoc! {
            "insert": "purchases", "ordered": false, "writeConcern": concern, "documents": documents
        };
        assert_eq!(insert("purchases", &purchases(), 10_000).unwrap(), expected);
    }
}
