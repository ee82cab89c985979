//! Imports a CSV file row by row with progress, is interrupted, and continues without duplicates.
//!
//! ```text
//! cargo run --example import_csv
//!
//! interrupted after 400 rows
//! continued from row 400: 1000 purchases for 499500
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use indicatif::ProgressBar;
use shop_core::{NewPurchase, Shop, TryStreamExt, stream};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// A row as a purchase, with its number. The number is also in the key: sent again, it is the same purchase.
fn purchase(
    (row, record): (usize, csv::Result<csv::StringRecord>),
) -> Result<(usize, NewPurchase)> {
    let record = record?;
    let new = NewPurchase::for_user(&record[0])
        .with_user_name(&record[1])
        .with_price(&record[2])?;
    Ok((row, new.with_key(format!("import-2026-03-row-{row}"))?))
}

/// Imports the rows up to `to`, from where the previous run stopped according to the file `done`. Rows are read as they
/// are bought.
async fn import(shop: &Shop, file: &Path, done: &Path, to: usize) -> Result<usize> {
    let from: usize = std::fs::read_to_string(done)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let rows = csv::Reader::from_path(file)?
        .into_records()
        .enumerate()
        .take(to)
        .skip(from);
    let progress = ProgressBar::no_length();
    let mut bought = shop.try_buy_all(stream::iter(rows.map(purchase)), 32);
    while let Some((row, bought)) = bought.try_next().await? {
        bought.map_err(|error| format!("row {row}: {error}"))?;
        progress.set_position(row as u64 + 1);
        // Results are in the order of the rows, so one number is sufficient. A number that is too low is harmless.
        std::fs::write(done, (row + 1).to_string())?;
    }
    Ok(from)
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, done) = (
        folder.path().join("orders.csv"),
        folder.path().join("orders.done"),
    );
    let rows: String = (0..1_000).map(|row| format!("u1,ada,{row}.00\n")).collect();
    std::fs::write(&file, format!("userid,username,price\n{rows}"))?;
    // For a service: `ShopClient::builder(url).build()?.shop()`.
    let shop = Shop::in_memory();
    import(&shop, &file, &done, 400).await?;
    println!("interrupted after {} rows", std::fs::read_to_string(&done)?);

    let from = import(&shop, &file, &done, usize::MAX).await?;
    let sum = shop.user("u1").summary().await?;
    println!(
        "continued from row {from}: {} purchases for {}",
        sum.count, sum.total_spent
    );
    Ok(())
}
