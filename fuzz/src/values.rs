//! Values that are parsed outside of HTTP: cursors, records of a log, settings.

use shop_accounts::orders::Order;
use shop_accounts::users::User;
use shop_bins::{ServiceKind, Settings};
use shop_compat::records::record_decoders;
use shop_core::json::Members;
use shop_core::log::{Headers, LogRecord, Partition, RecordPosition};
use shop_core::ports::{Cursor, ListOrder, PageLimit, PageRequest, Selector};
use shop_core::record::{self, Record};
use shop_core::{Bytes, Purchase, Timestamp};

/// A cursor. One that is decoded is the cursor of its position.
pub fn cursors(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let cursor = Cursor::from_text(text.to_owned());
    let user = Selector::User("u1".parse().expect("an id"));
    let name = Selector::Name("ada".parse().expect("a name"));
    for selector in [user, name, Selector::All] {
        for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
            let request = PageRequest::first(order, PageLimit::DEFAULT);
            let Ok(keyset) = cursor.decode(&selector, &request) else {
                continue;
            };
            let user = "u1".parse().expect("an id");
            let name = "ada".parse().expect("a name");
            let price = "1".parse().expect("a price");
            let last = Purchase::new(keyset.id, user, name, price, keyset.timestamp);
            assert_eq!(Cursor::after(&selector, &request, &last).as_str(), text);
            assert!(cursor.belongs_to(&selector, request.range));
        }
    }
}

/// A record: two bytes with the length of the headers, the headers, and the value. A purchase that is decoded stays the
/// same when it is encoded and decoded again.
pub fn records(data: &[u8]) {
    let _position = std::str::from_utf8(data).map(|text| {
        if let Ok(position) = text.parse::<RecordPosition>() {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
    });
    let Some((length, rest)) = data.split_first_chunk() else {
        return;
    };
    let (headers, value) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    let headers = Headers::from_bytes(Bytes::copy_from_slice(headers)).unwrap_or_default();
    let record = LogRecord::new(0, Timestamp::MIN, Some(Bytes::copy_from_slice(value)))
        .with_headers(headers);
    let partition = Partition::new("cluster".into(), "purchases".into(), 0, 0);
    if let Ok(purchase) = record_decoders().decode(&record, &partition) {
        let encoded = record::encode(&purchase).expect("a record");
        assert_eq!(Purchase::decode(&encoded, &partition), Ok(purchase));
    }
    if let Ok(user) = User::decode(&record, &partition) {
        assert!(user.email.as_str().contains('@'));
    }
    let _order = Order::decode(&record, &partition);
    if Members::parse(value, record::MEMBERS).is_ok() {
        Members::parse_last(value, record::MEMBERS)
            .expect("what has no repeated member is accepted");
    }
}

/// Variables, one line each. They are valid, or each fault is named.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    // Files are not part of it.
    let pairs = pairs.filter(|(name, _)| !name.contains("_FILE") && *name != "SHOP_CONFIG");
    let pairs: Vec<(String, String)> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for service in [ServiceKind::Facing, ServiceKind::Management] {
        if let Err(error) = Settings::from_variables(service, pairs.clone()) {
            assert!(!error.to_string().is_empty());
        }
    }
}
