//! `management refund`: refunds a purchase, once.

use std::sync::Arc;

use shop_core::ports::PurchaseQuery;
use shop_core::{ErrorKind, Shop};

use super::output::print_report;
use crate::backend::{self, Topic};
use crate::settings::{self, Settings};
use crate::telemetry::AUDIT;
use crate::{CliError, Result};

pub(super) async fn run(settings: &Settings, command: &settings::Refund) -> Result<()> {
    if !settings.refunds() {
        return Err(CliError::new("purchases cannot be refunded: set SHOP_REFUNDS to on").usage());
    }
    let settings::Refund {
        purchase: id,
        amount,
        reason,
    } = command;
    let log = backend::for_log(settings)
        .log(Topic::purchases(settings))
        .await?;
    let query: Arc<dyn PurchaseQuery> = backend::for_purchases(settings)
        .purchases()
        .await?
        .port
        .store;
    let refunded = Shop::of((log.port.sink)(), query)
        .refund(*id, *amount, reason.clone())
        .await;
    let refunded = refunded.map_err(|error| match error.kind() {
        ErrorKind::Conflict => CliError::finding(format!(
            "{id}: it was refunded with another amount or reason"
        )),
        _ => CliError::about(&id.to_string())(error),
    })?;
    let (refund, is_repetition) = (&refunded.purchase, refunded.replayed);
    tracing::info!(
        target: AUDIT,
        action = "refund",
        user.id = refund.user_id.as_str(),
        purchase.id = %refund.id,
        replayed = is_repetition,
    );
    let text = format!(
        "log    {}\nrefund {} of {id}: {}",
        log.name, refund.id, refund.price
    );
    print_report(settings.json, &[("log", &log.name)], text, &refunded)
}
