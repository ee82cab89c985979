//! The embedded store: purchases and their sums in `shop.db`.
//!
//! | module | task |
//! |---|---|
//! | `store` | [`EmbeddedStore`], which runs the functions of the other modules on the writer and reader threads |
//! | `insert`, `waiting` | insert purchases and refunds; keep refunds whose purchase is missing |
//! | `buyers`, `rows` | convert purchases to rows, and users to the integers of buyers |
//! | `fold`, `sums` | maintain the sums of prices per buyer, day and quarter of an hour |
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
#[expect(
    clippy::module_inception,
    reason = "the same file names as in the other adapters"
)]
mod store;
#[cfg(test)]
mod store_test;
mod sums;
mod waiting;

pub(super) use buyers::{ALL, BuyerCache, check_texts};
pub(super) use compare::compare_sums;
pub(super) use fold::{fold, refill_quarters, unfolded};
pub(super) use insert::insert;
pub(super) use select::by_id;
pub use store::{EmbeddedStore, EmbeddedStoreOptions};
pub(super) use sums::Sums;
pub(super) use waiting::{ALL as WAITING, read as waiting_refund};
