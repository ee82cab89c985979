//! Buyers: pairs of a user's id and a user's name, each interned to one integer.
//!
//! The row of a purchase contains the integer of its buyer instead of two texts, and the primary
//! key of `purchases` begins with this integer. A user who bought under several names is several
//! buyers. The table `buyers` also contains the folded sums of each buyer, see the module `fold`.
//!
//! ```text
//! buyer  userid  username   texts_checksum  count, high, low, residue
//!     0                                 the sums of all buyers
//!     7  u1      ada        1630472119  the sums of ada's purchases
//!     8  u1      countess   2210438957  the sums of the same user's purchases under another name
//! ```
//!
//! The writer needs the integer of each purchase's buyer, and keeps recent ones in a
//! [`BuyerCache`].

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use shop_core::ports::Selector;
use shop_core::{Purchase, UserId, UserName};

use super::rows::user_text_checksum;
use super::sums::Sums;
use crate::embedded::engine::checksum::{changed_row_error, checksum, verify_columns};
use crate::embedded::engine::error::parse_column;

/// The buyer 0, which stands for all buyers together in the tables of sums. No purchase refers to
/// it.
pub(crate) const ALL: i64 = 0;

/// The query of the first user name from `?1` on, in the order of names. It is one step in the
/// index `by_name`.
pub(super) const NEXT_NAME: &str = "SELECT username, buyer FROM buyers WHERE username >= ?1 AND buyer <> 0 ORDER BY username LIMIT 1";

/// A buyer, as it is read for a listing of its purchases.
pub(super) struct Buyer {
    /// The integer that stands for the buyer in other tables.
    pub(super) key: i64,
    pub(super) user_id: UserId,
    pub(super) user_name: UserName,
    /// The checksum of the id and the name, which the checksum of each purchase continues.
    pub(super) checksum: u32,
}

/// The maximum size of the ids and names in a [`BuyerCache`], in bytes: 100,000 buyers with usual
/// texts.
const MAX_CACHED_BYTES: usize = 4 << 20;

/// The integer that stands for a buyer in other tables, and the checksum of its id and name.
#[derive(Clone, Copy)]
pub(super) struct InternedBuyer {
    pub(super) key: i64,
    /// The checksum of the id and the name, which the checksum of each purchase continues.
    pub(super) checksum: u32,
}

/// A cache of the integers of buyers, which publishes keep from one transaction to the next in the
/// [`JobCache`](crate::embedded::engine::job::JobCache).
///
/// It contains one buyer for each user id: the one with the name that the id was last used with.
#[derive(Default)]
pub(crate) struct BuyerCache {
    /// The name that each user id was last used with, and the buyer with this id and name.
    interned_buyers: HashMap<UserId, (UserName, InternedBuyer)>,
    /// The size of the ids and names that were added, in bytes.
    bytes: usize,
}

impl BuyerCache {
    /// Returns the buyer of `purchase` from the cache or from the file. Inserts the buyer into the
    /// file if the file does not contain it.
    ///
    /// # Errors
    /// Returns the errors of SQLite, and fails if the disk changed the row of the buyer.
    pub(super) fn intern(
        &mut self,
        connection: &Connection,
        purchase: &Purchase,
    ) -> rusqlite::Result<InternedBuyer> {
        let id = &purchase.user_id;
        let name = &purchase.user_name;
        if let Some((cached_name, buyer)) = self.interned_buyers.get(id)
            && cached_name == name
        {
            return Ok(*buyer);
        }

        let sql = "SELECT buyer, userid, username, texts_checksum FROM buyers
                   WHERE userid = ?1 AND username = ?2";
        let stored_key = connection
            .prepare_cached(sql)?
            .query_row([id.as_str(), name.as_str()], read_checked_key)
            .optional()?;
        let key = match stored_key {
            Some(key) => key,
            None => insert_buyer(connection, id, name)?,
        };
        let buyer = InternedBuyer {
            key,
            checksum: user_text_checksum(id.as_str(), name.as_str()),
        };

        // A full cache is emptied, and fills again with the buyers that are active now.
        if self.bytes > MAX_CACHED_BYTES {
            *self = Self::default();
        }
        self.bytes += id.as_str().len() + name.as_str().len();
        self.interned_buyers
            .insert(id.clone(), (name.clone(), buyer));
        Ok(buyer)
    }
}

/// Inserts a buyer with empty sums. Returns the integer that SQLite assigned.
fn insert_buyer(connection: &Connection, id: &UserId, name: &UserName) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("INSERT INTO buyers (userid, username) VALUES (?1, ?2)")?
        .execute([id.as_str(), name.as_str()])?;
    // The checksum covers the integer, which is only known after the insert.
    let key = connection.last_insert_rowid();
    let buyer = ValueRef::Integer(key);
    let checksum = checksum(0, [buyer, id.as_str().into(), name.as_str().into()]);
    connection
        .prepare_cached("UPDATE buyers SET texts_checksum = ?2 WHERE buyer = ?1")?
        .execute(params![key, checksum])?;
    Ok(key)
}

/// Reads the integer of a buyer from a row of `buyer, userid, username, texts_checksum`, and verifies
/// the checksum.
///
/// # Errors
/// Fails if a checksum shows that the disk changed one of the columns.
pub(crate) fn read_checked_key(row: &Row<'_>) -> rusqlite::Result<i64> {
    verify_columns(row, 0, 0..3)?;
    row.get(0)
}

/// Removes the row of a buyer without purchases, because the row contains the user's id and name,
/// which are personal data. Keeps the row of a buyer with purchases, and the row of [`ALL`].
pub(super) fn remove_unused(connection: &Connection, buyer: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM buyers
               WHERE buyer = ?1 AND buyer <> 0 AND NOT EXISTS (SELECT 1 FROM purchases WHERE buyer = ?1)";
    connection.prepare_cached(sql)?.execute([buyer]).map(drop)
}

/// Calls `read_row` with the integer and the row of each buyer of `selector`, and returns the
/// results.
///
/// For [`Selector::All`], the only row is [`ALL`], which carries the sums of all buyers. A reference
/// does not select by buyer, so there is no row. The columns of a row are buyer, userid,
/// username, `texts_checksum`, and the four columns of [`Sums`], which only `read_row` verifies.
///
/// # Errors
/// Fails if a checksum shows that the disk changed a row, if the index that led to a row is
/// damaged, or if `read_row` fails.
fn select_buyers<T>(
    connection: &Connection,
    selector: &Selector,
    read_row: impl Fn(i64, &Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    // Each condition contains `?1`, also where it needs no value, so that one parameter is always
    // bound.
    let (condition, value) = match selector {
        Selector::User(id) => ("userid = ?1", id.as_str()),
        Selector::Name(name) => ("username = ?1", name.as_str()),
        Selector::All => ("buyer = 0 AND ?1 = ''", ""),
        Selector::Reference(..) => return Ok(Vec::new()),
    };
    let sql = format!(
        "SELECT buyer, userid, username, texts_checksum, count, high, low, residue FROM buyers WHERE {condition}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let results = statement.query_map([value], |row| {
        // The condition compares the text in the index. The checksum covers this text together with
        // the number of the row, so an entry that leads to another row is recognized.
        read_row(read_checked_key(row)?, row)
    })?;
    results.collect()
}

/// Returns the buyers with the user id or the user name of `selector`.
///
/// # Errors
/// Fails if a checksum shows that the disk changed the row of a buyer.
pub(super) fn find_buyers(
    connection: &Connection,
    selector: &Selector,
) -> rusqlite::Result<Vec<Buyer>> {
    select_buyers(connection, selector, |key, row| {
        let user_id: UserId = parse_column(row, 1)?;
        let user_name: UserName = parse_column(row, 2)?;
        let checksum = user_text_checksum(user_id.as_str(), user_name.as_str());
        Ok(Buyer {
            key,
            user_id,
            user_name,
            checksum,
        })
    })
}

/// Returns the first user name that is equal to `from` or after it, in the order of names.
///
/// # Errors
/// Fails if a checksum shows that the disk changed the row of the buyer, or if the index of names
/// is damaged.
pub(super) fn next_name(connection: &Connection, from: &str) -> rusqlite::Result<Option<String>> {
    let first_entry = connection
        .prepare_cached(NEXT_NAME)?
        .query_row([from], |row| row.try_into())
        .optional()?;
    let Some((name, buyer)): Option<(String, i64)> = first_entry else {
        return Ok(None);
    };

    // The name was read from the index alone. The row, which stores a checksum, must contain the
    // same name.
    let sql = "SELECT buyer, userid, username, texts_checksum FROM buyers WHERE buyer = ?1";
    let has_name = connection.prepare_cached(sql)?.query_row([buyer], |row| {
        read_checked_key(row)?;
        Ok(row.get_ref(2)?.as_str()? == name)
    })?;
    if has_name {
        Ok(Some(name))
    } else {
        Err(changed_row_error(0))
    }
}

/// Returns the integer and the folded sums of each buyer of `selector`. For [`Selector::All`], the
/// only buyer is [`ALL`].
///
/// The sums do not contain the purchases that are still in the table `unfolded`.
///
/// # Errors
/// Fails if a checksum or a residue shows that the disk changed a row.
pub(super) fn find_folded_sums(
    connection: &Connection,
    selector: &Selector,
) -> rusqlite::Result<Vec<(i64, Sums)>> {
    select_buyers(connection, selector, |key, row| {
        Ok((key, Sums::read(row, 4)?))
    })
}
