//! The schema of the file of purchases: the tables of a log and of a store.

use super::database::Kind;
use super::log::LOG;
use super::store::{CHECK_QUERIES, TABLES};

/// The name of the file of purchases, without its extension.
pub const FILE: &str = "shop";

/// The application id is `Shop` in ASCII, which the `file` command shows.
pub(super) const SHOP: Kind = Kind {
    application_id: 0x5368_6f70,
    migrations: &[
        LOG.migrations[0],
        LOG.migrations[1],
        LOG.migrations[2],
        // The table of the clock, which both have.
        LOG.migrations[3],
        LOG.migrations[4],
        TABLES,
    ],
    check_queries: &[LOG.check_queries[0], CHECK_QUERIES],
};
