//! A shop that grows: the cost of reads, a buy, an import, the checks, a backup and the start at several sizes, and how many
//! times more they cost at the last size than at the first.
//!
//! The shop is embedded. PostgreSQL is measured too if `SHOP_TEST_POSTGRES_URL` is set.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shop_api::files::{Import, RowFormat};
use shop_core::import::ImportReport;
use shop_core::ports::{
    ListOrder, PageLimit, PageRequest, Period, PurchaseQuery, PurchaseSink, PurchaseStore as _,
    Selector, TimeRange, TotalsRequest, UtcOffset,
};
use shop_core::verify::verify;
use shop_core::{Clock, NewPurchase, Purchase, Shop, SystemClock, Timestamp};
use shop_store::embedded::{
    EmbeddedLog, EmbeddedLogOptions, EmbeddedStore, EmbeddedStoreOptions, backup, check_integrity,
};
use shop_store::postgres::tokio_postgres::Client;
use shop_store::postgres::{PostgresStore, PostgresStoreOptions};

use super::kafka_to_postgres::connect;
use super::two_threads;
use crate::row::{Row, Unit, thousands};
use crate::scale::{self, Scale};
use crate::usage::{as_f64, median};

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;
const DAY: i64 = 86_400_000;
/// In milliseconds.
const YEAR: u64 = 365 * 86_400_000;
/// The number of users. The purchases are theirs by a Zipf law.
const USERS: f64 = 100_000.0;
/// The user with an eighth of all purchases.
const WHALE: &str = "whale";
/// One of the users who buy often.
const ANOTHER: &str = "u77";
/// The seed of the purchases.
const SEED: u64 = 88_172_645_463_325_252;
/// The group whose position moves with each commit that stores.
const GROUP: &str = "purchase-group";

/// The figures of one size, by what was measured.
type Figures = Vec<(String, Unit, Vec<f64>)>;

/// Pseudorandom numbers, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn user(&mut self) -> String {
        if self.below(8) == 0 {
            return WHALE.to_owned();
        }
        // Of a Zipf law with exponent 1, the rank grows exponentially with the part of the purchases before it.
        let part = as_f64(self.below(1_000_000)) / 1_000_000.0;
        format!("u{:.0}", USERS.powf(part))
    }

    /// A purchase so many milliseconds after the start of the year.
    fn purchase(&mut self, time: u64) -> Purchase {
        let user = self.user();
        let price = format!("{}.{:02}", self.below(200), self.below(100));
        let time = START + i64::try_from(time).unwrap();
        let new = NewPurchase::for_user(user.as_str())
            .with_user_name(format!("name of {user}"))
            .with_price(&price)
            .unwrap()
            .with_timestamp(Timestamp::from_millis(time).unwrap());
        new.into_purchase(SystemClock.now(), || SystemClock.fresh_id())
    }
}

/// What the ids of imported rows follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowIds {
    /// A key of each row: an id is at a random place of the index.
    FromKeys,
    /// The values of each row: the ids are in the order of time.
    FromValues,
}

/// An embedded shop without an ingest: a purchase is logged and stored in one commit.
struct GrowingShop {
    log: EmbeddedLog,
    store: EmbeddedStore,
    numbers: Numbers,
    purchases: u64,
}

/// The figures of the reads, which every store has.
async fn measure_reads(store: &dyn PurchaseQuery, scale: Scale) -> Figures {
    let mut figures = Vec::new();
    for (what, selector, request) in totals() {
        let times = timed(scale.pairs(), || async {
            store.totals(&selector, &request).await.unwrap();
        });
        figures.push((format!("totals {what}"), Unit::Milliseconds, times.await));
    }
    let page = PageRequest::first(ListOrder::NewestFirst, PageLimit::new(50).unwrap());
    for (who, selector) in [("a user", user(ANOTHER)), ("the whale", user(WHALE))] {
        let listing = timed(scale.pairs(), || async {
            store.page(&selector, &page).await.unwrap();
        });
        let what = format!("a page of 50 of {who}");
        figures.push((what, Unit::Milliseconds, listing.await));
        let summary = timed(scale.pairs(), || async {
            store.summary(&selector).await.unwrap();
        });
        let what = format!("the sum of {who}");
        figures.push((what, Unit::Milliseconds, summary.await));
    }
    figures
}

impl GrowingShop {
    async fn open(folder: &Path) -> Self {
        Self::open_at(folder, Numbers(SEED), 0).await
    }

    async fn open_at(folder: &Path, numbers: Numbers, purchases: u64) -> Self {
        let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
            .await
            .unwrap();
        let store = log.store(&EmbeddedStoreOptions::default()).await.unwrap();
        Self {
            log,
            store,
            numbers,
            purchases,
        }
    }

    /// Closes the file. Returns what a shop that opens it again needs.
    async fn close(self) -> (Numbers, u64) {
        let closed = self.log.closed();
        drop(self.store);
        drop(self.log);
        closed.await;
        (self.numbers, self.purchases)
    }

    /// Buys until the shop has `count` purchases. The new ones are spread over the year, in the order of their times.
    async fn fill(&mut self, count: u64) {
        let sink = self.log.storing_sink(GROUP).await.unwrap();
        let missing = count - self.purchases;
        let mut filled = 0;
        while filled < missing {
            let size = (missing - filled).min(50_000);
            let batch: Vec<Purchase> = (filled..filled + size)
                .map(|number| self.numbers.purchase(number * YEAR / missing))
                .collect();
            for published in sink.publish_many(&batch).await {
                published.unwrap();
            }
            filled += size;
        }
        self.purchases = count;
    }

    /// Measures everything at the present size.
    async fn measure(&mut self, folder: &Path, scale: Scale) -> Figures {
        let mut figures = measure_reads(&self.store, scale).await;
        let sink = self.log.storing_sink(GROUP).await.unwrap();
        let bought: Vec<Purchase> = (0..=scale.pairs())
            .map(|_| {
                let time = self.numbers.below(YEAR);
                self.numbers.purchase(time)
            })
            .collect();
        let mut times = Vec::new();
        for purchase in &bought {
            let begun = Instant::now();
            sink.publish(purchase).await.unwrap();
            times.push(milliseconds(begun));
        }
        self.purchases += bought.len() as u64;
        figures.push(("a buy, alone".to_owned(), Unit::Milliseconds, times));

        let per_second =
            |begun: Instant| vec![as_f64(self.purchases) / begun.elapsed().as_secs_f64()];
        let begun = Instant::now();
        let verified = verify(&self.log, self.store.clone(), None).await.unwrap();
        assert!(verified.is_clean(), "{verified:?}");
        figures.push(("verify".to_owned(), Unit::PerSecond, per_second(begun)));
        let begun = Instant::now();
        let damage = check_integrity(folder.join("shop.db")).await.unwrap();
        assert!(damage.is_empty(), "{damage:?}");
        figures.push(("doctor".to_owned(), Unit::PerSecond, per_second(begun)));
        let copy = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let copied = backup(folder, copy.path().join("copy")).await.unwrap();
        figures.push(("backup".to_owned(), Unit::PerSecond, per_second(begun)));
        let bytes: u64 = copied.iter().map(|file| file.bytes).sum();
        let bytes = vec![as_f64(bytes) / as_f64(self.purchases)];
        figures.push(("bytes of a backup".to_owned(), Unit::Each, bytes));
        self.import(RowIds::FromKeys, scale, &mut figures).await;
        self.import(RowIds::FromValues, scale, &mut figures).await;
        let memory = vec![as_f64(resident_bytes()) / 1_048_576.0];
        figures.push(("memory of the process, MiB".to_owned(), Unit::Each, memory));
        figures
    }

    /// Imports a file of purchases with keys, of all users and in the order of their times.
    async fn import(&mut self, ids: RowIds, scale: Scale, figures: &mut Figures) {
        let rows: u64 = match scale {
            Scale::Tiny => 100,
            Scale::Quick | Scale::Full => 200_000,
        };
        let size = self.purchases;
        let has_keys = ids == RowIds::FromKeys;
        let mut file = "username,userid,price,timestamp".to_owned();
        file += if has_keys { ",key\n" } else { "\n" };
        for row in 0..rows {
            let user = format!("u{}", self.numbers.below(100_000));
            // Each import has other times, so that no row is known already.
            let time = START + i64::try_from(size + row).unwrap() * 1_000;
            let time = Timestamp::from_millis(time).unwrap();
            file += &format!("name of {user},{user},9.99,{time}");
            if has_keys {
                file += &format!(",{size}-{row}");
            }
            file += "\n";
        }
        let sink = self.log.storing_sink(GROUP).await.unwrap();
        let mut report = ImportReport::default();
        let before = written_bytes();
        let begun = Instant::now();
        let import = Import::new(RowFormat::Csv);
        let shop = Shop::new(sink, self.store.clone());
        import
            .run(&shop, Cursor::new(file), &mut report, |_| ())
            .await
            .unwrap();
        let per_second = as_f64(rows) / begun.elapsed().as_secs_f64();
        let bytes = as_f64(written_bytes() - before) / as_f64(rows);
        assert_eq!(report.imported, rows, "{report}");
        self.purchases += rows;
        let rows_of = if has_keys { " of rows with keys" } else { "" };
        figures.push((
            format!("import{rows_of}"),
            Unit::PerSecond,
            vec![per_second],
        ));
        let what = format!("bytes written by an import{rows_of} for each row");
        figures.push((what, Unit::Each, vec![bytes]));
    }
}

/// The requests for totals: of a user with few purchases, of one with many, and of the whole shop.
fn totals() -> [(&'static str, Selector, TotalsRequest); 6] {
    let year = |per| TotalsRequest::new(TimeRange::ALL, per);
    let east = UtcOffset::from_minutes(120).unwrap();
    let at = |day: i64| Some(Timestamp::from_millis(START + day * DAY).unwrap());
    let month = TimeRange::new(at(100), at(130)).unwrap();
    [
        ("per day of a user", user("u99999"), year(Period::Day)),
        ("per day of the whale", user(WHALE), year(Period::Day)),
        ("per day of all", Selector::All, year(Period::Day)),
        (
            "per day of all in +02:00",
            Selector::All,
            year(Period::Day).with_zone(east),
        ),
        ("per month of all", Selector::All, year(Period::Month)),
        (
            "per hour of all in a month",
            Selector::All,
            TotalsRequest::new(month, Period::Hour),
        ),
    ]
}

/// The bytes that this process has written to files.
fn written_bytes() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let written = counters
        .lines()
        .find_map(|line| line.strip_prefix("wchar: "));
    written
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or_default()
}

/// The memory of this process that is in use.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    let kilobytes: Option<u64> = resident.and_then(|number| number.trim().parse().ok());
    1_024 * kilobytes.unwrap_or_default()
}

fn user(id: &str) -> Selector {
    Selector::User(id.parse().unwrap())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

/// The milliseconds of each of these calls, after one that is not counted.
async fn timed<F: Future<Output = ()>>(repetitions: usize, call: impl Fn() -> F) -> Vec<f64> {
    call().await;
    let mut times = Vec::new();
    for _ in 0..repetitions {
        let begun = Instant::now();
        call().await;
        times.push(milliseconds(begun));
    }
    times
}

/// Passes on the figures of one size, beside those of the first size.
fn emit_figures(
    shop: &str,
    size: u64,
    figures: Figures,
    first: &mut Option<Figures>,
    emit: &mut dyn FnMut(Row),
) {
    let among = thousands(as_f64(size));
    for (index, (what, unit, measured)) in figures.iter().enumerate() {
        let before = first.as_ref().map(|first| median(first[index].2.clone()));
        let beside = before.map_or_else(String::new, |before| {
            let ratio = median(measured.clone()) / before;
            format!("{ratio:.2} times that of the first size")
        });
        let what = format!("{shop}, {among} purchases: {what}");
        emit(Row::new(what, measured.clone(), *unit, beside));
    }
    first.get_or_insert(figures);
}

/// Measures the embedded shop at each size.
#[expect(clippy::future_not_send, reason = "the rows are shown by one thread")]
async fn measure_embedded(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let sizes: &[u64] = match scale {
        Scale::Tiny => &[500, 1_000],
        Scale::Quick => &[100_000, 1_000_000],
        Scale::Full => &[100_000, 1_000_000, 3_000_000, 10_000_000],
    };
    let folder = tempfile::tempdir().unwrap();
    let mut shop = GrowingShop::open(folder.path()).await;
    let mut first = None;
    for size in sizes {
        shop.fill(*size).await;
        let mut figures = shop.measure(folder.path(), scale).await;
        let (numbers, purchases) = shop.close().await;
        let begun = Instant::now();
        shop = GrowingShop::open_at(folder.path(), numbers, purchases).await;
        let opened = vec![milliseconds(begun)];
        figures.push(("start".to_owned(), Unit::Milliseconds, opened));
        emit_figures("embedded", *size, figures, &mut first, emit);
    }
    shop.close().await;
}

/// Asks for the sums of the measured users, and waits until PostgreSQL keeps them and has folded all
/// changes.
///
/// A store asks for the sums of one user in a second, and learns by a later question that they are
/// complete. So each user is asked for again after the sums are.
async fn wait_for_sums(store: &PostgresStore, client: &Client, schema: &str) {
    let is_complete = format!(
        "select coalesce(bool_and(ready), false) and not exists (select from {schema}.purchases_deltas)
         from {schema}.purchases_kept"
    );
    let mut complete_rounds = 0;
    while complete_rounds < 2 {
        for id in [WHALE, ANOTHER] {
            store.summary(&user(id)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1_200)).await;
        }
        let row = client.query_one(&is_complete, &[]).await.unwrap();
        complete_rounds = if row.get(0) { complete_rounds + 1 } else { 0 };
    }
}

/// Measures the reads and an insert of PostgreSQL at each size.
#[expect(clippy::future_not_send, reason = "the rows are shown by one thread")]
async fn measure_postgres(url: &str, scale: Scale, emit: &mut dyn FnMut(Row)) {
    let sizes: &[u64] = match scale {
        Scale::Tiny => &[500, 1_000],
        Scale::Quick => &[100_000, 1_000_000],
        Scale::Full => &[100_000, 1_000_000, 3_000_000],
    };
    let schema = format!("size_{}", uuid::Uuid::now_v7().simple());
    let client = connect(url).await;
    let create = format!("create schema {schema}");
    client.batch_execute(&create).await.unwrap();
    let separator = if url.contains('?') { '&' } else { '?' };
    let of_schema = format!("{url}{separator}options=-c%20search_path%3D{schema}");
    let mut options = PostgresStoreOptions::new(of_schema);
    options.query_timeout = Duration::from_secs(60);
    let store = PostgresStore::open(options).await.unwrap();
    store.wait_for_schema().await;

    let mut numbers = Numbers(SEED);
    let mut stored = 0;
    let mut first = None;
    for size in sizes {
        let missing = size - stored;
        let mut inserts = Vec::new();
        for number in (0..missing).step_by(1_000) {
            let batch: Arc<[Purchase]> = (number..missing.min(number + 1_000))
                .map(|number| numbers.purchase(number * YEAR / missing))
                .collect();
            let begun = Instant::now();
            let count = as_f64(batch.len() as u64);
            store.insert(batch).await.unwrap();
            inserts.push(count / begun.elapsed().as_secs_f64());
        }
        stored = *size;
        let analyze = format!("analyze {schema}.purchases");
        client.batch_execute(&analyze).await.unwrap();
        wait_for_sums(&store, &client, &schema).await;
        let mut figures = measure_reads(&store, scale).await;
        let last = inserts.split_off(inserts.len().saturating_sub(100));
        let what = "inserts in batches of 1,000, one after the other".to_owned();
        figures.push((what, Unit::PerSecond, last));
        emit_figures("PostgreSQL", *size, figures, &mut first, emit);
    }
    let delete = format!("drop schema {schema} cascade");
    client.batch_execute(&delete).await.unwrap();
}

/// Measures the shops at each size.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let runtime = two_threads();
    runtime.block_on(measure_embedded(scale, emit));
    if let Some(url) = scale::postgres() {
        runtime.block_on(measure_postgres(&url, scale, emit));
    }
}
