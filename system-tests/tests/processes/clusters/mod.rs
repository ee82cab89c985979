//! Clusters of which a part fails: purchases under load, before, during and after.
//!
//! - `kafka`: three brokers
//! - `postgres`: a primary and a standby
//!
//! Each scene prints what was acknowledged, what is missing or stored twice, the longest time without a success of a buy and
//! of a listing, and when `/health` of facing turned and turned back. `.ci/run` runs three of them; the others run when
//! `SHOP_TEST_CLUSTERS` is set, as at night.

mod brokers;
mod buyers;
mod kafka;
mod links;
mod postgres;

use crate::servers::environment;

/// Whether all scenes are to be run, which takes a quarter of an hour.
fn all_scenes() -> bool {
    environment("SHOP_TEST_CLUSTERS").is_some()
}
