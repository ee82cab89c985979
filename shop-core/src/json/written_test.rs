use super::WriteJson;
use crate::api::{BatchResultBody, BatchStatus, write_acknowledged};
use crate::log::RecordPosition;
use crate::ports::{Cursor, Durability, Page, PageRequest, PublishedPurchase, Receipt, Selector};
use crate::{Purchase, PurchaseId, Timestamp, Uuid};

fn purchase(id: PurchaseId, name: &str, price: &str, millis: i64) -> Purchase {
    let at = Timestamp::from_millis(millis).unwrap();
    Purchase::new(
        id,
        "u1".parse().unwrap(),
        name.parse().unwrap(),
        price.parse().unwrap(),
        at,
    )
}

fn assert_as_serialized<T: WriteJson + serde::Serialize>(value: &T) {
    let mut written = Vec::new();
    value.write_json(&mut written);
    assert_eq!(
        str::from_utf8(&written).unwrap(),
        serde_json::to_string(value).unwrap()
    );
}

#[test]
fn purchases_are_written_as_they_are_serialized() {
    let ids = [
        PurchaseId::from_uuid(Uuid::from_u128(7)),
        PurchaseId::from_object_id([0xab; 12]),
    ];
    let names = [
        "ada",
        "a \"quoted\" name",
        "b\\",
        "/ünï—😀\u{2028}",
        &*"n".repeat(256),
    ];
    let values = [
        ("0", 0),
        ("29.90", -1),
        ("1000000000000000.00000000", Timestamp::MAX.as_millis()),
    ];
    let all = ids.iter().flat_map(|id| {
        names
            .iter()
            .flat_map(move |name| values.map(|value| (*id, name, value)))
    });
    let items: Vec<_> = all
        .map(|(id, name, (price, at))| purchase(id, name, price, at))
        .collect();
    items.iter().for_each(assert_as_serialized);
    let cursor = Cursor::after(&Selector::All, &PageRequest::default(), &items[0]);
    for page in [Page::new(items, Some(cursor)), Page::default()] {
        assert_as_serialized(&page);
    }
}

#[test]
fn results_are_written_as_they_are_serialized() {
    let id = PurchaseId::from_uuid(Uuid::from_u128(7));
    let purchase = purchase(id, "ada", "1.50", 250);
    let durabilities = [
        Durability::LocalDisk,
        Durability::Broker { replicas: None },
        Durability::Broker { replicas: Some(3) },
    ];
    for durability in durabilities {
        let receipt = Receipt::new(id, durability);
        let at = receipt
            .clone()
            .with_position(RecordPosition::new("a \"topic\"", 3, 1 << 40));
        for receipt in [receipt, at] {
            let once = PublishedPurchase::new(purchase.clone(), receipt.clone());
            assert_as_serialized(&once);
            for published in [once.clone(), once.into_replayed()] {
                let mut body = BatchResultBody::new(12, BatchStatus::Acknowledged);
                body.id = Some(id);
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
