//! Users and orders: behind facing, and with kills and replays.

pub(crate) mod backends;
mod calls;
mod kills;
pub(crate) mod ledger;
