//! `management replace`: opens the topics and the stores for a [`Replacement`] of old programs, and
//! prints its results.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use shop_compat::replace::{
    EntityRows, Finding, OurService, ProgressLine, ReplacedEntries, Replacement, ReplacementHost,
    TopicGroup,
};
use shop_core::Backend;
use shop_core::ports::UnreadableEntry;
use shop_core::verify::VerifyOptions;

use super::{convert_store, print_report, start_progress, verify};
use crate::backend::{Backends, ReplacedSystem, TopicSpec};
use crate::settings::{EntityLocation, ProcessRole, Replace, Settings};
use crate::{CliError, Result};

/// Replaces the programs of an earlier system, returns to them, or only reports the steps.
///
/// # Errors
/// - a usage error if settings are missing
/// - a finding if rows are missing, if the verification has findings, or if there is nothing to
///   return from
/// - the errors of the log, of the store and of standard output
pub(super) async fn run(backends: &Backends<'_>, options: &Replace) -> Result<()> {
    let settings = backends.settings;
    let role = choose_role(settings, options.system)?;
    let host = Host { backends, role };
    let entries = host.open_entries().await?;
    let new_topic = match role {
        ProcessRole::Purchases => TopicSpec::purchases(settings),
        // Each of the two services consumes the events of the other.
        ProcessRole::Users => TopicSpec::orders(settings),
        ProcessRole::Orders => TopicSpec::users(settings),
    };
    let old_topic = TopicSpec {
        name: options.old_topic.as_deref().unwrap_or(new_topic.name),
        group: options.old_group.as_deref().unwrap_or(new_topic.group),
        ..new_topic
    };

    let replacement = Replacement {
        host: &host,
        system: options.system,
        entries,
        service: our_service(settings),
        old: host.open_topic(old_topic).await?,
        new: host.open_topic(new_topic).await?,
        settle: Duration::from_secs(options.settle.into()),
    };
    if options.dry_run {
        return replacement.print_survey().await;
    }
    if options.back {
        return replacement.run_back().await;
    }
    replacement.run().await
}

/// Returns the role of our service that replaces a program of `system`.
///
/// For system 002 ([`ReplacedSystem::Ecommerce`]), the role is users or orders, as the settings
/// choose. For all other systems, the role is purchases.
///
/// # Errors
/// A usage error if the settings do not choose one role of system 002, or lack the servers of the
/// old programs.
fn choose_role(settings: &Settings, system: ReplacedSystem) -> Result<ProcessRole> {
    let mut role = ProcessRole::Purchases;
    let mut store_setting = "SHOP_MONGODB_URI";
    let mut has_store = settings.store.is_mongodb();
    if system == ReplacedSystem::Ecommerce {
        role = match (&settings.users, &settings.orders) {
            (EntityLocation::Stored, EntityLocation::Absent) => ProcessRole::Users,
            (EntityLocation::Absent, EntityLocation::Stored) => ProcessRole::Orders,
            _ => {
                return Err(CliError::usage(
                    "replace needs a service of 002: set SHOP_ROLES to users or orders, and its settings",
                ));
            }
        };
        store_setting = "SHOP_POSTGRES_URL";
        has_store = settings.store.entity_address().is_some();
    }

    if settings.log.brokers().is_none() || !has_store {
        return Err(CliError::usage(format!(
            "replace needs the servers of the old programs: set SHOP_KAFKA_BOOTSTRAP_SERVERS and {store_setting}"
        )));
    }
    Ok(role)
}

/// Returns our service as these settings start it.
fn our_service(settings: &Settings) -> OurService {
    // `choose_role` requires Kafka, whose clients have an id.
    let client_id = settings.log.client_id().unwrap_or_default();
    OurService {
        client_id: client_id.to_owned(),
        role_names: settings.roles.names(),
        port: settings.listen().port,
    }
}

/// The command as the host of a replacement.
struct Host<'a> {
    backends: &'a Backends<'a>,
    /// The role of our service that replaces an old program.
    role: ProcessRole,
}

impl Host<'_> {
    /// Opens the rows of users or of orders that our service takes over. Returns `Purchases`, and
    /// opens nothing, if it takes over documents of purchases.
    ///
    /// # Errors
    /// The errors of the database.
    async fn open_entries(&self) -> Result<ReplacedEntries> {
        Ok(match self.role {
            ProcessRole::Purchases => ReplacedEntries::Purchases,
            ProcessRole::Users => {
                let users = self.backends.users().await?;
                ReplacedEntries::Users(EntityRows {
                    database: users.name,
                    outbox: users.port,
                })
            }
            ProcessRole::Orders => {
                let orders = self.backends.orders().await?;
                ReplacedEntries::Orders(EntityRows {
                    database: orders.name,
                    outbox: orders.port,
                })
            }
        })
    }

    /// Opens a topic with the group that consumes it.
    ///
    /// # Errors
    /// The errors of the log.
    async fn open_topic(&self, topic: TopicSpec<'_>) -> Result<TopicGroup> {
        let backend = self.backends.log(topic).await?.port;
        Ok(TopicGroup::new(topic.name, topic.group, &backend)?)
    }
}

#[async_trait]
impl ReplacementHost for Host<'_> {
    type Error = CliError;

    fn print(&self, text: &str, report: &Value) -> Result<()> {
        print_report(self.backends.settings.process.json, text, report)
    }

    fn start_progress(&self) -> ProgressLine {
        let line = start_progress();
        Box::new(move |text| line.set_message(text))
    }

    async fn open_purchases(&self) -> Result<(String, Backend)> {
        let store = self.backends.purchases().await?;
        Ok((store.name, store.port))
    }

    async fn read_rows(&self) -> Result<(u64, Vec<UnreadableEntry>)> {
        self.backends.read_rows(self.role).await
    }

    async fn convert_documents(&self, back_to: Option<ReplacedSystem>) -> Result<()> {
        convert_store(self.backends, back_to).await
    }

    async fn verify(&self, group: &TopicGroup, options: VerifyOptions) -> Result<()> {
        let topic = TopicSpec {
            name: group.topic(),
            group: group.group(),
            ..TopicSpec::purchases(self.backends.settings)
        };
        verify::run(self.backends, topic, options).await
    }
}

impl From<Finding> for CliError {
    fn from(finding: Finding) -> Self {
        Self::finding(finding)
    }
}
