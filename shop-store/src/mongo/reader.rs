//! Reads purchases from the documents that this store wrote, and with a [`DocumentDecoder`] also from
//! the documents that another program wrote.

use std::fmt::Debug;
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::raw::RawBsonRef;
use bson::{Bson, RawDocument};
use shop_core::{Details, Price, Purchase, PurchaseId, Timestamp};

use super::document::{DETAILS, id_text, is_mark, raw_member, read_id, to_timestamp};
use crate::refunds::StoredRow;
use crate::unreadable::{Unreadable, Unreadables, not_valid, unreadable};

/// A decoder of the values that another program wrote into the documents of purchases in types of
/// its own.
///
/// A document has the members `userid`, `username`, `price` and `timestamp` in any case, because the
/// queries of the store select and sort by them. A decoder gets only values whose type is not the
/// one that the store writes: text for the user id and the user name, Decimal128 for the price, and
/// a date for the timestamp. It is registered by
/// [`MongoStoreOptions::decoder`](super::MongoStoreOptions::decoder).
///
/// A store with a decoder also lists documents without a date, after all others. Such a purchase has
/// the decoded time or, if it has none, the time of the ObjectId in its `_id`.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::Timestamp;
/// use shop_store::mongo::{Bson, DocumentDecoder, MongoStoreOptions};
///
/// /// Decodes user ids that are numbers, prices in cents, and times in milliseconds.
/// #[derive(Debug)]
/// struct Integers;
///
/// impl DocumentDecoder for Integers {
///     fn read_text(&self, value: &Bson) -> Option<String> {
///         value.as_i64().map(|number| number.to_string())
///     }
///
///     fn values_with_text(&self, text: &str) -> Vec<Bson> {
///         let number = text.parse::<i64>().ok();
///         number.filter(|number| number.to_string() == text).map(Bson::Int64).into_iter().collect()
///     }
///
///     fn read_price(&self, value: &Bson) -> Option<String> {
///         value.as_i64().map(|cents| format!("{cents}e-2"))
///     }
///
///     fn read_timestamp(&self, value: &Bson) -> Option<Timestamp> {
///         Timestamp::from_millis(value.as_i64()?).ok()
///     }
/// }
///
/// assert_eq!(Integers.read_price(&Bson::Int64(2_999)).as_deref(), Some("2999e-2"));
/// let options = MongoStoreOptions::new("mongodb://localhost").decoder(Some(Arc::new(Integers)));
/// ```
pub trait DocumentDecoder: Debug + Send + Sync + 'static {
    /// Converts a user id or a user name to text. Returns `None` if the value is neither.
    fn read_text(&self, value: &Bson) -> Option<String>;

    /// Returns the values that [`read_text`](Self::read_text) converts to `text`.
    ///
    /// The store selects documents with `text` and with each of these values, to list, sum up and
    /// erase the purchases of a user. MongoDB compares numbers by value, so one of several numeric
    /// types is enough.
    fn values_with_text(&self, text: &str) -> Vec<Bson>;

    /// Converts a price to the text of a decimal number. Returns `None` if the value is not a price.
    ///
    /// The store rounds the number to the decimals of a [`Price`], and accepts a negative number
    /// for a refund.
    fn read_price(&self, value: &Bson) -> Option<String>;

    /// Reads the time of a purchase. Returns `None` if the value is not a time.
    fn read_timestamp(&self, value: &Bson) -> Option<Timestamp>;
}

/// The reader of the documents of a store.
#[derive(Debug)]
pub(super) struct DocumentReader {
    /// The decoder of another program's values; `None` if the store reads its own documents alone.
    decoder: Option<Arc<dyn DocumentDecoder>>,
    /// The documents found so far that are not purchases.
    pub(super) unreadables: Unreadables,
}

impl DocumentReader {
    /// Creates a reader of the documents of the store, and of the documents that `decoder` knows.
    pub(super) fn new(decoder: Option<Arc<dyn DocumentDecoder>>) -> Self {
        Self {
            decoder,
            unreadables: Unreadables::default(),
        }
    }

    /// Returns whether a document without a date may be a purchase. Only another program stores such
    /// documents, so it is `true` with a decoder.
    pub(super) const fn reads_undated(&self) -> bool {
        self.decoder.is_some()
    }

    /// Returns the values of a user id or a user name, besides `text`, that are read as `text`.
    pub(super) fn values_with_text(&self, text: &str) -> Vec<Bson> {
        match &self.decoder {
            Some(decoder) => decoder.values_with_text(text),
            None => Vec::new(),
        }
    }

    /// Reads the content of a document: a purchase, the mark of an erased purchase, or an unreadable
    /// document.
    pub(super) fn read_stored_row(&self, document: &RawDocument) -> StoredRow {
        if is_mark(document) {
            return StoredRow::Mark;
        }
        self.read_purchase(document)
            .map_or_else(StoredRow::Unreadable, StoredRow::Purchase)
    }

    /// Returns the purchase in `document`, if it is one. A document that is neither a purchase nor
    /// a mark is logged and counted, as by [`Unreadables::record`].
    pub(super) fn read_listed(&self, document: &RawDocument) -> Option<Purchase> {
        if is_mark(document) {
            return None;
        }
        self.read_purchase(document)
            .inspect_err(|error| {
                self.unreadables
                    .record("document", &id_text(document), error);
            })
            .ok()
    }

    /// Reads the purchase in a document.
    ///
    /// # Errors
    /// The first member that is missing or not valid, and the reason.
    pub(super) fn read_purchase(&self, document: &RawDocument) -> Result<Purchase, Unreadable> {
        let id = read_id(document)?;
        let user_id = self
            .read_text(document, "userid")?
            .parse()
            .map_err(not_valid("userid"))?;
        let user_name = self
            .read_text(document, "username")?
            .parse()
            .map_err(not_valid("username"))?;
        let no_excluded_members = &[];
        let details = match raw_member(document, DETAILS)? {
            Some(RawBsonRef::String(json)) => {
                Details::from_json(json.as_bytes(), no_excluded_members)
                    .map_err(|(_, problem)| unreadable(DETAILS, problem))?
            }
            // This store writes the details as a text. A member of another type is another program's
            // own, and is not read.
            _ => Details::NONE,
        };
        let price = self.read_price(document, &details)?;
        let timestamp = self.read_timestamp(document, &id)?;

        Ok(Purchase::new(id, user_id, user_name, price, timestamp).with_details(details))
    }

    /// Reads the text of a user id or a user name.
    fn read_text(&self, document: &RawDocument, name: &'static str) -> Result<String, Unreadable> {
        match required_member(document, name)? {
            RawBsonRef::String(text) => Ok(text.to_owned()),
            value => self
                .decode(value, DocumentDecoder::read_text)
                .ok_or_else(|| unknown_type(name)),
        }
    }

    /// Reads the price. Only a refund may have a negative price.
    fn read_price(&self, document: &RawDocument, details: &Details) -> Result<Price, Unreadable> {
        let text = match required_member(document, "price")? {
            RawBsonRef::Decimal128(price) => price.to_string(),
            value => self
                .decode(value, DocumentDecoder::read_price)
                .ok_or_else(|| unknown_type("price"))?,
        };
        let price = match text.strip_prefix('-') {
            // Only a refund has `details.of`, the id of the refunded purchase.
            Some(refunded_amount) if details.of.is_some() => {
                Price::parse_rounded(refunded_amount).map(Price::negated)
            }
            // A negative price of a purchase is an error.
            _ => Price::parse_rounded(&text),
        };
        price.map_err(not_valid("price"))
    }

    /// Reads the timestamp of a purchase. A document of another program without a readable timestamp
    /// has the time of the `ObjectId` in `id`.
    fn read_timestamp(
        &self,
        document: &RawDocument,
        id: &PurchaseId,
    ) -> Result<Timestamp, Unreadable> {
        if let Some(timestamp) = self.read_timestamp_member(document) {
            return Ok(timestamp);
        }
        if self.reads_undated()
            && let Some(bytes) = id.as_object_id()
            && let Some(timestamp) = to_timestamp(ObjectId::from_bytes(*bytes).timestamp())
        {
            return Ok(timestamp);
        }
        Err(unreadable("timestamp", "is not a time"))
    }

    /// Reads the member `timestamp`: a date, or a value that the decoder knows.
    pub(super) fn read_timestamp_member(&self, document: &RawDocument) -> Option<Timestamp> {
        match document.get("timestamp").ok()?? {
            RawBsonRef::DateTime(date) => to_timestamp(date),
            value => self.decode(value, DocumentDecoder::read_timestamp),
        }
    }

    /// Calls `decode` with the decoder and `value`. Returns `None` without a decoder, and for a
    /// malformed value.
    fn decode<T>(
        &self,
        value: RawBsonRef<'_>,
        decode: impl FnOnce(&dyn DocumentDecoder, &Bson) -> Option<T>,
    ) -> Option<T> {
        let decoder = self.decoder.as_deref()?;
        let value = Bson::try_from(value).ok()?;
        decode(decoder, &value)
    }
}

/// Returns the value of the member `name`, which a purchase must have.
fn required_member<'a>(
    document: &'a RawDocument,
    name: &'static str,
) -> Result<RawBsonRef<'a>, Unreadable> {
    raw_member(document, name)?.ok_or_else(|| unreadable(name, "is missing"))
}

/// Returns the reason that `member` has a type which neither the store nor its decoder reads.
fn unknown_type(member: &'static str) -> Unreadable {
    unreadable(member, "has an unsupported type")
}
