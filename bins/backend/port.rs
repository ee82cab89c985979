//! What a process opens: an [`OpenPort`] is a log or a store with the name of its backend for output.
//!
//! The ports of purchases are a [`Backend`]. For users and for orders, one trait
//! unites all ports of the store, so that one `Arc` serves as each of them. [`client`] opens the
//! port of another service.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use shop_accounts::entity::EntityStore;
use shop_accounts::orders::Order;
use shop_accounts::outbox::Outbox;
use shop_accounts::users::{User, UserErase, UserStore};
use shop_client::{BearerToken, RetryPolicy, ShopClient, ShopClientBuilder};
use shop_core::log::{LogSource, RecordType};
use shop_core::ports::RecordStore;
use shop_core::record::Record as _;
use shop_core::{Backend, Purchase};
use shop_store::StoreInspection;

use crate::settings::{self, Settings};
use crate::{CliError, Result, tls};

/// The beginning of the errors of Kafka.
pub(super) const ABOUT_KAFKA: &str = "Kafka cannot be used with these settings";
/// The beginning of the errors of embedded files.
pub(super) const ABOUT_FILES: &str = "the data folder (SHOP_DATA_DIR) cannot be used";

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
pub(crate) fn source(settings: &Settings, log: &Backend) -> Result<Arc<dyn LogSource>> {
    let error_prefix = match settings.log {
        #[cfg(feature = "kafka")]
        settings::Log::Kafka(_) => ABOUT_KAFKA,
        settings::Log::Embedded(_) => ABOUT_FILES,
    };
    let source = log.require_log()?.source(log.require_group()?);
    source.map_err(CliError::about(error_prefix))
}

/// A port that was opened.
pub(crate) struct OpenPort<T> {
    pub(crate) port: T,
    /// The name of its backend, for output.
    pub(crate) name: String,
    /// Whether the topic or the store does not exist yet, and a service creates it.
    pub(crate) is_missing: bool,
    /// What an inspection of a store on a server found, such as warnings.
    pub(crate) inspection: StoreInspection,
}

impl<T> OpenPort<T> {
    /// Returns this opened port, with its `port` converted by `convert`.
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> OpenPort<U> {
        OpenPort {
            port: convert(self.port),
            name: self.name,
            is_missing: self.is_missing,
            inspection: self.inspection,
        }
    }

    /// Creates the opened port of a store on a server, whose `inspection` was accepted. Adds to
    /// `name` how many rows of another program the store takes over.
    #[cfg(any(feature = "mongodb", feature = "postgres"))]
    pub(super) fn inspected(port: T, mut name: String, inspection: StoreInspection) -> Self {
        if let Some(rows) = inspection.taken_over {
            name += &format!(", takes over {rows} rows");
        }
        Self {
            port,
            name,
            is_missing: !inspection.exists,
            inspection,
        }
    }
}

/// A store of users with all its ports. The store applies the events of orders.
pub(crate) trait UserBackend: UserStore + UserErase + Outbox + RecordStore<Order> {}

impl<S: UserStore + UserErase + Outbox + RecordStore<Order>> UserBackend for S {}

/// A store of orders with all its ports. The store applies the events of users.
pub(crate) trait OrderBackend: EntityStore<Order> + Outbox + RecordStore<User> {}

impl<S: EntityStore<Order> + Outbox + RecordStore<User>> OrderBackend for S {}

/// Creates a client of another service of this project.
///
/// # Errors
/// - an error if the token of the services is invalid
/// - the errors of [`tls::with_service_certificates`] and of the client
pub(crate) async fn client(url: &str, settings: &Settings) -> Result<ShopClient> {
    let client = with_service_token(ShopClient::builder(url), settings)?;
    Ok(tls::with_service_certificates(client, settings)
        .await?
        .build()?)
}

/// Returns `client` with the options for calls between the services of this project, and with the
/// token of the services, if the settings have one.
///
/// # Errors
/// An error if the token is invalid.
pub(crate) fn with_service_token(
    client: ShopClientBuilder,
    settings: &Settings,
) -> Result<ShopClientBuilder> {
    // The callers of facing retry. Retries here would multiply the load. Between the services,
    // responses without compression are faster.
    let client = client.retries(RetryPolicy::none()).gzip(false);
    let Some(secret) = settings.service_calls.token.clone() else {
        return Ok(client);
    };

    let setting = match secret.file {
        Some(_) => "SHOP_SERVICE_TOKEN_FILE",
        None => "SHOP_SERVICE_TOKEN",
    };
    // An invalid token is an error now, and not at the first request.
    BearerToken::new(secret.at_start.expose_secret()).map_err(CliError::about(setting))?;
    // The client keeps a token until a service rejects it, and then reads the secret again.
    Ok(client.token_provider(move || {
        let secret = secret.clone();
        async move {
            let token = BearerToken::new(secret.current().await.expose_secret());
            Ok(token?)
        }
    }))
}
