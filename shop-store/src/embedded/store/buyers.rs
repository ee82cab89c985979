//! Buyers: pairs of a user's id and name, interned to one integer.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, FileControl, OptionalExtension, Row, params};
use shop_core::ports::Selector;
use shop_core::{Purchase, UserId, UserName};

use super::rows;
use super::sums::Sums;
use crate::embedded::checksum::{changed, check, checksum};
use crate::embedded::error::parsed;

/// Stands for all buyers in the tables of sums.
pub(in crate::embedded) const ALL: i64 = 0;

/// One step in the index of names.
pub(super) const NEXT_NAME: &str = "SELECT username, buyer FROM buyers WHERE username >= ?1 AND buyer <> 0 ORDER BY username LIMIT 1";

/// A buyer with its integer.
#[derive(Debug)]
pub(super) struct Buyer {
    pub(super) key: i64,
    pub(super) user_id: UserId,
    pub(super) user_name: UserName,
    /// Of the texts.
    pub(super) checksum: u32,
}

/// The maximum size of the texts of known buyers, in bytes: of 100,000 with usual texts.
const MAX_KNOWN_BYTES: usize = 4 << 20;

/// The integer of a buyer, and the checksum of the texts.
pub(super) type InternedBuyer = (i64, u32);

/// The integers of buyers by id, each for the name that the id was last used with.
#[derive(Debug, Default)]
pub(in crate::embedded) struct BuyerCache {
    known: HashMap<UserId, (UserName, InternedBuyer)>,
    /// The size of the texts that were added.
    bytes: usize,
    /// The version of the file that they are of. Each commit changes it, of any connection.
    version: Option<u32>,
}

impl BuyerCache {
    /// Those that are still valid in a transaction: all, unless another connection has changed the file.
    pub(in crate::embedded) fn checked(self, connection: &Connection) -> Self {
        if self.version.is_some() && self.version == version(connection) {
            self
        } else {
            Self::default()
        }
    }

    /// Those that are valid after the transaction.
    pub(in crate::embedded) fn committed(self, connection: &Connection) -> Self {
        Self {
            version: version(connection),
            ..self
        }
    }

    /// The integer of the buyer of `purchase`, who is added if missing.
    pub(super) fn intern(
        &mut self,
        connection: &Connection,
        purchase: &Purchase,
    ) -> rusqlite::Result<InternedBuyer> {
        let id = &purchase.user_id;
        let name = &purchase.user_name;
        if let Some((_, buyer)) = self.known.get(id).filter(|(known, _)| known == name) {
            return Ok(*buyer);
        }
        let sql = "SELECT buyer, userid, username, texts_hash FROM buyers
                   WHERE userid = ?1 AND username = ?2";
        let found = connection
            .prepare_cached(sql)?
            .query_row(params![id.as_str(), name.as_str()], check_texts)
            .optional()?;
        let key = match found {
            Some(key) => key,
            None => insert(connection, id, name)?,
        };
        let buyer = (key, rows::of_user(id.as_str(), name.as_str()));
        self.bytes += id.as_str().len() + name.as_str().len();
        if self.bytes > MAX_KNOWN_BYTES {
            *self = Self {
                version: self.version,
                ..Self::default()
            };
        }
        self.known.insert(id.clone(), (name.clone(), buyer));
        Ok(buyer)
    }
}

/// Inserts a buyer. Returns its integer.
fn insert(connection: &Connection, id: &UserId, name: &UserName) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("INSERT INTO buyers (userid, username) VALUES (?1, ?2)")?
        .execute([id.as_str(), name.as_str()])?;
    // The integer is part of the hash, and SQLite has assigned it just now.
    let key = connection.last_insert_rowid();
    connection
        .prepare_cached("UPDATE buyers SET texts_hash = ?2 WHERE buyer = ?1")?
        .execute(params![key, hash(key, id.as_str(), name.as_str())])?;
    Ok(key)
}

/// Returns the checksum of a buyer's integer and texts.
fn hash(buyer: i64, user_id: &str, user_name: &str) -> u32 {
    let buyer = ValueRef::Integer(buyer);
    checksum(0, [buyer, user_id.into(), user_name.into()])
}

/// Reads the integer of a buyer from a row of `buyer, userid, username, texts_hash`.
///
/// # Errors
/// If the disk has changed one of them.
pub(in crate::embedded) fn check_texts(row: &Row<'_>) -> rusqlite::Result<i64> {
    check(row, 0, 0..3)?;
    row.get(0)
}

/// The version of the file that this connection has read. SQLite has one of each.
fn version(connection: &Connection) -> Option<u32> {
    let mut version = 0;
    connection
        .file_control(None::<&str>, FileControl::DataVersion(&mut version))
        .ok()
        .map(|()| version)
}

/// Removes a buyer without purchases: the row has personal data.
pub(super) fn remove_unused(connection: &Connection, buyer: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM buyers
               WHERE buyer = ?1 AND buyer <> 0 AND NOT EXISTS (SELECT 1 FROM purchases WHERE buyer = ?1)";
    connection.prepare_cached(sql)?.execute([buyer]).map(drop)
}

/// The condition of the buyers of `selector`, with `?1` for its value.
fn condition(selector: &Selector) -> (&'static str, &str) {
    match selector {
        Selector::User(id) => ("userid = ?1", id.as_str()),
        Selector::Name(name) => ("username = ?1", name.as_str()),
        Selector::All => ("buyer = 0 AND ?1 = ''", ""),
        _ => ("false AND ?1 = ''", ""),
    }
}

/// The buyers of a user's id or name.
pub(super) fn of(connection: &Connection, selector: &Selector) -> rusqlite::Result<Vec<Buyer>> {
    let (condition, value) = condition(selector);
    let sql = [
        "SELECT buyer, userid, username, texts_hash FROM buyers WHERE ",
        condition,
    ]
    .concat();
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map([value], |row| {
        let key = check_buyer(row, selector)?;
        let (user_id, user_name): (UserId, UserName) = (parsed(row, 1)?, parsed(row, 2)?);
        let checksum = rows::of_user(user_id.as_str(), user_name.as_str());
        Ok(Buyer {
            key,
            user_id,
            user_name,
            checksum,
        })
    })?;
    found.collect()
}

/// Reads the integer of a buyer of `selector` from a row of `buyer, userid, username, texts_hash`.
///
/// # Errors
/// If the disk has changed the row, or the index that has led to it.
fn check_buyer(row: &Row<'_>, selector: &Selector) -> rusqlite::Result<i64> {
    let key = check_texts(row)?;
    let is_selected = match selector {
        Selector::User(id) => row.get_ref(1)?.as_str()? == id.as_str(),
        Selector::Name(name) => row.get_ref(2)?.as_str()? == name.as_str(),
        _ => key == ALL,
    };
    if is_selected {
        Ok(key)
    } else {
        Err(changed(1))
    }
}

/// Returns the least name that is `from` or greater.
pub(super) fn next_name(connection: &Connection, from: &str) -> rusqlite::Result<Option<String>> {
    let found = connection
        .prepare_cached(NEXT_NAME)?
        .query_row([from], |row| row.try_into())
        .optional()?;
    let Some((name, buyer)): Option<(String, i64)> = found else {
        return Ok(None);
    };
    // The name is that of the index: the row must have it too.
    let sql = "SELECT buyer, userid, username, texts_hash FROM buyers WHERE buyer = ?1";
    let has_name = connection.prepare_cached(sql)?.query_row([buyer], |row| {
        check_texts(row)?;
        Ok(row.get_ref(2)?.as_str()? == name)
    })?;
    if has_name {
        Ok(Some(name))
    } else {
        Err(changed(0))
    }
}

/// The integers of the buyers of `selector`, or [`ALL`], with their sums.
pub(super) fn with_sums(
    connection: &Connection,
    selector: &Selector,
) -> rusqlite::Result<Vec<(i64, Sums)>> {
    let (condition, value) = condition(selector);
    let sql = [
        "SELECT buyer, userid, username, texts_hash, count, high, low, residue FROM buyers WHERE ",
        condition,
    ]
    .concat();
    let mut statement = connection.prepare_cached(&sql)?;
    statement
        .query_map([value], |row| {
            let key = check_buyer(row, selector)?;
            Ok((key, Sums::read(row, 4)?))
        })?
        .collect()
}
