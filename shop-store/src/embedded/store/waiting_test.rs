//! Refunds that wait for other purchases cost an insert or a look-up nothing.

use std::sync::atomic::AtomicU64;

use super::buyers::BuyerCache;
use super::{erase, insert, select, waiting};
use crate::embedded::fixture::*;
use crate::embedded::schema::SHOP;

/// A shop in which the refunds of these purchases wait. The purchases are of the user u1.
fn shop_with_waiting_refunds(numbers: Range<u64>) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    SHOP.migrate(&connection, 0).unwrap();
    let refunds: Vec<Purchase> = numbers
        .map(|number| purchase(number).refund(None, at(1)).unwrap())
        .collect();
    insert_all(&connection, &refunds);
    connection
}

fn insert_all(connection: &Connection, batch: &[Purchase]) {
    let batch: Vec<&Purchase> = batch.iter().collect();
    insert::insert_batch(connection, &mut BuyerCache::default(), &batch).unwrap();
}

/// A call on the tables.
type Call = fn(&Connection);

/// The number of instructions that SQLite executes for a call.
fn instructions(connection: &mut Connection, call: Call) -> u64 {
    // An earlier call compiles the statements.
    call(connection);
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let count_one = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    connection.progress_handler(1, Some(count_one)).unwrap();
    call(connection);
    connection
        .progress_handler(0, None::<fn() -> bool>)
        .unwrap();
    count.load(Ordering::Relaxed)
}

/// A purchase for which no refund waits.
fn other_purchase() -> Purchase {
    purchase(1_000_000)
}

/// Calls that touch waiting refunds, none of which is about the ones that wait.
const CALLS: [(&str, Call); 8] = [
    ("insert", |connection| {
        static NUMBER: AtomicU64 = AtomicU64::new(2_000_000);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        insert_all(connection, &[purchase(number)]);
    }),
    ("look_up", |connection| {
        drop(select::look_up(connection, &other_purchase().id).unwrap());
    }),
    ("find_refused", |connection| {
        drop(waiting::find_refused(connection, 100).unwrap());
    }),
    ("remove_entries", |connection| {
        waiting::remove_entries(connection, &[1 << 40]).unwrap();
    }),
    ("erase_user", |connection| {
        let nobody = "nobody".parse().unwrap();
        drop(erase::erase_user(connection, &nobody, 100).unwrap());
    }),
    ("erase_by_id", |connection| {
        waiting::erase_by_id(connection, other_purchase().id).unwrap();
    }),
    ("delete_before", |connection| {
        drop(erase::delete_before(connection, at(-1), 100).unwrap());
    }),
    ("count_before", |connection| {
        erase::count_before(connection, at(-1), 100).unwrap();
    }),
];

#[test]
fn no_call_reads_refunds_that_wait_for_other_purchases() {
    let mut few = shop_with_waiting_refunds(0..10);
    let mut many = shop_with_waiting_refunds(0..5_000);
    for (name, call) in CALLS {
        let expected = instructions(&mut few, call);
        let actual = instructions(&mut many, call);
        assert!(actual < expected + 50, "{name}: {actual}, not {expected}");
    }
}

/// The summary reads an index, whose entries are far smaller than the refunds.
#[test]
fn a_summary_reads_an_index_only() {
    let connection = shop_with_waiting_refunds(0..10);
    let sql = format!("EXPLAIN QUERY PLAN {}", waiting::COUNT_WAITING);
    let plan: String = connection
        .query_row(&sql, [], |row| row.get("detail"))
        .unwrap();
    assert!(plan.contains("USING COVERING INDEX"), "{plan}");
    let summary = waiting::count_waiting(&connection).unwrap();
    assert_eq!((summary.count, summary.oldest), (10, Some(at(1))));
}
