//! Reads the table `unfolded`: the purchases that the folded sums do not contain yet.
//!
//! [`fold`](super::fold) describes the tables, and writes them. [`UnfoldedSums`] adds the unfolded
//! purchases to the folded sums, and caches their sums, so that a process reads each row of `unfolded`
//! once.

use std::cmp::Ordering;
use std::collections::HashMap;

use rusqlite::{Connection, Row};
use shop_core::ports::{Selector, Summary};

use super::buyers::{self, ALL};
use super::rows::parse_signed_price;
use super::sums::Sums;
use crate::embedded::engine::checksum::{changed_row_error, verify_columns};

/// The buyer in the watermark, the first row of `unfolded`. No purchase is of this number, which stands
/// for all buyers in the tables of sums.
pub(super) const WATERMARK_BUYER: i64 = ALL;

/// The seed of the checksums of `unfolded`: they cover the columns of their row only.
pub(super) const CHECKSUM_SEED: u32 = 0;

// The columns of the queries of `unfolded` below.
const SEQUENCE: usize = 0;
const BUYER: usize = 1;
const TIMESTAMP: usize = 2;
const PRICE: usize = 3;
const CHECKSUM: usize = 4;
const NEWEST_SEQUENCE: usize = 5;

/// A purchase in a row of `unfolded`, which the folded sums do not contain yet.
pub(crate) struct UnfoldedPurchase {
    pub(super) buyer: i64,
    /// The time of the purchase in milliseconds since 1970.
    pub(super) timestamp: i64,
    /// The sums of this purchase alone.
    pub(super) sums: Sums,
}

/// Calls `visit` with each unfolded purchase after `sequence`, in the order of the sequences.
///
/// Returns the sequence of the newest row, or `sequence` if there is no later row. `i64::MIN` as
/// `sequence` reads all rows, beginning with the watermark.
///
/// # Errors
/// Fails if a checksum shows that the disk changed one of the rows.
pub(super) fn for_each_unfolded(
    connection: &Connection,
    sequence: i64,
    mut visit: impl FnMut(UnfoldedPurchase),
) -> rusqlite::Result<i64> {
    let sql =
        "SELECT sequence, buyer, timestamp, price, checksum FROM unfolded WHERE sequence > ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut unfolded_rows = statement.query([sequence])?;

    let mut newest_sequence = sequence;
    while let Some(row) = unfolded_rows.next()? {
        let row_sequence: i64 = row.get(SEQUENCE)?;
        // SQLite numbers the rows without a gap, and they are deleted together. A changed sequence
        // may hide other rows too, because SQLite finds the first row by a binary search.
        let is_first_row = newest_sequence == i64::MIN;
        if !is_first_row && newest_sequence.checked_add(1) != Some(row_sequence) {
            return Err(changed_row_error(SEQUENCE));
        }
        newest_sequence = row_sequence;

        if let Some(purchase) = read_unfolded(row)? {
            visit(purchase);
        }
    }
    Ok(newest_sequence)
}

/// Reads a purchase from a row of `unfolded`, and verifies the checksum of the row.
///
/// The columns of `row` are sequence, buyer, timestamp, price and checksum. Returns `None` for the
/// watermark, which stands for no purchase.
///
/// # Errors
/// Fails if a checksum shows that the disk changed the row.
pub(crate) fn read_unfolded(row: &Row<'_>) -> rusqlite::Result<Option<UnfoldedPurchase>> {
    let buyer: i64 = row.get(BUYER)?;
    let timestamp = row.get(TIMESTAMP)?;

    if buyer == WATERMARK_BUYER {
        // The checksum of the watermark covers its sequence too.
        verify_columns(row, CHECKSUM_SEED, SEQUENCE..CHECKSUM)?;
        return Ok(None);
    }
    // The checksum of a purchase covers the columns behind the sequence, because SQLite assigns the
    // sequence after the checksum was computed.
    verify_columns(row, CHECKSUM_SEED, BUYER..CHECKSUM)?;

    let price = parse_signed_price(row.get_ref(PRICE)?, PRICE)?;
    Ok(Some(UnfoldedPurchase {
        buyer,
        timestamp,
        sums: Sums::from_price(price),
    }))
}

/// The rows of `unfolded` that a transaction sees.
#[derive(Debug, Clone, Copy)]
struct Snapshot {
    /// The sequence of the watermark.
    watermark: i64,
    /// The sequence of the newest row, which is the watermark if no purchase is unfolded.
    newest: i64,
}

impl Snapshot {
    /// Reads the sequences of the rows, and verifies the checksum of the watermark.
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        // The first row is the watermark.
        let sql = "SELECT sequence, buyer, timestamp, price, checksum, (SELECT max(sequence) FROM unfolded)
                   FROM unfolded ORDER BY sequence LIMIT 1";
        connection.prepare_cached(sql)?.query_row([], |row| {
            read_unfolded(row)?;
            Ok(Self {
                watermark: row.get(SEQUENCE)?,
                newest: row.get(NEWEST_SEQUENCE)?,
            })
        })
    }
}

/// How a cache relates to the rows that a transaction sees.
#[derive(Debug, PartialEq)]
enum CacheFit {
    /// A fold has added the cached purchases to the folded sums.
    Outdated,
    /// The transaction sees all cached rows, and perhaps newer ones.
    Usable,
    /// The cache contains rows, or follows a fold, that the transaction does not see.
    Ahead,
}

/// A cache of the sums of the unfolded purchases by buyer, so that a process reads each row of
/// `unfolded` once.
///
/// The reader threads of a process share one cache. A fold by any process makes it obsolete.
#[derive(Debug, Default)]
pub(super) struct UnfoldedSums {
    /// The sequence of the watermark that the cached rows follow.
    watermark: i64,
    /// The sequence of the newest row that the cache includes.
    newest: i64,
    /// The sums of the rows after `watermark` up to `newest`. [`ALL`] stands for all buyers.
    sums: HashMap<i64, Sums>,
}

impl UnfoldedSums {
    /// Creates an empty cache of the rows after the sequence `watermark`.
    fn after(watermark: i64) -> Self {
        Self {
            watermark,
            newest: watermark,
            sums: HashMap::new(),
        }
    }

    /// Returns the number and the total price of the purchases of `selector`: the folded sums plus
    /// the unfolded ones.
    ///
    /// Reads the rows of `unfolded` that the cache does not include yet, and keeps their sums in
    /// the cache.
    ///
    /// # Errors
    /// Fails if a checksum shows that the disk changed a row that the summary depends on.
    pub(super) fn summary(
        &mut self,
        connection: &Connection,
        selector: &Selector,
    ) -> rusqlite::Result<Summary> {
        // One transaction reads folded and unfolded sums, so that a fold in between cannot count
        // purchases twice.
        let transaction = connection.unchecked_transaction()?;
        let snapshot = Snapshot::read(&transaction)?;

        let mut empty_cache = Self::after(snapshot.watermark);
        let cache = match self.fit(snapshot) {
            CacheFit::Usable => self,
            CacheFit::Outdated => {
                *self = empty_cache;
                self
            }
            // The cache stays, and this summary reads all unfolded rows that it sees.
            CacheFit::Ahead => &mut empty_cache,
        };
        cache.read_new_rows(&transaction)?;
        // Rows are missing, so the disk changed the file.
        if cache.newest != snapshot.newest {
            *cache = Self::default();
            return Err(changed_row_error(SEQUENCE));
        }

        let mut total = Sums::default();
        for (buyer, folded_sums) in buyers::find_folded_sums(&transaction, selector)? {
            total.add_sums(folded_sums);
            total.add_sums(cache.sums.get(&buyer).copied().unwrap_or_default());
        }
        Ok(total.to_summary())
    }

    /// Returns how this cache relates to the rows of `snapshot`.
    fn fit(&self, snapshot: Snapshot) -> CacheFit {
        match snapshot.watermark.cmp(&self.watermark) {
            Ordering::Greater => CacheFit::Outdated,
            Ordering::Equal if self.newest <= snapshot.newest => CacheFit::Usable,
            Ordering::Equal | Ordering::Less => CacheFit::Ahead,
        }
    }

    /// Adds the rows of `unfolded` that this cache has not read yet.
    fn read_new_rows(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let read_result = for_each_unfolded(connection, self.newest, |purchase| {
            for buyer in [purchase.buyer, ALL] {
                self.sums.entry(buyer).or_default().add_sums(purchase.sums);
            }
        });
        if read_result.is_err() {
            // The rows before the error are in the sums already. The next summary would add them
            // again, so the cache starts again.
            *self = Self::default();
        }
        self.newest = read_result?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_used_by_transactions_that_see_its_rows_and_no_later_fold() {
        let cache = UnfoldedSums {
            newest: 9,
            ..UnfoldedSums::after(4)
        };
        for (watermark, newest, fit) in [
            (4, 9, CacheFit::Usable),
            (4, 12, CacheFit::Usable),
            (4, 8, CacheFit::Ahead),
            (3, 4, CacheFit::Ahead),
            (3, 12, CacheFit::Ahead),
            (9, 9, CacheFit::Outdated),
            (12, 14, CacheFit::Outdated),
        ] {
            let snapshot = Snapshot { watermark, newest };
            assert_eq!(cache.fit(snapshot), fit, "{snapshot:?}");
        }
    }
}
