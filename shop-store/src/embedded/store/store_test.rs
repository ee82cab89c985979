//! Guarantees of this store alone: other processes, damaged files, a full disk.

use futures_util::StreamExt as _;
use shop_core::ports::{Bucket, Deletion, InsertOutcome, Page, PurchaseQueryExt as _};

use super::fold::fold_purchases;
use crate::embedded::fixture::*;
use crate::embedded::schema::SHOP;

#[tokio::test]
async fn inserts_recover_after_a_full_disk() {
    let folder = fresh_folder();
    let small = EmbeddedStoreOptions::default().max_file_bytes(Some(200_000));
    let store = EmbeddedStore::open(folder.path(), small).await.unwrap();
    store.insert(purchases(0..10)).await.unwrap();

    let error = store.insert(purchases(10..5_000)).await.unwrap_err();
    assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
    for part in ["the disk is full", "shop.db"] {
        assert!(error.to_string().contains(part), "{error}");
    }

    // Nothing of the batch is stored, and small batches are accepted.
    assert_eq!(count(&store).await, 10);
    store.check().await.expect("a small write fits");
    store.insert(purchases(10..20)).await.unwrap();
    drop(store);
    let roomy = open_store(&folder).await;
    roomy.insert(purchases(10..5_000)).await.unwrap();
    assert_eq!(count(&roomy).await, 5_000);
}

/// What prepares a folder, and what the error of opening it says.
type Preparation = (fn(&Path), [&'static str; 2]);

#[tokio::test]
async fn open_errors_name_the_file_and_the_remedy() {
    let cases: [Preparation; 5] = [
        (
            |folder| fs::write(folder.join("shop.db"), "x".repeat(5_000)).unwrap(),
            ["shop.db", "not a database of this program"],
        ),
        (
            |folder| {
                let sql = "CREATE TABLE theirs (x)";
                connect(folder).execute_batch(sql).unwrap();
            },
            ["shop.db", "another program's database"],
        ),
        (
            |folder| {
                let id = SHOP.application_id;
                let sql = format!("PRAGMA application_id = {id}; PRAGMA user_version = 99");
                connect(folder).execute_batch(&sql).unwrap();
            },
            ["newer version", "file_version=99"],
        ),
        (
            |folder| fs::create_dir(folder.join("shop.db")).unwrap(),
            ["shop.db", "cannot be opened"],
        ),
        (
            |folder| {
                fs::remove_dir(folder).unwrap();
                fs::write(folder, "").unwrap();
            },
            ["data", "a file where a folder is needed"],
        ),
    ];
    for (prepare, said) in cases {
        let parent = fresh_folder();
        let folder = parent.path().join("data");
        fs::create_dir(&folder).unwrap();
        prepare(&folder);
        let opened = EmbeddedStore::open(&folder, EmbeddedStoreOptions::default()).await;
        let text = opened.unwrap_err().chain().to_string();
        for part in said {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[tokio::test]
async fn an_unreadable_row_is_an_error_without_a_panic() {
    let folder = fresh_folder();
    let store = open_store(&folder).await;
    store.insert(purchases(0..1)).await.unwrap();
    let damage = "UPDATE purchases SET price = 'much'";
    connect(&folder).execute(damage, []).unwrap();
    let error = store.get(&purchase(0).id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    // It does not block other purchases.
    let outcomes = store.insert(purchases(0..2)).await.unwrap();
    assert!(
        matches!(
            outcomes[..],
            [InsertOutcome::Conflict, InsertOutcome::Inserted]
        ),
        "{outcomes:?}"
    );
}

const DAY: i64 = 86_400_000;

/// A purchase of one of five users, in the month before 1970 or the one after, and its refund: of all of it, or of a part.
/// Some users have one name together, and some have several.
fn varied(number: u64) -> [Purchase; 2] {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let user = mixed >> 33 & 7;
    let name = mixed >> 41 & 1;
    let millis = (mixed >> 20 & 0xff_ffff) as i64 * 300 - 29 * DAY;
    let bought = Purchase::new(
        PurchaseId::from_uuid(Uuid::from_u128(mixed.into())),
        format!("u{}", user % 5).parse().unwrap(),
        format!("n{}", (user + name) % 3).parse().unwrap(),
        format!("{}.{:02}", 1 + mixed % 1_000, mixed >> 50 & 63)
            .parse()
            .unwrap(),
        at(millis),
    );
    let part = number.is_multiple_of(2).then(|| "0.75".parse().unwrap());
    let refund = bought.refund(part, at(millis + DAY)).unwrap();
    [bought, refund]
}

/// What a store was asked, with the sum, and its answer: totals or pages.
type Answer = (String, Vec<Bucket>, Vec<Page>);

/// The sums, the totals and the first pages of a store.
async fn answers(store: Arc<dyn PurchaseQuery>) -> Vec<Answer> {
    let user = |number| Selector::User(format!("u{number}").parse().unwrap());
    let name = |number| Selector::Name(format!("n{number}").parse().unwrap());
    let ranges = [
        (None, None, "+05:45"),
        (Some(-10 * DAY), Some(20 * DAY), "Z"),
        (Some(-10 * DAY + 3_600_000), Some(1_700_000_000), "-03:30"),
        (Some(-91_234_567), Some(1_234_567_890), "+00:07"),
    ];
    let mut answers = Vec::new();
    for selector in [user(0), user(4), user(9), name(0), name(2), Selector::All] {
        let summary = store.summary(&selector).await.unwrap();
        answers.push((format!("{selector:?}: {summary:?}"), vec![], vec![]));
        for (from, to, zone) in ranges {
            let range = TimeRange::new(from.map(at), to.map(at)).unwrap();
            for per in [Period::Whole, Period::Hour, Period::Day, Period::Month] {
                let request = TotalsRequest::new(range, per).with_zone(zone.parse().unwrap());
                let totals = store.totals(&selector, &request).await.unwrap();
                answers.push((format!("{selector:?}, {request:?}"), totals, vec![]));
            }
            for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
                let limit = PageLimit::new(7).unwrap();
                let first = PageRequest::first(order, limit).with_range(range);
                let pages = Arc::clone(&store).pages(selector.clone(), first.clone());
                let pages = pages.take(3).try_collect().await.unwrap();
                answers.push((format!("{selector:?}, {first:?}"), vec![], pages));
            }
        }
    }
    answers
}

#[tokio::test]
async fn listings_and_sums_include_purchases_and_refunds_of_two_processes() {
    let folder = fresh_folder();
    let stores = [open_store(&folder).await, open_store(&folder).await];
    let expected = InMemoryStore::new();
    for round in 0..12_u64 {
        let store = &stores[(round % 2) as usize];
        let batch: Arc<[Purchase]> = (round * 40..round * 40 + 43).flat_map(varied).collect();
        store.insert(Arc::clone(&batch)).await.unwrap();
        expected.insert(batch).await.unwrap();
        if round % 4 == 2 {
            let user = "u4".parse().unwrap();
            let erased = store.erase(&user, 1_000).await.unwrap();
            assert_eq!(erased, expected.erase(&user, 1_000).await.unwrap());
            let time = at((round as i64 - 10) * 2 * DAY);
            let deleted = store
                .delete_before(time, 1_000, Deletion::Delete)
                .await
                .unwrap();
            assert_eq!(
                deleted,
                expected
                    .delete_before(time, 1_000, Deletion::Delete)
                    .await
                    .unwrap()
            );
        }
        let expected = answers(Arc::new(expected.clone())).await;
        for store in &stores {
            let found = answers(Arc::new(store.clone())).await;
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected);
            }
        }
    }
    let left = expected.all().len();
    assert!(left > 200, "{left}");
    let unfolded = number(&connect(&folder), "SELECT count(*) FROM unfolded");
    assert!(unfolded <= 65, "{unfolded}");

    // Users whose purchases are all erased leave marks only.
    for user in (0..5).map(|user| format!("u{user}").parse().unwrap()) {
        stores[0].erase(&user, 1_000).await.unwrap();
    }
    let file = connect(&folder);
    for (table, rows) in [
        ("purchases", 0),
        ("days", 0),
        ("quarters", 0),
        // The row of all buyers, and the watermark.
        ("buyers", 1),
        ("unfolded", 1),
    ] {
        let found = number(&file, &format!("SELECT count(*) FROM {table}"));
        assert_eq!(found, rows, "{table}");
    }
}

#[tokio::test]
async fn rows_that_are_missing_or_too_many_are_named() {
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
        (
            true,
            "INSERT INTO records (time, headers, checksum) VALUES (0, x'', 0); UPDATE records SET offset = offset + 1",
            Some("record behind the end of the log"),
        ),
    ] {
        let folder = fresh_folder();
        let store = open_store(&folder).await;
        store.insert(purchases(0..10)).await.unwrap();
        let closed = store.closed();
        drop(store);
        closed.await;

        let file = connect(&folder);
        if is_folded {
            fold_purchases(&file).unwrap();
        }
        file.execute_batch(damage).unwrap();
        let path = folder.path().join("shop.db");
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
