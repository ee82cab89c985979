//! `Serialize` and `Deserialize` of the domain's values in the forms of the HTTP API.
//!
//! Texts, ids and times are strings. Prices and sums are JSON numbers with all their digits, also read from numeric
//! text; that needs `serde_json`, outside of `flatten` and `untagged`. In a binary format they are text.

use std::str::FromStr;

use serde::Deserializer;

use super::{IdempotencyKey, Invalid, Price, PurchaseId, Timestamp, Total};
use crate::json::{number, text};

/// The form of a type: that of all formats, or of those for people and of binary ones.
macro_rules! form {
    ($form:ident: $($type:ident),+) => {
        $crate::domain::form!($form, $form: $($type),+);
    };
    ($readable:ident, $binary:ident: $($type:ident),+) => {
        $(
            impl serde::Serialize for $type {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    match serializer.is_human_readable() {
                        true => $crate::json::$readable::serialize(self, serializer),
                        false => $crate::json::$binary::serialize(self, serializer),
                    }
                }
            }

            impl<'de> serde::Deserialize<'de> for $type {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    match deserializer.is_human_readable() {
                        true => $crate::json::$readable::deserialize(deserializer),
                        false => $crate::json::$binary::deserialize(deserializer),
                    }
                }
            }
        )+
    };
}

pub(crate) use form;

form!(text: IdempotencyKey, PurchaseId, Timestamp);
form!(number, text: Price, Total);

/// A price, or the amount of a refund.
struct Signed(Price);

impl FromStr for Signed {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Price::signed(text).map(Self)
    }
}

/// Reads a price, or the amount of a refund.
pub(super) fn signed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Price, D::Error> {
    let is_readable = deserializer.is_human_readable();
    let read = if is_readable {
        number::deserialize(deserializer)
    } else {
        text::deserialize(deserializer)
    };
    read.map(|Signed(price)| price)
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::log::RecordPosition;
    use crate::ports::{
        Cursor, Durability, Page, PageRequest, PublishedPurchase, Receipt, Selector, Summary,
    };
    use crate::{NewPurchase, Purchase, UserId};

    const PURCHASE: &str = r#"{"id":"0190163d-8694-739b-aea5-966c26f8ad91","username":"ada","userid":"u1","price":1195.30,"timestamp":"2026-03-01T09:00:00.250Z"}"#;

    /// Writes `value` as `json` and reads it back.
    fn both_ways<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
        value: &T,
        json: &str,
    ) {
        assert_eq!(serde_json::to_string(value).unwrap(), json);
        assert_eq!(serde_json::from_str::<T>(json).unwrap(), *value);
        // By way of a value tree, as some extractors do.
        let tree: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::from_value::<T>(tree).unwrap(), *value);
    }

    #[test]
    fn values_have_the_forms_of_the_api() {
        both_ways(&UserId::try_from("u1").unwrap(), r#""u1""#);
        both_ways(
            &IdempotencyKey::try_from("order-7").unwrap(),
            r#""order-7""#,
        );
        both_ways(&Price::try_from("29.90").unwrap(), "29.90");
        both_ways(&Total::ZERO, "0");
        let large = serde_json::to_string(&Total::from_units(i128::MAX)).unwrap();
        assert_eq!(large, "1701411834604692317316873037158.84105727");
        assert_eq!(
            serde_json::from_str::<Total>(&large).unwrap().units(),
            i128::MAX
        );
        let exact = "123456789012345.12345678";
        assert_eq!(
            serde_json::to_string(&Price::try_from(exact).unwrap()).unwrap(),
            exact
        );
        assert_eq!(
            serde_json::from_str::<Price>(exact).unwrap().to_string(),
            exact
        );
        assert_eq!(
            serde_json::from_str::<Price>(r#""29.99""#)
                .unwrap()
                .to_string(),
            "29.99"
        );
        for invalid in ["-1", "1e99", r#""x""#, "true", "null"] {
            assert!(serde_json::from_str::<Price>(invalid).is_err(), "{invalid}");
        }
        assert!(serde_json::from_str::<UserId>(r#"" ""#).is_err());
    }

    #[test]
    fn records_have_the_forms_of_the_api() {
        let purchase: Purchase = serde_json::from_str(PURCHASE).unwrap();
        both_ways(&purchase, PURCHASE);
        let receipt = Receipt::new(purchase.id, Durability::Broker { replicas: Some(2) })
            .with_position(RecordPosition::new("purchases", 2, 7));
        let json = r#"{"id":"0190163d-8694-739b-aea5-966c26f8ad91","durability":"broker","replicas":2,"position":{"topic":"purchases","partition":2,"offset":7}}"#;
        both_ways(&receipt, json);
        let published = PublishedPurchase::new(purchase.clone(), receipt);
        both_ways(
            &published,
            &format!(r#"{{"purchase":{PURCHASE},"receipt":{json}}}"#),
        );
        both_ways(
            &Summary::new(3, "87.49".parse().unwrap()),
            r#"{"count":3,"total_spent":87.49}"#,
        );
        let selector = Selector::User(purchase.user_id.clone());
        let cursor = Cursor::after(&selector, &PageRequest::default(), &purchase);
        both_ways(&cursor, &format!(r#""{cursor}""#));
        let page = Page::new(vec![purchase], Some(cursor.clone()));
        both_ways(
            &page,
            &format!(r#"{{"items":[{PURCHASE}],"next":"{cursor}"}}"#),
        );
    }

    #[test]
    fn a_new_purchase_may_have_a_key_and_a_time() {
        let new = NewPurchase::of("u1").named("ada").priced("29.90").unwrap();
        both_ways(&new, r#"{"userid":"u1","username":"ada","price":29.90}"#);
        let at = "2026-03-01T09:00:00.250Z".parse().unwrap();
        let keyed = new.with_key("order-7").unwrap().with_timestamp(at);
        let json = r#"{"key":"order-7","userid":"u1","username":"ada","price":29.90,"timestamp":"2026-03-01T09:00:00.250Z"}"#;
        both_ways(&keyed, json);
        let of_refund = json.replace('}', r#","of":"0190163d-8694-739b-aea5-966c26f8ad91"}"#);
        assert!(serde_json::from_str::<NewPurchase>(&of_refund).is_err());
    }
}
