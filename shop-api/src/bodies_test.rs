//! The results of a batch are written as they are serialized.

use serde::Serialize;
use shop_core::json::WriteJson;
use shop_core::log::RecordPosition;
use shop_core::ports::{Durability, PublishedPurchase, Receipt};
use shop_core::{Purchase, PurchaseId, Timestamp, Uuid};

use crate::{BatchResultBody, BatchStatus, write_acknowledged};

fn assert_as_serialized<T: WriteJson + Serialize>(value: &T) {
    let mut written = Vec::new();
    value.write_json(&mut written);
    assert_eq!(
        str::from_utf8(&written).unwrap(),
        serde_json::to_string(value).unwrap()
    );
}

#[test]
fn results_are_written_as_they_are_serialized() {
    let purchase = Purchase::new(
        PurchaseId::from_uuid(Uuid::from_u128(7)),
        "u1".parse().unwrap(),
        "ada".parse().unwrap(),
        "0".parse().unwrap(),
        Timestamp::from_millis(0).unwrap(),
    );
    for durability in [
        Durability::LocalDisk,
        Durability::Broker { replicas: None },
        Durability::Broker { replicas: Some(3) },
    ] {
        let receipt = Receipt::new(purchase.id, durability);
        let position = RecordPosition::new("a \"topic\"", 3, 1 << 40);
        for receipt in [receipt.clone(), receipt.with_position(position)] {
            let once = PublishedPurchase::new(purchase.clone(), receipt.clone());
            assert_as_serialized(&once);

            let mut pending = once.clone();
            pending.pending = true;
            for published in [once.clone(), once.into_replayed(), pending] {
                let status = if published.pending {
                    BatchStatus::Pending
                } else {
                    BatchStatus::Acknowledged
                };
                let mut body = BatchResultBody::new(12, status);
                body.id = Some(purchase.id);
                body.timestamp = Some(purchase.timestamp);
                body.receipt = Some(receipt.clone());
                body.replayed = published.replayed;
                let mut written = Vec::new();
                write_acknowledged(12, &published, &mut written);
                assert_eq!(
                    str::from_utf8(&written).unwrap(),
                    serde_json::to_string(&body).unwrap()
                );
            }
        }
    }
}
