//! Files with a changed byte in any kind of page, and a damaged write-ahead log: acknowledgements, readiness and
//! verification are right each time.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use shop_core::Total;
use shop_core::ports::{Bucket, PurchaseQueryExt as _, Summary};
use shop_core::record::decode;
use shop_core::verify::{Verify, VerifyOptions};

use super::fixture::*;

const PURCHASES: u32 = 300;
const PAGE: usize = 4_096;

/// A shop with [`PURCHASES`] of 20 users.
async fn filled_shop(folder: &TempDir) -> (EmbeddedShop, Vec<Purchase>) {
    shop_of(folder, PURCHASES, 20).await
}

/// A shop with this number of purchases and of users.
async fn shop_of(folder: &TempDir, count: u32, users: u32) -> (EmbeddedShop, Vec<Purchase>) {
    let embedded = open_shop(folder).await;
    let orders = (0..count).map(move |number| {
        let name = format!("name-{}-{}", number % 7, "x".repeat(40));
        NewPurchase::for_user(format!("u{}", number % users))
            .with_user_name(name)
            .with_reference(format!("order-{}", number % 5))
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
        serves_only(folder, expected, None, what, true).await;
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

/// The number of bits to flip in the rows of each tree. The variable `SHOP_BYTE_FAULTS` sets a larger
/// number, for a run that lasts hours.
#[expect(
    clippy::disallowed_methods,
    reason = "a variable of this test is no setting"
)]
fn flips_per_tree() -> usize {
    let given = std::env::var("SHOP_BYTE_FAULTS");
    given.map_or(24, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_of_a_row_is_named_and_not_served() {
    // A fold adds the first 64 purchases to the sums. The others stay in `unfolded`. Each of the 7
    // users has one name, so each selector has the sums of one row.
    let folder = fresh_folder();
    let (embedded, expected) = shop_of(&folder, 80, 7).await;
    embedded.close(Duration::from_secs(10)).await.unwrap();
    connect(&folder)
        .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    let unfolded = totals_of_unfolded(&folder).await;

    let mut numbers = Numbers(55);
    let mut cases = Vec::new();
    // The trees whose rows have checksums, or are compared with an index.
    for tree in [
        "records",
        "purchases",
        "by_time",
        "by_id",
        "by_reference",
        "buyers",
        "by_name",
        "sqlite_autoindex_buyers_1",
        "days",
        "quarters",
        "unfolded",
    ] {
        let bytes = row_bytes(&folder, tree);
        for _ in 0..flips_per_tree() {
            let offset = bytes[numbers.below(bytes.len())];
            cases.push((tree, offset, numbers.below(8)));
        }
    }
    // The entries of the buyers 1 and 2 in the indexes: one bit makes each of them an entry of row 0,
    // which has the sums of all.
    for (user, tree) in [0, 1]
        .into_iter()
        .flat_map(|user| ["sqlite_autoindex_buyers_1", "by_name"].map(|tree| (user, tree)))
    {
        let bought = &expected[user];
        let name = bought.user_name.as_str();
        let texts = match tree {
            "by_name" => name.to_owned(),
            _ => format!("{}{name}", bought.user_id),
        };
        let start = offset_in_tree(&folder, tree, texts.as_bytes());
        // The types of the columns are before the texts, and the number of the buyer after them.
        for offset in (start - 4..start).chain([start + texts.len()]) {
            cases.extend((0..8).map(|bit| (tree, offset, bit)));
        }
    }
    // The number of the last record: a larger one is in order, but behind the end of the log.
    let last_record = offset_of_row_number(&folder, "records", 80);
    cases.extend((0..8).map(|bit| ("records", last_record, bit)));
    let served = stream::iter(&cases).map(async |(tree, offset, bit)| {
        let case = with_flipped_bit(&folder, *offset, *bit);
        let damage = check_integrity(case.path().join("shop.db")).await.unwrap();
        let what = format!("{tree}, offset {offset}, bit {bit}");
        serves_only(&case, &expected, Some(unfolded), &what, damage.is_empty()).await;
        if damage.is_empty() {
            let logged = logged(&open_log(&case).await).await.unwrap();
            let is_unchanged = expected.iter().all(|bought| logged.contains(bought));
            assert!(
                is_unchanged,
                "{what}: not named, and the log has other records"
            );
        }
    });
    served.buffer_unordered(4).collect::<()>().await;
}

/// The offset of `bytes` in a page of the tree `tree`.
fn offset_in_tree(folder: &TempDir, tree: &str, bytes: &[u8]) -> usize {
    let file = fs::read(folder.path().join("shop.db")).unwrap();
    let of_tree = pages(folder).into_iter().filter(|(name, ..)| name == tree);
    let mut found = of_tree.filter_map(|(.., page)| {
        let start = start_of(page);
        let mut windows = file[start..start + PAGE].windows(bytes.len());
        windows
            .position(|window| window == bytes)
            .map(|within| start + within)
    });
    found.next_back().unwrap()
}

/// The offset of the number of the row `number`, below 128, in the leaves of a table.
fn offset_of_row_number(folder: &TempDir, table: &str, number: u8) -> usize {
    let file = fs::read(folder.path().join("shop.db")).unwrap();
    let read_u16 = |at: usize| usize::from(u16::from_be_bytes([file[at], file[at + 1]]));
    let leaves = pages(folder)
        .into_iter()
        .filter(|(name, kind, _)| name == table && kind == "leaf");
    let offsets = leaves.flat_map(|(.., page)| {
        let page = start_of(page);
        // The pointers to the rows follow the header of the page, which has 8 bytes. A row begins
        // with its length in one or two bytes, and its number.
        let rows = (0..read_u16(page + 3)).map(move |row| page + 8 + 2 * row);
        rows.map(move |pointer| (page, pointer))
    });
    let offsets = offsets.map(|(page, pointer)| page + read_u16(pointer));
    let mut numbers = offsets.map(|row| row + 1 + usize::from(file[row] >= 128));
    numbers.find(|offset| file[*offset] == number).unwrap()
}

#[tokio::test]
async fn a_scan_of_the_log_ends_if_a_record_gets_an_earlier_offset() {
    let folder = fresh_folder();
    let (embedded, _bought) = shop_of(&folder, 80, 7).await;
    embedded.close(Duration::from_secs(10)).await.unwrap();

    // The last record of a batch, such as 40, becomes an earlier one, such as 8. The next batch would
    // begin behind that one, and the scan would read the same batches again and again.
    for number in (36..64).step_by(4) {
        let offset = offset_of_row_number(&folder, "records", number);
        let case = with_flipped_bit(&folder, offset, 5);
        let log = open_log_with(&case, EmbeddedLogOptions::default().batch_records(4)).await;
        let batches = log.scan_all().await.unwrap().take(80).count().await;
        assert!(batches <= 20, "record {number}: {batches} batches");
    }
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
    let entries = ["by_id", "refunds"].map(|tree| offset_in_tree(&folder, tree, &id));
    // The id, and before it the types of the columns.
    let offsets = entries.map(|entry| entry - 4..entry + id.len());
    for offset in offsets.into_iter().flatten() {
        for bit in 0..8 {
            let case = with_flipped_bit(&folder, offset, bit);
            let log = open_log(&case).await;
            let store = log.store(&EmbeddedStoreOptions::default()).await.unwrap();
            let later = at(refund.timestamp.as_millis() + 1);
            let again = bought[9].refund(None, later).unwrap();
            let sink = log.storing_sink("group").await.unwrap();
            let receipt = sink.publish(&again).await;
            let what = format!("offset {offset}, bit {bit}: {receipt:?}");
            // A mark that changed hides nothing: the stored refund is found, and is the same.
            let is_refused = match &receipt {
                Ok(receipt) => receipt.is_duplicate,
                Err(error) => error.kind() != ErrorKind::Internal,
            };
            assert!(is_refused, "{what}");
            let request = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
            let listed = store.page(&selector, &request).await.unwrap().items;
            let refunds = listed.iter().filter(|listed| listed.is_refund()).count();
            assert_eq!(refunds, 1, "{what}");
            let damage = check_integrity(case.path().join("shop.db")).await.unwrap();
            assert!(!damage.is_empty(), "{what}");
        }
    }
}

/// The sum of the buckets per hour of all purchases, or per day of a buyer.
async fn add_totals(store: &EmbeddedStore, selector: &Selector) -> Option<Summary> {
    let period = match selector {
        Selector::All => Period::Hour,
        _ => Period::Day,
    };
    let request = TotalsRequest::new(TimeRange::default(), period);
    let buckets = store.totals(selector, &request).await.ok()?;
    let add = |sums: Summary, bucket: &Bucket| {
        let total = sums.total_spent.checked_add(bucket.summary.total_spent);
        Summary::new(sums.count + bucket.summary.count, total.unwrap())
    };
    Some(buckets.iter().fold(Summary::default(), add))
}

/// The totals of all purchases if all folded sums of days and quarters are hidden.
async fn totals_of_unfolded(folder: &TempDir) -> Summary {
    let copy = fresh_folder();
    fs::copy(folder.path().join("shop.db"), copy.path().join("shop.db")).unwrap();
    let hide = "DELETE FROM days; DELETE FROM quarters; PRAGMA wal_checkpoint(TRUNCATE)";
    connect(&copy).execute_batch(hide).unwrap();
    let store = open_store(&copy).await;
    add_totals(&store, &Selector::All).await.unwrap()
}

/// Each user, each name, and all.
fn selectors(expected: &[Purchase]) -> Vec<Selector> {
    let users = expected.iter().map(|bought| bought.user_id.clone());
    let names = expected.iter().map(|bought| bought.user_name.clone());
    let users = users.collect::<BTreeSet<_>>().into_iter();
    let names = names.collect::<BTreeSet<_>>().into_iter();
    let selectors = users.map(Selector::User).chain(names.map(Selector::Name));
    selectors.chain([Selector::All]).collect()
}

/// Asserts that no answer has anything else than what was bought, and if no check names damage,
/// that each has all of it.
///
/// `unfolded` has the totals of all purchases if the folded sums are hidden.
async fn serves_only(
    folder: &TempDir,
    expected: &[Purchase],
    unfolded: Option<Summary>,
    what: &str,
    is_sound: bool,
) {
    let options = EmbeddedStoreOptions::default();
    let Ok(store) = EmbeddedStore::open(folder.path(), options).await else {
        return assert!(!is_sound, "{what}: does not open");
    };
    let mut missing = 0;
    for selector in selectors(expected) {
        let bought: Vec<_> = expected
            .iter()
            .filter(|bought| selector.matches(bought))
            .collect();
        let all = Arc::new(store.clone()).scan(selector.clone(), ListOrder::OldestFirst);
        let listed: Vec<_> = all
            .take_while(|found| std::future::ready(found.is_ok()))
            .take(expected.len() + 1)
            .collect()
            .await;
        let is_bought = |found: &Purchase| bought.iter().any(|bought| bought.same_content(found));
        let are_bought = listed.iter().flatten().all(is_bought);
        assert!(are_bought, "{what}: {selector:?} has other purchases");
        assert!(
            listed.len() <= bought.len(),
            "{what}: {selector:?} has more purchases"
        );
        missing += bought.len() - listed.len();

        let total = Total::checked_sum(bought.iter().map(|bought| bought.price)).unwrap();
        let sums = Summary::new(bought.len() as u64, total);
        // Sums that an index hides are not added. Sums that are added must be right.
        let summary = store.summary(&selector).await.ok();
        let is_hidden = summary.is_none_or(|summary| summary == Summary::default());
        assert!(
            is_hidden || summary == Some(sums),
            "{what}: {selector:?} has another summary: {summary:?} for {sums:?}"
        );
        let totals = add_totals(&store, &selector).await;
        let is_right = totals.is_none_or(|totals| match selector {
            Selector::All => [sums, unfolded.unwrap_or(sums), Summary::default()].contains(&totals),
            // The totals of a user consist of the purchases, of which some may be hidden.
            _ => {
                totals.count < sums.count && totals.total_spent < sums.total_spent || totals == sums
            }
        });
        assert!(
            is_right,
            "{what}: {selector:?} has other totals: {totals:?} for {sums:?}"
        );
        missing += usize::from(is_hidden) + usize::from(totals != Some(sums));
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
