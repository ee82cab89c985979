//! `management refund`: refunds a purchase, once.

use std::sync::Arc;

use serde_json::json;
use shop_core::ports::PurchaseQuery;
use shop_core::{ErrorKind, Shop};

use super::output::print_report;
use crate::settings::{self, Settings};
use crate::telemetry::AUDIT;
use crate::{CliError, Result, backend};

pub(super) async fn run(settings: &Settings, command: &settings::Refund) -> Result<()> {
    if !settings.refunds() {
        return Err(CliError::usage(
            "purchases cannot be refunded: set SHOP_REFUNDS to on",
        ));
    }
    let settings::Refund {
        purchase: id,
        amount,
        reason,
    } = command;
    let (log, store) = backend::log_and_purchases(settings).await?;
    let query: Arc<dyn PurchaseQuery> = store.port.store;
    let refunded = Shop::new((log.port.sink)(), query)
        .refund(*id, *amount, reason.clone())
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::Conflict => CliError::finding(format!(
                "{id}: it was refunded with another amount or reason"
            )),
            _ => CliError::about(&id.to_string())(error),
        })?;
    let refund = &refunded.purchase;
    let is_repetition = refunded.replayed;
    tracing::info!(
        target: AUDIT,
        action = "refund",
        user.id = refund.user_id.as_str(),
        purchase.id = %refund.id,
        replayed = is_repetition,
    );
    let state = match (refunded.pending, is_repetition) {
        (true, _) => {
            ", pending: it is in the log, and ingest has not stored it yet; run it again to see the decision"
        }
        (false, true) => ", as before: it was refunded already",
        (false, false) => "",
    };
    let text = format!(
        "log    {}\nrefund {} of {id}: {}{state}",
        log.name, refund.id, refund.price
    );
    let mut report = json!(refunded);
    report["replayed"] = is_repetition.into();
    report["pending"] = refunded.pending.into();
    print_report(settings.json, &[("log", &log.name)], text, &report)
}
