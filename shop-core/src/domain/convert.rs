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

/// Implements the conversions by which a function accepts a value, a reference to one or its text
/// as `impl TryInto<T, Error: Into<Invalid>>`: `TryFrom` of text, by `FromStr`, and `From` of a
/// reference.
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
    use crate::ports::{Cursor, Durability, Page, PublishedPurchase, Receipt, Summary};
    use crate::{NewPurchase, Purchase};

    const PURCHASE: &str = r#"{"id":"0190163d-8694-739b-aea5-966c26f8ad91","username":"a\"da","userid":"u1","price":1195.30,"timestamp":"2026-03-01T09:00:00.250Z"}"#;
    const RECEIPT: &str = r#"{"id":"0190163d-8694-739b-aea5-966c26f8ad91","durability":"broker","replicas":2,"position":{"topic":"purchases","partition":2,"offset":7}}"#;

    /// Returns the value of `json`, which is written in the same form.
    fn reads_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(json: &str) -> T {
        let value: T = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), json);
        // By way of a value tree, as some extractors do.
        let tree: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::from_value::<T>(tree).unwrap(), value);
        value
    }

    #[test]
    fn values_have_the_forms_of_the_api() {
        assert_eq!(reads_back::<UserId>(r#""u1""#), "u1");
        assert_eq!(reads_back::<IdempotencyKey>(r#""order-7""#), "order-7");
        assert_eq!(reads_back::<Price>("29.90").to_string(), "29.90");
        let exact = "123456789012345.12345678";
        let price: Price = serde_json::from_str(exact).unwrap();
        assert_eq!(serde_json::to_string(&price).unwrap(), exact);
        assert_eq!(reads_back::<Total>("0"), Total::ZERO);
        let largest = serde_json::to_string(&Total::from_units(i128::MAX)).unwrap();
        assert_eq!(largest, "1701411834604692317316873037158.84105727");
        let total: Total = serde_json::from_str(&largest).unwrap();
        assert_eq!(total.units(), i128::MAX);

        let price: Price = serde_json::from_str(r#""29.99""#).unwrap();
        assert_eq!(price.to_string(), "29.99");
        for invalid in ["-1", "1e99", r#""x""#, "true", "null"] {
            assert!(serde_json::from_str::<Price>(invalid).is_err(), "{invalid}");
        }
        assert!(serde_json::from_str::<UserId>(r#"" ""#).is_err());
    }

    #[test]
    fn records_have_the_forms_of_the_api() {
        let purchase: Purchase = reads_back(PURCHASE);
        assert_eq!(purchase.user_name, *"a\"da");
        assert_eq!(purchase.price.to_string(), "1195.30");
        reads_back::<Receipt>(RECEIPT);
        reads_back::<PublishedPurchase>(&format!(
            r#"{{"purchase":{PURCHASE},"receipt":{RECEIPT}}}"#
        ));
        reads_back::<Summary>(r#"{"count":3,"total_spent":87.49}"#);
        reads_back::<Cursor>(r#""a cursor""#);
        reads_back::<Page>(&format!(r#"{{"items":[{PURCHASE}],"next":"a cursor"}}"#));
    }

    #[test]
    fn the_durability_of_a_newer_service_promises_nothing() {
        let id = r#"{"id":"0190163d-8694-739b-aea5-966c26f8ad91""#;
        for (name, durability) in [
            ("local_disk", Durability::LocalDisk),
            ("replicated", Durability::Replicated),
            ("broker", Durability::Broker { replicas: None }),
        ] {
            let receipt: Receipt = reads_back(&format!(r#"{id},"durability":"{name}"}}"#));
            assert_eq!(receipt.durability, durability);
        }
        let newer = format!(r#"{id},"durability":"two_continents"}}"#);
        let receipt: Receipt = serde_json::from_str(&newer).unwrap();
        assert_eq!(receipt.durability, Durability::Memory);
    }

    #[test]
    fn a_new_purchase_may_have_a_key_and_a_time() {
        let new: NewPurchase = reads_back(r#"{"userid":"u1","username":"ada","price":29.90}"#);
        assert_eq!((new.key, new.timestamp), (None, None));
        let json = r#"{"key":"order-7","userid":"u1","username":"ada","price":29.90,"timestamp":"2026-03-01T09:00:00.250Z"}"#;
        reads_back::<NewPurchase>(json);
        let of_refund = json.replace('}', r#","of":"0190163d-8694-739b-aea5-966c26f8ad91"}"#);
        assert!(serde_json::from_str::<NewPurchase>(&of_refund).is_err());
    }

    #[test]
    fn text_converts_as_it_parses() {
        assert_eq!(UserName::try_from("ada".to_owned()).unwrap(), *"ada");
        assert_eq!(
            UserName::try_from("").unwrap_err().to_string(),
            "the user name must not be blank"
        );
        assert_eq!(Price::try_from("29.99").unwrap(), "29.99".parse().unwrap());
    }

    #[test]
    fn times_convert_both_ways_with_milliseconds() {
        for at in [
            Timestamp::MIN,
            Timestamp::from_millis(-1).unwrap(),
            Timestamp::MAX,
        ] {
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
