//! The documents of the replaced systems in MongoDB.
//!
//! | system | `price` | `timestamp` |
//! |---|---|---|
//! | 000 | text | text |
//! | 001 | double | date |
//! | 003 | double | text without a zone, which is UTC |
//! | 004 | double | double in seconds |
//!
//! The system 002 stores rows in PostgreSQL, and no documents.
//!
//! The systems check little of what their clients send, so user ids and names may also be numbers,
//! prices integers, and times milliseconds or anything else.
//!
//! [`SystemDocumentDecoder`] reads all of these forms. A
//! [`MongoStore`](shop_store::mongo::MongoStore) with this decoder lists the documents, and its
//! `migrate` converts them to its own form. [`ReplacedSystem`] is the [`DocumentFormat`] in which they
//! are written back, so that the programs of the system can list the documents again.
//!
//! ```
//! use std::sync::Arc;
//!
//! use shop_compat::documents::SystemDocumentDecoder;
//! use shop_store::mongo::MongoStoreOptions;
//!
//! let options = MongoStoreOptions::new("mongodb://localhost:27017/shop")
//!     .decoder(Some(Arc::new(SystemDocumentDecoder)));
//! ```

use shop_core::{Price, Timestamp};
use shop_store::mongo::{Bson, DocumentDecoder, DocumentFormat};

use crate::ReplacedSystem;

/// The decoder of the documents of all replaced systems.
#[derive(Debug, Clone, Copy)]
pub struct SystemDocumentDecoder;

impl DocumentDecoder for SystemDocumentDecoder {
    fn read_text(&self, value: &Bson) -> Option<String> {
        match value {
            Bson::Int32(number) => Some(number.to_string()),
            Bson::Int64(number) => Some(number.to_string()),
            // JavaScript programs write numbers as doubles. The shortest text that represents the
            // double is the number as it was typed.
            Bson::Double(number) => Some(number.to_string()),
            // A text is read without a decoder.
            _ => None,
        }
    }

    fn values_with_text(&self, text: &str) -> Vec<Bson> {
        number_with_text(text).into_iter().collect()
    }

    fn read_price(&self, value: &Bson) -> Option<String> {
        match value {
            Bson::String(text) => Some(text.trim().to_owned()),
            number => self.read_text(number),
        }
    }

    fn read_timestamp(&self, value: &Bson) -> Option<Timestamp> {
        let number = match value {
            Bson::String(text) => return text.parse().ok(),
            Bson::Double(number) => *number,
            Bson::Int32(number) => f64::from(*number),
            // A number beyond 2^53 is not exact as a double, but is out of the range of timestamps.
            #[expect(clippy::cast_precision_loss, reason = "see above")]
            Bson::Int64(number) => *number as f64,
            _ => return None,
        };
        Timestamp::from_unix_seconds_or_millis(number).ok()
    }
}

/// Returns the number that prints as exactly `text`, if there is one: an integer or a double.
fn number_with_text(text: &str) -> Option<Bson> {
    if let Ok(integer) = text.parse::<i64>()
        && integer.to_string() == text
    {
        return Some(Bson::Int64(integer));
    }
    if let Ok(double) = text.parse::<f64>()
        && double.to_string() == text
    {
        return Some(Bson::Double(double));
    }
    None
}

impl DocumentFormat for ReplacedSystem {
    fn price(&self, price: Price) -> Bson {
        let text = price.to_string();
        match self {
            Self::ScalableShop => Bson::String(text),
            // The text of a price is always a number. If it were not, the text would be written,
            // because the price must not become 0.
            _ => text.parse().map_or(Bson::String(text), Bson::Double),
        }
    }

    fn timestamp(&self, timestamp: Timestamp) -> Option<Bson> {
        let text = timestamp.to_string();
        // The programs of the system 004 compute the seconds in this way, as a double.
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds until year 10000 are exact"
        )]
        let seconds = timestamp.as_millis() as f64 / 1_000.0;
        match self {
            Self::ScalableShop => Some(Bson::String(text)),
            Self::PurchaseTracking => Some(Bson::String(text.trim_end_matches('Z').to_owned())),
            Self::ShoppingSystem => Some(Bson::Double(seconds)),
            // The timestamp of the other systems is a date, as in our documents.
            Self::UserBuyList | Self::Ecommerce => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_converted_back_to_the_form_of_each_system() {
        let price: Price = "1195.30".parse().unwrap();
        let time = Timestamp::from_millis(1_772_355_600_250).unwrap();
        let text = |text: &str| Bson::String(text.to_owned());
        for (system, expected_price, expected_time) in [
            (
                ReplacedSystem::ScalableShop,
                text("1195.30"),
                Some(text("2026-03-01T09:00:00.250Z")),
            ),
            (ReplacedSystem::UserBuyList, Bson::Double(1195.3), None),
            (
                ReplacedSystem::PurchaseTracking,
                Bson::Double(1195.3),
                Some(text("2026-03-01T09:00:00.250")),
            ),
            (
                ReplacedSystem::ShoppingSystem,
                Bson::Double(1195.3),
                Some(Bson::Double(1_772_355_600.25)),
            ),
        ] {
            assert_eq!(system.price(price), expected_price, "{system:?}");
            assert_eq!(system.timestamp(time), expected_time, "{system:?}");

            // The decoder reads what was converted as before.
            let decoder = SystemDocumentDecoder;
            let read_price = decoder.read_price(&expected_price).unwrap();
            assert_eq!(read_price.parse(), Ok(price), "{system:?}");
            if let Some(expected_time) = expected_time {
                let read_time = decoder.read_timestamp(&expected_time);
                assert_eq!(read_time, Some(time), "{system:?}");
            }
        }
    }

    #[test]
    fn the_values_with_a_text_are_read_as_the_text() {
        for text in ["42", "-7", "0.5", "1e21", "NaN", "007", "4.0", "u1", ""] {
            for value in SystemDocumentDecoder.values_with_text(text) {
                let read = SystemDocumentDecoder.read_text(&value);
                assert_eq!(read.as_deref(), Some(text));
            }
        }
        let values = |text| SystemDocumentDecoder.values_with_text(text).len();
        assert_eq!(["42", "0.5", "007", "u1"].map(values), [1, 1, 0, 0]);
    }
}
