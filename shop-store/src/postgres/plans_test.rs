//! The plans of all statements on a table that is large enough for a scan to be expensive.

use super::connection::Statement;
use super::fixture::{PostgresFixture, insertion, plan, session};
use super::{erase, insert, rows, select, waiting};
use crate::server_fixture::*;

const USERS: i64 = 200;
const OF_A_USER: i64 = 100;
/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis).unwrap()
}

/// The listings of the first page, and of the one after `last`, in both orders, of all times and of a range.
fn listings(selector: &Selector, range: TimeRange, last: &Purchase) -> Vec<Statement> {
    let mut statements = Vec::new();
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        for range in [TimeRange::ALL, range] {
            let limit = PageLimit::new(50).unwrap();
            let first = PageRequest::first(order, limit).with_range(range);
            let next = Cursor::after(selector, &first, last);
            for request in [first.clone(), first.with_cursor(next)] {
                let start = select::page_start(selector, &request).unwrap();
                statements.push(select::page_query(selector, order, &start, 51));
            }
        }
    }
    statements
}

#[tokio::test]
async fn every_statement_uses_an_index_and_no_page_is_sorted() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let store = fixture.postgres();
    let all = purchases_of(USERS, OF_A_USER, |number| at(number * 1_000));
    store.apply(all.clone().into()).await.unwrap();
    let waiting = "insert into purchases_waiting (id, purchase, userid, \"timestamp\", value)
                   select 'r' || n, 'p' || n, 'u' || n % 7, timestamptz '2026-01-01' + n * interval '1 second', '{}'
                   from generate_series(1, 20000) n; analyze purchases, purchases_waiting";
    let session = session(fixture.url()).await;
    session.batch_execute(waiting).await.unwrap();
    // It has most of the purchases, but not all.
    let end = USERS * OF_A_USER * 1_000;
    let most = TimeRange::new(Some(at(end / 10)), Some(at(end / 10 * 9))).unwrap();
    let hour = TimeRange::new(Some(at(0)), Some(at(600_000))).unwrap();
    let user = "u3".parse().unwrap();
    let name = Selector::Name("name 3".parse().unwrap());
    let by_user = Selector::User("u3".parse().unwrap());

    let mut statements = Vec::new();
    let reference = Selector::Reference("r3".parse().unwrap(), None);
    for (selector, index) in [
        (&by_user, "purchases_by_user"),
        (&name, "purchases_by_name"),
        (&reference, "purchases_by_reference"),
        (&Selector::All, "purchases_by_time"),
    ] {
        let listings = listings(selector, most, &all[all.len() / 2]);
        statements.extend(listings.into_iter().map(|listing| (index, listing)));
    }
    let old = at(100_000);
    let middle = Cursor::from_text(all[all.len() / 2].id.to_string());
    statements.extend([
        (
            "purchases_by_user",
            select::sums_query(&by_user, TimeRange::ALL, None),
        ),
        (
            "purchases_by_name",
            select::sums_query(&name, TimeRange::ALL, None),
        ),
        (
            "purchases_by_user",
            select::sums_query(&by_user, most, None),
        ),
        (
            "purchases_by_user",
            select::sums_query(&by_user, most, Some((0, 3_600_000))),
        ),
        (
            "purchases_by_time",
            select::sums_query(&Selector::All, hour, Some((0, 60_000))),
        ),
        ("purchases_pkey", select::row_by_id_query(&all[7].id)),
        (
            "purchases_pkey",
            rows::rows_by_id_query(&[all[7].id, all[8].id]),
        ),
        ("purchases_by_name", select::next_name_query("name 3")),
        ("purchases_pkey", select::slice_query(None)),
        ("purchases_pkey", select::slice_query(Some(&middle))),
        (
            "purchases_pkey",
            insertion(&insert::PURCHASES, &all[..1_000]),
        ),
        ("purchases_by_user", erase::erase_statement(&user, 1_000)),
        (
            "purchases_waiting_by_user",
            waiting::erase_statement(&user, 1_000),
        ),
        ("purchases_by_time", erase::oldest_rows_query(old, 1_000)),
        ("purchases_by_time", erase::count_old_query(old, 1_000)),
    ]);
    for (index, statement) in statements {
        let sql = statement.sql.clone();
        let is_page = sql.contains("limit") && !sql.contains("chosen");
        let plan = plan(&store.connection, statement).await;
        assert!(plan.contains(index), "{sql}\n{plan}");
        assert!(!plan.contains("Seq Scan"), "{sql}\n{plan}");
        assert!(!(is_page && plan.contains("Sort")), "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn no_statement_is_compiled() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let connection = &fixture.postgres().connection;
    let setting = || Statement::new("select current_setting('jit') as jit");
    for rows in [
        connection.query(setting()).await.unwrap(),
        connection.write(setting()).await.unwrap(),
    ] {
        assert_eq!(rows[0].get::<_, &str>("jit"), "off");
    }
}
