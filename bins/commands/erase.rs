//! `management erase user`: erases a user from the logs, the stores and the dead letters.
//!
//! The steps are repeatable: if one fails, the same command continues. The audit log shows what was
//! erased until then.

use std::time::Duration;

use serde_json::json;
use shop_accounts::erase::{erase_user_events, user_number};
use shop_core::erase::{Erase, EraseProgress};
use shop_core::operations::Operations;

use super::backup::remove_abandoned_scratch;
use super::{print_report, start_progress};
use crate::backend::{Backends, TopicSpec};
use crate::settings::{EntityLocation, EraseCommand, ProcessRole};
use crate::telemetry::AUDIT;
use crate::{CliError, Result};

/// Erases the purchases of a user and, if the user's id is a number, the registered user of that
/// number. A dry run only counts what would be erased.
///
/// # Errors
/// - a finding if damaged rows of the user were not erased
/// - the errors of the logs, of the stores and of standard output
pub(super) async fn run(backends: &Backends<'_>, command: &EraseCommand) -> Result<()> {
    let settings = backends.settings;
    let EraseCommand::User {
        user,
        dry_run,
        vacuum,
        ..
    } = command;
    let progress = start_progress();
    let mut erase = Erase::new(user.clone(), |erased| {
        progress.set_message(format!(
            "{} records read, {} purchases erased",
            erased.records, erased.purchases
        ));
    })
    .dry_run(*dry_run);

    let mut result = erase_rows_and_records(backends, &mut erase).await;
    if result.is_ok() && *vacuum && !dry_run {
        progress.set_message("rewriting the files of purchases and users");
        result = vacuum_files(backends).await;
    }
    let report = erase.report;
    drop(progress);

    // An error is only returned after the audit log shows what was erased.
    if !dry_run {
        tracing::info!(
            target: AUDIT,
            action = "erase_user",
            user.id = %report.user,
            purchases = report.purchases,
            user = report.users > 0,
            records = report.records,
            dead_letters = report.dead_letters,
            kept = report.kept.len(),
            left = report.left.count,
            complete = result.is_ok() && report.is_complete(),
        );
    }
    result?;

    let mut json = json!(report);
    json["complete"] = report.is_complete().into();
    print_report(settings.process.json, &report, &json)?;

    if !report.is_complete() {
        return Err(CliError::finding(format!(
            "{} damaged rows of the user were not erased: standard output names them",
            report.left.count
        )));
    }
    Ok(())
}

/// Erases the user of `erase` from the logs and the stores that the settings select, or only counts
/// what would be erased. `erase` counts also what was erased before an error.
///
/// # Errors
/// The errors of the logs and of the stores.
async fn erase_rows_and_records<F: Fn(EraseProgress) + Send + Sync>(
    backends: &Backends<'_>,
    erase: &mut Erase<F>,
) -> Result<()> {
    let settings = backends.settings;
    if settings.has(ProcessRole::Purchases) {
        let topic = TopicSpec::purchases(settings);
        let log = backends.log(topic).await?;
        let store = backends.purchases().await?.port;
        let operations = Operations::new(log.port.with(store));
        operations.erase_purchases(erase, &log.name).await?;
    }

    let stores_users = settings.users == EntityLocation::Stored;
    if stores_users && let Some(number) = user_number(&erase.report.user) {
        let users = backends.users().await?.port;
        let is_registered = if erase.report.dry_run {
            users.get(number).await?.is_some()
        } else {
            users.erase_user(number).await?
        };
        erase.report.users = is_registered.into();
        let log = backends.log(TopicSpec::users(settings)).await?;
        let operations = Operations::new(log.port);
        erase_user_events(erase, &log.name, &operations, number).await?;
    }
    Ok(())
}

/// Rewrites the embedded files, so that erased content does not remain in their unused parts.
///
/// # Errors
/// The errors of the files.
async fn vacuum_files(backends: &Backends<'_>) -> Result<()> {
    remove_abandoned_scratch(backends.settings);
    // A file can be rewritten only when no other connection keeps it open.
    backends.close(Duration::MAX).await;
    backends.vacuum().await
}
