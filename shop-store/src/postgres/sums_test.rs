//! The kept sums are completed, folded, read, and left out where they may not be read.

use std::collections::HashMap;

use shop_core::UserId;
use shop_core::ports::{Bucket, Period, Totals, UtcOffset};
use tokio::time::Instant;
use tokio_postgres::Client;

use super::connection::Statement;
use super::fixture::{PostgresFixture, drop_role, of_new_role, plan, session, until};
use super::fold::{Fold, Progress};
use super::select::sums_query;
use super::sums::{MAX_COUNTED, kept_query};
use super::{PostgresStore, PostgresStoreOptions, select};
use crate::container::SharedStore as _;
use crate::server_fixture::*;

/// 2026-03-01T00:00:00Z.
const START: i64 = 1_772_323_200_000;
const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// The purchases of the model are made within these days.
const DAYS: i64 = 4;
pub(super) const USERS: u64 = 4;

/// Pseudorandom numbers, which follow from a seed.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    /// The numbers of the seed in `SHOP_TEST_SEED`, or of the time.
    pub(super) fn from_environment() -> Self {
        let now = SystemClock.now().as_millis().unsigned_abs();
        let seed = environment("SHOP_TEST_SEED").map_or(now, |seed| seed.parse().unwrap());
        println!("SHOP_TEST_SEED={seed}");
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }

    pub(super) fn time(&mut self) -> Timestamp {
        // Many times are at the start of a quarter of an hour, or just before.
        let millis = match self.below(4) {
            0 => 15 * MINUTE * i64::try_from(self.below(96 * DAYS.unsigned_abs())).unwrap(),
            1 => 15 * MINUTE * i64::try_from(self.below(96 * DAYS.unsigned_abs()) + 1).unwrap() - 1,
            _ => i64::try_from(self.below((DAY * DAYS).unsigned_abs())).unwrap(),
        };
        Timestamp::from_millis(START + millis).unwrap()
    }

    pub(super) fn user(&mut self) -> UserId {
        format!("u{}", self.below(USERS)).parse().unwrap()
    }

    pub(super) fn purchase(&mut self) -> Purchase {
        let price = match self.below(4) {
            0 => "0.00".to_owned(),
            1 => format!(
                "{}.{:08}",
                self.below(1_000_000_000_000),
                self.below(100_000_000)
            ),
            _ => format!("{}.{:02}", self.below(200), self.below(100)),
        };
        let user = self.user();
        let new = NewPurchase::for_user(user.as_str())
            .with_user_name("ada")
            .with_price(price)
            .unwrap()
            .with_timestamp(self.time());
        new.into_purchase(SystemClock.now(), || SystemClock.fresh_id())
    }

    pub(super) fn selector(&mut self) -> Selector {
        match self.below(3) {
            0 => Selector::All,
            1 => Selector::User(self.user()),
            _ => Selector::Name("ada".parse().unwrap()),
        }
    }

    pub(super) fn request(&mut self) -> TotalsRequest {
        let mut bounds = [self.time(), self.time()];
        bounds.sort_unstable();
        let [from, to] = bounds;
        let from = (self.below(3) != 0).then_some(from);
        let to = (self.below(3) != 0).then_some(to);
        let range = TimeRange::new(from, to).unwrap_or(TimeRange::ALL);
        let periods = [Period::Whole, Period::Hour, Period::Day, Period::Month];
        let zones = ["Z", "+02:00", "+05:30", "-03:00", "+05:37", "+23:45"];
        let period = periods[usize::try_from(self.below(4)).unwrap()];
        let zone: UtcOffset = zones[usize::try_from(self.below(6)).unwrap()]
            .parse()
            .unwrap();
        TotalsRequest::new(range, period).with_zone(zone)
    }
}

/// The refunds of those `purchases` that cost something.
pub(super) fn refunds_of_paid(purchases: &[Purchase]) -> Vec<Purchase> {
    let now = SystemClock.now();
    let is_paid = |purchase: &&Purchase| purchase.refund(None, now).is_ok();
    refunds_of(
        &purchases
            .iter()
            .filter(is_paid)
            .cloned()
            .collect::<Vec<_>>(),
    )
}

/// A fixture, whose stores fold only when the test says so.
pub(super) async fn fixture_without_task() -> Option<(PostgresFixture, PostgresStore)> {
    let fixture = PostgresFixture::on_test_server().await?;
    let store = fixture.postgres();
    store.sums.fold_task.disable();
    Some((fixture, store))
}

/// The buckets by a scan of the purchases.
pub(super) async fn scan(
    store: &PostgresStore,
    selector: &Selector,
    request: &TotalsRequest,
) -> Vec<Bucket> {
    let query = sums_query(selector, request.range, Totals::slots(request));
    let rows = store.connection.query(query).await.unwrap();
    let (totals, _) = select::add_slots(&rows, request).unwrap();
    totals.into_buckets()
}

/// The buckets by the kept sums, or `None` if the sums are not complete or cannot answer.
pub(super) async fn kept(
    store: &PostgresStore,
    selector: &Selector,
    request: &TotalsRequest,
) -> Option<Vec<Bucket>> {
    let deadline = Instant::now() + A_MINUTE;
    let slots = store.read_kept_slots(selector, request, deadline).await;
    let (totals, _) = select::add_slots(&slots.unwrap()?, request).unwrap();
    Some(totals.into_buckets())
}

/// Runs rounds until there is nothing to do.
pub(super) async fn settle(fold: &mut Fold) {
    until(async || fold.run_round().await.unwrap() == Progress::Idle).await;
}

/// Has the sums of the shop and of all users kept and complete.
pub(super) async fn keep_all(store: &PostgresStore, fold: &mut Fold) {
    for user in 0..USERS {
        let user = format!("u{user}").parse().unwrap();
        store.request_sums(&user).await.unwrap();
    }
    settle(fold).await;
    for user in 0..USERS {
        let user = format!("u{user}").parse().unwrap();
        store.request_sums(&user).await.unwrap();
    }
}

/// Reads the sums of the kept scopes and the sums of the purchases in one snapshot, and compares them. Returns the number
/// of scopes that were complete.
pub(super) async fn compare_in_a_snapshot(client: &Client) -> usize {
    let request = TotalsRequest::new(TimeRange::ALL, Period::Day);
    let begin = "begin isolation level repeatable read read only";
    client.batch_execute(begin).await.unwrap();
    let mut complete = 0;
    for scope in ["", "u0", "u1", "u2", "u3"] {
        let selector = match scope {
            "" => Selector::All,
            user => Selector::User(user.parse().unwrap()),
        };
        let run = async |query: Statement| {
            let rows = client.query_typed(&query.sql, &query.parameters()).await;
            rows.unwrap()
        };
        let kept_slots = run(kept_query(scope.to_owned(), &selector, &request).unwrap()).await;
        if kept_slots[0].get::<_, Option<bool>>("ready") != Some(true) {
            continue;
        }
        complete += 1;
        let scanned = run(sums_query(
            &selector,
            request.range,
            Totals::slots(&request),
        ))
        .await;
        let sums = |rows: &[tokio_postgres::Row]| -> HashMap<(i64, String), u64> {
            let mut sums = HashMap::new();
            for row in rows {
                let Some(count) = row.get::<_, Option<i64>>("count") else {
                    continue;
                };
                let total: &str = row.get("total");
                if (count, total) != (0, "0") {
                    *sums.entry((count, total.to_owned())).or_default() += 1;
                }
            }
            sums
        };
        assert_eq!(sums(&kept_slots), sums(&scanned), "{scope:?}");
    }
    client.batch_execute("commit").await.unwrap();
    complete
}

/// A fixture with 50 purchases, all scopes complete, and the fold.
async fn complete_fixture() -> Option<(PostgresFixture, PostgresStore, Fold)> {
    let (fixture, store) = fixture_without_task().await?;
    let mut numbers = Numbers(3);
    let batch: Vec<_> = (0..50).map(|_| numbers.purchase()).collect();
    store.insert(batch.into()).await.unwrap();
    let mut fold = Fold::new(Arc::clone(&store.connection));
    keep_all(&store, &mut fold).await;
    Some((fixture, store, fold))
}

#[tokio::test]
async fn a_transaction_that_missed_a_scope_is_waited_for() {
    let Some((fixture, store)) = fixture_without_task().await else {
        return;
    };
    let client = session(fixture.url()).await;
    let insert =
        "begin; insert into purchases values ('x', 'u1', 'ada', 5, '2026-03-01T10:00:00Z')";
    client.batch_execute(insert).await.unwrap();
    let mut fold = Fold::new(Arc::clone(&store.connection));
    for _ in 0..5 {
        fold.run_round().await.unwrap();
    }
    let request = TotalsRequest::default();
    assert_eq!(kept(&store, &Selector::All, &request).await, None);

    client.batch_execute("commit").await.unwrap();
    settle(&mut fold).await;
    let kept = kept(&store, &Selector::All, &request).await.unwrap();
    assert_eq!(kept[0].summary.count, 1);
}

#[tokio::test]
async fn a_transaction_with_an_old_snapshot_records_its_changes() {
    let Some((fixture, store)) = fixture_without_task().await else {
        return;
    };
    let client = session(fixture.url()).await;
    let first = "insert into purchases values ('w', 'u1', 'ada', 5, '2026-03-01T10:00:00Z')";
    client.batch_execute(first).await.unwrap();
    let begin = "begin isolation level repeatable read; select count(*) from purchases";
    client.batch_execute(begin).await.unwrap();
    let mut fold = Fold::new(Arc::clone(&store.connection));
    keep_all(&store, &mut fold).await;

    let insert =
        "insert into purchases values ('x', 'u1', 'ada', 5, '2026-03-01T10:00:00Z'); commit";
    client.batch_execute(insert).await.unwrap();
    for selector in [Selector::All, Selector::User("u1".parse().unwrap())] {
        let kept = kept(&store, &selector, &TotalsRequest::default()).await;
        assert_eq!(kept.unwrap()[0].summary.count, 2, "{selector:?}");
    }
}

#[tokio::test]
async fn a_fold_that_is_ended_midway_changes_nothing() {
    let Some((fixture, store, mut fold)) = complete_fixture().await else {
        return;
    };
    let client = session(fixture.url()).await;
    let insert = "insert into purchases select 'x' || n, 'u1', 'ada', 5, '2026-03-01T10:00:00Z' from generate_series(1, 9) n;
                  insert into purchases select 'y' || n, 'u1', 'ada', 5, '2026-03-02T10:00:00Z' from generate_series(1, 9) n";
    client.batch_execute(insert).await.unwrap();
    settle(&mut fold).await;
    client
        .batch_execute("update purchases set price = 6 where id like 'x%' or id like 'y%'")
        .await
        .unwrap();

    // The fold waits for this row, and is ended there.
    let blocker = session(fixture.url()).await;
    let lock = "begin; select from purchases_sums where scope = '' and start = '2026-03-02T10:00:00Z' for update";
    blocker.batch_execute(lock).await.unwrap();
    let folding = tokio::spawn(async move { fold.fold_deltas().await });
    let waiting = "select pg_terminate_backend(pid) from pg_stat_activity
                   where wait_event_type = 'Lock' and query like '%delete from purchases_deltas%'";
    let mut ended = 0;
    until(async || {
        ended += client.query(waiting, &[]).await.unwrap().len();
        blocker
            .batch_execute(if ended > 0 { "rollback" } else { "select 1" })
            .await
            .unwrap();
        ended > 0
    })
    .await;
    // The statement is sent again in another session, after the pause of a retry.
    let folded = folding.await.unwrap();
    assert!(folded.is_ok(), "{folded:?}");
    compare_in_a_snapshot(&client).await;
    let deltas = client
        .query("select from purchases_deltas", &[])
        .await
        .unwrap();
    assert!(deltas.is_empty());
    let selector = Selector::All;
    let request = TotalsRequest::new(TimeRange::ALL, Period::Hour);
    let kept = kept(&store, &selector, &request).await.unwrap();
    assert_eq!(kept, scan(&store, &selector, &request).await);
}

#[tokio::test]
async fn an_answer_from_sums_reads_no_purchase() {
    let Some((fixture, store, _)) = complete_fixture().await else {
        return;
    };
    let day = |number: i64| Timestamp::from_millis(START + number * DAY).unwrap();
    let range = TimeRange::new(Some(day(1)), Some(day(3))).unwrap();
    let client = session(fixture.url()).await;
    let all = TotalsRequest::default();
    let of_days = TotalsRequest::new(range, Period::Day);
    let of_hours = of_days.with_zone("+05:30".parse().unwrap());
    for request in [all, of_days, of_hours] {
        let query = kept_query(String::new(), &Selector::All, &request).unwrap();
        let plan = plan(&store.connection, query).await;
        assert!(!plan.contains(" on purchases\n"), "{plan}");
        assert!(!plan.contains("using purchases_by"), "{plan}");
    }
    // Without the rows, the answer would be another one if it read them.
    let selector = Selector::User("u1".parse().unwrap());
    let before = store.totals(&selector, &all).await.unwrap();
    let delete = "set session_replication_role = replica; delete from purchases";
    client.batch_execute(delete).await.unwrap();
    assert_eq!(store.totals(&selector, &all).await.unwrap(), before);

    client
        .batch_execute("delete from purchases_kept")
        .await
        .unwrap();
    assert_eq!(store.totals(&selector, &all).await.unwrap(), []);
}

#[tokio::test]
async fn the_background_task_keeps_the_shop_and_large_users() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let store = fixture.postgres();
    let reader = PostgresStore::open_again(&fixture).await;
    let large = i64::try_from(MAX_COUNTED + 1).unwrap();
    let purchases = purchases_of(1, large, |number| {
        Timestamp::from_millis(START + number * MINUTE).unwrap()
    });
    store.insert(purchases.into()).await.unwrap();

    let user = Selector::User("u0".parse().unwrap());
    let request = TotalsRequest::new(TimeRange::ALL, Period::Day);
    let buckets = scan(&store, &user, &request).await;
    for selector in [&Selector::All, &user] {
        until(async || {
            assert_eq!(reader.totals(selector, &request).await.unwrap(), buckets);
            kept(&reader, selector, &request).await.is_some()
        })
        .await;
    }

    // What an operator deletes is built again.
    let client = session(fixture.url()).await;
    client
        .batch_execute("delete from purchases_kept")
        .await
        .unwrap();
    until(async || kept(&reader, &Selector::All, &request).await.is_some()).await;
    assert_eq!(
        reader.totals(&Selector::All, &request).await.unwrap(),
        buckets
    );
}

#[tokio::test]
async fn nothing_of_an_erased_user_is_left_in_the_sums() {
    let Some((fixture, store, mut fold)) = complete_fixture().await else {
        return;
    };
    let user: UserId = "u1".parse().unwrap();
    let erased = store.erase(&user, 1_000).await.unwrap();
    assert!(erased.count > 0);
    let client = session(fixture.url()).await;
    for table in ["purchases_kept", "purchases_deltas", "purchases_sums"] {
        let select = format!("select from {table} where scope = 'u1'");
        assert!(
            client.query(&select, &[]).await.unwrap().is_empty(),
            "{table}"
        );
    }
    compare_in_a_snapshot(&client).await;

    // A request that is fulfilled after the erasure.
    store.request_sums(&user).await.unwrap();
    settle(&mut fold).await;
    let select = "select from purchases_kept where scope = 'u1'";
    assert!(client.query(select, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_table_whose_triggers_are_disabled_is_refused() {
    let Some((fixture, store, _)) = complete_fixture().await else {
        return;
    };
    assert!(store.inspect().await.unwrap().faults.is_empty());
    let client = session(fixture.url()).await;
    let disable = "alter table purchases disable trigger purchases_sums_delete";
    client.batch_execute(disable).await.unwrap();
    let faults = store.inspect().await.unwrap().faults;
    assert!(faults[0].to_string().contains("totals are wrong"));
}

#[tokio::test]
async fn roles_without_rights_on_the_sums_write_and_get_answers() {
    let Some((fixture, store, _)) = complete_fixture().await else {
        return;
    };
    let owner = session(fixture.url()).await;
    let (url, role) = of_new_role(fixture.url()).await;
    let grant = format!(
        "grant select, insert on purchases to {role}; grant select on shop_schema to {role}"
    );
    owner.batch_execute(&grant).await.unwrap();

    let mut options = PostgresStoreOptions::new(url.as_str());
    options.create_schema = false;
    let reader = PostgresStore::open(options).await.unwrap();
    let all = TotalsRequest::default();
    let before = store.summary(&Selector::All).await.unwrap().count;
    assert_eq!(reader.summary(&Selector::All).await.unwrap().count, before);
    assert_eq!(kept(&reader, &Selector::All, &all).await, None);

    let warnings = reader.inspect().await.unwrap().warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("SELECT on purchases_sums"))
    );

    // A table of the role does not take the place of the one of the schema.
    let client = session(&url).await;
    let insert = "create temporary table purchases_deltas (scope text, start timestamptz, count bigint, total numeric);
                  insert into purchases values ('x', 'u1', 'ada', 5, '2026-03-01T10:00:00Z')";
    client.batch_execute(insert).await.unwrap();
    let kept = kept(&store, &Selector::All, &all).await.unwrap();
    assert_eq!(kept[0].summary.count, before + 1);
    assert_eq!(kept, scan(&store, &Selector::All, &all).await);
    drop_role(&owner, &role).await;
}

#[tokio::test]
async fn totals_need_no_tables_of_sums() {
    let Some((fixture, store, _)) = complete_fixture().await else {
        return;
    };
    let client = session(fixture.url()).await;
    let before = store.summary(&Selector::All).await.unwrap();
    let drop = "drop function purchases_add_deltas cascade; drop table purchases_sums, purchases_deltas, purchases_kept";
    client.batch_execute(drop).await.unwrap();
    assert_eq!(store.summary(&Selector::All).await.unwrap(), before);
}
