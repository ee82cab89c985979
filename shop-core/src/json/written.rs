//! Purchases and receipts as JSON, without the cost of formatting.

use bytes::BufMut;
use compact_str::ToCompactString;

use crate::ports::PublishedPurchase;
use crate::{Price, Purchase, PurchaseId, Timestamp};

/// Appends `purchase` as a JSON object with `username`, `userid`, `price` and `timestamp`, in this order. Only the texts of a
/// client are escaped, so it costs less than a derived implementation.
///
/// ```
/// use shop_core::json::write_members;
/// use shop_core::{Price, Purchase, PurchaseId, Timestamp, Uuid};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let id = PurchaseId::from_uuid(Uuid::from_u128(1));
/// let purchase = Purchase::new(id, "u1".parse()?, "ada".parse()?, "29.90".parse()?, Timestamp::from_millis(0)?);
/// let mut json = Vec::new();
/// write_members(&purchase, &mut json)?;
/// let expected = r#"{"username":"ada","userid":"u1","price":29.90,"timestamp":"1970-01-01T00:00:00.000Z"}"#;
/// assert_eq!(str::from_utf8(&json)?, expected);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Those of writing a text as JSON.
pub fn write_members(purchase: &Purchase, to: &mut impl BufMut) -> Result<(), serde_json::Error> {
    to.put_slice(b"{\"username\":");
    serde_json::to_writer((&mut *to).writer(), purchase.user_name.as_str())?;
    to.put_slice(b",\"userid\":");
    serde_json::to_writer((&mut *to).writer(), purchase.user_id.as_str())?;
    to.put_slice(b",\"price\":");
    to.put_slice(purchase.price.encode(&mut [0; Price::MAX_BYTES]).as_bytes());
    to.put_slice(b",\"timestamp\":\"");
    to.put_slice(purchase.timestamp.encode(&mut [0; Timestamp::BYTES]).as_bytes());
    to.put_slice(b"\"}");
    Ok(())
}

/// Appends the result of the purchase at `line` of a batch, as that of a
/// [`BatchResultBody`](crate::api::BatchResultBody).
///
/// # Errors
/// Those of writing the name of a topic as JSON.
pub fn write_acknowledged(
    line: usize,
    published: &PublishedPurchase,
    to: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    let PublishedPurchase { purchase, receipt, replayed, .. } = published;
    let (mut id, mut time) = ([0; PurchaseId::MAX_BYTES], [0; Timestamp::BYTES]);
    let (id, time) = (receipt.id.encode(&mut id), purchase.timestamp.encode(&mut time));
    let ((durability, replicas), line) = (receipt.durability.name(), line.to_compact_string());
    let acknowledged =
        ["{\"line\":", &line, ",\"status\":\"acknowledged\",\"id\":\"", id, "\",\"timestamp\":\"", time];
    let proof = ["\",\"receipt\":{\"id\":\"", id, "\",\"durability\":\"", durability, "\""];
    acknowledged.iter().chain(&proof).for_each(|part| to.put_slice(part.as_bytes()));
    if let Some(replicas) = replicas {
        to.put_slice(b",\"replicas\":");
        to.put_slice(replicas.to_compact_string().as_bytes());
    }
    if let Some(position) = &receipt.position {
        to.put_slice(b",\"position\":");
        serde_json::to_writer(&mut *to, position)?;
    }
    to.put_slice(if *replayed { b"},\"replayed\":true}" } else { b"}}" });
    Ok(())
}
