//! Reads purchases: pages of a listing, a single purchase by its id, and batches of a scan of all
//! rows.
//!
//! Pages use keyset pagination: each page continues in an index after the time and id of the last
//! purchase of the page before. So a later page costs no more than the first one, and none sorts
//! rows.
//!
//! | listing | order of the rows |
//! |---|---|
//! | the purchases of a buyer | the primary key: buyer, timestamp, id |
//! | all purchases, and the scan | the index `by_time`: timestamp, id |
//! | the purchases with a reference | the index `by_reference`: reference, timestamp, id |

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};
use shop_core::ports::{
    Cursor, ListOrder, Lookup, Page, PageBounds, PageLimit, ScanBatch, Selector, UnreadableEntry,
};
use shop_core::{Purchase, PurchaseId};

use super::buyers::{self, Buyer};
use super::erase::is_marked_erased;
use super::rows::{self, COLUMNS, id_bytes};
use super::waiting;
use crate::embedded::engine::checksum::{changed_row_error, check_ascending};
use crate::limits::row_limit;

/// Reads the purchases of a full page of `selector` within `bounds`, in the given order, and one
/// more purchase if there is another page.
///
/// A user id or a user name may belong to several buyers. The first rows of each are read and
/// merged.
///
/// # Errors
/// Fails if a checksum shows that the disk changed one of the rows.
pub(super) fn read_page(
    connection: &Connection,
    selector: &Selector,
    order: ListOrder,
    bounds: &PageBounds,
    limit: PageLimit,
) -> rusqlite::Result<Vec<Purchase>> {
    let mut page = PageReader {
        selector,
        order,
        bounds,
        limit,
        purchases: Vec::with_capacity(limit.min(PageLimit::DEFAULT).get() + 1),
        unknown_bytes: 0,
    };

    match selector {
        Selector::All | Selector::Reference(..) => page.read_rows(connection, None)?,
        Selector::User(_) | Selector::Name(_) => {
            for buyer in buyers::find_buyers(connection, selector)? {
                page.read_rows(connection, Some(&buyer))?;
            }
        }
    }

    Ok(page.purchases)
}

/// A page in the making, which merges the rows of several buyers in the order of the listing.
struct PageReader<'a> {
    selector: &'a Selector,
    order: ListOrder,
    bounds: &'a PageBounds,
    /// The maximum number of purchases in the page.
    limit: PageLimit,
    /// The first purchases of the rows that were read, in the order of the listing. There are at most
    /// the purchases of a full page and one more.
    purchases: Vec<Purchase>,
    /// The size of the unknown members of `purchases`.
    unknown_bytes: usize,
}

impl PageReader<'_> {
    /// Reads the rows of `buyer`, or all rows of the selector if it does not select by buyer, in the
    /// order of the listing. Adds the purchases that belong to the page.
    ///
    /// Stops at the first row that is behind a full page, because all further rows are behind the
    /// page too.
    fn read_rows(
        &mut self,
        connection: &Connection,
        buyer: Option<&Buyer>,
    ) -> rusqlite::Result<()> {
        let (sql, parameters) = page_statement(self, buyer);
        let mut statement = connection.prepare_cached(&sql)?;
        let mut selected_rows = statement.query(&*parameters)?;

        while let Some(row) = selected_rows.next()? {
            let purchase = match buyer {
                Some(buyer) => rows::read_purchase_of_user(
                    row,
                    buyer.checksum,
                    buyer.user_id.clone(),
                    buyer.user_name.clone(),
                )?,
                None => rows::read_purchase(row)?,
            };

            if !self.insert_in_order(purchase) {
                break;
            }
        }
        Ok(())
    }

    /// Inserts `purchase` at its position in the page, and drops purchases that do not belong to the
    /// page any more. Inserts nothing and returns `false` if the page is full and the purchase is
    /// behind it.
    fn insert_in_order(&mut self, purchase: Purchase) -> bool {
        let key = (purchase.timestamp, purchase.id);
        let precedes = |other: &Purchase| match self.order {
            ListOrder::OldestFirst => (other.timestamp, other.id) < key,
            ListOrder::NewestFirst => (other.timestamp, other.id) > key,
        };

        // The rows of a single buyer arrive in order, so most purchases are appended without a
        // search.
        let position = match self.purchases.last() {
            Some(last) if !precedes(last) => self.purchases.partition_point(precedes),
            _ => self.purchases.len(),
        };
        if position == self.purchases.len() && self.is_full_without(1) {
            return false;
        }

        self.unknown_bytes += purchase.details.unknown_bytes();
        self.purchases.insert(position, purchase);
        // A full page and one more purchase are kept.
        while self.is_full_without(2) {
            let dropped = self.purchases.pop();
            self.unknown_bytes -= dropped.map_or(0, |last| last.details.unknown_bytes());
        }
        true
    }

    /// Returns whether the purchases fill the page even without the last `count` purchases.
    fn is_full_without(&self, count: usize) -> bool {
        let Some(length) = self.purchases.len().checked_sub(count) else {
            return false;
        };
        let last_purchases = &self.purchases[length..];
        let last_bytes: usize = last_purchases
            .iter()
            .map(|purchase| purchase.details.unknown_bytes())
            .sum();
        Page::is_full(self.limit, length, self.unknown_bytes - last_bytes)
    }
}

/// Returns the SQL statement that [`PageReader::read_rows`] runs, and the statement's parameters by
/// name.
///
/// `INDEXED BY` and `CROSS JOIN` keep SQLite from choosing another index or from looping over the
/// buyers first. Either would make it sort all rows.
fn page_statement(
    page: &PageReader<'_>,
    buyer: Option<&Buyer>,
) -> (String, Vec<(&'static str, Value)>) {
    let bounds = page.bounds;
    let mut parameters = vec![(":limit", row_limit(page.limit.get() + 1).into())];
    // Appending parts is cheaper than formatting the statement, which is done for each page.
    let mut sql = "SELECT ".to_owned();
    match (buyer, page.selector) {
        (Some(buyer), _) => {
            sql += "timestamp, id, price, checksum, details FROM purchases WHERE buyer = :buyer";
            parameters.push((":buyer", buyer.key.into()));
        }
        (None, Selector::Reference(reference, user)) => {
            sql += COLUMNS;
            sql += " FROM purchases INDEXED BY by_reference CROSS JOIN buyers USING (buyer) WHERE reference = :reference";
            parameters.push((":reference", reference.as_str().to_owned().into()));
            if let Some(user) = user {
                sql += " AND userid = :user";
                parameters.push((":user", user.as_str().to_owned().into()));
            }
        }
        (None, Selector::All) => {
            sql += COLUMNS;
            sql += " FROM purchases INDEXED BY by_time CROSS JOIN buyers USING (buyer) WHERE true";
        }
        // `read_page` passes a buyer for the page of a user or of a name, so this case does not occur.
        (None, _) => {
            sql += COLUMNS;
            sql += " FROM purchases CROSS JOIN buyers USING (buyer) WHERE false";
        }
    }

    if let Some(from) = bounds.from {
        sql += " AND timestamp >= :from";
        parameters.push((":from", from.as_millis().into()));
    }
    if let Some(to) = bounds.to {
        sql += " AND timestamp < :to";
        parameters.push((":to", to.as_millis().into()));
    }

    // Timestamps may be equal, so the position after the previous page consists of timestamp and
    // id.
    let (after_last, order_by) = match page.order {
        ListOrder::OldestFirst => (
            " AND (timestamp, id) > (:timestamp, :id)",
            " ORDER BY timestamp ASC, id ASC LIMIT :limit",
        ),
        ListOrder::NewestFirst => (
            " AND (timestamp, id) < (:timestamp, :id)",
            " ORDER BY timestamp DESC, id DESC LIMIT :limit",
        ),
    };
    if let Some(last) = bounds.after {
        sql += after_last;
        parameters.push((":timestamp", last.timestamp.as_millis().into()));
        parameters.push((":id", id_bytes(last.id).into()));
    }

    sql += order_by;
    (sql, parameters)
}

/// Returns the purchase with this id, or `None` if there is no such row.
///
/// # Errors
/// Fails if a checksum shows that the disk changed the row, or if the index that led to the row is
/// damaged.
pub(crate) fn find_by_id(
    connection: &Connection,
    id: &PurchaseId,
) -> rusqlite::Result<Option<Purchase>> {
    let sql =
        format!("SELECT {COLUMNS} FROM purchases CROSS JOIN buyers USING (buyer) WHERE id = ?1");
    let purchase = connection
        .prepare_cached(&sql)?
        .query_row([id_bytes(*id)], rows::read_purchase)
        .optional()?;

    match purchase {
        // The row is intact but contains another id, so the index that led to the row is damaged.
        Some(other) if other.id != *id => Err(changed_row_error(rows::ID)),
        purchase => Ok(purchase),
    }
}

/// Looks up whether the purchase with this id is stored, erased, a refund that waits for its
/// purchase, or missing.
pub(super) fn look_up(connection: &Connection, id: &PurchaseId) -> rusqlite::Result<Lookup> {
    if let Some(purchase) = find_by_id(connection, id)? {
        return Ok(Lookup::Stored(purchase));
    }
    if is_marked_erased(connection, id)? {
        return Ok(Lookup::Erased);
    }
    if let Some(entry) = waiting::find_by_id(connection, id)? {
        return Ok(Lookup::Waiting(entry.refund.without_context()));
    }
    Ok(Lookup::Missing)
}

/// The maximum number of rows in a batch of a scan.
const SCAN_BATCH_ROWS: usize = 1_000;

/// The position of a row in a scan: its timestamp in milliseconds, and the bytes of its id.
type ScanKey = (i64, Vec<u8>);

/// Reads the next batch of a scan: the rows after the position `after`, in the order of time.
///
/// A row that the disk changed does not end the scan. It is listed as unreadable, with its id and
/// the reason, so that an operator can find it.
///
/// # Errors
/// Fails if the positions of rows do not ascend, because the scan might then never end.
pub(super) fn read_scan_batch(
    connection: &Connection,
    after: Option<&ScanKey>,
) -> rusqlite::Result<ScanBatch> {
    let condition = if after.is_some() {
        "WHERE (timestamp, id) > (?1, ?2)"
    } else {
        ""
    };
    // A left join also returns a purchase whose buyer is missing. It is then unreadable, and not
    // passed over.
    let sql = format!(
        "SELECT {COLUMNS} FROM purchases INDEXED BY by_time LEFT JOIN buyers USING (buyer) {condition}
         ORDER BY timestamp, id LIMIT {SCAN_BATCH_ROWS}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut scanned_rows = match after {
        Some((timestamp, id)) => statement.query(params![timestamp, id])?,
        None => statement.query([])?,
    };

    let mut purchases = Vec::new();
    let mut unreadable = Vec::new();
    let mut last_key = None;
    let mut unknown_bytes = 0;
    let mut is_full = false;
    while let Some(row) = scanned_rows.next()? {
        let key: ScanKey = (row.get(rows::TIMESTAMP)?, row.get(rows::ID)?);
        match rows::read_purchase(row) {
            Ok(purchase) => {
                unknown_bytes += purchase.details.unknown_bytes();
                purchases.push(purchase);
            }
            Err(error) => {
                let id = rows::blob_literal(&key.1);
                unreadable.push(UnreadableEntry::new(id, unreadable_reason(&error)));
            }
        }

        check_ascending(&key, last_key.as_ref().or(after))?;
        last_key = Some(key);
        is_full = purchases.len() + unreadable.len() == SCAN_BATCH_ROWS
            || unknown_bytes >= Page::MAX_UNKNOWN_BYTES;
        if is_full {
            break;
        }
    }

    // A batch that is not full ends at the last row, so no position follows.
    let next = match last_key {
        Some((timestamp, id)) if is_full => {
            Some(Cursor::from_text(format!("{timestamp}:{}", hex(&id))))
        }
        _ => None,
    };
    Ok(ScanBatch::new(purchases, next).with_unreadable(unreadable))
}

/// Parses a position that [`read_scan_batch`] returned: the timestamp, a colon, and the bytes of
/// the id in hex.
///
/// Returns `None` if `position` is in another form, for example because another store returned it.
pub(super) fn parse_position(position: &Cursor) -> Option<ScanKey> {
    let (timestamp, id) = position.as_str().split_once(':')?;
    let decoded_bytes = id
        .as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
    Some((
        timestamp.parse().ok()?,
        decoded_bytes.collect::<Option<_>>()?,
    ))
}

/// Formats bytes as lowercase hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Describes why a row cannot be read: the name of the damaged column and its problem, where they
/// are known.
fn unreadable_reason(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::FromSqlConversionFailure(column, _, problem) => {
            let reason = format!("{} {problem}", column_name(*column));
            reason.trim().to_owned()
        }
        rusqlite::Error::InvalidColumnType(column, _, actual_type) => {
            format!("{} is not valid, a {actual_type}", column_name(*column))
        }
        other => other.to_string(),
    }
}

/// Returns the name of a column of [`COLUMNS`], or an empty text if there is no such column.
fn column_name(column: usize) -> &'static str {
    COLUMNS.split(", ").nth(column).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::engine::database::Database;
    use crate::embedded::fixture::*;
    use crate::embedded::schema::SHOP;

    /// A new file with all tables.
    fn fresh_file(folder: &TempDir) -> Connection {
        let database = Database::new(&SHOP, folder.path(), "shop", None);
        database.open_to_write().unwrap();
        connect(folder)
    }

    #[test]
    fn every_listing_uses_its_index_without_sorting() {
        let folder = fresh_folder();
        let connection = fresh_file(&folder);
        let times = [Timestamp::MIN, Timestamp::MAX].map(Some);
        let buyer = Buyer {
            key: 1,
            user_id: "u".parse().unwrap(),
            user_name: "n".parse().unwrap(),
            checksum: 0,
        };
        let user = buyer.user_id.clone();
        let reference = Selector::Reference("r".parse().unwrap(), Some(user.clone()));
        for (selector, buyer, index) in [
            (Selector::User(user), Some(&buyer), "PRIMARY KEY (buyer=?"),
            (Selector::All, None, "by_time"),
            (reference, None, "by_reference (reference=?"),
        ] {
            let orders = [ListOrder::NewestFirst, ListOrder::OldestFirst];
            for (order, [from, to]) in orders
                .into_iter()
                .flat_map(|order| [(order, [None, None]), (order, times)])
            {
                let range = TimeRange::new(from, to).unwrap();
                let first = PageRequest::first(order, PageLimit::DEFAULT).with_range(range);
                let cursor = Cursor::after(&selector, &first, &purchase(1));
                for request in [first.clone(), first.with_cursor(cursor)] {
                    let bounds = request.bounds(&selector).unwrap();
                    let page = PageReader {
                        selector: &selector,
                        order,
                        bounds: &bounds,
                        limit: PageLimit::DEFAULT,
                        purchases: Vec::new(),
                        unknown_bytes: 0,
                    };
                    let (sql, _) = page_statement(&page, buyer);
                    let plan = plan(&connection, &sql);
                    assert!(
                        plan.contains(index) && !plan.contains("TEMP B-TREE"),
                        "{sql}: {plan}"
                    );
                    // The end of a page before, and not the start of the range, which may be far
                    // away.
                    let starts_at_keyset =
                        plan.contains("(timestamp,id)") || plan.contains("(timestamp, id)");
                    assert!(bounds.after.is_none() || starts_at_keyset, "{sql}: {plan}");
                }
            }
        }
    }

    #[test]
    fn the_next_name_is_one_step_in_the_index() {
        let folder = fresh_folder();
        let connection = fresh_file(&folder);
        let plan = plan(&connection, buyers::NEXT_NAME);
        assert_eq!(
            plan,
            "SEARCH buyers USING COVERING INDEX by_name (username>?)"
        );
    }

    fn plan(connection: &Connection, sql: &str) -> String {
        let mut explain = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let mut rows = explain.raw_query();
        let mut plan: Vec<String> = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get(3).unwrap());
        }
        plan.join("; ")
    }
}
