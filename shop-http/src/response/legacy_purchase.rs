//! A purchase in a response outside of `/v1`.

use serde::Serialize;
use shop_core::json::{number, text};
use shop_core::{Price, Purchase, Timestamp};

use crate::dialect::{Extras, ItemForm, PriceForm, TimestampForm};

/// The four members that every replaced system has, and the extra members of a listing.
#[derive(Serialize)]
pub(crate) struct LegacyPurchase<'a> {
    #[serde(rename = "_id", skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    username: &'a str,
    userid: &'a str,
    price: WrittenPrice,
    timestamp: WrittenTime,
    #[serde(rename = "__v", skip_serializing_if = "Option::is_none")]
    version: Option<u8>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WrittenPrice {
    Number(Price),
    Text(#[serde(with = "text")] Price),
}

#[derive(Serialize)]
#[serde(untagged)]
enum WrittenTime {
    Iso(Timestamp),
    Text(String),
    Number(#[serde(with = "number")] String),
}

impl<'a> LegacyPurchase<'a> {
    /// The four members, without extra members.
    pub(crate) fn four_members(purchase: &'a Purchase, form: ItemForm) -> Self {
        let (username, userid) = (purchase.user_name.as_str(), purchase.user_id.as_str());
        let price = match form.price {
            PriceForm::Number => WrittenPrice::Number(purchase.price),
            PriceForm::Text => WrittenPrice::Text(purchase.price),
        };
        let timestamp = written_time(purchase.timestamp, form.timestamp);
        Self { id: None, username, userid, price, timestamp, version: None }
    }

    pub(crate) fn in_listing(purchase: &'a Purchase, form: ItemForm) -> Self {
        let id = (form.extras != Extras::None).then(|| purchase.id.to_string());
        let version = (form.extras == Extras::IdAndVersion).then_some(0);
        Self { id, version, ..Self::four_members(purchase, form) }
    }
}

fn written_time(time: Timestamp, form: TimestampForm) -> WrittenTime {
    match form {
        TimestampForm::Iso => WrittenTime::Iso(time),
        TimestampForm::IsoWithoutZone => {
            let iso = time.to_string();
            let local = iso.trim_end_matches('Z');
            let whole = local.strip_suffix(".000").map(str::to_owned);
            WrittenTime::Text(whole.unwrap_or_else(|| format!("{local}000")))
        }
        TimestampForm::Seconds => {
            let millis = time.as_millis();
            let (sign, millis) = (if millis < 0 { "-" } else { "" }, millis.unsigned_abs());
            WrittenTime::Number(format!("{sign}{}.{:03}", millis / 1_000, millis % 1_000))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_the_format_of_each_system() {
        let written = |millis, form| {
            let time = Timestamp::from_millis(millis).unwrap();
            serde_json::to_string(&written_time(time, form)).unwrap()
        };
        for (millis, iso, without_zone, seconds) in [
            (1_500, "1970-01-01T00:00:01.500Z", "1970-01-01T00:00:01.500000", "1.500"),
            (2_000, "1970-01-01T00:00:02.000Z", "1970-01-01T00:00:02", "2.000"),
            (-500, "1969-12-31T23:59:59.500Z", "1969-12-31T23:59:59.500000", "-0.500"),
        ] {
            assert_eq!(written(millis, TimestampForm::Iso), format!("\"{iso}\""));
            assert_eq!(written(millis, TimestampForm::IsoWithoutZone), format!("\"{without_zone}\""));
            assert_eq!(written(millis, TimestampForm::Seconds), seconds);
        }
    }
}
