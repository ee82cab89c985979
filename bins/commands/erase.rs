//! `management erase user`: erases a user from the logs, the stores and the dead letters.
//!
//! The steps are repeatable: if one fails, the same command continues. The audit log shows what was
//! erased until then.

use std::time::Duration;

use serde_json::json;
use shop_accounts::erase::{erase_user_events, user_number};
use shop_core::erase::Erase;
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
/// - the errors of the logs, of the stores and of standard output.
pub(super) async fn run(backends: &Backends<'_>, command: &EraseCommand) -> Result<()> {
    let settings = backends.settings;
    let EraseCommand::User {
        user,
        dry_run,
        vacuum,
        ..
    } = command;
    let stores_users = settings.users == EntityLocation::Stored;
    let progress = start_progress();
    let mut erase = Erase::new(user.clone(), |erased| {
        progress.set_message(format!(
            "{} records read, {} purchases erased",
            erased.records, erased.purchases
        ));
    })
    .dry_run(*dry_run);

    // The result is only returned after the audit log shows what was erased.
    let result = async {
        if settings.has(ProcessRole::Purchases) {
            let topic = TopicSpec::purchases(settings);
            let log = backends.log(topic).await?;
            let store = backends.purchases().await?.port;
            let operations = Operations::new(log.port.with(store));
            operations.erase_purchases(&mut erase, &log.name).await?;
        }

        if stores_users && let Some(number) = user_number(user) {
            let users = backends.users().await?.port;
            let is_registered = if *dry_run {
                users.get(number).await?.is_some()
            } else {
                users.erase_user(number).await?
            };
            erase.report.users = is_registered.into();
            let log = backends.log(TopicSpec::users(settings)).await?;
            let operations = Operations::new(log.port);
            erase_user_events(&mut erase, &log.name, &operations, number).await?;
        }

        if *vacuum && !dry_run {
            progress.set_message("rewriting the files of purchases and users");
            remove_abandoned_scratch(settings);
            // A file can be rewritten only when no other connection keeps it open.
            backends.close(Duration::MAX).await;
            backends.vacuum().await?;
        }
        Ok::<(), CliError>(())
    }
    .await;
    let report = erase.report;
    drop(progress);

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
