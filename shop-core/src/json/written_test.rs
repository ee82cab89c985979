use super::written::write_acknowledged;
use crate::api::{BatchResultBody, BatchStatus};
use crate::log::RecordPosition;
use crate::ports::{Durability, PublishedPurchase, Receipt};
use crate::{Purchase, PurchaseId, Timestamp, Uuid};

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
