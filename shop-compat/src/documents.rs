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
//! The store reads all of these forms, and its `migrate` converts them to its own.
//! [`ReplacedSystem`] is the [`DocumentFormat`] in which they are written back, so that the programs
//! of the system can list the documents again.

use shop_core::{Price, Timestamp};
use shop_store::mongo::{Bson, DocumentFormat};

use crate::ReplacedSystem;

impl DocumentFormat for ReplacedSystem {
    fn price(&self, price: Price) -> Bson {
        let text = price.to_string();
        match self {
            Self::ScalableShop => Bson::String(text),
            // A decimal is always a number. If it were none, it must not become 0.
            _ => text.parse().map_or(Bson::String(text), Bson::Double),
        }
    }

    fn timestamp(&self, timestamp: Timestamp) -> Option<Bson> {
        let text = timestamp.to_string();
        // The programs of the system 004 compute the seconds in this way.
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
        }
    }
}
