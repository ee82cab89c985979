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

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// A row as a purchase. Its line number is the key: sent again, it is the same purchase.
fn purchase((row, record): (usize, csv::StringRecord)) -> Result<NewPurchase> {
    let new = NewPurchase::new(record[0].parse()?, record[1].parse()?, record[2].parse()?);
    Ok(new.with_key(format!("import-2026-03-row-{row}").parse()?))
}

/// Imports the rows up to `to`, from where the previous run stopped according to the file `done`.
async fn import(shop: &ShopClient, file: &Path, done: &Path, to: usize) -> Result<usize> {
    let from: usize = std::fs::read_to_string(done).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let rows = csv::Reader::from_path(file)?.into_records().collect::<Result<Vec<_>, _>>()?;
    let progress = ProgressBar::new(rows.len() as u64).with_position(from as u64);
    let rows = rows.into_iter().enumerate().take(to).skip(from);
    let purchases = rows.map(purchase).collect::<Result<Vec<_>>>()?;
    let mut answers = shop.buy_all(stream::iter(purchases), 32);
    while let Some(_bought) = answers.try_next().await? {
        progress.inc(1);
        // Results are in the order of the rows, so one number is sufficient. A number that is too low is harmless.
        std::fs::write(done, progress.position().to_string())?;
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
