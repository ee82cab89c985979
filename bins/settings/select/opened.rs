//! The logs and stores that a process opens, which decides about the servers that it requires.

use super::Checks;
use crate::settings::{Command, ProcessRole};

/// The parts that a process opens.
pub(super) struct OpenedParts {
    /// The log of the purchases or of events.
    pub(super) log: bool,
    /// The store of the purchases.
    pub(super) purchases: bool,
    /// A store of users or orders.
    pub(super) entities: bool,
}

impl OpenedParts {
    /// Returns the parts that the service or the command opens.
    pub(super) fn new(checks: &Checks<'_>) -> Self {
        let log_and_purchases = Self {
            log: true,
            purchases: true,
            entities: false,
        };
        match checks.command {
            Some(Command::Verify { .. } | Command::Refund(_) | Command::Import(_)) => {
                log_and_purchases
            }
            #[cfg(feature = "compat")]
            Some(Command::Replace(_)) => log_and_purchases,
            #[cfg(feature = "compat")]
            Some(Command::Migrate) => Self {
                log: false,
                ..log_and_purchases
            },
            Some(Command::Doctor | Command::Export { .. }) => Self {
                log: false,
                ..log_and_purchases
            },
            Some(Command::Dlq(_)) => Self {
                purchases: false,
                ..log_and_purchases
            },
            // These commands are for the embedded files, and need no server.
            Some(Command::Groups(_) | Command::Backup { .. } | Command::Restore { .. }) => Self {
                log: false,
                purchases: false,
                entities: false,
            },
            Some(Command::Replay { .. }) => Self {
                log: true,
                purchases: false,
                entities: true,
            },
            Some(Command::Erase(_)) => Self {
                log: true,
                purchases: checks.roles.has(ProcessRole::Purchases),
                entities: checks.roles.has(ProcessRole::Users),
            },
            Some(Command::Status) | None => Self::for_service(checks),
        }
    }

    /// Returns the parts that the service opens.
    fn for_service(checks: &Checks<'_>) -> Self {
        let variables = checks.variables;
        let is_facing = checks.is_facing();
        let calls_management = is_facing && variables.management_url.is_some();
        let calls_users = calls_management || (is_facing && variables.users_url.is_some());
        let calls_orders = calls_management || (is_facing && variables.orders_url.is_some());

        // Without SHOP_MANAGEMENT_URL, listings come from the store. Ingest writes to the store.
        let needs_store = !calls_management || variables.ingest == Some(true);
        let stores_users = checks.roles.has(ProcessRole::Users) && !calls_users;
        let stores_orders = checks.roles.has(ProcessRole::Orders) && !calls_orders;
        Self {
            log: true,
            purchases: checks.roles.has(ProcessRole::Purchases) && needs_store,
            entities: stores_users || stores_orders,
        }
    }
}
