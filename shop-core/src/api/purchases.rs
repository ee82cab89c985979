//! The bodies of `/v1/purchases`, `/v1/summary` and `/v1/totals`.

use serde::{Deserialize, Serialize};

use crate::json::{number, text};
use crate::log::RecordPosition;
use crate::ports::{Bucket, Cursor, Durability, Page, PublishedPurchase, Receipt, Summary};
use crate::{NewPurchase, Price, Purchase, PurchaseId, Timestamp, Total, UserId, UserName};

/// The body of a purchase request.
#[derive(Debug, Clone, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NewPurchaseBody<'a> {
    /// The buyer's name.
    #[serde(with = "text")]
    pub username: &'a UserName,
    /// The buyer's user id.
    #[serde(with = "text")]
    pub userid: &'a UserId,
    /// The price.
    #[serde(with = "number")]
    pub price: Price,
    /// When it was made; the time of receipt when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
}

impl<'a> From<&'a NewPurchase> for NewPurchaseBody<'a> {
    fn from(purchase: &'a NewPurchase) -> Self {
        Self {
            username: &purchase.user_name,
            userid: &purchase.user_id,
            price: purchase.price,
            timestamp: purchase.timestamp.map(|at| at.to_string()),
        }
    }
}

/// A purchase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PurchaseBody {
    /// Its id.
    #[serde(with = "text")]
    pub id: PurchaseId,
    /// The buyer's name.
    #[serde(with = "text")]
    pub username: UserName,
    /// The buyer's user id.
    #[serde(with = "text")]
    pub userid: UserId,
    /// The price.
    #[serde(with = "number")]
    pub price: Price,
    /// When it was made.
    #[serde(with = "text")]
    pub timestamp: Timestamp,
}

impl From<Purchase> for PurchaseBody {
    fn from(purchase: Purchase) -> Self {
        Self {
            id: purchase.id,
            username: purchase.user_name,
            userid: purchase.user_id,
            price: purchase.price,
            timestamp: purchase.timestamp,
        }
    }
}

impl From<PurchaseBody> for Purchase {
    fn from(body: PurchaseBody) -> Self {
        Self::new(body.id, body.userid, body.username, body.price, body.timestamp)
    }
}

/// The response to a purchase request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PublishedBody {
    /// The purchase.
    pub purchase: PurchaseBody,
    /// The receipt: the acknowledgement that the purchase is durable.
    pub receipt: ReceiptBody,
}

impl PublishedBody {
    /// The response about `purchase`.
    #[must_use]
    pub fn new(purchase: Purchase, receipt: Receipt) -> Self {
        Self { purchase: purchase.into(), receipt: receipt.into() }
    }
}

impl From<PublishedPurchase> for PublishedBody {
    fn from(published: PublishedPurchase) -> Self {
        Self::new(published.purchase, published.receipt)
    }
}

impl From<PublishedBody> for PublishedPurchase {
    fn from(body: PublishedBody) -> Self {
        Self::new(body.purchase.into(), body.receipt.into())
    }
}

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReceiptBody {
    /// The id of the purchase.
    #[serde(with = "text")]
    pub id: PurchaseId,
    /// The durability: which failures the purchase survives.
    pub durability: DurabilityName,
    /// The minimum number of brokers that acknowledge a purchase, if the durability is `broker` and the number is
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The position in the log, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<PositionBody>,
}

/// The name of a durability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DurabilityName {
    /// [`Durability::Memory`].
    Memory,
    /// [`Durability::LocalDisk`].
    LocalDisk,
    /// [`Durability::Broker`].
    Broker,
    /// [`Durability::Replicated`].
    Replicated,
    /// A name that only newer services use.
    #[serde(untagged)]
    Other(String),
}

/// The position of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PositionBody {
    /// The topic.
    pub topic: String,
    /// The index of the partition.
    pub partition: u32,
    /// The offset in the partition.
    pub offset: u64,
}

impl From<Receipt> for ReceiptBody {
    fn from(receipt: Receipt) -> Self {
        let (durability, replicas) = match receipt.durability {
            Durability::Memory => (DurabilityName::Memory, None),
            Durability::LocalDisk => (DurabilityName::LocalDisk, None),
            Durability::Broker { replicas } => (DurabilityName::Broker, replicas),
            Durability::Replicated => (DurabilityName::Replicated, None),
        };
        let position = receipt.position.map(|RecordPosition { topic, partition, offset }| PositionBody {
            topic: topic.to_string(),
            partition,
            offset,
        });
        Self { id: receipt.id, durability, replicas, position }
    }
}

impl From<ReceiptBody> for Receipt {
    fn from(body: ReceiptBody) -> Self {
        let durability = match body.durability {
            // An unrecognized name guarantees nothing.
            DurabilityName::Memory | DurabilityName::Other(_) => Durability::Memory,
            DurabilityName::LocalDisk => Durability::LocalDisk,
            DurabilityName::Broker => Durability::Broker { replicas: body.replicas },
            DurabilityName::Replicated => Durability::Replicated,
        };
        let receipt = Self::new(body.id, durability);
        match body.position {
            Some(at) => receipt.with_position(RecordPosition::new(at.topic, at.partition, at.offset)),
            None => receipt,
        }
    }
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PageBody {
    /// The purchases.
    pub items: Vec<PurchaseBody>,
    /// The cursor of the next page; `null` at the end.
    pub next: Option<String>,
}

impl From<Page> for PageBody {
    fn from(page: Page) -> Self {
        Self {
            items: page.items.into_iter().map(PurchaseBody::from).collect(),
            next: page.next.map(|cursor| cursor.as_str().to_owned()),
        }
    }
}

impl From<PageBody> for Page {
    fn from(body: PageBody) -> Self {
        let items = body.items.into_iter().map(Purchase::from).collect();
        Self::new(items, body.next.map(Cursor::from_text))
    }
}

/// A summary of purchases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SummaryBody {
    /// The number of purchases.
    pub count: u64,
    /// Their total price, exactly.
    #[serde(with = "number")]
    pub total_spent: Total,
}

impl From<Summary> for SummaryBody {
    fn from(summary: Summary) -> Self {
        Self { count: summary.count, total_spent: summary.total_spent }
    }
}

impl From<SummaryBody> for Summary {
    fn from(body: SummaryBody) -> Self {
        Self::new(body.count, body.total_spent)
    }
}

/// The totals of a selection per period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TotalsBody {
    /// The periods in which there are purchases, in order.
    pub buckets: Vec<BucketBody>,
}

/// The totals of one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BucketBody {
    /// When the period begins, or the range if that is later.
    #[serde(with = "text")]
    pub from: Timestamp,
    /// When the period ends, or the range if that is earlier. It is not part of the period.
    #[serde(with = "text")]
    pub to: Timestamp,
    /// The number of purchases.
    pub count: u64,
    /// Their total price, exactly.
    #[serde(with = "number")]
    pub total_spent: Total,
}

impl From<Vec<Bucket>> for TotalsBody {
    fn from(buckets: Vec<Bucket>) -> Self {
        let body = |Bucket { from, to, summary: Summary { count, total_spent } }| BucketBody {
            from,
            to,
            count,
            total_spent,
        };
        Self { buckets: buckets.into_iter().map(body).collect() }
    }
}

impl From<TotalsBody> for Vec<Bucket> {
    fn from(body: TotalsBody) -> Self {
        let bucket = |BucketBody { from, to, count, total_spent }| {
            Bucket::new(from, to, Summary::new(count, total_spent))
        };
        body.buckets.into_iter().map(bucket).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURCHASE: &str = r#"{"id":"0190163d-8694-739b-aea5-966c26f8ad91","username":"a\"da","userid":"u1","price":1195.30,"timestamp":"2026-03-01T09:00:00.250Z"}"#;

    #[test]
    fn a_purchase_reads_back_as_written_with_its_scale() {
        let body: PurchaseBody = serde_json::from_str(PURCHASE).unwrap();
        assert_eq!(body.price.to_string(), "1195.30");
        assert_eq!(serde_json::to_string(&body).unwrap(), PURCHASE);
        assert_eq!(PurchaseBody::from(Purchase::from(body.clone())), body);
    }

    #[test]
    fn a_receipt_says_only_what_is_known() {
        let id: PurchaseId = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
        let local = ReceiptBody::from(Receipt::new(id, Durability::LocalDisk));
        assert_eq!(
            serde_json::to_string(&local).unwrap(),
            r#"{"id":"0190163d-8694-739b-aea5-966c26f8ad91","durability":"local_disk"}"#
        );
        let nameless = Receipt::new(id, Durability::Broker { replicas: None });
        let json = serde_json::to_string(&ReceiptBody::from(nameless.clone())).unwrap();
        assert!(json.ends_with(r#""durability":"broker"}"#), "{json}");
        assert_eq!(Receipt::from(serde_json::from_str::<ReceiptBody>(&json).unwrap()), nameless);
        let full = Receipt::new(id, Durability::Broker { replicas: Some(3) })
            .with_position(RecordPosition::new("purchases", 2, 7));
        let json = serde_json::to_string(&ReceiptBody::from(full.clone())).unwrap();
        assert!(json.contains(r#""durability":"broker","replicas":3"#), "{json}");
        assert_eq!(Receipt::from(serde_json::from_str::<ReceiptBody>(&json).unwrap()), full);
    }

    #[test]
    fn the_durability_of_a_newer_service_is_kept_as_text_and_promises_nothing() {
        let json = r#"{"id":"0190163d-8694-739b-aea5-966c26f8ad91","durability":"two_continents"}"#;
        let body: ReceiptBody = serde_json::from_str(json).unwrap();
        assert_eq!(body.durability, DurabilityName::Other("two_continents".into()));
        assert_eq!(serde_json::to_string(&body).unwrap(), json);
        assert_eq!(Receipt::from(body).durability, Durability::Memory);
        let replicated = json.replace("two_continents", "replicated");
        let body: ReceiptBody = serde_json::from_str(&replicated).unwrap();
        assert_eq!(Receipt::from(body).durability, Durability::Replicated);
    }

    #[test]
    fn a_sum_is_a_number_with_the_digits_of_its_value() {
        let total: Total = "87.4900".parse().unwrap();
        let json = serde_json::to_string(&SummaryBody::from(Summary::new(3, total))).unwrap();
        assert_eq!(json, r#"{"count":3,"total_spent":87.49}"#);
    }
}
