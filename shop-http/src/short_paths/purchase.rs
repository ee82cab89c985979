//! Writes a purchase in a form of the short paths.

use shop_core::json::{WriteJson, write_member};
use shop_core::{Purchase, Timestamp};

use super::form::{ExtraMembers, PurchaseForm, TimestampForm};

/// Appends a purchase to `json`: its user, price and time, and the extra members of `form`.
pub(super) fn write_purchase(json: &mut Vec<u8>, purchase: &Purchase, form: PurchaseForm) {
    let mut user_name_start = "{\"username\":";
    if form.extras != ExtraMembers::None {
        write_member(json, "{\"_id\":", &purchase.id);
        user_name_start = ",\"username\":";
    }
    write_member(json, user_name_start, purchase.user_name.as_str());
    write_member(json, ",\"userid\":", purchase.user_id.as_str());
    if form.price_is_text {
        write_member(json, ",\"price\":", &*purchase.price.to_string());
    } else {
        write_member(json, ",\"price\":", &purchase.price);
    }
    json.extend_from_slice(b",\"timestamp\":");
    write_timestamp(json, purchase.timestamp, form.timestamp);
    json.extend_from_slice(if form.extras == ExtraMembers::IdAndVersion {
        b",\"__v\":0}"
    } else {
        b"}"
    });
}

/// Appends `timestamp` to `json` in this form.
fn write_timestamp(json: &mut Vec<u8>, timestamp: Timestamp, form: TimestampForm) {
    match form {
        TimestampForm::Iso => timestamp.write_json(json),
        TimestampForm::IsoWithoutZone => {
            // The text ends with three digits of milliseconds and `Z`.
            let iso_text = timestamp.to_string();
            let text_without_zone = iso_text.trim_end_matches('Z');
            let text = match text_without_zone.strip_suffix(".000") {
                Some(whole_seconds) => whole_seconds.to_owned(),
                // The form has microseconds.
                None => format!("{text_without_zone}000"),
            };
            text.write_json(json);
        }
        TimestampForm::Seconds => {
            let millis = timestamp.as_millis();
            let sign = if millis < 0 { "-" } else { "" };
            let millis = millis.unsigned_abs();
            json.extend_from_slice(
                format!("{sign}{}.{:03}", millis / 1_000, millis % 1_000).as_bytes(),
            );
        }
    }
}
