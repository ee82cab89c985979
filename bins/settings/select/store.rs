//! Where the purchases, the users and the orders are stored: in MongoDB, in PostgreSQL, or in the
//! data folder.

use secrecy::{ExposeSecret as _, SecretString};
#[cfg(feature = "mongodb")]
use shop_store::mongo::MongoStoreOptions;
#[cfg(feature = "postgres")]
use shop_store::postgres::PostgresStoreOptions;

use super::Checks;
use super::opened::OpenedParts;
use crate::settings::{ProcessRole, Settings};

/// Where the purchases are, and where the users and orders are that this process stores.
#[derive(Debug)]
pub(crate) enum Store {
    /// Purchases are in MongoDB, which has no users and orders.
    #[cfg(feature = "mongodb")]
    Mongo {
        purchases: MongoStoreOptions,
        /// The database of the users and orders. `None` if this process needs none of them.
        #[cfg(feature = "postgres")]
        entities: Option<PostgresStoreOptions>,
    },
    /// Purchases, users and orders are in PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres {
        purchases: PostgresStoreOptions,
        entities: PostgresStoreOptions,
    },
    /// Purchases, users and orders are in files of the data folder.
    Embedded,
}

impl Store {
    /// Returns whether the purchases are in MongoDB.
    #[cfg(feature = "compat")]
    pub(crate) const fn is_mongodb(&self) -> bool {
        match self {
            #[cfg(feature = "mongodb")]
            Self::Mongo { .. } => true,
            #[cfg(feature = "postgres")]
            Self::Postgres { .. } => false,
            Self::Embedded => false,
        }
    }

    /// Returns the scheme, hosts and database of the server that stores the purchases, or `None` if
    /// a file stores them.
    pub(crate) fn address(&self) -> Option<String> {
        let url: &SecretString = match self {
            #[cfg(feature = "mongodb")]
            Self::Mongo { purchases, .. } => &purchases.uri,
            #[cfg(feature = "postgres")]
            Self::Postgres { purchases, .. } => &purchases.url,
            Self::Embedded => return None,
        };
        Some(Settings::address(url.expose_secret()))
    }

    /// Returns the address by which a log in the data folder remembers the store of its purchases,
    /// or `None` if a file stores them.
    ///
    /// The address of MongoDB includes the database, which the URI need not name, and the
    /// collection.
    pub(crate) fn address_for_log(&self) -> Option<String> {
        let address = self.address()?;
        #[cfg(feature = "mongodb")]
        if let Self::Mongo { purchases, .. } = self {
            let database = purchases.database.as_deref().unwrap_or("default");
            let collection = &purchases.collection;
            return Some(format!("{address} {database}.{collection}"));
        }
        Some(address)
    }

    /// Returns the options of the database of the users and orders, or `None` if they are in files
    /// of the data folder, or if this process needs none of them.
    #[cfg(feature = "postgres")]
    pub(crate) fn entity_database(&self) -> Option<&PostgresStoreOptions> {
        match self {
            #[cfg(feature = "mongodb")]
            Self::Mongo { entities, .. } => entities.as_ref(),
            Self::Postgres { entities, .. } => Some(entities),
            Self::Embedded => None,
        }
    }

    /// Returns the scheme, hosts and name of the database of the users and orders, or `None` if they
    /// are in files of the data folder, or if this process needs none of them.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_self, reason = "no other server has users and orders")
    )]
    pub(crate) fn entity_address(&self) -> Option<String> {
        #[cfg(feature = "postgres")]
        {
            let url = &self.entity_database()?.url;
            Some(Settings::address(url.expose_secret()))
        }
        #[cfg(not(feature = "postgres"))]
        None
    }
}

/// Builds the store. Adds the faults of the settings of MongoDB and of PostgreSQL to `checks`.
/// Returns `None` only with a fault.
pub(super) fn select(checks: &mut Checks<'_>, opened_parts: &OpenedParts) -> Option<Store> {
    let variables = checks.variables;
    let mongodb_uri = variables.mongodb.mongodb_uri.as_ref();
    let postgres_url = variables.postgres.postgres_url.as_ref();
    check_mongodb(checks, mongodb_uri);
    check_postgres(checks, postgres_url);

    match (mongodb_uri, postgres_url) {
        (None, None) => {
            let has_kafka = variables.kafka.kafka_bootstrap_servers.is_some();
            if checks.is_facing() && has_kafka && variables.management_url.is_none() {
                checks.fault(
                    "SHOP_KAFKA_BOOTSTRAP_SERVERS is set, but neither SHOP_MANAGEMENT_URL nor SHOP_MONGODB_URI nor \
                     SHOP_POSTGRES_URL: facing would have no store to list purchases from. Set one of them",
                );
            }
            if opened_parts.purchases {
                checks.require_server("SHOP_MONGODB_URI", "store");
            }
            if opened_parts.entities {
                checks.require_server("SHOP_POSTGRES_URL", "store");
            }
            Some(Store::Embedded)
        }
        (Some(_), None) if opened_parts.entities => {
            checks.fault(
                "SHOP_MONGODB_URI has no users and orders: set SHOP_POSTGRES_URL beside it, with a database for each \
                 service, or unset it to use the embedded files, or name only purchases in SHOP_ROLES",
            );
            None
        }
        (Some(_), Some(_)) if !checks.roles.has_entities() => {
            checks.fault(
                "SHOP_MONGODB_URI and SHOP_POSTGRES_URL (or other names of them) name two stores of purchases: unset one \
                 of them, or add users or orders, which PostgreSQL stores, to SHOP_ROLES",
            );
            None
        }
        (Some(_), Some(_)) if !checks.roles.has(ProcessRole::Purchases) => {
            checks.fault(
                "SHOP_MONGODB_URI stores purchases, which are not in SHOP_ROLES: unset it; SHOP_POSTGRES_URL stores users \
                 and orders",
            );
            None
        }
        (Some(_), _) => build_mongodb_store(checks),
        (None, Some(_)) => build_postgres_store(checks),
    }
}

/// Adds the faults of the settings of MongoDB. `uri` is its address, if it is set.
fn check_mongodb(checks: &mut Checks<'_>, uri: Option<&SecretString>) {
    const URI: &str = "SHOP_MONGODB_URI";

    let Some(uri) = uri else {
        let reason = format!("{URI} is not: unset this to use another store");
        checks.refuse(&["SHOP_MONGODB_"], &reason);
        return;
    };
    check_scheme(checks, URI, uri, ["mongodb://", "mongodb+srv://"]);
    if cfg!(not(feature = "mongodb")) {
        checks.add_missing_backend(URI, "MongoDB", "mongodb", "store");
    }
}

/// Adds the faults of the settings of PostgreSQL. `url` is its address, if it is set.
fn check_postgres(checks: &mut Checks<'_>, url: Option<&SecretString>) {
    const URL: &str = "SHOP_POSTGRES_URL";

    let Some(url) = url else {
        let reason = format!("{URL} is not: unset this to use another store");
        checks.refuse(&["SHOP_POSTGRES_"], &reason);
        return;
    };
    check_scheme(checks, URL, url, ["postgresql://", "postgres://"]);
    if cfg!(not(feature = "postgres")) {
        checks.add_missing_backend(URL, "PostgreSQL", "postgres", "store");
    }
}

/// Adds a fault if the address `url`, which is the setting `name`, begins with none of `schemes`.
fn check_scheme(checks: &mut Checks<'_>, name: &str, url: &SecretString, schemes: [&str; 2]) {
    let url = url.expose_secret();
    if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
        checks.fault(format!(
            "{name} (or DATABASE_URL) must begin with {}",
            schemes.join(" or ")
        ));
    }
}

/// Builds the store whose purchases are in MongoDB. Returns `None` if this program was built
/// without MongoDB, which [`check_mongodb`] reports.
fn build_mongodb_store(checks: &Checks<'_>) -> Option<Store> {
    #[cfg(feature = "mongodb")]
    return Some(Store::Mongo {
        purchases: checks.variables.mongodb.options()?,
        #[cfg(feature = "postgres")]
        entities: entity_options(checks),
    });
    #[cfg(not(feature = "mongodb"))]
    None
}

/// Builds the store in PostgreSQL. Returns `None` if this program was built without PostgreSQL,
/// which
/// [`check_postgres`] reports.
fn build_postgres_store(checks: &Checks<'_>) -> Option<Store> {
    #[cfg(feature = "postgres")]
    return Some(Store::Postgres {
        purchases: checks.variables.postgres.options()?,
        entities: entity_options(checks)?,
    });
    #[cfg(not(feature = "postgres"))]
    None
}

/// Returns the options of the stores of users and of orders, or `None` if PostgreSQL is not set.
///
/// Each store uses half as many connections as the store of purchases, because its inserts run one
/// after the other.
#[cfg(feature = "postgres")]
fn entity_options(checks: &Checks<'_>) -> Option<PostgresStoreOptions> {
    let options = checks.variables.postgres.options()?;
    let max_connections = options.max_connections / 2;
    Some(
        options
            .max_connections(max_connections)
            .adopt_tables(checks.variables.adopt_tables),
    )
}
