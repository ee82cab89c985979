//! Imports a CSV file with progress, is interrupted, and continues without duplicates.
//!
//! ```text
//! cargo run --example import_csv
//!
//! interrupted after 400 rows
//! went on from row 400: 1000 purchases for 499500
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use futures_util::{TryStreamExt, stream};
use indicatif::ProgressBar;
use shop_client::{NewPurchase, ShopClient};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// A row as a purchase. Its line number is the key: sent again, it is the same purchase.
fn purchase((row, record): (usize, csv::Result<csv::StringRecord>)) -> Result<(usize, NewPurchase)> {
    let record = record?;
    let new = NewPurchase::new(record[0].parse()?, record[1].parse()?, record[2].parse()?);
    Ok((row, new.with_key(format!("import-2026-03-row-{row}").parse()?)))
}

/// Imports the rows up to `to`, from where the previous run stopped according to the file `done`. The file is read as
/// its rows are bought.
async fn import(shop: &ShopClient, file: &Path, done: &Path, to: usize) -> Result<usize> {
    let from: usize = std::fs::read_to_string(done).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let rows = csv::Reader::from_path(file)?.into_records().enumerate().take(to).skip(from);
    let progress = ProgressBar::no_length().with_position(from as u64);
    let mut answers = shop.try_buy_all(stream::iter(rows.map(purchase)), 32);
    while let Some((row, bought)) = answers.try_next().await? {
        bought.map_err(|error| format!("row {row}: {error}"))?;
        progress.inc(1);
        // Results are in the order of the rows, so one number is sufficient. A number that is too low is harmless.
        std::fs::write(done, (row + 1).to_string())?;
    }
    Ok(from)
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, done) = (folder.path().join("orders.csv"), folder.path().join("orders.done"));
    let rows: String = (0..1_000).map(|row| format!("u1,ada,{row}.00\n")).collect();
    std::fs::write(&file, format!("userid,username,price\n{rows}"))?;
    let shop = ShopClient::builder(examples::service_in_memory().await?).build()?;
    import(&shop, &file, &done, 400).await?;
    println!("interrupted after {} rows", std::fs::read_to_string(&done)?);

    let from = import(&shop, &file, &done, usize::MAX).await?;
    let user = shop.user("u1".parse()?);
    // All rows are accepted; the last ones are stored a moment later.
    while user.summary().await?.count < 1_000 {}
    let sum = user.summary().await?;
    println!("went on from row {from}: {} purchases for {}", sum.count, sum.total_spent);
    Ok(())
}
