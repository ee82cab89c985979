//! Builds the types of settings that depend on each other, such as [`Log`], [`Store`] and [`Auth`].
//!
//! Each value of these types is a combination of settings that works. The code that builds a type
//! checks the rules about the combination, and the rest of the program only matches the type.
//!
//! | module | settings |
//! |---|---|
//! | `log` | `SHOP_KAFKA_…` and those of the embedded log |
//! | `store` | `SHOP_MONGODB_…` and `SHOP_POSTGRES_…`, for purchases, users and orders |
//! | `auth` | `SHOP_AUTH…` and the API keys |
//! | `peers` | the certificate of this service, and calls of other services |
//! | `opened` | the logs and stores that the service or the command opens |
//!
//! [`Checks`] collects the faults, because all of them are reported at once.

mod auth;
mod log;
mod opened;
mod peers;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use secrecy::SecretString;

use super::command::Command;
use super::names::is_in_groups;
use super::roles::{ProcessRole, Roles};
use super::variables::Variables;
use super::{Secret, ServiceKind};

pub(super) use auth::AuthMode;
pub(crate) use auth::{Auth, IssuerKeys};
pub(crate) use log::Log;
#[cfg(feature = "kafka")]
pub(crate) use log::{KafkaSettings, TokenEndpointSettings};
use opened::OpenedParts;
pub(crate) use peers::{EntityLocation, ServiceCalls, TlsFiles};
pub(crate) use store::Store;

/// The settings that depend on each other, as far as they are built from [`Variables`] here.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) log: Log,
    pub(super) store: Store,
    pub(super) auth: Auth,
    pub(super) tls: Option<TlsFiles>,
    pub(super) service_calls: ServiceCalls,
    pub(super) management_url: Option<String>,
    pub(super) users: EntityLocation,
    pub(super) orders: EntityLocation,
}

impl Selected {
    /// Returns the selection of a process that opens no log and no store, such as a health check.
    ///
    /// Its settings need not be complete: an image has one health check for both services.
    pub(super) fn without_backends(checks: &Checks<'_>) -> Self {
        let log = Log::Embedded(checks.variables.embedded.clone());
        Self::with_backends(checks, log, Store::Embedded, Auth::LoopbackOnly)
    }

    /// Builds all types, and adds all faults of the settings to `checks`. Returns `None` only
    /// with a fault.
    ///
    /// `kafka_properties` are the properties of librdkafka.
    pub(super) fn build(
        checks: &mut Checks<'_>,
        kafka_properties: BTreeMap<String, SecretString>,
    ) -> Option<Self> {
        let opened_parts = OpenedParts::new(checks);
        let log = log::select(checks, &opened_parts, kafka_properties);
        let store = store::select(checks, &opened_parts);
        let is_embedded =
            matches!(log, Some(Log::Embedded(_))) || matches!(store, Some(Store::Embedded));
        if is_embedded && cfg!(not(feature = "embedded")) {
            checks.fault(
                "this program was built without the embedded log and store: set SHOP_KAFKA_BOOTSTRAP_SERVERS and \
                 SHOP_MONGODB_URI, or build it with feature `embedded`",
            );
        }

        let auth = auth::select(checks);
        peers::check(checks);
        Some(Self::with_backends(checks, log?, store?, auth?))
    }

    /// Creates the selection from a log, a store and an authentication that were selected. All
    /// other values are possible with each of these.
    fn with_backends(checks: &Checks<'_>, log: Log, store: Store, auth: Auth) -> Self {
        let variables = checks.variables;
        let management_url = variables.management_url.clone();
        Self {
            log,
            store,
            auth,
            tls: TlsFiles::from_variables(variables),
            service_calls: ServiceCalls::new(checks),
            // Management lists from its own store.
            management_url: management_url.filter(|_url| checks.is_facing()),
            users: EntityLocation::new(checks, ProcessRole::Users, variables.users_url.as_ref()),
            orders: EntityLocation::new(checks, ProcessRole::Orders, variables.orders_url.as_ref()),
        }
    }
}

/// The settings of a process, and the faults that were found in them so far.
#[derive(Debug)]
pub(super) struct Checks<'a> {
    pub(super) service: ServiceKind,
    pub(super) command: Option<&'a Command>,
    pub(super) variables: &'a Variables,
    pub(super) roles: &'a Roles,
    /// The names of the settings that a flag, a variable or the file sets, even to their default.
    pub(super) set_names: BTreeSet<&'a str>,
    /// The files that secrets were read from, by the variable of the setting.
    pub(super) secret_files: BTreeMap<String, PathBuf>,
    pub(super) faults: Vec<String>,
}

impl Checks<'_> {
    /// Returns whether this process is the service facing.
    pub(super) fn is_facing(&self) -> bool {
        self.service == ServiceKind::Facing
    }

    /// Returns whether the setting `name` is set.
    fn is_set(&self, name: &str) -> bool {
        self.set_names.contains(name)
    }

    /// Adds a fault.
    pub(super) fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    /// Adds one fault for all settings of `groups` that are set, because they have no effect for
    /// `reason`.
    ///
    /// A group is a name or, if it ends with an underscore, a prefix of names.
    pub(super) fn refuse(&mut self, groups: &[&str], reason: &str) {
        let mut useless_settings: Vec<&str> = self.set_names.iter().copied().collect();
        useless_settings.retain(|setting| is_in_groups(setting, groups));
        if !useless_settings.is_empty() {
            let names = useless_settings.join(", ");
            self.fault(format!("{names}: set, but {reason}"));
        }
    }

    /// Adds a fault if some of the settings `names` are set, but not all.
    fn require_all_or_none(&mut self, names: &[&str]) {
        let set_count = names.iter().filter(|name| self.is_set(name)).count();
        if set_count > 0 && set_count < names.len() {
            let names = names.join(" and ");
            self.fault(format!("{names} go together: set all or none"));
        }
    }

    /// Adds a fault if `SHOP_REQUIRE_SERVERS` is on. Called if the setting `name` of a server is
    /// not set, so that the embedded `part`, a log or a store, would be used in place of the
    /// server.
    fn require_server(&mut self, name: &str, part: &str) {
        if self.variables.require_servers {
            self.fault(format!(
                "{name}: not set, but SHOP_REQUIRE_SERVERS is on: name the server, or set \
                 SHOP_REQUIRE_SERVERS=off to use the embedded {part}"
            ));
        }
    }

    /// Adds the fault of a `setting` that selects a `backend`, which this program was built
    /// without. `part` is `log` or `store`.
    fn add_missing_backend(&mut self, setting: &str, backend: &str, feature: &str, part: &str) {
        self.fault(format!(
            "{setting} (or another name of it) selects {backend}, but this program was built without it: unset it to \
             use the embedded {part}, or build it with feature `{feature}`"
        ));
    }

    /// Returns the secret of the setting `name`, whose value at the start is `value`.
    ///
    /// A secret that was read from a file is read again from this file when it is used.
    fn secret(&self, name: &str, value: &SecretString) -> Secret {
        Secret {
            at_start: value.clone(),
            file: self.secret_files.get(name).cloned(),
        }
    }
}
