//! Purchases and receipts as JSON, without the cost of formatting.

use bytes::BufMut;

use crate::ports::{PublishedPurchase, Receipt};
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
    to.put_slice(b"{\"line\":");
    serde_json::to_writer(&mut *to, &line)?;
    to.put_slice(b",\"status\":\"acknowledged\",\"id\":\"");
    to.put_slice(published.receipt.id.encode(&mut [0; PurchaseId::MAX_BYTES]).as_bytes());
    to.put_slice(b"\",\"timestamp\":\"");
    to.put_slice(published.purchase.timestamp.encode(&mut [0; Timestamp::BYTES]).as_bytes());
    to.put_slice(b"\",\"receipt\":");
    write_receipt(&published.receipt, to)?;
    if published.replayed {
        to.put_slice(b",\"replayed\":true");
    }
    to.put_u8(b'}');
    Ok(())
}

fn write_receipt(receipt: &Receipt, to: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let (durability, replicas) = receipt.durability.name();
    to.put_slice(b"{\"id\":\"");
    to.put_slice(receipt.id.encode(&mut [0; PurchaseId::MAX_BYTES]).as_bytes());
    to.put_slice(b"\",\"durability\":\"");
    to.put_slice(durability.as_bytes());
    to.put_u8(b'"');
    if let Some(replicas) = replicas {
        to.put_slice(b",\"replicas\":");
        serde_json::to_writer(&mut *to, &replicas)?;
    }
    if let Some(position) = &receipt.position {
        to.put_slice(b",\"position\":");
        serde_json::to_writer(&mut *to, position)?;
    }
    to.put_u8(b'}');
    Ok(())
}

#[cfg(all(test, feature = "api"))]
mod tests {
    use super::*;
    use crate::Uuid;
    use crate::api::{BatchResultBody, BatchStatus};
    use crate::log::RecordPosition;
    use crate::ports::Durability;

    #[test]
    fn results_are_written_as_they_are_serialized() {
        let id = PurchaseId::from_uuid(Uuid::from_u128(7));
        let purchase = Purchase::new(
            id,
            "u1".parse().unwrap(),
            "ada".parse().unwrap(),
            "1.50".parse().unwrap(),
            Timestamp::from_millis(250).unwrap(),
        );
        let durabilities = [
            Durability::LocalDisk,
            Durability::Broker { replicas: None },
            Durability::Broker { replicas: Some(3) },
        ];
        for durability in durabilities {
            let receipt = Receipt::new(id, durability);
            let at = receipt.clone().with_position(RecordPosition::new("a \"topic\"", 3, 1 << 40));
            for receipt in [receipt, at] {
                let once = PublishedPurchase::new(purchase.clone(), receipt.clone());
                for published in [once.clone(), once.as_replayed()] {
                    let mut body = BatchResultBody::new(12, BatchStatus::Acknowledged);
                    body.id = Some(id);
                    body.timestamp = Some(purchase.timestamp);
                    body.receipt = Some(receipt.clone());
                    body.replayed = published.replayed;
                    let mut written = Vec::new();
                    write_acknowledged(12, &published, &mut written).unwrap();
                    assert_eq!(str::from_utf8(&written).unwrap(), serde_json::to_string(&body).unwrap());
                }
            }
        }
    }
}
