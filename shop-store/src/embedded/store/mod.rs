//! The embedded store: purchases and their sums in `shop.db`.
//!
//! A user with the id `u1` and the name `ada` bought for 29.99 twice, and was refunded once. After
//! the next fold, the tables contain:
//!
//! | table | rows in the example |
//! |---|---|
//! | `purchases` | one for each purchase and refund; a refund has a negative price |
//! | `buyers` | buyer 1 with the texts `u1` and `ada`, and the sums of its purchases; buyer 0 with the sums of all buyers |
//! | `days`, `quarters` | the sums of each day, for buyer 1 and for buyer 0; the sums of each quarter of an hour |
//! | `unfolded` | only the watermark; before the fold, the purchases that the sums do not contain yet, see `fold` |
//! | `refunds` | the id of the refund |
//! | `waiting_refunds` | none; a refund that arrives before its purchase waits here |
//! | `erased` | none; the ids of erased purchases, which must not be inserted again |
//! | `settings` | the currency of the store, once a setting has named one; how each imported file was read |
//!
//! The constants of `crate::embedded::schema` create these tables. The modules:
//!
//! | module | task |
//! |---|---|
//! | `store` | [`EmbeddedStore`], which runs the functions of the other modules on the writer and reader threads |
//! | `insert`, `waiting` | insert purchases and refunds; keep refunds whose purchase is missing |
//! | `buyers`, `rows` | convert purchases to rows, and users to the integers of buyers |
//! | `fold`, `unfolded`, `sums` | maintain the sums of prices per buyer, day and quarter of an hour; add the purchases that they do not contain yet |
//! | `select`, `periods` | read pages, single purchases and scans; read totals per period |
//! | `erase` | erase the purchases of a user, and delete old purchases |
//! | `compare` | compare the sums with the purchases, for the integrity check |

mod buyers;
mod compare;
mod erase;
mod fold;
mod insert;
mod periods;
mod rows;
mod select;
mod settings;
#[expect(
    clippy::module_inception,
    reason = "the same file names as in the other adapters"
)]
mod store;
#[cfg(test)]
mod store_test;
mod sums;
mod unfolded;
mod waiting;
#[cfg(test)]
mod waiting_test;

pub(super) use buyers::{ALL, BuyerCache, read_checked_key};
pub(super) use compare::compare_sums;
pub(super) use insert::insert_batch;
pub(super) use select::find_by_id;
pub use store::{EmbeddedStore, EmbeddedStoreOptions};
pub(super) use sums::Sums;
pub(super) use unfolded::read_unfolded;
pub(super) use waiting::{SELECT_ALL as SELECT_WAITING_REFUNDS, read_entry as read_waiting_refund};
