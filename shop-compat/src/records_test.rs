//! Records of each replaced system's producer, and how they decode.

use shop_core::log::{Headers, LogRecord, Partition};
use shop_core::record::{DecodeError, RecordDecoder as _, header};
use shop_core::{Clock as _, Purchase, SystemClock, Timestamp};

use crate::records::{SystemRecordDecoder, record_decoders};

const RECORD_TIME: &str = "2026-03-01T09:00:00.500Z";

fn partition() -> Partition {
    Partition::new("cluster".into(), "purchases".into(), 3, 1)
}

fn record(value: &str) -> LogRecord {
    let value = value.to_owned().into_bytes();
    LogRecord::new(42, RECORD_TIME.parse().unwrap(), Some(value.into()))
}

fn decode(record: &LogRecord) -> Result<Purchase, DecodeError> {
    record_decoders().decode(record, &partition())
}

#[test]
fn records_of_the_replaced_systems_are_decoded() {
    let mut records = String::new();
    for line in include_str!("cases/records.txt").lines() {
        records += line;
        if !line.is_empty() && !line.starts_with("# ") {
            records += &match decode(&record(line)) {
                Ok(Purchase {
                    user_id,
                    user_name,
                    price,
                    timestamp,
                    ..
                }) => format!("\n    {user_id} {user_name} {price} {timestamp}"),
                Err(error) => format!("\n    refused: {error}"),
            };
        }
        records.push('\n');
    }
    insta::assert_snapshot!(records);
}

#[test]
fn a_record_without_a_time_has_that_of_its_receipt_and_keeps_its_id() {
    let mut record = record(r#"{"username":"a","userid":"u","price":1,"timestamp":"now"}"#);
    record.time = Timestamp::from_millis(0).unwrap();
    let begun = SystemClock.now();
    let [first, again] = [(); 2].map(|()| decode(&record).unwrap());
    assert!(record.known_time().is_none() && first.timestamp >= begun && first.id == again.id);
}

#[test]
fn a_price_of_ours_is_exact() {
    let calculated = record(r#"{"username":"ada","userid":"u1","price":0.30000000000000004}"#);
    assert!(decode(&calculated).is_ok());
    let ours = Headers::builder().with(header::SCHEMA, Some(b"1")).build();
    assert!(decode(&calculated.with_headers(ours)).is_err());
}

#[test]
fn an_id_in_the_headers_is_that_of_the_purchase() {
    let record = record(r#"{"username":"ada","userId":7,"price":"1"}"#);
    let id = "65a1f0c2d3e4b5a697887766";
    let with = |text: &str| {
        let headers = Headers::builder().with(header::PURCHASE_ID, Some(text.as_bytes()));
        decode(&record.clone().with_headers(headers.build()))
    };
    assert_eq!(with(id).unwrap().id.to_string(), id);
    let error = with("7").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the header purchase-id is neither a UUID nor 24 hex digits"
    );
    let tombstone = LogRecord::new(1, RECORD_TIME.parse().unwrap(), None);
    assert_eq!(decode(&tombstone), Err(DecodeError::Empty));
}

#[test]
fn a_record_that_is_no_purchase_may_name_its_user() {
    for (value, user) in [
        (r#"{"userid":"u1"}"#, Some("u1")),
        (r#"{"userId":7}"#, Some("7")),
        (r#"{"user_id":"u1","userID":"u1"}"#, Some("u1")),
        (r#"{"userid":"u1","userId":"u2"}"#, None),
        (r#"{"userid":["u1"]}"#, None),
        ("u1", None),
    ] {
        let record = record(value);
        let named = SystemRecordDecoder.named_user(&record);
        assert_eq!(named.as_deref(), user, "{value}");
    }
}
