//! `management export`: writes the stored purchases to standard output.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use shop_core::Purchase;
use shop_core::api::PurchaseBody;
use shop_core::ports::{ListOrder, PageLimit, PageRequest, PurchaseQuery, PurchaseQueryExt as _, Selector};

use super::output::{Progress, print};
use super::rows::COLUMNS;
use crate::backend;
use crate::settings::{Export, FileFormat, Settings};
use crate::{CliError, Result};

pub(super) async fn run(settings: &Settings, command: &Export) -> Result<()> {
    let store = backend::for_store(settings).purchases().await?.map(|store| store.query);
    let progress = Progress::begin();
    let written = write_all(Arc::clone(&store.port), command, &progress).await;
    drop(progress);
    let name = store.close().await;
    match written? {
        0 => Ok(()),
        unreadable => {
            let what = format!("{name}: {unreadable} entries cannot be read: `management doctor` names them");
            Err(CliError::finding(what))
        }
    }
}

/// Writes the selected purchases. Returns the number of unreadable entries.
async fn write_all(query: Arc<dyn PurchaseQuery>, command: &Export, progress: &Progress) -> Result<u64> {
    if command.format == FileFormat::Csv {
        print(&format!("{}\n", COLUMNS.join(",")))?;
    }
    let (mut written, mut unreadable) = (0, 0);
    let mut write = |purchases: Vec<Purchase>| {
        written += purchases.len() as u64;
        progress.show(format!("{written} purchases exported"));
        let text = text(purchases, command.format)?;
        progress.suspend(|| print(&text))
    };
    if let Some(user) = &command.user {
        let first = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
        let mut pages = Box::pin(query.pages(Selector::User(user.clone()), first));
        while let Some(page) = pages.try_next().await? {
            if !write(page.items)? {
                break;
            }
        }
        return Ok(0);
    }
    let mut batches = Box::pin(query.scan_batches());
    while let Some(batch) = batches.try_next().await? {
        unreadable += batch.unreadable.len() as u64;
        if !write(batch.purchases)? {
            break;
        }
    }
    Ok(unreadable)
}

fn text(purchases: Vec<Purchase>, format: FileFormat) -> Result<String> {
    let failed =
        |error: &dyn std::fmt::Display| CliError::new(format!("a purchase cannot be written: {error}"));
    let mut bytes = Vec::with_capacity(purchases.len() * 192);
    match format {
        FileFormat::Ndjson => {
            for purchase in purchases {
                serde_json::to_writer(&mut bytes, &PurchaseBody::from(purchase))
                    .map_err(|error| failed(&error))?;
                bytes.push(b'\n');
            }
        }
        FileFormat::Csv => {
            let mut csv = csv::Writer::from_writer(&mut bytes);
            for Purchase { id, user_name, user_id, price, timestamp, .. } in purchases {
                let row = [
                    id.to_string(),
                    user_name.to_string(),
                    user_id.to_string(),
                    price.to_string(),
                    timestamp.to_string(),
                ];
                csv.write_record(row).map_err(|error| failed(&error))?;
            }
            csv.flush().map_err(|error| failed(&error))?;
        }
    }
    String::from_utf8(bytes).map_err(|error| failed(&error))
}
