//! A decoder and format for tests.

use bson::Bson;
use shop_core::{Price, Timestamp};

use super::{DocumentDecoder, DocumentFormat};

/// The format of a program that writes integers: user ids and names as numbers, prices in cents, and
/// times in milliseconds.
#[derive(Debug)]
pub(super) struct Cents;

impl DocumentFormat for Cents {
    fn price(&self, price: Price) -> Bson {
        let mut cents = *price.as_decimal();
        cents.rescale(2);
        Bson::Int64(i64::try_from(cents.mantissa()).unwrap())
    }

    fn timestamp(&self, timestamp: Timestamp) -> Option<Bson> {
        Some(Bson::Int64(timestamp.as_millis()))
    }
}

impl DocumentDecoder for Cents {
    fn read_text(&self, value: &Bson) -> Option<String> {
        value.as_i64().map(|number| number.to_string())
    }

    fn values_with_text(&self, text: &str) -> Vec<Bson> {
        text.parse().map(Bson::Int64).into_iter().collect()
    }

    fn read_price(&self, value: &Bson) -> Option<String> {
        value.as_i64().map(|cents| format!("{cents}e-2"))
    }

    fn read_timestamp(&self, value: &Bson) -> Option<Timestamp> {
        Timestamp::from_millis(value.as_i64()?).ok()
    }
}
