//! Files with a changed byte in any kind of page, and a damaged write-ahead log: acknowledgements, readiness and
//! verification are right each time.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use shop_core::ports::PurchaseQueryExt as _;
use shop_core::record::decode;
use shop_core::verify::{Verify, VerifyOptions};

use super::fixture::*;

const PURCHASES: u32 = 300;
const PAGE: usize = 4_096;

/// A shop with [`PURCHASES`] of 20 users.
async fn filled_shop(folder: &TempDir) -> (EmbeddedShop, Vec<Purchase>) {
    let embedded = open_shop(folder).await;
    let orders = (0..PURCHASES).map(|number| {
        let name = format!("name-{}-{}", number % 7, "x".repeat(40));
        NewPurchase::for_user(format!("u{}", number % 20))
            .with_user_name(name)
            .with_price(format!("{number}.25"))
            .unwrap()
    });
    let bought = embedded.shop().buy_all(stream::iter(orders), 64);
    let purchases = bought.map_ok(|bought| bought.purchase).try_collect();
    let purchases = purchases.await.unwrap();
    (embedded, purchases)
}

/// A folder with the file of a shop, after these statements, and what was bought.
async fn filled_folder(statements: &str) -> (TempDir, Vec<Purchase>) {
    let folder = fresh_folder();
    let (embedded, purchases) = filled_shop(&folder).await;
    embedded.close(Duration::from_secs(10)).await.unwrap();
    let connection = connect(&folder);
    connection.execute_batch(statements).unwrap();
    connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    (folder, purchases)
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

fn flip(file: &Path, offset: usize, bit: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset] ^= 1 << bit;
    fs::write(file, bytes).unwrap();
}

/// A copy of `folder`, in which a bit of the file is flipped.
fn with_flipped_bit(folder: &TempDir, offset: usize, bit: usize) -> TempDir {
    let copy = fresh_folder();
    let file = copy.path().join("shop.db");
    fs::copy(folder.path().join("shop.db"), &file).unwrap();
    flip(&file, offset, bit);
    copy
}

/// The offset of a page, of which the first one has the number 1.
fn start_of(page: u32) -> usize {
    (page as usize - 1) * PAGE
}

/// The pages of the file: for each the tree, the type, and the number.
fn pages(folder: &TempDir) -> Vec<(String, String, u32)> {
    let connection = connect(folder);
    let mut query = connection
        .prepare("SELECT name, pagetype, pageno FROM dbstat")
        .unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(rusqlite::Result::unwrap).collect()
}

/// The purchases in the log, as far as they decode.
async fn logged(log: &EmbeddedLog) -> Result<Vec<Purchase>> {
    let batches: Vec<_> = log.scan_all().await?.try_collect().await?;
    let decoded = batches.iter().flat_map(|batch| {
        batch
            .records
            .iter()
            .filter_map(|record| decode(record, &batch.partition).ok())
    });
    Ok(decoded.collect())
}

/// Whether neither a verification nor the doctor finds anything.
async fn is_verified(folder: &TempDir, log: &EmbeddedLog, store: &EmbeddedStore) -> Result<bool> {
    let options = VerifyOptions::default().quiet_period(Duration::ZERO);
    let verify = Verify::new(Arc::new(store.clone()), options);
    let report = verify.run(log, |_| ()).await?;
    let damage = check_integrity(folder.path().join("shop.db")).await?;
    Ok(!report.has_findings() && report.unreadable == 0 && damage.is_empty())
}

/// Asserts what must hold on any folder, with any damage to its file. Returns what has found it.
async fn judge(folder: &TempDir, expected: &[Purchase], what: &str) -> &'static str {
    let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default()).await;
    let store = EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default()).await;
    let (Ok(log), Ok(store)) = (log, store) else {
        return "does not open";
    };

    // Verification: a clean folder is complete.
    let is_sound = is_verified(folder, &log, &store).await.unwrap_or(false);
    if is_sound {
        serves_only(folder, expected, what, true).await;
        let logged = logged(&log).await.unwrap();
        let is_unchanged = expected.iter().all(|purchase| logged.contains(purchase));
        assert!(
            is_unchanged,
            "{what}: verified, but the log has other records"
        );
    }

    // Outcome: acknowledged purchases can be read. Readiness: what rejects purchases is not ready.
    let purchase = new_purchase("1").into_purchase(expected[0].timestamp, Uuid::now_v7);
    let published = log.sink().publish(&purchase).await;
    let is_log_ready = log.sink().check().await.is_ok();
    match published {
        Ok(_) => {
            let found = logged(&log).await;
            let is_found = found.map_or(true, |found| found.contains(&purchase));
            assert!(is_found, "{what}: acknowledged and gone");
        }
        Err(error) => assert!(!is_log_ready, "{what}: ready, but {}", error.chain()),
    }
    let stored = store.apply([purchase.clone()].into()).await;
    let is_store_ready = store.check().await.is_ok();
    match stored {
        Ok(_) => {
            let found = store.get(&purchase.id).await;
            assert_ne!(found.ok(), Some(None), "{what}: stored and gone");
        }
        Err(error) => assert!(!is_store_ready, "{what}: ready, but {}", error.chain()),
    }

    match (is_sound, is_log_ready && is_store_ready) {
        (true, _) => "harmless",
        (false, true) => "found by a verification",
        (false, false) => "not ready",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_any_page_is_detected_or_harmless() {
    let free = "CREATE TABLE free (x); INSERT INTO free VALUES (zeroblob(20000)); DROP TABLE free";
    let (folder, expected) = filled_folder(free).await;
    let count = number(&connect(&folder), "PRAGMA page_count");
    // One page of each kind. Page 2 maps pages to their parents; pages at the end are free.
    let mut pages: BTreeMap<String, u32> = pages(&folder)
        .into_iter()
        .map(|(tree, kind, page)| (format!("{tree} {kind}"), page))
        .collect();
    pages.extend([
        ("file header".to_owned(), 1),
        ("pointer map".to_owned(), 2),
        ("free list".to_owned(), u32::try_from(count).unwrap()),
    ]);

    let mut numbers = Numbers(22);
    let mut cases = Vec::new();
    for (kind, page) in &pages {
        // The first bytes of a page are its header; the file's header is 100 bytes.
        for within in [
            0,
            3,
            5,
            8,
            9,
            24 + numbers.below(76),
            numbers.below(PAGE),
            numbers.below(PAGE),
        ] {
            let bit = numbers.below(8);
            let what = format!("{kind}, byte {within}, bit {bit}");
            cases.push((start_of(*page) + within, bit, what));
        }
    }
    let judged = stream::iter(&cases).map(async |(offset, bit, what)| {
        let case = with_flipped_bit(&folder, *offset, *bit);
        judge(&case, &expected, what).await
    });
    let seen: BTreeSet<_> = judged.buffer_unordered(8).collect().await;
    let all = [
        "does not open",
        "found by a verification",
        "harmless",
        "not ready",
    ];
    assert_eq!(seen, BTreeSet::from(all));
    assert_eq!(judge(&folder, &expected, "unchanged").await, "harmless");
}

/// The offsets of all bytes of rows in the leaves of a tree.
fn row_bytes(folder: &TempDir, tree: &str) -> Vec<usize> {
    let bytes = fs::read(folder.path().join("shop.db")).unwrap();
    let leaves = pages(folder)
        .into_iter()
        .filter(|(name, kind, _)| name == tree && kind == "leaf");
    let of_page = |(_, _, page)| {
        let page = start_of(page);
        let content = u16::from_be_bytes([bytes[page + 5], bytes[page + 6]]);
        page + usize::from(content)..page + PAGE
    };
    leaves.flat_map(of_page).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_of_a_row_is_named_and_not_served() {
    let (folder, expected) = filled_folder("VACUUM").await;
    let mut numbers = Numbers(55);
    // The trees whose rows have checksums, or are compared with an index.
    for tree in [
        "records",
        "purchases",
        "by_time",
        "by_id",
        "buyers",
        "days",
        "unfolded",
    ] {
        let bytes = row_bytes(&folder, tree);
        for _ in 0..15 {
            let offset = bytes[numbers.below(bytes.len())];
            let bit = numbers.below(8);
            let case = with_flipped_bit(&folder, offset, bit);
            let damage = check_integrity(case.path().join("shop.db")).await.unwrap();
            let what = format!("{tree}, offset {offset}, bit {bit}");
            serves_only(&case, &expected, &what, damage.is_empty()).await;
        }
    }
}

/// The offset of `bytes` in a page of the tree `tree`.
fn offset_in_tree(folder: &TempDir, tree: &str, bytes: &[u8]) -> usize {
    let file = fs::read(folder.path().join("shop.db")).unwrap();
    let of_tree = pages(folder).into_iter().filter(|(name, ..)| name == tree);
    let found = of_tree.filter_map(|(.., page)| {
        let start = start_of(page);
        let mut windows = file[start..start + PAGE].windows(bytes.len());
        windows
            .position(|window| window == bytes)
            .map(|within| start + within)
    });
    found.last().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_is_not_paid_again_if_a_bit_of_its_index_entry_flips() {
    let folder = fresh_folder();
    let (embedded, bought) = filled_shop(&folder).await;
    let refund = bought[9].refund(None, bought[9].timestamp).unwrap();
    let sink = embedded.log().storing_sink("group").await.unwrap();
    sink.publish(&refund).await.unwrap();
    drop(sink);
    embedded.close(Duration::from_secs(10)).await.unwrap();

    let selector = Selector::User(refund.user_id.clone());
    let id = refund.id.as_uuid().unwrap().into_bytes();
    let entry = offset_in_tree(&folder, "by_id", &id);
    // The id, and before it the types of the columns.
    for offset in entry - 4..entry + id.len() {
        for bit in 0..8 {
            let case = with_flipped_bit(&folder, offset, bit);
            let log = open_log(&case).await;
            let store = log.store(&EmbeddedStoreOptions::default()).await.unwrap();
            let later = at(refund.timestamp.as_millis() + 1);
            let again = bought[9].refund(None, later).unwrap();
            let sink = log.storing_sink("group").await.unwrap();
            let receipt = sink.publish(&again).await;
            let what = format!("offset {offset}, bit {bit}: {receipt:?}");
            assert!(
                receipt.is_err_and(|error| error.kind() != ErrorKind::Internal),
                "{what}"
            );
            let request = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
            let listed = store.page(&selector, &request).await.unwrap().items;
            let refunds = listed.iter().filter(|listed| listed.is_refund()).count();
            assert_eq!(refunds, 1, "{what}");
            let damage = check_integrity(case.path().join("shop.db")).await.unwrap();
            assert!(!damage.is_empty(), "{what}");
        }
    }
}

/// Asserts that no answer has anything else than what was bought, and if no check names damage,
/// that each has all of it.
async fn serves_only(folder: &TempDir, expected: &[Purchase], what: &str, is_sound: bool) {
    let options = EmbeddedStoreOptions::default();
    let Ok(store) = EmbeddedStore::open(folder.path(), options).await else {
        return assert!(!is_sound, "{what}: does not open");
    };
    let mut missing = 0;
    for user in (0..20).map(|user| format!("u{user}")) {
        let selector = Selector::User(user.parse().unwrap());
        let bought: Vec<_> = expected
            .iter()
            .filter(|bought| selector.matches(bought))
            .collect();
        let all = Arc::new(store.clone()).scan(selector.clone(), ListOrder::OldestFirst);
        let listed: Vec<_> = all
            .take_while(|found| std::future::ready(found.is_ok()))
            .collect()
            .await;
        let is_bought = |found: &Purchase| bought.iter().any(|bought| bought.same_content(found));
        let are_bought = listed.iter().flatten().all(is_bought);
        assert!(are_bought, "{what}: {user} has other purchases");
        let summary = store.summary(&selector).await;
        let summed = summary.map_or(0, |summary| summary.count);
        let is_right = summed == 0 || summed == bought.len() as u64;
        assert!(is_right, "{what}: {user} has other sums");
        missing += usize::from(summed == 0) + bought.len() - listed.len();
    }
    for bought in expected {
        match store.get(&bought.id).await {
            Ok(Some(found)) => assert!(found.same_content(bought), "{what}: {found:?}"),
            _ => missing += 1,
        }
    }
    assert!(
        !is_sound || missing == 0,
        "{what}: not named, and {missing} are missing"
    );
}

/// The crate's module `wal` decides which bytes are damage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_a_damaged_write_ahead_log_is_refused_and_keeps_it() {
    let folder = fresh_folder();
    let (_embedded, _expected) = filled_shop(&folder).await;
    // Nothing is written now: the files are those after a power failure.
    let copy = fresh_folder();
    for name in ["shop.db", "shop.db-wal"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let wal = copy.path().join("shop.db-wal");
    let length = fs::metadata(&wal).unwrap().len();
    assert!(length > 60_000, "{length}");
    flip(&wal, 20_000, 3);

    let opened = EmbeddedLog::open(copy.path(), EmbeddedLogOptions::default()).await;
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Corrupt);
    let damage = check_integrity(copy.path().join("shop.db")).await.unwrap();
    let text = damage.concat();
    assert!(text.contains("acknowledged writes follow"), "{text}");
    assert_eq!(fs::metadata(&wal).unwrap().len(), length);
}
