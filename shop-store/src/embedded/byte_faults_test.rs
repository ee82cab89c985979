//! Files with a changed byte in any kind of page, and write-ahead logs that are truncated or
//! damaged: acknowledgements, readiness and verification are right each time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rusqlite::Connection;
use shop_core::log::LogAdmin as _;
use shop_core::ports::{
    PurchaseQuery as _, PurchaseQueryExt as _, PurchaseSink as _, RecordStore as _, Selector,
};
use shop_core::record::decode;
use shop_core::verify::{Verify, VerifyOptions, VerifyReport};
use shop_core::{NewPurchase, Purchase, Result};

use super::{
    EmbeddedLog, EmbeddedLogOptions, EmbeddedShop, EmbeddedStore, EmbeddedStoreOptions,
    check_integrity,
};

const PURCHASES: u32 = 600;
const FILES: [&str; 1] = ["shop.db"];

/// The purchases of [`sound`], in order.
async fn fill(folder: &Path) -> (EmbeddedShop, Vec<Purchase>) {
    let embedded = EmbeddedShop::open(folder).await.unwrap();
    let shop = embedded.shop();
    let orders = (0..PURCHASES).map(|number| {
        let name = format!("name-{}-{}", number % 7, "x".repeat(40));
        NewPurchase::for_user(format!("u{}", number % 20))
            .with_user_name(name)
            .with_price(format!("{number}.25"))
            .unwrap()
    });
    let bought: Vec<_> = shop
        .buy_all(stream::iter(orders), 64)
        .try_collect()
        .await
        .unwrap();
    let purchases: Vec<_> = bought
        .iter()
        .map(|bought| bought.purchase.clone())
        .collect();
    (embedded, purchases)
}

/// Files with pages of every kind, the free list included.
async fn sound(folder: &Path) -> Vec<Purchase> {
    let (embedded, purchases) = fill(folder).await;
    embedded.close(Duration::from_secs(10)).await.unwrap();
    for file in FILES {
        let connection = Connection::open(folder.join(file)).unwrap();
        let free =
            "CREATE TABLE free (x); INSERT INTO free VALUES (zeroblob(20000)); DROP TABLE free;";
        connection.execute_batch(free).unwrap();
        connection
            .pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(()))
            .unwrap();
    }
    purchases
}

/// One page of each kind: the tree and the type of the page, and its number.
fn pages(file: &Path) -> BTreeMap<String, u32> {
    let connection = Connection::open(file).unwrap();
    let mut query = connection
        .prepare("SELECT name || ' ' || pagetype, pageno FROM dbstat")
        .unwrap();
    let rows = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let mut pages: BTreeMap<String, u32> = rows.map(rusqlite::Result::unwrap).collect();
    let count: u32 = connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    let used: Vec<u32> = pages.values().copied().collect();
    // Page 2 maps pages to their parents; pages at the end are free.
    pages.extend([
        ("file header".to_owned(), 1),
        ("pointer map".to_owned(), 2),
        ("free list".to_owned(), count),
    ]);
    assert!(used.len() > 3 && !used.contains(&count), "{pages:?}");
    pages
}

/// Pseudo-random numbers, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

fn flip(file: &Path, offset: usize, bit: u8) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset] ^= 1 << bit;
    fs::write(file, bytes).unwrap();
}

fn copy(from: &Path, to: &Path, names: &[&str]) {
    names
        .iter()
        .filter(|name| from.join(name).exists())
        .for_each(|name| {
            fs::copy(from.join(name), to.join(name)).unwrap();
        });
}

/// The purchases in the log, as far as they decode.
async fn logged(log: &EmbeddedLog) -> Result<Vec<Purchase>> {
    let batches: Vec<_> = log.scan().await?.try_collect().await?;
    let decoded = batches.iter().flat_map(|batch| {
        batch
            .records
            .iter()
            .filter_map(|record| decode(record, &batch.partition).ok())
    });
    Ok(decoded.collect())
}

/// Whether the store lists, sums up and finds exactly these purchases.
async fn has_exactly(store: &EmbeddedStore, expected: &[Purchase]) -> Result<bool> {
    let all = Arc::new(store.clone()).scan(Selector::All, shop_core::ports::ListOrder::OldestFirst);
    let all: BTreeMap<_, _> = all.map_ok(|found| (found.id, found)).try_collect().await?;
    let mut is_equal = all.len() == expected.len();
    for purchase in expected {
        let found = store.get(&purchase.id).await?;
        is_equal &= found.is_some_and(|found| found.same_content(purchase));
        is_equal &= all
            .get(&purchase.id)
            .is_some_and(|found| found.same_content(purchase));
    }
    Ok(is_equal)
}

/// The result of a verification and the doctor; `None` if one of them has findings or has failed.
async fn verified(folder: &Path, log: &EmbeddedLog, store: &EmbeddedStore) -> Option<VerifyReport> {
    let options = VerifyOptions::default().quiet_period(Duration::ZERO);
    let report = Verify::new(Arc::new(store.clone()), options)
        .run(log, |_| ())
        .await
        .ok()?;
    let mut is_sound = !report.has_findings() && report.unreadable == 0;
    for file in FILES {
        is_sound &= check_integrity(folder.join(file)).await.ok()?.is_empty();
    }
    is_sound.then_some(report)
}

/// Asserts what must hold on any folder, with any damage to its files.
async fn judge(folder: &Path, expected: &[Purchase], what: &str) -> &'static str {
    let opened = (
        EmbeddedLog::open(folder, EmbeddedLogOptions::default()).await,
        EmbeddedStore::open(folder, EmbeddedStoreOptions::default()).await,
    );
    let (Ok(log), Ok(store)) = opened else {
        return "does not open";
    };
    // Verification: a clean folder is complete.
    let is_sound = verified(folder, &log, &store).await.is_some();
    if is_sound {
        let logged = logged(&log).await.unwrap();
        let unchanged = expected
            .iter()
            .filter(|purchase| logged.contains(purchase))
            .count();
        assert_eq!(
            has_exactly(&store, expected).await.ok(),
            Some(true),
            "{what}: verified, but not as bought"
        );
        assert_eq!(
            unchanged,
            expected.len(),
            "{what}: verified, but the log has other records"
        );
    }
    // Outcome: acknowledged purchases can be read. Readiness: a log that rejects purchases is not
    // ready.
    let new = NewPurchase::for_user("new")
        .with_user_name("new")
        .with_price("1")
        .unwrap();
    let purchase = new.into_purchase(expected[0].timestamp, shop_core::Uuid::now_v7);
    let published = log.sink().publish(&purchase).await;
    let is_ready = log.sink().check().await.is_ok();
    match published {
        Ok(_) => {
            let found = logged(&log).await;
            assert!(
                found.map_or(true, |found| found.contains(&purchase)),
                "{what}: acknowledged and gone"
            );
        }
        Err(error) => assert!(
            !is_ready,
            "{what}: ready, but refuses purchases: {}",
            error.chain()
        ),
    }
    let stored = store.apply([purchase.clone()].into()).await;
    let is_store_ready = store.check().await.is_ok();
    match stored {
        Ok(_) => assert_ne!(
            store.get(&purchase.id).await.ok(),
            Some(None),
            "{what}: stored and gone"
        ),
        Err(error) => assert!(
            !is_store_ready,
            "{what}: ready, but stores nothing: {}",
            error.chain()
        ),
    }
    let closed = (log.closed(), store.closed());
    drop((log, store));
    closed.0.await;
    closed.1.await;
    match (is_sound, is_ready && is_store_ready) {
        (true, _) => "harmless",
        (false, true) => "found by a verification",
        (false, false) => "not ready",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_any_page_is_detected_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let expected = sound(folder.path()).await;
    assert_eq!(
        judge_copy(folder.path(), &expected, "unchanged", |_| ()).await,
        "harmless"
    );
    let (mut numbers, mut seen) = (Numbers(22), BTreeMap::<_, u32>::new());
    for file in FILES {
        for (kind, page) in pages(&folder.path().join(file)) {
            // The first bytes of a page are its header; the file's header is 100 bytes.
            for within in [
                0,
                3,
                5,
                8,
                9,
                24 + numbers.below(76),
                numbers.below(4_096),
                numbers.below(4_096),
            ] {
                let offset = (page as usize - 1) * 4_096 + within;
                let bit = u8::try_from(numbers.below(8)).unwrap();
                let what = format!("{file}, {kind}, byte {within}, bit {bit}");
                let damage = |copy: &Path| flip(&copy.join(file), offset, bit);
                *seen
                    .entry(judge_copy(folder.path(), &expected, &what, damage).await)
                    .or_default() += 1;
            }
        }
    }
    eprintln!("flipped bits: {seen:?}");
    assert!(
        [
            "does not open",
            "harmless",
            "found by a verification",
            "not ready"
        ]
        .iter()
        .all(|kind| seen.contains_key(kind)),
        "{seen:?}"
    );
}

/// The trees whose rows have checksums, or are compared with an index.
const TREES: [&str; 7] = [
    "records",
    "purchases",
    "by_time",
    "by_id",
    "buyers",
    "days",
    "unfolded",
];

/// The offsets of all bytes of rows in the leaves of a tree.
fn row_bytes(file: &Path, tree: &str) -> Vec<usize> {
    let connection = Connection::open(file).unwrap();
    let sql = "SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'leaf'";
    let mut query = connection.prepare(sql).unwrap();
    let pages: Vec<u32> = query
        .query_map([tree], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let bytes = fs::read(file).unwrap();
    let of_page = |page: &u32| {
        let page = (*page as usize - 1) * 4_096;
        let content = u16::from_be_bytes([bytes[page + 5], bytes[page + 6]]);
        page + usize::from(content)..page + 4_096
    };
    pages.iter().flat_map(of_page).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_of_a_row_is_named_and_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let expected = sound(folder.path()).await;
    let file = folder.path().join(FILES[0]);
    Connection::open(&file)
        .unwrap()
        .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    let mut numbers = Numbers(55);
    for tree in TREES {
        let bytes = row_bytes(&file, tree);
        for _ in 0..15 {
            let at = bytes[numbers.below(bytes.len())];
            let bit = numbers.below(8);
            let what = format!(
                "{tree}, page {}, byte {}, bit {bit}",
                at / 4_096 + 1,
                at % 4_096
            );
            let case = tempfile::tempdir().unwrap();
            copy(folder.path(), case.path(), &FILES);
            flip(&case.path().join(FILES[0]), at, u8::try_from(bit).unwrap());
            let named = check_integrity(case.path().join(FILES[0])).await.unwrap();
            serves_only(case.path(), &expected, &what, named.is_empty()).await;
        }
    }
}

/// Asserts that no answer has anything else than what was bought, and if no check names damage,
/// that each has all of it.
async fn serves_only(folder: &Path, expected: &[Purchase], what: &str, is_sound: bool) {
    let Ok(store) = EmbeddedStore::open(folder, EmbeddedStoreOptions::default()).await else {
        return assert!(!is_sound, "{what}: does not open");
    };
    let mut missing = 0;
    for user in (0..20).map(|user| format!("u{user}")) {
        let selector = Selector::User(user.parse().unwrap());
        let bought: Vec<_> = expected
            .iter()
            .filter(|bought| bought.user_id.as_str() == user)
            .collect();
        let all = Arc::new(store.clone())
            .scan(selector.clone(), shop_core::ports::ListOrder::OldestFirst);
        let listed: Vec<_> = all
            .take_while(|found| std::future::ready(found.is_ok()))
            .collect()
            .await;
        let is_bought = |found: &Purchase| bought.iter().any(|bought| bought.same_content(found));
        assert!(
            listed.iter().flatten().all(is_bought),
            "{what}: {user} has other purchases"
        );
        let summed = store
            .summary(&selector)
            .await
            .map_or(0, |summary| summary.count);
        assert!(
            [0, bought.len() as u64].contains(&summed),
            "{what}: {user} has other sums"
        );
        missing += usize::from(summed == 0) + bought.len() - listed.len();
    }
    for bought in expected {
        let found = store.get(&bought.id).await.ok().flatten();
        assert!(
            found
                .as_ref()
                .is_none_or(|found| found.same_content(bought)),
            "{what}: {} differs",
            bought.id
        );
        missing += usize::from(found.is_none());
    }
    assert!(
        !is_sound || missing == 0,
        "{what}: not named, and {missing} are missing"
    );
    let closed = store.closed();
    drop(store);
    closed.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_moved_behind_the_end_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (embedded, _expected) = fill(folder.path()).await;
    embedded.close(Duration::from_secs(10)).await.unwrap();
    let file = folder.path().join(FILES[0]);
    let moved =
        "UPDATE records SET offset = offset + 1 WHERE offset = (SELECT max(offset) FROM records)";
    assert_eq!(
        Connection::open(&file).unwrap().execute(moved, []).unwrap(),
        1
    );
    let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default())
        .await
        .unwrap();
    assert_eq!(logged(&log).await.unwrap().len(), PURCHASES as usize - 1);
    let damage = check_integrity(&file).await.unwrap();
    assert!(
        damage.len() == 1 && damage[0].starts_with("record behind the end"),
        "{damage:?}"
    );
}

async fn judge_copy(
    sound: &Path,
    expected: &[Purchase],
    what: &str,
    damage: impl Fn(&Path),
) -> &'static str {
    let folder = tempfile::tempdir().unwrap();
    copy(sound, folder.path(), &FILES);
    damage(folder.path());
    judge(folder.path(), expected, what).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_write_ahead_log_leaves_the_first_purchases() {
    let folder = tempfile::tempdir().unwrap();
    let (embedded, expected) = fill(folder.path()).await;
    let names = ["shop.db", "shop.db-wal"];
    // Nothing is written now: the files are those after a power failure.
    let copied = tempfile::tempdir().unwrap();
    copy(folder.path(), copied.path(), &names);
    embedded.close(Duration::from_secs(10)).await.unwrap();
    let mut numbers = Numbers(7);
    let file = names[1];
    let length = fs::metadata(copied.path().join(file)).unwrap().len();
    let length = usize::try_from(length).unwrap();
    assert!(length > 100_000, "{file}: {length}");
    for case in 0..24 {
        let (cut, at) = (
            case % 2 == 0,
            if case < 4 {
                numbers.below(32)
            } else {
                numbers.below(length)
            },
        );
        let case = tempfile::tempdir().unwrap();
        copy(copied.path(), case.path(), &names);
        let wal = case.path().join(file);
        if cut {
            fs::OpenOptions::new()
                .write(true)
                .open(&wal)
                .unwrap()
                .set_len(at as u64)
                .unwrap();
        } else {
            flip(&wal, at, 3);
        }
        let what = format!("{file}, {} at {at}", if cut { "cut" } else { "flipped" });
        let opens = judge_prefix(case.path(), &expected, &what).await;
        // Behind a cut there is nothing, as after a crash.
        assert!(opens || !cut, "{what}");
        if !cut && at < length / 2 {
            assert!(!opens, "{what}");
            let damage = check_integrity(case.path().join(names[0])).await.unwrap();
            assert!(
                damage[0].contains("acknowledged writes follow"),
                "{damage:?}"
            );
            assert_eq!(
                fs::metadata(&wal).unwrap().len(),
                length as u64,
                "{what}: it is kept"
            );
        }
    }
}

/// The log has the first records, and a verification reports exactly those that the store does not
/// have. Returns whether it opens.
async fn judge_prefix(folder: &Path, expected: &[Purchase], what: &str) -> bool {
    let log = match EmbeddedLog::open(folder, EmbeddedLogOptions::default()).await {
        Ok(log) => log,
        Err(error) => {
            assert_eq!(error.kind(), shop_core::ErrorKind::Corrupt, "{what}");
            return false;
        }
    };
    let store = EmbeddedStore::open(folder, EmbeddedStoreOptions::default())
        .await
        .unwrap();
    assert!(
        log.sink().check().await.is_ok() && store.check().await.is_ok(),
        "{what}"
    );
    let found = logged(&log).await.unwrap();
    let is_first = expected
        .iter()
        .zip(&found)
        .all(|(bought, found)| bought.id == found.id);
    assert!(is_first && found.len() <= expected.len(), "{what}");
    let missing = stream::iter(&found).filter(|purchase| {
        let store = store.clone();
        let id = purchase.id;
        async move { store.get(&id).await.unwrap().is_none() }
    });
    let missing = missing.count().await;
    let options = VerifyOptions::default().quiet_period(Duration::ZERO);
    let report = Verify::new(Arc::new(store), options)
        .run(&log, |_| ())
        .await
        .unwrap();
    assert_eq!(
        (report.missing.count, report.mismatched.count),
        (missing as u64, 0),
        "{what}"
    );
    assert_eq!(report.has_findings(), missing > 0, "{what}");
    true
}
