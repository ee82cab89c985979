//! The bodies of `/v1` that are not the JSON of a type of the domain.

use serde::{Deserialize, Serialize};
use shop_core::bytes::BufMut as _;
use shop_core::json::write_member;
use shop_core::log::Offsets;
use shop_core::ports::{Bucket, PublishedPurchase, Receipt, Summary};
use shop_core::{Price, Purchase, PurchaseId, Timestamp, Total};

use crate::ProblemError;

/// A stored purchase, with the amount that was refunded of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PurchaseBody<'a> {
    /// The purchase.
    #[serde(flatten)]
    pub purchase: &'a Purchase,
    /// The refunded amount, which is positive; absent if nothing was refunded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refunded: Option<Price>,
}

/// The totals of a selection per period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalsBody {
    /// The periods in which there are purchases, in order.
    pub buckets: Vec<BucketBody>,
}

/// The totals of one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketBody {
    /// The beginning of the period, or of the range of the request if the range begins later.
    pub from: Timestamp,
    /// The end of the period, which is exclusive, or of the range of the request if the range ends
    /// earlier.
    pub to: Timestamp,
    /// The number of purchases.
    pub count: u64,
    /// The exact total price of the purchases.
    pub total_spent: Total,
}

impl From<Vec<Bucket>> for TotalsBody {
    fn from(buckets: Vec<Bucket>) -> Self {
        Self {
            buckets: buckets
                .into_iter()
                .map(|bucket| BucketBody {
                    from: bucket.from,
                    to: bucket.to,
                    count: bucket.summary.count,
                    total_spent: bucket.summary.total_spent,
                })
                .collect(),
        }
    }
}

impl From<TotalsBody> for Vec<Bucket> {
    fn from(body: TotalsBody) -> Self {
        body.buckets
            .into_iter()
            .map(|bucket| {
                let summary = Summary::new(bucket.count, bucket.total_spent);
                Bucket::new(bucket.from, bucket.to, summary)
            })
            .collect()
    }
}

/// The committed positions of ingest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionsBody {
    /// One position for each partition in which ingest committed one.
    pub positions: Vec<PartitionPosition>,
}

/// The position of ingest in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionPosition {
    /// The number of the partition.
    pub partition: u32,
    /// The offset of the next record to ingest.
    pub next_offset: u64,
}

impl From<Offsets> for PositionsBody {
    fn from(offsets: Offsets) -> Self {
        Self {
            positions: offsets
                .into_iter()
                .map(|(partition, next_offset)| PartitionPosition {
                    partition,
                    next_offset,
                })
                .collect(),
        }
    }
}

impl From<PositionsBody> for Offsets {
    fn from(body: PositionsBody) -> Self {
        body.positions
            .into_iter()
            .map(|position| (position.partition, position.next_offset))
            .collect()
    }
}

/// The media type of bodies with one JSON value per line.
pub const NDJSON: &str = "application/x-ndjson";

/// The result of one purchase of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BatchResultBody {
    /// The index of the element, or of the line, from 0.
    pub line: usize,
    /// The outcome of the purchase.
    pub status: BatchStatus,
    /// The id of an acknowledged purchase, or of a pending refund.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<PurchaseId>,
    /// The time of an acknowledged purchase, or of a pending refund.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// The receipt of an acknowledged purchase or a pending refund, which proves that it is durable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// Whether the purchase was acknowledged before, with the same key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// The key to repeat a purchase of unknown outcome with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The type of the problem, if the purchase is not acknowledged.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub problem_type: Option<String>,
    /// A description of the problem, if the purchase is not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// `not_sent`, or `unknown` if a purchase of unknown outcome may have taken effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The errors of single members of a rejected purchase, if there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemError>,
}

/// The outcome of a purchase of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BatchStatus {
    /// The purchase is durable, or the store has applied the refund.
    Acknowledged,
    /// The refund is durable, but the store has not decided about it yet, and may still refuse it.
    Pending,
    /// The purchase is invalid, and is not recorded.
    Rejected,
    /// The purchase may have been recorded: repeat it with its key.
    #[default]
    Unknown,
}

impl BatchResultBody {
    /// Creates a result without any details.
    #[must_use]
    pub fn new(line: usize, status: BatchStatus) -> Self {
        Self {
            line,
            status,
            ..Self::default()
        }
    }
}

/// Appends the result of an acknowledged purchase or a pending refund at `line` of a batch, in the
/// JSON of a [`BatchResultBody`].
///
/// Serializing a [`BatchResultBody`] takes three times as many instructions, which makes a purchase
/// of a batch 7 % more expensive: see `benches/codec.rs`.
pub fn write_acknowledged(line: usize, published: &PublishedPurchase, body: &mut Vec<u8>) {
    write_member(body, "{\"line\":", &(line as u64));
    let status_and_id = if published.pending {
        ",\"status\":\"pending\",\"id\":"
    } else {
        ",\"status\":\"acknowledged\",\"id\":"
    };
    write_member(body, status_and_id, &published.receipt.id);
    write_member(body, ",\"timestamp\":", &published.purchase.timestamp);
    write_member(body, ",\"receipt\":", &published.receipt);
    if published.replayed {
        body.put_slice(b",\"replayed\":true");
    }
    body.put_slice(b"}");
}
