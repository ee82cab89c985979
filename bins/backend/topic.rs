//! The topics of a service, and the members of the groups that consume them.

use std::sync::Arc;

use shop_accounts::orders::Order;
use shop_accounts::users::User;
use shop_core::log::{LogSource, RecordType};
use shop_core::record::Record as _;
use shop_core::{Backend, Purchase};

use super::open_port::ABOUT_FILES;
#[cfg(feature = "kafka")]
use super::open_port::ABOUT_KAFKA;
use crate::settings::{self, Settings};
use crate::{CliError, Result};

/// A topic, the type of its records, and the group that consumes them.
#[derive(Clone, Copy)]
pub(crate) struct TopicSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) record: RecordType,
    /// Whether the records are events, which are retained for ever.
    pub(crate) is_events: bool,
    /// The group whose ingest consumes the topic.
    pub(crate) group: &'a str,
}

impl<'a> TopicSpec<'a> {
    /// Returns the topic of the purchases.
    pub(crate) fn purchases(settings: &'a Settings) -> Self {
        Self {
            name: &settings.process.purchases_topic,
            record: Purchase::TYPE,
            is_events: false,
            group: &settings.process.purchases_group_id,
        }
    }

    /// Returns the topic of the events of users, which the orders consume.
    pub(crate) fn users(settings: &'a Settings) -> Self {
        Self {
            name: &settings.process.users_topic,
            record: User::TYPE,
            is_events: true,
            group: &settings.process.orders_group_id,
        }
    }

    /// Returns the topic of the events of orders, which the users consume.
    pub(crate) fn orders(settings: &'a Settings) -> Self {
        Self {
            name: &settings.process.orders_topic,
            record: Order::TYPE,
            is_events: true,
            group: &settings.process.users_group_id,
        }
    }
}

/// Creates a new member of the group of `log`, which the settings selected.
///
/// # Errors
/// The errors of [`Log::source`](shop_core::log::Log::source).
pub(crate) fn create_log_source(settings: &Settings, log: &Backend) -> Result<Arc<dyn LogSource>> {
    let error_prefix = match settings.log {
        #[cfg(feature = "kafka")]
        settings::Log::Kafka(_) => ABOUT_KAFKA,
        settings::Log::Embedded(_) => ABOUT_FILES,
    };
    let source = log.require_log()?.source(log.require_group()?);
    source.map_err(CliError::about(error_prefix))
}
