//! `management export`: writes the stored purchases to standard output.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt as _, TryStreamExt as _};
use indicatif::ProgressBar;
use shop_core::UserId;
use shop_core::api::RowFormat;
use shop_core::ports::{
    ListOrder, PageLimit, PageRequest, PurchaseQuery, PurchaseQueryExt as _, Selector,
};

use super::output::{print, progress};
use crate::backend;
use crate::settings::Settings;
use crate::{CliError, Result};

pub(super) async fn run(
    settings: &Settings,
    user: Option<&UserId>,
    format: RowFormat,
) -> Result<()> {
    let store = backend::for_purchases(settings).purchases().await?;
    // Pages skip what cannot be read, and only the store counts it.
    let skipped = store
        .port
        .unreadable
        .filter(|_| user.is_some())
        .unwrap_or_default();
    let unreadable = write_all(store.port.store, user, format, &progress()).await?;
    match (unreadable + skipped.load(Ordering::Relaxed), store.name) {
        (0, _) => Ok(()),
        (unreadable, name) => {
            let what = format!(
                "{name}: {unreadable} entries cannot be read: `management doctor` names them"
            );
            Err(CliError::finding(what))
        }
    }
}

/// Writes the selected purchases. Returns the number of unreadable entries, if it reads all.
async fn write_all(
    query: Arc<dyn PurchaseQuery>,
    user: Option<&UserId>,
    format: RowFormat,
    progress: &ProgressBar,
) -> Result<u64> {
    let mut head = Vec::new();
    format.write_head(&mut head);
    print(head)?;
    let (mut written, mut unreadable) = (0_u64, 0);
    // A scan has refunds anywhere, and an import needs the purchase of each before it: they are those of a second scan.
    let (mut has_refunds, mut are_refunds) = (false, false);
    loop {
        let query = Arc::clone(&query);
        let mut batches = match user {
            Some(user) => {
                let first = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
                query
                    .pages(Selector::User(user.clone()), first)
                    .map_ok(|page| (page.items, 0))
                    .boxed()
            }
            None => query
                .scan_batches()
                .map_ok(|batch| (batch.purchases, batch.unreadable.len()))
                .boxed(),
        };
        while let Some((mut purchases, left_out)) = batches.try_next().await? {
            unreadable += if are_refunds { 0 } else { left_out as u64 };
            if user.is_none() {
                let all = purchases.len();
                purchases.retain(|purchase| purchase.details.of.is_some() == are_refunds);
                has_refunds |= all > purchases.len();
            }
            written += purchases.len() as u64;
            progress.set_message(format!("{written} purchases exported"));
            let mut rows = Vec::with_capacity(purchases.len() * 192);
            format.write(&mut rows, &purchases)?;
            if !progress.suspend(|| print(&rows))? {
                return Ok(unreadable);
            }
        }
        if are_refunds || !has_refunds {
            return Ok(unreadable);
        }
        are_refunds = true;
    }
}
