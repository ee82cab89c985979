//! Reads pages by keyset: each one goes on behind the last purchase of the one before, on an index.

use rusqlite::{Connection, OptionalExtension, ToSql};
use shop_core::ports::{Keyset, ListOrder, Selector};
use shop_core::{Purchase, PurchaseId};

use super::rows::{self, COLUMNS, IdColumn};

/// At most `limit` purchases of `selector`, behind `place` if there is one.
pub(super) fn page(
    connection: &Connection,
    selector: &Selector,
    order: ListOrder,
    place: Option<Keyset>,
    limit: usize,
) -> rusqlite::Result<Vec<Purchase>> {
    let (sql, who) = statement(selector, order, place.is_some());
    let place = place.map(|place| (place.timestamp.as_millis(), IdColumn(place.id)));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut parameters: Vec<(&str, &dyn ToSql)> = vec![(":limit", &limit)];
    parameters.extend(who.as_ref().map(|who| (":who", who as &dyn ToSql)));
    if let Some((timestamp, id)) = &place {
        parameters.extend([(":timestamp", timestamp as &dyn ToSql), (":id", id)]);
    }
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(&*parameters, rows::purchase)?;
    found.collect()
}

/// The statement, and the value of its `:who`.
fn statement(selector: &Selector, order: ListOrder, has_place: bool) -> (String, Option<&str>) {
    let (table, whose, who) = match selector {
        Selector::User(id) => ("purchases INDEXED BY by_user", "userid = :who", Some(id.as_str())),
        Selector::Name(name) => ("purchases INDEXED BY by_name", "username = :who", Some(name.as_str())),
        _ => ("purchases", "true", None),
    };
    let (direction, beyond) = match order {
        ListOrder::OldestFirst => ("ASC", ">"),
        _ => ("DESC", "<"),
    };
    let place =
        if has_place { format!("AND (timestamp, id) {beyond} (:timestamp, :id)") } else { String::new() };
    let sql = format!(
        "SELECT {COLUMNS} FROM {table} WHERE {whose} {place}
         ORDER BY timestamp {direction}, id {direction} LIMIT :limit"
    );
    (sql, who)
}

/// The purchase with this id.
pub(super) fn by_id(connection: &Connection, id: &PurchaseId) -> rusqlite::Result<Option<Purchase>> {
    let sql = format!("SELECT {COLUMNS} FROM purchases WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([IdColumn(*id)], rows::purchase).optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::database::Database;
    use crate::embedded::store::schema::STORE;

    #[test]
    fn every_page_is_read_from_its_index_without_sorting() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, _lock) =
            Database::new(&STORE, folder.path(), "store", None).open_to_write().unwrap();
        let (user, name) = (Selector::User("u".parse().unwrap()), Selector::Name("n".parse().unwrap()));
        for (selector, index) in [(user, "by_user"), (name, "by_name"), (Selector::All, "purchases")] {
            for (order, has_place) in [
                (ListOrder::NewestFirst, false),
                (ListOrder::NewestFirst, true),
                (ListOrder::OldestFirst, false),
                (ListOrder::OldestFirst, true),
            ] {
                let (sql, _) = statement(&selector, order, has_place);
                let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                let mut rows = explain.raw_query();
                let mut plan: Vec<String> = Vec::new();
                while let Some(row) = rows.next().unwrap() {
                    plan.push(row.get(3).unwrap());
                }
                let plan = plan.join("; ");
                assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
                let searches = plan.contains("SEARCH") || (!has_place && selector == Selector::All);
                assert!(searches, "{sql}: {plan}");
            }
        }
    }
}
