//! The settings of the backends, as arguments of a command line.
//!
//! The doc comments of the fields are the texts of the help. The settings do not depend on which
//! backends are compiled in, so that a program can refuse those of a backend that it lacks.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};
#[cfg(any(feature = "mongodb", feature = "postgres"))]
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use shop_core::quantity::{MAX_MILLIS, duration_parser, size_parser};

#[cfg(feature = "embedded")]
use crate::embedded::EmbeddedShopOptions;
#[cfg(feature = "mongodb")]
use crate::mongo::MongoStoreOptions;
#[cfg(feature = "postgres")]
use crate::postgres::PostgresStoreOptions;

/// Settings of the [`embedded`](crate::embedded) log and store for the command line of a program,
/// which clap parses.
///
/// Each setting is a flag and an environment variable.
///
/// ```
/// use clap::Parser;
/// use shop_store::EmbeddedArgs;
///
/// #[derive(Parser)]
/// struct Program {
///     #[command(flatten)]
///     embedded: EmbeddedArgs,
/// }
///
/// // Or by the variables SHOP_DATA_DIR and SHOP_LOG_RETENTION.
/// let program = Program::parse_from(["program", "--data-dir", "/var/lib/shop", "--log-retention", "30d"]);
/// let EmbeddedArgs { data_dir, .. } = &program.embedded;
/// assert_eq!(data_dir.to_str(), Some("/var/lib/shop"));
/// # #[cfg(feature = "embedded")] {
/// let options = program.embedded.options();
/// # assert_eq!(options.log.retention.as_secs(), 30 * 24 * 3_600);
/// # }
/// # let command = <Program as clap::CommandFactory>::command();
/// # let data_dir = command.get_arguments().find(|argument| argument.get_id() == "data_dir");
/// # assert_eq!(data_dir.unwrap().get_env(), Some("SHOP_DATA_DIR".as_ref()));
/// ```
#[derive(Debug, Clone, Args)]
#[command(about = None, long_about = None)]
#[non_exhaustive]
pub struct EmbeddedArgs {
    /// Folder of the embedded log and store
    #[arg(long, env = "SHOP_DATA_DIR", default_value = "./shop-data")]
    pub data_dir: PathBuf,
    /// How long the embedded log keeps purchases that every group has consumed
    /// [default: 7d]
    #[arg(long, env = "SHOP_LOG_RETENTION", value_parser = duration_parser(1_000, MAX_MILLIS))]
    pub log_retention: Option<Duration>,
    /// Maximum size of the file of the embedded log, at least 1MiB; purchases are refused when it
    /// is full. An embedded store is in the same file [default: none]
    #[arg(long, env = "SHOP_LOG_MAX_SIZE", value_parser = size_parser(1))]
    pub log_max_size: Option<u64>,
}

#[cfg(feature = "embedded")]
impl EmbeddedArgs {
    /// Returns the options of a shop in the folder [`data_dir`](Self::data_dir), with these
    /// settings.
    #[must_use]
    pub fn options(&self) -> EmbeddedShopOptions {
        let mut options = EmbeddedShopOptions::default();
        if let Some(retention) = self.log_retention {
            options.log.retention = retention;
        }
        options.log.max_file_bytes = self.log_max_size;
        options
    }
}

/// Settings of a store in MongoDB for the command line of a program, which clap parses.
///
/// Each setting is a flag and an environment variable. The flag of the connection string is hidden,
/// because other users of the machine can read the arguments of a process. Only facing and
/// management compose it of other variables. The texts of the help are those of
/// these programs.
///
/// ```
/// use clap::Parser;
/// use shop_store::MongoArgs;
///
/// #[derive(Parser)]
/// struct Program {
///     #[command(flatten)]
///     mongodb: MongoArgs,
/// }
///
/// // The connection string is in the variable SHOP_MONGODB_URI.
/// let program = Program::parse_from(["program", "--mongodb-database", "shop"]);
/// assert_eq!(program.mongodb.mongodb_database.as_deref(), Some("shop"));
/// # let command = <Program as clap::CommandFactory>::command();
/// # let uri = command.get_arguments().find(|argument| argument.get_id() == "mongodb_uri");
/// # assert_eq!(uri.unwrap().get_env(), Some("SHOP_MONGODB_URI".as_ref()));
/// ```
#[derive(Debug, Clone, Args)]
#[command(about = None, long_about = None)]
#[non_exhaustive]
pub struct MongoArgs {
    /// Connection string of MongoDB, mongodb://…, for purchases. These options of the string are
    /// ignored with a warning: compressors other than zstd, zlibCompressionLevel, socketTimeoutMS,
    /// timeoutMS, uuidRepresentation, useNewUrlParser and useUnifiedTopology. These are rejected:
    /// proxyHost, tlsCertificateKeyFilePassword, tlsAllowInvalidHostnames, the mechanisms GSSAPI
    /// and MONGODB-AWS, and options that the Rust driver does not know [default: none, the store is
    /// embedded]
    #[arg(long, env = "SHOP_MONGODB_URI", hide = true, hide_env_values = true)]
    pub mongodb_uri: Option<SecretString>,
    /// Database of purchases [default: the database in the path of the URI, else purchases]
    #[arg(long, env = "SHOP_MONGODB_DATABASE")]
    pub mongodb_database: Option<String>,
    /// Collection of purchases
    #[arg(long, env = "SHOP_MONGODB_COLLECTION", default_value = "purchases")]
    pub mongodb_collection: String,
}

#[cfg(feature = "mongodb")]
impl MongoArgs {
    /// Returns the options of a store with these settings, or `None` without a connection string.
    #[must_use]
    pub fn options(&self) -> Option<MongoStoreOptions> {
        let uri = self.mongodb_uri.as_ref()?.expose_secret();
        let options = MongoStoreOptions::new(uri)
            .database(self.mongodb_database.clone())
            .collection(&self.mongodb_collection);
        Some(options)
    }
}

/// Settings of stores in PostgreSQL for the command line of a program, which clap parses.
///
/// Each setting is a flag and an environment variable. The flag of the URL is hidden, because other
/// users of the machine can read the arguments of a process.
///
/// ```
/// use clap::Parser;
/// use shop_store::PostgresArgs;
///
/// #[derive(Parser)]
/// struct Program {
///     #[command(flatten)]
///     postgres: PostgresArgs,
/// }
///
/// // The URL is in the variable SHOP_POSTGRES_URL.
/// let program = Program::parse_from(["program", "--postgres-max-connections", "64"]);
/// assert_eq!(program.postgres.postgres_max_connections, 64);
/// # let command = <Program as clap::CommandFactory>::command();
/// # let url = command.get_arguments().find(|argument| argument.get_id() == "postgres_url");
/// # assert_eq!(url.unwrap().get_env(), Some("SHOP_POSTGRES_URL".as_ref()));
/// ```
#[derive(Debug, Clone, Args)]
#[command(about = None, long_about = None)]
#[non_exhaustive]
pub struct PostgresArgs {
    /// URL of PostgreSQL, postgresql://…, for all roles of the process, or only for users and
    /// orders if SHOP_MONGODB_URI is set too
    #[arg(long, env = "SHOP_POSTGRES_URL", hide = true, hide_env_values = true)]
    pub postgres_url: Option<SecretString>,
    /// Connections to PostgreSQL that this process may open, at least 12: half of them for
    /// purchases, a quarter each for users and for orders
    #[arg(long, env = "SHOP_POSTGRES_MAX_CONNECTIONS", default_value = "32", value_parser = value_parser!(u32).range(12..))]
    pub postgres_max_connections: u32,
}

#[cfg(feature = "postgres")]
impl PostgresArgs {
    /// Returns the options of a store of purchases, which uses half of the connections, or `None`
    /// without a URL.
    #[must_use]
    pub fn options(&self) -> Option<PostgresStoreOptions> {
        let url = self.postgres_url.as_ref()?.expose_secret();
        let max_connections = self.postgres_max_connections as usize / 2;
        Some(PostgresStoreOptions::new(url).max_connections(max_connections))
    }
}
