//! The form of the documents that this store writes: purchases, and the marks of erased purchases.
//! The module `reader` reads purchases from documents.

use bson::oid::ObjectId;
use bson::raw::RawBsonRef;
use bson::{Bson, DateTime, Decimal128, Document, RawDocument, RawDocumentBuf, cstr, doc, rawdoc};
use shop_core::{Price, Purchase, PurchaseId, Timestamp};

use crate::unreadable::{Unreadable, not_valid, unreadable};

/// The biased exponent of Decimal128 for zero decimals (IEEE 754-2008, binary integer decimal).
const EXPONENT_BIAS: u128 = 6_176;
/// The position of the exponent in the bits of a Decimal128, above the coefficient. The 96 bits of a
/// price's mantissa fit into the coefficient.
const EXPONENT_SHIFT: u32 = 113;

/// The member that makes a document a mark: a document that replaces an erased purchase, so that
/// the purchase is not stored again.
pub(super) const ERASED: &str = "erased";

/// The member with the details of a purchase. It is JSON text, which preserves the members that
/// this version does not know.
pub(super) const DETAILS: &str = "details";
/// The member with the reference of the details, which a listing index covers.
pub(super) const REFERENCE: &str = "reference";
/// The member of a refund with the id of the purchase that the refund pays back.
pub(super) const REFUNDED_PURCHASE: &str = "of";

/// Reads the id of a purchase from the member `_id`, which is the text of a UUID or an `ObjectId`.
///
/// The value must be the one that [`id_value`] returns for the id, because all queries look for that
/// value. A document with another value, such as a UUID in capitals, belongs to another program.
///
/// # Errors
/// The reason why `_id` is not the id of a purchase.
pub(super) fn read_id(document: &RawDocument) -> Result<PurchaseId, Unreadable> {
    match raw_member(document, "_id")? {
        Some(RawBsonRef::String(text)) => match PurchaseId::from_stored(text) {
            Ok(id) if id.as_uuid().is_some() => Ok(id),
            Ok(_) => Err(unreadable("_id", "is the text of an ObjectId")),
            Err(invalid) => Err(not_valid("_id")(invalid)),
        },
        Some(RawBsonRef::ObjectId(id)) => Ok(PurchaseId::from_object_id(id.bytes())),
        _ => Err(unreadable("_id", "is neither text nor an ObjectId")),
    }
}

/// Returns the value of a member, of any type, as a reference into the document.
pub(super) fn raw_member<'a>(
    document: &'a RawDocument,
    name: &'static str,
) -> Result<Option<RawBsonRef<'a>>, Unreadable> {
    document.get(name).map_err(|error| unreadable(name, error))
}

/// Returns the value of a member, of any type; `None` if the member is missing or malformed.
pub(super) fn member_value(document: &RawDocument, member: &str) -> Option<Bson> {
    let value = document.get(member).ok()??;
    Bson::try_from(value).ok()
}

/// Returns the `_id` of a document, of any type, as a single line for logs and reports.
pub(super) fn id_text(document: &RawDocument) -> String {
    match member_value(document, "_id") {
        Some(Bson::String(text)) => format!("{text:?}"),
        Some(id) => id.to_string().replace(char::is_control, " "),
        None => "none".to_owned(),
    }
}

/// Returns whether `document` is the mark of an erased purchase.
pub(super) fn is_mark(document: &RawDocument) -> bool {
    matches!(document.get(ERASED), Ok(Some(_)))
}

/// Returns the condition of documents that are not marks.
pub(super) fn not_a_mark_condition() -> Document {
    doc! { ERASED: { "$exists": false } }
}

/// The date of the first possible timestamp.
pub(super) const MIN_DATE: DateTime = to_bson_date(Timestamp::MIN);
/// The date of the last possible timestamp.
pub(super) const MAX_DATE: DateTime = to_bson_date(Timestamp::MAX);

/// Converts a timestamp to a BSON date.
pub(super) const fn to_bson_date(timestamp: Timestamp) -> DateTime {
    DateTime::from_millis(timestamp.as_millis())
}

/// Converts a BSON date to a timestamp; `None` if the date is out of the range of timestamps.
pub(super) fn to_timestamp(date: DateTime) -> Option<Timestamp> {
    Timestamp::from_millis(date.timestamp_millis()).ok()
}

/// Converts the id of a purchase to the value of `_id`: an `ObjectId` for purchases that another
/// program stored, text otherwise.
pub(super) fn id_value(id: &PurchaseId) -> Bson {
    match id.as_object_id() {
        Some(bytes) => Bson::ObjectId(ObjectId::from_bytes(*bytes)),
        None => Bson::String(id.to_string()),
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

/// Converts a price to a Decimal128 with the same number of decimals, without loss.
pub(super) fn decimal128(price: Price) -> Decimal128 {
    let decimal = price.as_decimal();
    let sign = u128::from(price.is_negative()) << 127;
    let exponent = (EXPONENT_BIAS - u128::from(decimal.scale())) << EXPONENT_SHIFT;
    let coefficient = decimal.mantissa().unsigned_abs();
    Decimal128::from_bytes((sign | exponent | coefficient).to_le_bytes())
}
