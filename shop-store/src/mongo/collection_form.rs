//! Judges the options and indexes of a collection: whether the collection accepts the documents of
//! this store, and neither deletes nor confuses them later.
//!
//! The judgements are functions of the replies to `listCollections` and `listIndexes`. They are not
//! read with the driver's types, so that an option of a later server is no error.

use bson::{Bson, DateTime, Decimal128, Document, doc};
use shop_core::{Error, ErrorKind};

use super::document::{DETAILS, ERASED, REFERENCE, REFUNDED_PURCHASE};
use super::error::mongo_error;
use crate::StoreInspection;

/// A collection that this store writes.
#[derive(Debug)]
pub(super) struct StoreCollection {
    pub(super) name: String,
    content: Content,
}

/// What a collection of this store contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Purchases and refunds, the marks of erased ones, and the documents that are stored as marks.
    Purchases,
    /// Refunds that wait for their purchase.
    WaitingRefunds,
}

/// The id of a sample document, in the form in which this store writes ids.
const SAMPLE_ID: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

impl StoreCollection {
    /// Returns the collection of purchases.
    pub(super) fn purchases(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            content: Content::Purchases,
        }
    }

    /// Returns the collection of the refunds that wait for their purchase.
    pub(super) fn waiting_refunds(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            content: Content::WaitingRefunds,
        }
    }

    /// Creates the error of a collection that rejects, deletes or confuses the documents of this
    /// store.
    pub(super) fn fault(&self, message: impl Into<String>) -> Error {
        mongo_error(ErrorKind::Unsupported, message).with_context("collection", &self.name)
    }

    /// Returns a document of each form that this store writes to the collection, with the name of
    /// the form. Each document has another `_id`.
    pub(super) fn samples(&self) -> Vec<(&'static str, Document)> {
        let now = DateTime::from_millis(1_772_355_600_000);
        if self.content == Content::WaitingRefunds {
            let refund = doc! {
                "_id": 1_i64, "id": SAMPLE_ID, "userid": "u1", "timestamp": now, "value": "{}",
                "purchase": SAMPLE_ID, "origin": "{}",
            };
            return vec![("refunds that wait (`value`)", refund)];
        }

        let purchase = |id: &str, price: &str| {
            let price = price.parse::<Decimal128>().map_or(Bson::Null, Bson::from);
            doc! { "_id": id, "userid": "u1", "username": "ada", "price": price, "timestamp": now }
        };
        let mut purchase_with_details = purchase("0190163d-8694-739b-aea5-966c26f8ad92", "29.99");
        purchase_with_details.insert(DETAILS, "{}");
        purchase_with_details.insert(REFERENCE, "order-17");
        let mut refund = purchase("0190163d-8694-739b-aea5-966c26f8ad93", "-29.99");
        refund.insert(DETAILS, format!("{{\"of\":\"{SAMPLE_ID}\"}}"));
        refund.insert(REFUNDED_PURCHASE, SAMPLE_ID);
        let mark = doc! { "_id": "0190163d-8694-739b-aea5-966c26f8ad94", ERASED: now };
        vec![
            ("purchases", purchase(SAMPLE_ID, "29.99")),
            (
                "purchases with details (`details`, `reference`)",
                purchase_with_details,
            ),
            ("refunds (a negative price, `of`)", refund),
            (
                "the marks of erased purchases (`_id` and `erased` alone)",
                mark,
            ),
            (
                "the currency (`currency`, `erased`)",
                doc! { "_id": "currency", "currency": "EUR", ERASED: now },
            ),
            (
                "the last time seen (`seen`, `erased`)",
                doc! { "_id": "last-seen", "seen": now, ERASED: true },
            ),
            (
                "imported files (`reading`, `erased`)",
                doc! { "_id": format!("imported-file {SAMPLE_ID}"), "reading": "{}", ERASED: true },
            ),
        ]
    }
}

/// Adds to `inspection` a fault for each option of `collection` that harms its documents. `entry`
/// describes the collection in the reply to `listCollections`.
///
/// Returns the validator that rejects documents, if there is one.
pub(super) fn judge_options(
    collection: &StoreCollection,
    entry: &Document,
    inspection: &mut StoreInspection,
) -> Option<Document> {
    let mut add_fault = |message: &str| inspection.faults.push(collection.fault(message));
    match entry.get_str("type") {
        Ok("view") => add_fault("a view cannot be written: name a collection"),
        Ok("timeseries") => add_fault(
            "a collection of time series recognizes no repetitions: name another collection",
        ),
        _ => {}
    }
    let options = entry.get_document("options").ok()?;
    if is_true(options, "capped") {
        add_fault(
            "a capped collection deletes its oldest documents when it is full: copy them to a collection that is not \
             capped, and name that one",
        );
    }
    if options.contains_key("expireAfterSeconds") {
        add_fault(EXPIRES);
    }
    if let Ok(collation) = options.get_document("collation")
        && !is_text(collation, "locale", "simple")
    {
        add_fault(
            "the collation of the collection takes different texts for equal, and keeps queries from the index of \
             _id: copy its documents to a collection without a collation, and name that one",
        );
    }

    let validator = options.get_document("validator").ok()?;
    let is_enforced = !is_text(options, "validationAction", "warn")
        && !is_text(options, "validationLevel", "off");
    (is_enforced && !validator.is_empty()).then(|| validator.clone())
}

/// The fault of documents that expire.
const EXPIRES: &str = "documents expire by expireAfterSeconds, so purchases and the marks of erased ones vanish: remove \
                       it, and set SHOP_PURCHASE_RETENTION if purchases are to be deleted";

/// The members that the store writes, besides `_id`, which is unique in any case.
const PURCHASE_MEMBERS: [&str; 11] = [
    "userid",
    "username",
    "price",
    "timestamp",
    DETAILS,
    REFERENCE,
    REFUNDED_PURCHASE,
    ERASED,
    "currency",
    "seen",
    "reading",
];
/// The members of a waiting refund, besides `_id`.
const WAITING_MEMBERS: [&str; 7] = [
    "id",
    "userid",
    "timestamp",
    "value",
    "purchase",
    "origin",
    "refusal",
];

/// Adds to `inspection` a fault or a warning for each of the `indexes` of `collection` that harms its
/// documents. The reply to `listIndexes` describes the indexes.
pub(super) fn judge_indexes(
    collection: &StoreCollection,
    indexes: &[Document],
    inspection: &mut StoreInspection,
) {
    for index in indexes {
        let name = index.get_str("name").unwrap_or_default();
        let mut add_fault = |message: &str| {
            let fault = collection.fault(message);
            inspection.faults.push(fault.with_context("index", name));
        };
        if index.contains_key("expireAfterSeconds") {
            add_fault(EXPIRES);
        }
        match judge_uniqueness(collection, index) {
            Uniqueness::Harmless => {}
            Uniqueness::Rejects => add_fault(
                "a unique index rejects purchases, or the marks of erased ones, as repetitions: create it without \
                 unique",
            ),
            Uniqueness::Unknown => inspection.warnings.push(format!(
                "the index {name} of the collection {} is unique for a part of the documents: that part must not \
                 contain purchases, nor the marks of erased ones",
                collection.name
            )),
        }

        let is_unusable = index.contains_key("collation") || is_true(index, "hidden");
        if is_unusable && is_listing_index(index) {
            inspection.warnings.push(format!(
                "the index {name} of the collection {} is hidden or has a collation, so listings do not use it: drop \
                 it, and a service creates it again",
                collection.name
            ));
        }
    }
}

/// What a unique index does to the documents of this store.
enum Uniqueness {
    /// It is not unique, or the documents of this store have no value in common.
    Harmless,
    /// It rejects documents that differ in `_id` alone.
    Rejects,
    /// It contains only the documents that match a filter, and these may be documents of this store.
    Unknown,
}

/// Judges whether `index` rejects documents that this store writes to `collection`.
fn judge_uniqueness(collection: &StoreCollection, index: &Document) -> Uniqueness {
    let Ok(keys) = index.get_document("key") else {
        return Uniqueness::Harmless;
    };
    let is_unique = is_true(index, "unique") || is_true(index, "prepareUnique");
    if !is_unique || keys.contains_key("_id") {
        return Uniqueness::Harmless;
    }
    if index.contains_key("partialFilterExpression") {
        return Uniqueness::Unknown;
    }
    // A sparse index does not contain a document without any of its keys. Any other index contains
    // such a document with null, and two documents with null conflict.
    let members: &[&str] = match collection.content {
        Content::Purchases => &PURCHASE_MEMBERS,
        Content::WaitingRefunds => &WAITING_MEMBERS,
    };
    let has_stored_member = keys.keys().any(|key| members.contains(&key.as_str()));
    if is_true(index, "sparse") && !has_stored_member {
        return Uniqueness::Harmless;
    }
    Uniqueness::Rejects
}

/// Returns whether the option `name` is set. Servers of old versions also store `true` as a number.
fn is_true(options: &Document, name: &str) -> bool {
    match options.get(name) {
        Some(Bson::Boolean(is_set)) => *is_set,
        Some(Bson::Int32(number)) => *number != 0,
        Some(Bson::Double(number)) => *number != 0.0,
        _ => false,
    }
}

/// Returns whether the option `name` is `text`.
fn is_text(options: &Document, name: &str, text: &str) -> bool {
    options.get_str(name).is_ok_and(|value| value == text)
}

/// Returns whether `index` has the keys of a listing, which end in the timestamp and the id.
fn is_listing_index(index: &Document) -> bool {
    let Ok(keys) = index.get_document("key") else {
        return false;
    };
    let names: Vec<&String> = keys.keys().collect();
    names.ends_with(&[&"timestamp".to_owned(), &"_id".to_owned()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bson::RawDocument;

    use super::*;
    use crate::mongo::document::{is_mark, purchase_document};
    use crate::mongo::reader::DocumentReader;
    use crate::server_fixture::purchases;

    /// Judges a collection of purchases with these options and this index.
    fn judge(entry: &Document, index: &Document) -> StoreInspection {
        let mut inspection = StoreInspection::default();
        let collection = StoreCollection::purchases("purchases");
        judge_options(&collection, entry, &mut inspection);
        judge_indexes(&collection, std::slice::from_ref(index), &mut inspection);
        inspection
    }

    fn id_index() -> Document {
        doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }
    }

    #[test]
    fn options_that_lose_or_mix_up_documents_are_faults() {
        let of_options = |options: Document| doc! { "name": "purchases", "type": "collection", "options": options };
        for (entry, fault) in [
            (of_options(doc! {}), None),
            (
                of_options(doc! { "capped": true, "size": 4096, "max": 5 }),
                Some("capped"),
            ),
            (
                of_options(doc! { "collation": { "locale": "en", "strength": 2 } }),
                Some("collation"),
            ),
            (
                of_options(doc! { "collation": { "locale": "simple" } }),
                None,
            ),
            (
                of_options(
                    doc! { "clusteredIndex": { "key": { "_id": 1 }, "unique": true }, "expireAfterSeconds": 60_i64 },
                ),
                Some("SHOP_PURCHASE_RETENTION"),
            ),
            (
                doc! { "name": "purchases", "type": "view", "options": { "viewOn": "all", "pipeline": [] } },
                Some("view"),
            ),
            (
                doc! { "name": "purchases", "type": "timeseries", "options": { "timeseries": { "timeField": "timestamp" } } },
                Some("time series"),
            ),
        ] {
            let inspection = judge(&entry, &id_index());
            let text = inspection
                .check_writable()
                .map_err(|error| error.to_string());
            match fault {
                Some(fault) => assert!(text.unwrap_err().contains(fault), "{entry}"),
                None => assert_eq!(text, Ok(()), "{entry}"),
            }
        }
    }

    #[test]
    fn only_validators_that_reject_documents_are_tested() {
        let validator = doc! { "userid": { "$exists": true } };
        for (action, is_tested) in [
            (doc! {}, true),
            (
                doc! { "validationAction": "error", "validationLevel": "moderate" },
                true,
            ),
            (doc! { "validationAction": "warn" }, false),
            (doc! { "validationLevel": "off" }, false),
        ] {
            let mut options = doc! { "validator": validator.clone() };
            options.extend(action);
            let entry = doc! { "type": "collection", "options": options };
            let collection = StoreCollection::purchases("purchases");
            let tested = judge_options(&collection, &entry, &mut StoreInspection::default());
            assert_eq!(tested.is_some(), is_tested, "{entry}");
        }
    }

    #[test]
    fn indexes_that_reject_or_delete_documents_are_faults() {
        let index = |keys: Document, options: Document| {
            let mut index = doc! { "v": 2, "key": keys, "name": "of_another_program" };
            index.extend(options);
            index
        };
        let by_user = || doc! { "userid": 1, "timestamp": 1 };
        for (index, fault) in [
            (index(by_user(), doc! {}), None),
            (
                index(by_user(), doc! { "unique": true }),
                Some("without unique"),
            ),
            (
                index(by_user(), doc! { "unique": true, "sparse": true }),
                Some("without unique"),
            ),
            // All documents of this store lack the member, so they all have null.
            (
                index(doc! { "order": 1 }, doc! { "unique": true }),
                Some("without unique"),
            ),
            (
                index(doc! { "order": 1 }, doc! { "unique": true, "sparse": true }),
                None,
            ),
            (
                index(doc! { "_id": 1, "userid": 1 }, doc! { "unique": true }),
                None,
            ),
            (
                index(doc! { "timestamp": 1 }, doc! { "expireAfterSeconds": 60 }),
                Some("expire"),
            ),
            (
                index(doc! { "erased": 1 }, doc! { "expireAfterSeconds": 60_i64 }),
                Some("expire"),
            ),
        ] {
            let inspection = judge(&doc! { "type": "collection" }, &index);
            let text = inspection
                .check_writable()
                .map_err(|error| error.to_string());
            match fault {
                Some(fault) => {
                    let text = text.unwrap_err();
                    assert!(
                        text.contains(fault) && text.contains("of_another_program"),
                        "{text}"
                    );
                }
                None => assert_eq!(text, Ok(()), "{index}"),
            }
        }

        for (index, warning) in [
            (
                index(
                    by_user(),
                    doc! { "unique": true, "partialFilterExpression": { "order": { "$exists": true } } },
                ),
                "unique for a part",
            ),
            (
                index(
                    doc! { "userid": 1, "timestamp": 1, "_id": 1 },
                    doc! { "collation": { "locale": "en" } },
                ),
                "listings do not use it",
            ),
        ] {
            let inspection = judge(&doc! { "type": "collection" }, &index);
            inspection.check_writable().unwrap();
            assert!(inspection.warnings[0].contains(warning), "{inspection:?}");
        }
    }

    /// The samples have the members that the store writes, so that a validator that accepts the
    /// samples accepts the documents.
    #[test]
    fn samples_are_documents_of_this_store() {
        let members = |document: &RawDocument| -> BTreeSet<String> {
            let members = document.iter().map(|member| member.unwrap().0.to_string());
            members.collect()
        };
        let samples = StoreCollection::purchases("purchases").samples();
        let ids: BTreeSet<String> = samples
            .iter()
            .map(|(_, sample)| sample["_id"].to_string())
            .collect();
        assert_eq!(ids.len(), samples.len());

        let plain = purchase_document(&purchases(1)[0]);
        let reader = DocumentReader::new(None);
        for (form, sample) in samples {
            let raw = bson::RawDocumentBuf::try_from(&sample).unwrap();
            match form {
                "purchases" => assert_eq!(members(&raw), members(&plain)),
                form if form.contains("erased") => assert!(is_mark(&raw), "{form}"),
                form => assert!(reader.read_purchase(&raw).is_ok(), "{form}"),
            }
        }
    }
}
