//! The bodies of `/v1` that are not the JSON of a type of the domain.

use serde::{Deserialize, Serialize};

use crate::log::Offsets;
use crate::ports::{Bucket, Summary};
use crate::{Timestamp, Total};

/// The totals of a selection per period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalsBody {
    /// The periods in which there are purchases, in order.
    pub buckets: Vec<BucketBody>,
}

/// The totals of one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketBody {
    /// When the period begins, or the range if that is later.
    pub from: Timestamp,
    /// When the period ends, or the range if that is earlier. It is not part of the period.
    pub to: Timestamp,
    /// The number of purchases.
    pub count: u64,
    /// Their total price, exactly.
    pub total_spent: Total,
}

impl From<Vec<Bucket>> for TotalsBody {
    fn from(buckets: Vec<Bucket>) -> Self {
        let body = |Bucket {
                        from,
                        to,
                        summary: Summary { count, total_spent },
                    }| BucketBody {
            from,
            to,
            count,
            total_spent,
        };
        Self {
            buckets: buckets.into_iter().map(body).collect(),
        }
    }
}

impl From<TotalsBody> for Vec<Bucket> {
    fn from(body: TotalsBody) -> Self {
        let bucket =
            |BucketBody {
                 from,
                 to,
                 count,
                 total_spent,
             }| { Bucket::new(from, to, Summary::new(count, total_spent)) };
        body.buckets.into_iter().map(bucket).collect()
    }
}

/// The positions that ingest has committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionsBody {
    /// One for each partition that has a position.
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
        let position = |(partition, next_offset)| PartitionPosition {
            partition,
            next_offset,
        };
        Self {
            positions: offsets.into_iter().map(position).collect(),
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

#[cfg(test)]
mod tests {
    use crate::log::RecordPosition;
    use crate::ports::{Durability, Receipt, Summary};
    use crate::{Purchase, PurchaseId, Total};

    const PURCHASE: &str = r#"{"id":"0190163d-8694-739b-aea5-966c26f8ad91","username":"a\"da","userid":"u1","price":1195.30,"timestamp":"2026-03-01T09:00:00.250Z"}"#;

    #[test]
    fn a_purchase_reads_back_as_written_with_its_scale() {
        let purchase: Purchase = serde_json::from_str(PURCHASE).unwrap();
        assert_eq!(purchase.price.to_string(), "1195.30");
        assert_eq!(serde_json::to_string(&purchase).unwrap(), PURCHASE);
    }

    #[test]
    fn a_receipt_omits_unknown_members() {
        let id: PurchaseId = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
        let local = Receipt::new(id, Durability::LocalDisk);
        assert_eq!(
            serde_json::to_string(&local).unwrap(),
            r#"{"id":"0190163d-8694-739b-aea5-966c26f8ad91","durability":"local_disk"}"#
        );
        let nameless = Receipt::new(id, Durability::Broker { replicas: None });
        let json = serde_json::to_string(&nameless).unwrap();
        assert!(json.ends_with(r#""durability":"broker"}"#), "{json}");
        assert_eq!(serde_json::from_str::<Receipt>(&json).unwrap(), nameless);
        let full = Receipt::new(id, Durability::Broker { replicas: Some(3) })
            .with_position(RecordPosition::new("purchases", 2, 7));
        let json = serde_json::to_string(&full).unwrap();
        assert!(
            json.contains(r#""durability":"broker","replicas":3"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Receipt>(&json).unwrap(), full);
    }

    #[test]
    fn the_durability_of_a_newer_service_promises_nothing() {
        let json = r#"{"id":"0190163d-8694-739b-aea5-966c26f8ad91","durability":"two_continents"}"#;
        let durability = |json: &str| serde_json::from_str::<Receipt>(json).unwrap().durability;
        assert_eq!(durability(json), Durability::Memory);
        assert_eq!(
            durability(&json.replace("two_continents", "replicated")),
            Durability::Replicated
        );
    }

    #[test]
    fn a_sum_is_a_number_with_the_digits_of_its_value() {
        let total: Total = "87.4900".parse().unwrap();
        let json = serde_json::to_string(&Summary::new(3, total)).unwrap();
        assert_eq!(json, r#"{"count":3,"total_spent":87.49}"#);
    }
}
