use super::WriteJson;
use crate::ports::{Cursor, Page, PageRequest, Selector};
use crate::{Purchase, PurchaseId, Timestamp, Uuid};

fn purchases() -> Vec<Purchase> {
    let mut purchases = Vec::new();
    for id in [
        PurchaseId::from_uuid(Uuid::from_u128(7)),
        PurchaseId::from_object_id([0xab; 12]),
    ] {
        for name in [
            "ada",
            "a \"quoted\" name",
            "b\\",
            "/ünï—😀\u{2028}",
            &"n".repeat(256),
        ] {
            for (price, millis) in [
                ("0", 0),
                ("29.90", -1),
                ("1000000000000000.00000000", Timestamp::MAX.as_millis()),
            ] {
                purchases.push(Purchase::new(
                    id,
                    "u1".parse().unwrap(),
                    name.parse().unwrap(),
                    price.parse().unwrap(),
                    Timestamp::from_millis(millis).unwrap(),
                ));
            }
        }
    }
    purchases
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
    let purchases = purchases();
    purchases.iter().for_each(assert_as_serialized);
    let cursor = Cursor::after(&Selector::All, &PageRequest::default(), &purchases[0]);
    assert_as_serialized(&Page::new(purchases, Some(cursor)));
    assert_as_serialized(&Page::default());
}
