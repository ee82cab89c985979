//! `management refund`: refunds a purchase, once.
//!
//! The command can be run again: a repetition with the same amount and reason changes nothing, and
//! prints the same refund.

use serde_json::json;
use shop_core::ErrorKind;

use super::print_report;
use crate::backend::{Backends, open_shop};
use crate::settings::Refund;
use crate::telemetry::AUDIT;
use crate::{CliError, Result};

/// Refunds the purchase that `command` names, and prints the refund.
///
/// # Errors
/// - a usage error if refunds are off, if there is no such purchase, or if the amount is invalid
/// - a finding if the purchase was refunded with another amount or reason
/// - the errors of the log, of the store and of standard output
pub(super) async fn run(backends: &Backends<'_>, command: &Refund) -> Result<()> {
    let settings = backends.settings;
    if !settings.http_options().refunds {
        return Err(CliError::usage(
            "purchases cannot be refunded: set SHOP_REFUNDS to on",
        ));
    }

    let id = command.purchase;
    let shop = open_shop(backends).await?;
    let refunded = shop
        .port
        .refund(id, command.amount, command.reason.clone())
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::Conflict => CliError::finding(format!(
                "{id}: it was refunded with another amount or reason"
            )),
            _ => CliError::about(&id.to_string())(error),
        })?;
    let refund = &refunded.purchase;
    tracing::info!(
        target: AUDIT,
        action = "refund",
        user.id = refund.user_id.as_str(),
        purchase.id = %refund.id,
        replayed = refunded.replayed,
    );

    let state_text = if refunded.pending {
        ", pending: it is in the log, and ingest has not stored it yet; run it again to see the decision"
    } else if refunded.replayed {
        ", as before: it was refunded already"
    } else {
        ""
    };
    let text = format!(
        "log    {}\nrefund {} of {id}: {}{state_text}",
        shop.name, refund.id, refund.price
    );
    let mut report = json!(refunded);
    report["replayed"] = refunded.replayed.into();
    report["pending"] = refunded.pending.into();
    report["log"] = shop.name.into();
    print_report(settings.process.json, text, &report)
}
