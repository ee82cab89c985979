//! Clusters of which a part fails: purchases under load, before, during and after.
//!
//! - `kafka`: three brokers
//! - `postgres`: a primary and a standby
//!
//! Each scene prints what was acknowledged, what is missing or stored twice, the longest time without a success of a buy and
//! of a listing, and when `/health` of facing turned and turned back. They take a quarter of an hour, and run when
//! `SHOP_TEST_CLUSTERS` is set, as at night.

mod brokers;
mod buyers;
mod kafka;
mod postgres;

use crate::servers::environment;

/// Whether the scenes are to be run.
fn are_wanted() -> bool {
    environment("SHOP_TEST_CLUSTERS").is_some()
}
