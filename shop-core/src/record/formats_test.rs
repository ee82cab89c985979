//! The records of this program, and those of other producers in the same format.

use bytes::Bytes;

use super::{DecodeError, RecordDecoder, RecordDecoders, decode, encode, header, purchase_id};
use crate::cases_test::outcomes;
use crate::log::{Headers, LogRecord, Partition, RecordId};
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
        .with_reference("order-7")
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

#[test]
fn records_of_other_producers_are_decoded() {
    let records = outcomes(include_str!("cases/records.txt"), |value| {
        let purchase = read(value)?;
        Ok::<_, DecodeError>(format!(
            "{} {} {} {}",
            purchase.user_id, purchase.user_name, purchase.price, purchase.timestamp
        ))
    });
    insta::assert_snapshot!(records);
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
fn a_record_without_a_value_is_no_purchase() {
    let tombstone = LogRecord::new(1, RECORD_TIME.parse().unwrap(), None);
    assert_eq!(decode(&tombstone, &partition()), Err(DecodeError::Empty));
}

const VALUE: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

#[test]
fn headers_name_the_id_and_the_schema() {
    let with = |name: &str, text: &[u8]| {
        let headers = Headers::builder()
            .with("other", None)
            .with(name, Some(text))
            .build();
        let decoded = decode(&record(VALUE).with_headers(headers), &partition());
        decoded.map(|purchase| purchase.id.to_string())
    };
    for id in [
        "0190163d-8694-739b-aea5-966c26f8ad91",
        "65a1f0c2d3e4b5a697887766",
    ] {
        assert_eq!(with(header::PURCHASE_ID, id.as_bytes()), Ok(id.to_owned()));
    }
    let error = with(header::PURCHASE_ID, b"\xff").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the header purchase-id is neither a UUID nor 24 hex digits"
    );
    assert!(with(header::SCHEMA, b"1").is_ok());
    let unknown = DecodeError::UnknownSchema("3".into());
    assert_eq!(with(header::SCHEMA, b"3"), Err(unknown));
}

/// A decoder of records whose value is `price:1`, for example.
#[derive(Debug)]
struct Prices;

impl RecordDecoder for Prices {
    fn decode(
        &self,
        record: &LogRecord,
        partition: &Partition,
    ) -> Option<Result<Purchase, DecodeError>> {
        let text = str::from_utf8(record.value.as_deref()?).ok()?;
        let price = text.strip_prefix("price:")?;
        let Ok(price) = price.parse() else {
            return Some(Err(DecodeError::NotAPurchase("no price".into())));
        };
        let id = purchase_id(record, partition).unwrap();
        let purchase = Purchase::new(
            id,
            "u".parse().unwrap(),
            "a".parse().unwrap(),
            price,
            record.time,
        );
        Some(Ok(purchase))
    }
}

#[test]
fn a_registered_decoder_decodes_what_has_no_schema_header() {
    let decoders = RecordDecoders::default().with(Prices);
    let decoded = |record: &LogRecord| decoders.decode(record, &partition());
    let id = RecordId::new(&record("price:1"), &partition()).into();
    let purchase = decoded(&record("price:1")).unwrap();
    assert_eq!((purchase.id, purchase.price.to_string()), (id, "1".into()));
    let error = decoded(&record("price:x")).unwrap_err();
    assert_eq!(error.to_string(), "no price");

    // What the decoder does not know is decoded as without it.
    assert_eq!(decoded(&record(VALUE)), read(VALUE));
    let ours = Headers::builder().with(header::SCHEMA, Some(b"1")).build();
    let error = decoded(&record("price:1").with_headers(ours)).unwrap_err();
    assert!(
        error.to_string().starts_with("the value is no JSON object"),
        "{error}"
    );
}

#[test]
fn without_a_header_the_id_is_derived_from_the_position() {
    let here = read(VALUE).unwrap().id;
    let id = |record: &LogRecord, partition: &Partition| decode(record, partition).unwrap().id;
    let mut next_epoch = partition();
    next_epoch.epoch += 1;
    assert_eq!(id(&record(VALUE), &next_epoch), here);

    let mut elsewhere = record(VALUE);
    elsewhere.offset = 43;
    assert_ne!(id(&elsewhere, &partition()), here);
    let mut later = record(VALUE);
    later.time = Timestamp::from_millis(0).unwrap();
    assert_ne!(id(&later, &partition()), here);
}

/// A record of our second schema whose members go beyond what a file may have is a dead letter, so
/// everything that is stored can be exported and imported again.
#[test]
fn members_of_a_later_version_have_the_limits_of_a_file() {
    let with_member = |member: &str| {
        let head = r#"{"username":"ada","userid":"u1","price":1"#;
        let headers = Headers::builder().with(header::SCHEMA, Some(b"2")).build();
        let record = record(&format!("{head},{member}}}")).with_headers(headers);
        decode(&record, &partition()).map_err(|error| error.to_string())
    };
    let deep = format!(r#""x":{}1{}"#, "[".repeat(33), "]".repeat(33));
    let large = format!(r#""x":"{}""#, "a".repeat(57_400));
    for (member, expected) in [
        (&*deep, "x must not have more than 32 arrays"),
        (
            &*large,
            "the unknown members must not have more than 57344 bytes",
        ),
        (r#""x":1e999"#, "x must not have a number above"),
        (r#""x":"\ud800""#, "x must not have a number above"),
        (r#""id":1"#, "id is the name of another member"),
        (r#""more":{}"#, "more is the name of another member"),
        (r#""reason":"broken""#, "reason belongs to a refund"),
    ] {
        let error = with_member(member).unwrap_err();
        assert!(error.starts_with(expected), "{expected}: {error}");
    }
    let kept = with_member(r#""gift":{"to": "eva"}"#).unwrap();
    assert_eq!(
        kept.details.unknown_members(),
        Some(r#"{"gift":{"to": "eva"}}"#)
    );
}
