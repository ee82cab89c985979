//! Keyset pagination: each page continues on an index after the last purchase of the previous page.

use rusqlite::{Connection, OptionalExtension, ToSql};
use shop_core::ports::{Keyset, ListOrder, Selector};
use shop_core::{Purchase, PurchaseId};

use super::rows::{self, COLUMNS, IdColumn};

/// Reads at most `limit` purchases of `selector`, after `keyset` if it is set.
pub(super) fn page(
    connection: &Connection,
    selector: &Selector,
    order: ListOrder,
    keyset: Option<Keyset>,
    limit: usize,
) -> rusqlite::Result<Vec<Purchase>> {
    let (sql, filter) = statement(selector, order, keyset.is_some());
    let keyset = keyset.map(|keyset| (keyset.timestamp.as_millis(), IdColumn(keyset.id)));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut parameters: Vec<(&str, &dyn ToSql)> = vec![(":limit", &limit)];
    parameters.extend(filter.as_ref().map(|filter| (":filter", filter as &dyn ToSql)));
    if let Some((timestamp, id)) = &keyset {
        parameters.extend([(":timestamp", timestamp as &dyn ToSql), (":id", id)]);
    }
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(&*parameters, rows::purchase)?;
    found.collect()
}

/// Returns the statement and the value of its parameter `:filter`.
fn statement(selector: &Selector, order: ListOrder, has_keyset: bool) -> (String, Option<&str>) {
    let (table, condition, filter) = match selector {
        Selector::User(id) => ("purchases INDEXED BY by_user", "userid = :filter", Some(id.as_str())),
        Selector::Name(name) => ("purchases INDEXED BY by_name", "username = :filter", Some(name.as_str())),
        _ => ("purchases", "true", None),
    };
    let (direction, operator) = match order {
        ListOrder::OldestFirst => ("ASC", ">"),
        _ => ("DESC", "<"),
    };
    let after =
        if has_keyset { format!("AND (timestamp, id) {operator} (:timestamp, :id)") } else { String::new() };
    let sql = format!(
        "SELECT {COLUMNS} FROM {table} WHERE {condition} {after}
         ORDER BY timestamp {direction}, id {direction} LIMIT :limit"
    );
    (sql, filter)
}

/// Returns the purchase with this id.
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
    fn every_listing_uses_its_index_without_sorting() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, _lock) =
            Database::new(&STORE, folder.path(), "store", None).open_to_write().unwrap();
        let (user, name) = (Selector::User("u".parse().unwrap()), Selector::Name("n".parse().unwrap()));
        for (selector, index) in [(user, "by_user"), (name, "by_name"), (Selector::All, "purchases")] {
            for (order, has_keyset) in [
                (ListOrder::NewestFirst, false),
                (ListOrder::NewestFirst, true),
                (ListOrder::OldestFirst, false),
                (ListOrder::OldestFirst, true),
            ] {
                let (sql, _) = statement(&selector, order, has_keyset);
                let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                let mut rows = explain.raw_query();
                let mut plan: Vec<String> = Vec::new();
                while let Some(row) = rows.next().unwrap() {
                    plan.push(row.get(3).unwrap());
                }
                let plan = plan.join("; ");
                assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
                let searches = plan.contains("SEARCH") || (!has_keyset && selector == Selector::All);
                assert!(searches, "{sql}: {plan}");
            }
        }
    }
}
