//! Guarantees of this store alone: other processes, damaged files, a full disk.

use std::path::Path;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use shop_core::memory::InMemoryStore;
use shop_core::ports::{
    InsertOutcome, ListOrder, PageLimit, PageRequest, Period, PurchaseErase, PurchaseQuery,
    PurchaseStore, RecordStore as _, Selector, TimeRange, TotalsRequest,
};
use shop_core::{Details, ErrorKind, Outcome, Purchase, PurchaseId, Timestamp, Total, UserId};
use tempfile::TempDir;
use uuid::Uuid;

use super::{EmbeddedStore, rows};
use crate::embedded::checksum::checksum;
use crate::embedded::schema::SHOP;
use crate::embedded::{EmbeddedStoreOptions, check_integrity};

fn purchase(number: u128) -> Purchase {
    Purchase::new(
        PurchaseId::from_uuid(Uuid::from_u128(number)),
        "u1".parse().unwrap(),
        "n".repeat(200).parse().unwrap(),
        "29.99".parse().unwrap(),
        Timestamp::from_millis(0).unwrap(),
    )
}

fn batch(numbers: std::ops::Range<u128>) -> Arc<[Purchase]> {
    numbers.map(purchase).collect()
}

/// The file of the store, as another program opens it.
fn file_of(folder: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.join("shop.db")).unwrap()
}

/// Opens the store of `folder` with its defaults.
async fn open_store(folder: &TempDir) -> EmbeddedStore {
    EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn inserts_recover_after_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let small = EmbeddedStoreOptions {
        max_file_bytes: Some(200_000),
        ..EmbeddedStoreOptions::default()
    };
    let store = EmbeddedStore::open(folder.path(), small).await.unwrap();
    store.insert(batch(0..10)).await.unwrap();
    let error = store.insert(batch(10..5_000)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Unavailable, Outcome::NotApplied),
        "{error}"
    );
    assert!(
        error.to_string().contains("the disk is full") && error.to_string().contains("shop.db"),
        "{error}"
    );
    // Nothing of the batch is stored, and small batches are accepted.
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 10);
    store.check().await.expect("a small write fits");
    store.insert(batch(10..20)).await.unwrap();
    drop(store);
    let roomy = open_store(&folder).await;
    roomy.insert(batch(10..5_000)).await.unwrap();
    assert_eq!(roomy.summary(&Selector::All).await.unwrap().count, 5_000);
}

/// Opens a store in a prepared folder, and returns the error.
async fn refusal(prepare: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let error = EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default())
        .await
        .unwrap_err();
    error.chain().to_string()
}

#[tokio::test]
async fn open_errors_name_the_file_and_the_remedy() {
    let no_database =
        refusal(|folder| std::fs::write(folder.join("shop.db"), "x".repeat(5_000)).unwrap()).await;
    assert!(
        no_database.contains("shop.db") && no_database.contains("not a database of this program"),
        "{no_database}"
    );

    let of_another = refusal(|folder| {
        let connection = file_of(folder);
        connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    })
    .await;
    assert!(
        of_another.contains("another program's database"),
        "{of_another}"
    );

    let newer = refusal(|folder| {
        let connection = file_of(folder);
        connection
            .pragma_update(None, "application_id", SHOP.application_id)
            .unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
    })
    .await;
    assert!(
        newer.contains("newer version") && newer.contains("file_version=99"),
        "{newer}"
    );

    let a_folder = refusal(|folder| std::fs::create_dir(folder.join("shop.db")).unwrap()).await;
    assert!(
        a_folder.contains("shop.db") && a_folder.contains("cannot be opened"),
        "{a_folder}"
    );

    let file = tempfile::NamedTempFile::new().unwrap();
    let error = EmbeddedStore::open(file.path(), EmbeddedStoreOptions::default())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a file where a folder is needed"),
        "{error}"
    );
}

#[tokio::test]
async fn an_unreadable_row_is_an_error_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(&folder).await;
    store.insert(batch(0..1)).await.unwrap();
    let connection = file_of(folder.path());
    connection
        .execute("UPDATE purchases SET price = 'much'", [])
        .unwrap();
    let error = store.get(&purchase(0).id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    // It does not block other purchases.
    let outcomes = store.insert(batch(0..2)).await.unwrap();
    assert!(
        matches!(
            outcomes[..],
            [InsertOutcome::Conflict, InsertOutcome::Inserted]
        ),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn closing_removes_the_write_ahead_log() {
    let folder = tempfile::tempdir().unwrap();
    let wal = folder.path().join("shop.db-wal");
    // Often, and with many connections: they must not be closed at once.
    for round in 0..20 {
        let options = EmbeddedStoreOptions {
            readers: 8,
            ..EmbeddedStoreOptions::default()
        };
        let store = EmbeddedStore::open(folder.path(), options).await.unwrap();
        store.insert(batch(round..round + 1)).await.unwrap();
        assert!(wal.exists());
        let closed = store.closed();
        drop(store);
        tokio::time::timeout(std::time::Duration::from_secs(20), closed)
            .await
            .unwrap();
        assert!(!wal.exists(), "round {round}");
    }
}

/// Purchases of five users, some with one name for several of them and some with several names.
fn varied(number: u64) -> Purchase {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let user = mixed >> 33 & 7;
    let name = mixed >> 41 & 1;
    Purchase::new(
        PurchaseId::from_uuid(Uuid::from_u128(u128::from(mixed))),
        format!("u{}", user % 5).parse().unwrap(),
        format!("n{}", (user + name) % 3).parse().unwrap(),
        format!("{}.{:02}", mixed % 1_000, mixed >> 50 & 63)
            .parse()
            .unwrap(),
        Timestamp::from_millis((mixed >> 20 & 0xff_ffff) as i64 * 300).unwrap(),
    )
}

/// Asserts that the first pages are those of `expected`.
async fn assert_same_pages(
    store: &EmbeddedStore,
    expected: &InMemoryStore,
    selector: &Selector,
    mut request: PageRequest,
) {
    for _page in 0..3 {
        let page = store.page(selector, &request).await.unwrap();
        assert_eq!(
            page,
            expected.page(selector, &request).await.unwrap(),
            "{selector:?} {request:?}"
        );
        let Some(next) = page.next_cursor(&request).unwrap() else {
            break;
        };
        request = request.with_cursor(next);
    }
}

/// Asserts that pages, sums and totals are those of `expected`.
async fn assert_same(store: &EmbeddedStore, expected: &InMemoryStore) {
    let user = |number| Selector::User(format!("u{number}").parse().unwrap());
    let name = |number| Selector::Name(format!("n{number}").parse().unwrap());
    let at = |millis| Some(Timestamp::from_millis(millis).unwrap());
    let ranges = [
        (None, None),
        (at(86_400_000), at(20 * 86_400_000)),
        (at(90_000_000), at(1_700_000_000)),
        (at(91_234_567), at(1_234_567_890)),
    ];
    let zones = ["Z", "+05:45", "-03:30", "+00:07"].map(|zone| zone.parse().unwrap());
    for selector in [user(0), user(4), user(9), name(0), name(2), Selector::All] {
        let summary = store.summary(&selector).await.unwrap();
        assert_eq!(
            summary,
            expected.summary(&selector).await.unwrap(),
            "{selector:?}"
        );
        for (from, to) in ranges {
            let range = TimeRange::new(from, to).unwrap();
            for per in [Period::Whole, Period::Hour, Period::Day, Period::Month] {
                for zone in zones {
                    let request = TotalsRequest::new(range, per).with_zone(zone);
                    let found = store.totals(&selector, &request).await.unwrap();
                    let of_rows = expected.totals(&selector, &request).await.unwrap();
                    assert_eq!(found, of_rows, "{selector:?} {request:?}");
                }
            }
            for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
                let request =
                    PageRequest::first(order, PageLimit::new(7).unwrap()).with_range(range);
                assert_same_pages(store, expected, &selector, request).await;
            }
        }
    }
}

#[tokio::test]
async fn listings_and_sums_include_purchases_of_two_processes() {
    let folder = tempfile::tempdir().unwrap();
    let open = || EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default());
    let stores = [open().await.unwrap(), open().await.unwrap()];
    let expected = InMemoryStore::new();
    for round in 0..12_u64 {
        let store = &stores[(round % 2) as usize];
        let batch: Arc<[Purchase]> = (round * 40..round * 40 + 43).map(varied).collect();
        store.insert(Arc::clone(&batch)).await.unwrap();
        expected.insert(batch).await.unwrap();
        if round % 4 == 2 {
            let user = "u4".parse().unwrap();
            let erased = store.erase(&user, 1_000).await.unwrap();
            assert_eq!(erased, expected.erase(&user, 1_000).await.unwrap());
            let time = Timestamp::from_millis(round as i64 * 30_000_000).unwrap();
            let deleted = store.delete_before(time, 1_000).await.unwrap();
            assert_eq!(deleted, expected.delete_before(time, 1_000).await.unwrap());
        }
        for store in &stores {
            assert_same(store, &expected).await;
        }
    }
    let left = expected.all().len();
    assert!(left > 200, "{left}");
    let file = file_of(folder.path());
    let unfolded: i64 = file
        .query_row("SELECT count(*) FROM unfolded", [], |row| row.get(0))
        .unwrap();
    assert!(unfolded <= 65, "{unfolded}");
}

#[tokio::test]
async fn a_summary_after_a_failed_one_counts_no_purchase_twice() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(&folder).await;
    store.insert(batch(0..3)).await.unwrap();
    let file = file_of(folder.path());
    let change_newest_checksum = |difference: i64| {
        let sql = "UPDATE unfolded SET checksum = checksum + ?1
                   WHERE sequence = (SELECT max(sequence) FROM unfolded)";
        assert_eq!(file.execute(sql, [difference]).unwrap(), 1);
    };

    // The first summary reads two of the purchases, and fails at the third.
    change_newest_checksum(1);
    store.summary(&Selector::All).await.unwrap_err();

    change_newest_checksum(-1);
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 3);
}

#[tokio::test]
async fn an_erased_user_leaves_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(&folder).await;
    store.insert((0..100).map(varied).collect()).await.unwrap();
    for user in 0..5 {
        store
            .erase(&format!("u{user}").parse().unwrap(), 1_000)
            .await
            .unwrap();
    }
    let file = file_of(folder.path());
    let count = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM erased"), 100);
    // The row of all buyers, and the watermark.
    assert_eq!(
        (
            count("SELECT count(*) FROM buyers"),
            count("SELECT count(*) FROM unfolded")
        ),
        (1, 1)
    );
    assert_eq!(
        (
            count("SELECT count(*) FROM days"),
            count("SELECT count(*) FROM quarters"),
            count("SELECT count(*) FROM purchases")
        ),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn rows_without_checksums_are_read_after_an_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let [log, clock, tables, ..] = SHOP.migrations else {
        panic!("versions are missing")
    };
    let file = file_of(folder.path());
    let version = format!(
        "PRAGMA application_id = {}; PRAGMA user_version = 3;",
        SHOP.application_id
    );
    file.execute_batch(&[log, clock, tables, &*version].concat())
        .unwrap();
    let rows = "
        INSERT INTO buyers VALUES (7, 'u1', 'ada', 2, 3, 7);
        UPDATE buyers SET count = 2, high = 3, low = 7 WHERE buyer = 0;
        INSERT INTO days VALUES (0, 0, 2, 3000000000, 7), (0, 7, 2, 3000000000, 7);
        INSERT INTO purchases VALUES (7, 5, x'0265a1f0c2d3e4b5a697887766', '29.99');
        INSERT INTO records (time, headers, value) VALUES (5, x'', x'00');";
    file.execute_batch(rows).unwrap();
    drop(file);
    let store = open_store(&folder).await;
    let read = store
        .get(&"65a1f0c2d3e4b5a697887766".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (read.user_id.as_str(), read.price.to_string().as_str()),
        ("u1", "29.99")
    );
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 2);
    store.insert(batch(0..3)).await.unwrap();
    assert_eq!(
        store
            .summary(&Selector::User("u1".parse().unwrap()))
            .await
            .unwrap()
            .count,
        5
    );
    let request = TotalsRequest::new(TimeRange::default(), Period::Day);
    assert_eq!(
        store.totals(&Selector::All, &request).await.unwrap()[0]
            .summary
            .count,
        5
    );
    // The sums of this file are made up: nothing else is named.
    let mut damage = check_integrity(folder.path().join("shop.db"))
        .await
        .unwrap();
    damage.retain(|line| !line.ends_with("differ from the purchases"));
    assert_eq!(damage, [] as [&str; 0]);
}

#[tokio::test]
async fn a_folder_of_the_version_before_gets_quarters_and_its_open_programs_fail() {
    let folder = tempfile::tempdir().unwrap();
    let [before @ .., _quarters] = SHOP.migrations else {
        panic!("versions are missing")
    };
    let file = file_of(folder.path());
    let version = format!(
        "application_id = {}; PRAGMA user_version = {}",
        SHOP.application_id,
        before.len()
    );
    let user = "INSERT INTO buyers (buyer, userid, username) VALUES (7, 'u1', 'ada')";
    let all = format!(
        "PRAGMA journal_mode = wal; {} PRAGMA {version}; {user}",
        before.concat()
    );
    file.execute_batch(&all).unwrap();
    let id: PurchaseId = "65a1f0c2d3e4b5a697887766".parse().unwrap();
    let bytes = rows::id_bytes(id);
    let values = [
        ValueRef::Integer(5),
        ValueRef::Blob(&bytes),
        ValueRef::Text(b"29.99"),
    ];
    let of_before =
        "INSERT INTO purchases (buyer, timestamp, id, price, hash) VALUES (7, 5, ?1, '29.99', ?2)";
    let mut of_before = file.prepare(of_before).unwrap();
    of_before
        .execute((
            &bytes,
            checksum(rows::user_text_checksum("u1", "ada"), values),
        ))
        .unwrap();

    let store = open_store(&folder).await;
    let read = store.get(&id).await.unwrap().unwrap();
    assert_eq!(
        (read.price.to_string(), read.details),
        ("29.99".to_owned(), Details::NONE)
    );
    let per_hour = TotalsRequest::new(TimeRange::default(), Period::Hour);
    let totals = store.totals(&Selector::All, &per_hour).await.unwrap();
    assert_eq!((totals.len(), totals[0].summary.count), (1, 1));
    let json = br#"{"item":"tea","reference":"order-7","gift":{"to": "eva"}}"#;
    let detailed = purchase(1).with_details(Details::from_json(json, &[]).unwrap());
    store
        .insert([detailed.clone(), purchase(2)].into())
        .await
        .unwrap();
    assert_eq!(store.get(&detailed.id).await.unwrap(), Some(detailed));
    let of_before = "INSERT INTO unfolded (buyer, timestamp, amount) VALUES (7, 5, '29.99')";
    let refused = file.execute(of_before, []).unwrap_err().to_string();
    assert!(refused.contains("no column named amount"), "{refused}");
}

/// The sums of `entries`, of which refunds are no further purchases.
fn model<'a>(entries: impl Iterator<Item = &'a Purchase>) -> (u64, Total) {
    entries.fold((0, Total::ZERO), |(count, sum), entry| {
        let count = count + u64::from(entry.details.of.is_none());
        (count, sum.checked_add_price(entry.price).unwrap())
    })
}

#[tokio::test]
async fn sums_of_3000_refunds_are_those_of_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open_store(&folder).await;
    let memory = InMemoryStore::new();
    let day = |number: i64| Timestamp::from_millis(86_400_000 * number).unwrap();
    let mut entries = Vec::new();
    for number in 0..10_000_u32 {
        let mut bought = purchase(number.into());
        bought.user_id = format!("u{}", number % 37).parse().unwrap();
        bought.price = format!("{}.{:02}", 1 + number % 997, number % 100)
            .parse()
            .unwrap();
        bought.timestamp = day((number % 91).into());
        let amount = (number % 2 == 0).then(|| "0.75".parse().unwrap());
        let refund = bought.refund(amount, day(60)).unwrap();
        entries.push(bought);
        entries.extend((number % 10 < 3).then_some(refund));
    }
    assert_eq!(entries.len(), 13_000);
    for chunk in entries.chunks(700) {
        for store in [&embedded as &dyn PurchaseStore, &memory] {
            let outcomes = store.insert(chunk.into()).await.unwrap();
            assert!(
                outcomes
                    .iter()
                    .all(|outcome| matches!(outcome, InsertOutcome::Inserted)),
                "{outcomes:?}"
            );
        }
    }
    let erased: UserId = "u5".parse().unwrap();
    for store in [&embedded as &dyn PurchaseErase, &memory] {
        let of_user = entries
            .iter()
            .filter(|entry| entry.user_id == erased)
            .count() as u64;
        assert_eq!(store.erase(&erased, 10_000).await.unwrap(), of_user);
    }
    entries.retain(|entry| entry.user_id != erased);
    let per_day = TotalsRequest::new(TimeRange::default(), Period::Day);
    let days: Vec<_> = (0..91)
        .map(|number| {
            (
                day(number),
                model(
                    entries
                        .iter()
                        .filter(|entry| entry.timestamp == day(number)),
                ),
            )
        })
        .collect();
    for store in [&embedded as &dyn PurchaseQuery, &memory] {
        let users = (0..37).map(|number| Selector::User(format!("u{number}").parse().unwrap()));
        for selector in users.chain([Selector::All]) {
            let summary = store.summary(&selector).await.unwrap();
            let expected = model(entries.iter().filter(|entry| selector.matches(entry)));
            assert_eq!(
                (summary.count, summary.total_spent),
                expected,
                "{selector:?}"
            );
        }
        let found = store.totals(&Selector::All, &per_day).await.unwrap();
        let sums = found
            .iter()
            .map(|day| (day.from, (day.summary.count, day.summary.total_spent)));
        assert_eq!(sums.collect::<Vec<_>>(), days);
    }
    for zone in ["+02:00", "-09:30"] {
        let request = per_day.with_zone(zone.parse().unwrap());
        assert_eq!(
            embedded.totals(&Selector::All, &request).await.unwrap(),
            memory.totals(&Selector::All, &request).await.unwrap(),
            "{zone}"
        );
    }
}

#[tokio::test]
async fn sums_that_differ_from_their_purchases_are_found() {
    for (is_folded, damage, named) in [
        (true, "SELECT 1", None),
        (false, "SELECT 1", None),
        // Each of these keeps the checksum of every row.
        (
            true,
            "UPDATE days SET count = count + 1, residue = (residue + 1) % 2147483647 WHERE buyer = 1",
            Some("sums of buyer 1 on day"),
        ),
        (
            true,
            "DELETE FROM days WHERE buyer = 1",
            Some("sums of buyer 1 on day"),
        ),
        (
            true,
            "INSERT INTO days SELECT day + 1, buyer, 0, 0, 0, (residue * 0 + ((day + 1) * 48271 + buyer * 16807)) % 2147483647 FROM days WHERE buyer = 1",
            Some("more sums of days"),
        ),
        (true, "DELETE FROM quarters", Some("sums of quarter")),
        (
            true,
            "INSERT INTO quarters SELECT quarter + 1, count, high, low, (residue + 48271) % 2147483647 FROM quarters",
            Some("sums of quarter"),
        ),
        (
            true,
            "UPDATE buyers SET count = count + 1, residue = (residue + 1) % 2147483647 WHERE buyer = 0",
            Some("sums of buyer 0"),
        ),
        (
            true,
            "DELETE FROM purchases WHERE id = (SELECT min(id) FROM purchases)",
            Some("sums of buyer"),
        ),
        (
            false,
            "DELETE FROM unfolded WHERE sequence = (SELECT max(sequence) FROM unfolded)",
            Some("sums of buyer"),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(&folder).await;
        store.insert(batch(0..10)).await.unwrap();
        let closed = store.closed();
        drop(store);
        closed.await;

        let path = folder.path().join("shop.db");
        let file = rusqlite::Connection::open(&path).unwrap();
        if is_folded {
            super::fold::fold_purchases(&file).unwrap();
        }
        file.execute_batch(damage).unwrap();
        let lines = check_integrity(&path).await.unwrap();
        match named {
            None => assert!(lines.is_empty(), "{lines:?}"),
            Some(named) => assert!(
                lines.iter().any(|line| line.contains(named)),
                "{damage}: {lines:?}"
            ),
        }
    }
}
