//! Keyset pagination: each page continues on an index after the last purchase of the previous page.

use rusqlite::{Connection, OptionalExtension, ToSql};
use shop_core::ports::{ListOrder, Lookup, PageBounds, Selector};
use shop_core::{Purchase, PurchaseId, Timestamp};

use super::erase::is_marked;
use super::rows::{self, COLUMNS, IdColumn};

/// Reads at most `limit` purchases of `selector` within `bounds`.
pub(super) fn page(
    connection: &Connection,
    selector: &Selector,
    order: ListOrder,
    bounds: &PageBounds,
    limit: usize,
) -> rusqlite::Result<Vec<Purchase>> {
    let sql = statement(selector, order, bounds);
    let keyset = bounds.after.map(|keyset| (keyset.timestamp.as_millis(), IdColumn(keyset.id)));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (filter, [from, to]) = (filter(selector), [bounds.from, bounds.to].map(millis));
    let mut parameters = parameters(&filter, &from, &to);
    parameters.push((":limit", &limit));
    if let Some((timestamp, id)) = &keyset {
        parameters.extend([(":timestamp", timestamp as &dyn ToSql), (":id", id)]);
    }
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(&*parameters, rows::purchase)?;
    found.collect()
}

/// The statement of a page, with the [`parameters`], `:limit`, and `:timestamp` and `:id` of the keyset.
fn statement(selector: &Selector, order: ListOrder, bounds: &PageBounds) -> String {
    let selection = selection(selector, bounds.from, bounds.to);
    let (direction, operator) = match order {
        ListOrder::OldestFirst => ("ASC", ">"),
        _ => ("DESC", "<"),
    };
    let after = match bounds.after {
        Some(_) => format!("AND (timestamp, id) {operator} (:timestamp, :id)"),
        None => String::new(),
    };
    format!(
        "SELECT {COLUMNS} FROM {selection} {after}
         ORDER BY timestamp {direction}, id {direction} LIMIT :limit"
    )
}

/// The table and the condition of selected purchases from one time to before another, with the [`parameters`].
pub(super) fn selection(selector: &Selector, from: Option<Timestamp>, to: Option<Timestamp>) -> String {
    let selection = match selector {
        Selector::User(_) => "purchases INDEXED BY by_user WHERE userid = :filter",
        Selector::Name(_) => "purchases INDEXED BY by_name WHERE username = :filter",
        _ => "purchases WHERE true",
    };
    let from = if from.is_some() { " AND timestamp >= :from" } else { "" };
    let to = if to.is_some() { " AND timestamp < :to" } else { "" };
    [selection, from, to].concat()
}

/// The value of the parameter `:filter` of a [`selection`].
pub(super) fn filter(selector: &Selector) -> Option<&str> {
    match selector {
        Selector::User(id) => Some(id.as_str()),
        Selector::Name(name) => Some(name.as_str()),
        _ => None,
    }
}

pub(super) fn millis(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_millis)
}

/// The parameters of a [`selection`] that have a value.
pub(super) fn parameters<'a>(
    filter: &'a Option<&str>,
    from: &'a Option<i64>,
    to: &'a Option<i64>,
) -> Vec<(&'static str, &'a dyn ToSql)> {
    let filter = filter.as_ref().map(|filter| (":filter", filter as &dyn ToSql));
    let from = from.as_ref().map(|from| (":from", from as &dyn ToSql));
    let to = to.as_ref().map(|to| (":to", to as &dyn ToSql));
    [filter, from, to].into_iter().flatten().collect()
}

/// Returns the purchase with this id.
pub(super) fn by_id(connection: &Connection, id: &PurchaseId) -> rusqlite::Result<Option<Purchase>> {
    let sql = format!("SELECT {COLUMNS} FROM purchases WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([IdColumn(*id)], rows::purchase).optional()
}

/// Returns what is stored under this id.
pub(super) fn look_up(connection: &Connection, id: &PurchaseId) -> rusqlite::Result<Lookup> {
    Ok(match by_id(connection, id)? {
        Some(purchase) => Lookup::Stored(purchase),
        None if is_marked(connection, id)? => Lookup::Erased,
        None => Lookup::Missing,
    })
}

#[cfg(test)]
mod tests {
    use shop_core::Price;
    use shop_core::ports::{Cursor, PageLimit, PageRequest, TimeRange};

    use super::*;
    use crate::embedded::database::Database;
    use crate::embedded::store::schema::STORE;

    #[test]
    fn every_listing_uses_its_index_without_sorting() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, _lock) =
            Database::new(&STORE, folder.path(), "store", None).open_to_write().unwrap();
        let (user, name) = (Selector::User("u".parse().unwrap()), Selector::Name("n".parse().unwrap()));
        let times = [Timestamp::MIN, Timestamp::MAX].map(Some);
        for (selector, index) in [(user, "by_user"), (name, "by_name"), (Selector::All, "purchases")] {
            for (order, [from, to]) in [
                (ListOrder::NewestFirst, [None, None]),
                (ListOrder::OldestFirst, [None, None]),
                (ListOrder::NewestFirst, times),
                (ListOrder::OldestFirst, times),
            ] {
                let range = TimeRange::new(from, to).unwrap();
                let first = PageRequest::first(order, PageLimit::DEFAULT).with_range(range);
                let last = "65a1f0c2d3e4b5a697887766".parse().unwrap();
                let (user, name) = ("u".parse().unwrap(), "n".parse().unwrap());
                let last = Purchase::new(last, user, name, Price::ZERO, Timestamp::MIN);
                let cursor = Cursor::after(&selector, &first, &last);
                for request in [first.clone(), first.with_cursor(Some(cursor))] {
                    let bounds = request.bounds(&selector).unwrap();
                    let sql = statement(&selector, order, &bounds);
                    let plan = plan(&connection, &sql);
                    assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
                    let is_bound = bounds != PageRequest::default().bounds(&selector).unwrap();
                    let searches = plan.contains("SEARCH") || (!is_bound && selector == Selector::All);
                    assert!(searches, "{sql}: {plan}");
                    // The end of a page before, and not the start of the range, which may be far away.
                    let starts_at_keyset =
                        plan.contains("(timestamp,id)") || plan.contains("(timestamp, id)");
                    assert!(bounds.after.is_none() || starts_at_keyset, "{sql}: {plan}");
                }
            }
        }
    }

    fn plan(connection: &Connection, sql: &str) -> String {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = explain.raw_query();
        let mut plan: Vec<String> = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get(3).unwrap());
        }
        plan.join("; ")
    }
}
