//! The four members of a purchase as JSON.

use bytes::BufMut;

use crate::{Price, Purchase, Timestamp};

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
