//! All record formats: ours, and those of the replaced systems' producers.

use bytes::Bytes;

use super::{DecodeError, decode, encode, header};
use crate::log::{Headers, LogRecord, Partition};
use crate::{Clock as _, NewPurchase, Purchase, RequestContext, SystemClock, Timestamp};

const RECORD_TIME: &str = "2026-03-01T09:00:00.500Z";

fn partition() -> Partition {
    Partition::new("cluster".into(), "purchases".into(), 3, 1)
}

fn record(value: &str) -> LogRecord {
    LogRecord::new(
        42,
        RECORD_TIME.parse().unwrap(),
        Some(Bytes::copy_from_slice(value.as_bytes())),
    )
}

fn read(value: &str) -> Result<Purchase, DecodeError> {
    decode(&record(value), &partition())
}

/// user id | user name | price | timestamp
fn shown(value: &str) -> String {
    let purchase = read(value).unwrap();
    format!(
        "{}|{}|{}|{}",
        purchase.user_id, purchase.user_name, purchase.price, purchase.timestamp
    )
}

#[test]
fn encoded_purchases_decode() {
    let id = uuid::Uuid::from_u128(9);
    let new = NewPurchase::for_user("u\"1")
        .with_user_name("ada é")
        .with_price("1195.30")
        .unwrap();
    let mut purchase = new.into_purchase("2026-03-01T08:00:00.001Z".parse().unwrap(), || id);
    purchase.context = Some(Box::new(RequestContext::new(
        Some("r-1".into()),
        Some("00-aa-bb-01".into()),
    )));

    let encoded = encode(&purchase).unwrap();
    let value = std::str::from_utf8(encoded.value.as_deref().unwrap()).unwrap();
    assert_eq!(
        value,
        r#"{"username":"ada é","userid":"u\"1","price":1195.30,"timestamp":"2026-03-01T08:00:00.001Z"}"#
    );
    assert_eq!(encoded.key.as_deref(), Some(&b"u\"1"[..]));
    assert_eq!(encoded.headers.get(header::REQUEST_ID), Some(&b"r-1"[..]));
    assert_eq!(
        encoded.headers.get(header::TRACEPARENT),
        Some(&b"00-aa-bb-01"[..])
    );

    let stored = decode(
        &record(value).with_headers(encoded.headers.clone()),
        &partition(),
    )
    .unwrap();
    assert_eq!(
        stored,
        Purchase {
            context: None,
            ..purchase
        }
    );
}

#[test]
fn a_refund_is_read_by_its_type_alone() {
    let at = RECORD_TIME.parse().unwrap();
    let new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .reference("order-7")
        .with_price("29.99")
        .unwrap();
    let bought = new.into_purchase(at, || uuid::Uuid::from_u128(9));
    let refund = bought.refund(Some("9.90".parse().unwrap()), at).unwrap();
    let encoded = encode(&refund).unwrap();
    assert_eq!(decode(&encoded, &partition()), Ok(refund));
    let of_purchase = encoded
        .clone()
        .with_headers(encode(&bought).unwrap().headers);
    assert_eq!(
        decode(&of_purchase, &partition()).unwrap_err().to_string(),
        "price must not be negative"
    );
    let headers = Headers::builder()
        .with(header::SCHEMA, Some(b"1"))
        .with(header::TYPE, Some(b"x"))
        .build();
    let other = decode(&encoded.with_headers(headers), &partition());
    assert_eq!(other, Err(DecodeError::UnknownType("x".into())));
}

/// Records of each replaced system's producer, and how they decode.
#[test]
fn records_of_the_replaced_systems_are_decoded() {
    let samples: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../fixtures/records.json")).unwrap();
    for sample in &samples {
        let value = sample["value"].as_str().unwrap();
        let Some(stored) = sample["stored"].as_object() else {
            let error = read(value).unwrap_err().to_string();
            assert!(
                error.starts_with(sample["refused"].as_str().unwrap()),
                "{sample}: {error}"
            );
            continue;
        };
        let member = |name: &str| stored[name].as_str().unwrap_or(RECORD_TIME);
        let user = member("userid");
        let time = member("timestamp");
        let expected = format!("{user}|{}|{}|{time}", member("username"), member("price"));
        assert_eq!(shown(value), expected, "{sample}");
    }
}

#[test]
fn an_invalid_timestamp_falls_back_to_the_record() {
    for time in ["null", r#""""#, "1e300", "true", "[1]"] {
        let value = format!(r#"{{"username":"a","userid":"u","price":1,"timestamp":{time}}}"#);
        assert_eq!(shown(&value), format!("u|a|1|{RECORD_TIME}"), "{value}");
    }
}

#[test]
fn a_record_without_a_time_has_that_of_its_receipt_and_keeps_its_id() {
    let mut record = record(r#"{"username":"a","userid":"u","price":1}"#);
    record.time = Timestamp::from_millis(0).unwrap();
    let begun = SystemClock.now();
    let [first, again] = [(); 2].map(|()| decode(&record, &partition()).unwrap());
    assert!(record.known_time().is_none() && first.timestamp >= begun && first.id == again.id);
}

#[test]
fn a_decode_error_states_its_cause() {
    for (value, why) in [
        (r#"["ada","u1",5]"#, "the value is no JSON object"),
        ("{\"username\":\"\u{0}\"", "the value is no JSON object"),
        (r#"{"username":"ada","userid":"u1"}"#, "price is missing"),
        (
            r#"{"username":"ada","userid":{"a":1},"price":1}"#,
            "userid is neither text nor a number",
        ),
        (
            r#"{"username":"ada","userid":"u1","price":null}"#,
            "price must be a valid number",
        ),
    ] {
        let error = read(value).unwrap_err().to_string();
        assert!(error.starts_with(why), "{value}: {error}");
    }
    let tombstone = LogRecord::new(1, RECORD_TIME.parse().unwrap(), None);
    assert_eq!(decode(&tombstone, &partition()), Err(DecodeError::Empty));
}

#[test]
fn the_id_is_from_the_header_or_the_position() {
    let value = r#"{"username":"ada","userid":"u1","price":1}"#;
    let with = |name: &str, text: &[u8]| {
        let headers = Headers::builder()
            .with("other", None)
            .with(name, Some(text))
            .build();
        decode(&record(value).with_headers(headers), &partition())
    };
    let id = "0190163d-8694-739b-aea5-966c26f8ad91";
    assert_eq!(
        with(header::PURCHASE_ID, id.as_bytes())
            .unwrap()
            .id
            .to_string(),
        id
    );
    assert_eq!(
        with(header::PURCHASE_ID, b"65a1f0c2d3e4b5a697887766")
            .unwrap()
            .id
            .as_uuid(),
        None
    );
    let error = with(header::PURCHASE_ID, b"\xff").unwrap_err().to_string();
    assert_eq!(
        error,
        "the header purchase-id is neither a UUID nor 24 hex digits"
    );
    assert_eq!(
        with(header::SCHEMA, b"3"),
        Err(DecodeError::UnknownSchema("3".into()))
    );
    assert!(with(header::SCHEMA, b"1").is_ok());
    // Our own records are exact.
    let calculated = record(r#"{"username":"ada","userid":"u1","price":0.30000000000000004}"#);
    let ours = Headers::builder().with(header::SCHEMA, Some(b"1")).build();
    assert!(
        decode(&calculated, &partition()).is_ok()
            && decode(&calculated.with_headers(ours), &partition()).is_err()
    );

    // Without a header the id is derived from the position.
    let here = read(value).unwrap().id;
    assert_eq!(here, read(value).unwrap().id);
    let mut elsewhere = record(value);
    elsewhere.offset = 43;
    assert_ne!(here, decode(&elsewhere, &partition()).unwrap().id);
    let mut later = record(value);
    later.time = Timestamp::from_millis(0).unwrap();
    assert_ne!(here, decode(&later, &partition()).unwrap().id);
    let mut next_epoch = partition();
    next_epoch.epoch += 1;
    assert_eq!(here, decode(&record(value), &next_epoch).unwrap().id);
}
