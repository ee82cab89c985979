//! The kept sums are equal to the sums of the purchases after any change, and beside concurrent writers.

use std::sync::atomic::AtomicBool;

use tokio_postgres::Client;

use super::PostgresStore;
use super::fixture::session;
use super::fold::Fold;
use super::sums_test::{
    Numbers, USERS, compare_in_a_snapshot, fixture_without_task, keep_all, kept, refunds_of_paid,
    scan, settle,
};
use crate::container::SharedStore as _;
use crate::server_fixture::*;

const ROUNDS: u64 = 25;
/// The number of users and the shop.
const ALL_SCOPES: usize = 5;

/// What the model does to the stores.
struct Model {
    numbers: Numbers,
    stores: [PostgresStore; 2],
    folds: [Fold; 2],
    client: Client,
    purchases: Vec<Purchase>,
    /// The purchases whose refund was sent first.
    late: Vec<Purchase>,
}

impl Model {
    async fn do_something(&mut self) {
        let index = usize::try_from(self.numbers.below(2)).unwrap();
        let store = self.stores[index].clone();
        match self.numbers.below(14) {
            0..=2 => {
                let count = self.numbers.below(40);
                let batch: Vec<_> = (0..count).map(|_| self.numbers.purchase()).collect();
                self.purchases.extend(batch.iter().cloned());
                store.insert(batch.into()).await.unwrap();
            }
            3 => {
                let mut batch: Vec<_> = self.purchases.iter().rev().take(5).cloned().collect();
                batch.push(self.numbers.purchase());
                store.insert(batch.into()).await.unwrap();
            }
            4 => {
                let last: Vec<_> = self.purchases.iter().rev().take(3).cloned().collect();
                let refunds = refunds_of_paid(&last);
                store.insert(refunds.into()).await.unwrap();
            }
            5 => {
                let purchase = self.numbers.purchase();
                let refunds = refunds_of_paid(std::slice::from_ref(&purchase));
                store.insert(refunds.into()).await.unwrap();
                self.late.push(purchase);
            }
            6 => {
                let late = std::mem::take(&mut self.late);
                store.insert(late.into()).await.unwrap();
            }
            7 if self.numbers.below(3) == 0 => {
                store.erase(&self.numbers.user(), 1_000).await.unwrap();
            }
            8 if self.numbers.below(3) == 0 => {
                let time = self.numbers.time();
                let deleted = store.delete_before(time, 20, Deletion::Delete).await;
                deleted.unwrap();
            }
            9 | 10 => self.change_by_sql().await,
            11 => {
                let user = self.numbers.user();
                store.request_sums(&user).await.unwrap();
            }
            12 if self.numbers.below(4) == 0 => {
                let user = self.numbers.user().to_string();
                let forget = match self.numbers.below(8) {
                    0 => "truncate purchases".to_owned(),
                    1 => "delete from purchases_kept".to_owned(),
                    _ => format!("delete from purchases_kept where scope = '{user}'"),
                };
                self.client.batch_execute(&forget).await.unwrap();
            }
            _ => {
                self.folds[index].run_round().await.unwrap();
            }
        }
    }

    /// Changes rows as another program does, at one of the levels of isolation.
    async fn change_by_sql(&mut self) {
        let level = ["read committed", "repeatable read", "serializable"];
        let level = level[usize::try_from(self.numbers.below(3)).unwrap()];
        let number = self.numbers.below(1_000_000_000);
        let (user, other) = (self.numbers.user(), self.numbers.user());
        let time = self.numbers.time();
        let change = match self.numbers.below(6) {
            0 => "delete from purchases where id in (select id from purchases order by random() limit 3)".to_owned(),
            1 => format!("update purchases set userid = '{other}' where userid = '{user}' and random() < 0.2"),
            2 => format!("update purchases set \"timestamp\" = '{time}' where userid = '{user}' and random() < 0.2"),
            3 => "update purchases set price = price * 2 where random() < 0.1 and price is not null".to_owned(),
            4 => format!("insert into purchases values ('x{number}', '', '', 3, '{time}'), ('y{number}', '{user}', 'ada', 4, '{time}')"),
            _ => format!("insert into purchases (id, userid, username, price, \"timestamp\")
                          select id, userid, username, 1, \"timestamp\" from purchases where userid = '{user}' limit 5
                          on conflict (id) do update set price = excluded.price where purchases.price >= 0"),
        };
        let change = format!("begin isolation level {level}; {change}; commit");
        self.client.batch_execute(&change).await.unwrap();
    }
}

#[tokio::test]
async fn kept_sums_are_the_sums_of_the_purchases_after_any_change() {
    let Some((fixture, store)) = fixture_without_task().await else {
        return;
    };
    let other = PostgresStore::open_again(&fixture).await;
    other.sums.fold_task.disable();
    let mut model = Model {
        numbers: Numbers::from_environment(),
        folds: [&store, &other].map(|store| Fold::new(Arc::clone(&store.connection))),
        stores: [store, other],
        client: session(fixture.url()).await,
        purchases: Vec::new(),
        late: Vec::new(),
    };

    let mut kept_answers = 0;
    for round in 0..ROUNDS {
        for _ in 0..=model.numbers.below(6) {
            model.do_something().await;
        }
        if model.numbers.below(4) == 0 {
            let [store, other] = model.stores.clone();
            keep_all(&store, &mut model.folds[0]).await;
            keep_all(&other, &mut model.folds[1]).await;
        }
        for _ in 0..8 {
            let selector = model.numbers.selector();
            let request = model.numbers.request();
            let store = &model.stores[usize::try_from(model.numbers.below(2)).unwrap()];
            let scanned = scan(store, &selector, &request).await;
            let answer = store.totals(&selector, &request).await.unwrap();
            assert_eq!(answer, scanned, "round {round}: {selector:?} {request:?}");
            if let Some(kept) = kept(store, &selector, &request).await {
                assert_eq!(kept, scanned, "round {round}: {selector:?} {request:?}");
                kept_answers += 1;
            }
        }
    }
    assert!(kept_answers > 50, "{kept_answers} answers from sums");
}

/// Writes to a store as fast as it can, and to the table by SQL at all levels of isolation.
async fn write_until(store: PostgresStore, client: Client, seed: u64, is_over: Arc<AtomicBool>) {
    let mut numbers = Numbers(seed);
    while !is_over.load(Ordering::Relaxed) {
        let batch: Vec<_> = (0..20).map(|_| numbers.purchase()).collect();
        store.insert(batch.clone().into()).await.unwrap();
        store
            .insert(refunds_of_paid(&batch[..3]).into())
            .await
            .unwrap();
        let level =
            ["read committed", "repeatable read"][usize::try_from(numbers.below(2)).unwrap()];
        let ids = batch[3..6]
            .iter()
            .map(|purchase| format!("'{}'", purchase.id));
        let ids = ids.collect::<Vec<_>>().join(", ");
        // Scopes are requested and built meanwhile.
        let pause = ["0", "0.1", "1"][usize::try_from(numbers.below(3)).unwrap()];
        let change = format!(
            "begin isolation level {level}; select count(*) from purchases_settings; select pg_sleep({pause});
             update purchases set price = 7, userid = 'u1' where id in ({ids}); select pg_sleep({pause});
             delete from purchases where id = '{}'; commit",
            batch[7].id
        );
        client.batch_execute(&change).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_that_are_kept_beside_writers_and_folds_are_complete() {
    let Some((fixture, store)) = fixture_without_task().await else {
        return;
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for seed in 1..=3 {
        let client = session(fixture.url()).await;
        writers.push(tokio::spawn(write_until(
            store.clone(),
            client,
            seed,
            Arc::clone(&is_over),
        )));
    }
    // Another process folds as well.
    let other = PostgresStore::open_again(&fixture).await;
    other.sums.fold_task.disable();
    let mut other_fold = Fold::new(Arc::clone(&other.connection));
    let has_ended = Arc::clone(&is_over);
    writers.push(tokio::spawn(async move {
        while !has_ended.load(Ordering::Relaxed) {
            other_fold.run_round().await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    }));

    let client = session(fixture.url()).await;
    let mut fold = Fold::new(Arc::clone(&store.connection));
    let mut completions = 0;
    while completions < 5 {
        for user in 0..USERS {
            let user = format!("u{user}").parse().unwrap();
            store.request_sums(&user).await.unwrap();
        }
        fold.run_round().await.unwrap();
        let complete = compare_in_a_snapshot(&client).await;
        if complete == ALL_SCOPES {
            completions += 1;
            // The writers do not stop while the sums are completed again.
            let forget = "delete from purchases_kept where scope in ('', 'u0', 'u1')";
            client.batch_execute(forget).await.unwrap();
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    settle(&mut fold).await;
    assert!(compare_in_a_snapshot(&client).await > 0);
}
