//! Converts the types of the domain from and to types of the standard library and of jiff, and
//! defines their forms in serde, which the HTTP API uses.
//!
//! Texts, ids and times are strings. Prices and sums are JSON numbers with all their digits, and
//! are also read from numeric text. This form needs `serde_json`, and does not work inside of
//! `flatten` or `untagged`. In a binary format, prices and sums are text.

use std::str::FromStr;
use std::time::SystemTime;

use serde::Deserializer;

use super::{IdempotencyKey, Invalid, Price, PurchaseId, Timestamp, Total, UserId, UserName};
use crate::json::{number, text};

/// Implements the conversions that [`IntoValid`](crate::IntoValid) arguments need: `TryFrom` of
/// text, by `FromStr`, and `From` of a reference.
#[doc(hidden)]
#[macro_export]
macro_rules! try_from_text {
    ($($type:ident),+) => {$(
        impl From<&$type> for $type {
            fn from(value: &$type) -> Self {
                Clone::clone(value)
            }
        }

        $crate::try_from_text!(@ $type: &str, &String, String);
    )+};
    (@ $type:ident: $($text:ty),+) => {$(
        impl TryFrom<$text> for $type {
            type Error = $crate::Invalid;

            fn try_from(text: $text) -> Result<Self, $crate::Invalid> {
                text.parse()
            }
        }
    )+};
}

pub(crate) use try_from_text;

try_from_text!(PurchaseId, Price, Timestamp);

/// Implements `PartialEq` with text.
macro_rules! eq_text {
    ($($type:ident),+) => {
        $(
            impl PartialEq<str> for $type {
                fn eq(&self, text: &str) -> bool {
                    self.as_str() == text
                }
            }

            impl PartialEq<&str> for $type {
                fn eq(&self, text: &&str) -> bool {
                    self.as_str() == *text
                }
            }
        )+
    };
}

eq_text!(UserId, UserName, IdempotencyKey);

impl From<Timestamp> for SystemTime {
    fn from(at: Timestamp) -> Self {
        jiff::Timestamp::from(at).into()
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = Invalid;

    /// Rounds the time down to milliseconds.
    fn try_from(time: SystemTime) -> Result<Self, Invalid> {
        jiff::Timestamp::try_from(time)
            .map_err(|_range| Self::INVALID)?
            .try_into()
    }
}

impl From<Timestamp> for jiff::Timestamp {
    fn from(at: Timestamp) -> Self {
        // The range of this type is within jiff's range.
        Self::from_millisecond(at.as_millis()).unwrap_or_default()
    }
}

impl TryFrom<jiff::Timestamp> for Timestamp {
    type Error = Invalid;

    /// Rounds the time down to milliseconds.
    fn try_from(instant: jiff::Timestamp) -> Result<Self, Invalid> {
        // Floor, not truncation: an instant before 1970 must not move to a later millisecond.
        let millis = instant.as_nanosecond().div_euclid(1_000_000);
        i64::try_from(millis)
            .map_err(|_range| Self::INVALID)
            .and_then(Self::from_millis)
    }
}

/// Implements `Serialize` and `Deserialize` by a module of `json`.
///
/// A type takes one form for all formats, or one form for formats that people read and another one
/// for binary formats.
#[doc(hidden)]
#[macro_export]
macro_rules! form {
    ($form:ident: $($type:ident),+) => {
        $crate::form!($form, $form: $($type),+);
    };
    ($readable:ident, $binary:ident: $($type:ident),+) => {
        $(
            impl serde::Serialize for $type {
                fn serialize<S: serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> Result<S::Ok, S::Error> {
                    if serializer.is_human_readable() {
                        $crate::json::$readable::serialize(self, serializer)
                    } else {
                        $crate::json::$binary::serialize(self, serializer)
                    }
                }
            }

            impl<'de> serde::Deserialize<'de> for $type {
                fn deserialize<D: serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> Result<Self, D::Error> {
                    if deserializer.is_human_readable() {
                        $crate::json::$readable::deserialize(deserializer)
                    } else {
                        $crate::json::$binary::deserialize(deserializer)
                    }
                }
            }
        )+
    };
}

form!(text: PurchaseId, Timestamp);
form!(number, text: Price, Total);

/// A price, or the negative amount of a refund, which the text form of a [`Price`] rejects.
struct SignedPrice(Price);

impl FromStr for SignedPrice {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Price::parse_signed(text).map(Self)
    }
}

/// Deserializes a price, or the negative amount of a refund.
pub(super) fn deserialize_signed_price<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Price, D::Error> {
    let signed: SignedPrice = if deserializer.is_human_readable() {
        number::deserialize(deserializer)?
    } else {
        text::deserialize(deserializer)?
    };
    Ok(signed.0)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::log::RecordPosition;
    use crate::ports::{
        Cursor, Durability, Page, PageRequest, PublishedPurchase, Receipt, Selector, Summary,
    };
    use crate::{InvalidKind, NewPurchase, Purchase};

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
        let new = NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price("29.90")
            .unwrap();
        both_ways(&new, r#"{"userid":"u1","username":"ada","price":29.90}"#);
        let at = "2026-03-01T09:00:00.250Z".parse().unwrap();
        let keyed = new.with_key("order-7").unwrap().with_timestamp(at);
        let json = r#"{"key":"order-7","userid":"u1","username":"ada","price":29.90,"timestamp":"2026-03-01T09:00:00.250Z"}"#;
        both_ways(&keyed, json);
        let of_refund = json.replace('}', r#","of":"0190163d-8694-739b-aea5-966c26f8ad91"}"#);
        assert!(serde_json::from_str::<NewPurchase>(&of_refund).is_err());
    }

    #[test]
    fn text_converts_as_it_parses() {
        assert_eq!(UserId::try_from("u1").unwrap(), "u1");
        assert_eq!(UserName::try_from("ada".to_owned()).unwrap(), *"ada");
        assert_eq!(
            UserId::try_from(" ").unwrap_err().kind(),
            InvalidKind::Blank
        );
        assert_eq!(
            UserName::try_from("").unwrap_err().to_string(),
            "the user name must not be blank"
        );
        assert_eq!(Price::try_from("29.99").unwrap(), "29.99".parse().unwrap());
    }

    #[test]
    fn times_convert_both_ways_with_milliseconds() {
        for text in [
            "0001-01-01T00:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "9999-12-30T22:00:00.000Z",
        ] {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(Timestamp::try_from(SystemTime::from(at)), Ok(at));
            assert_eq!(Timestamp::try_from(jiff::Timestamp::from(at)), Ok(at));
        }
        let before = UNIX_EPOCH - Duration::from_micros(1);
        assert_eq!(Timestamp::try_from(before).unwrap().as_millis(), -1);
        assert_eq!(
            Timestamp::try_from(jiff::Timestamp::MAX),
            Err(Timestamp::INVALID)
        );
    }
}
