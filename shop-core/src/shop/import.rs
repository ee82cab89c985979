//! Imports a file of purchases.

use super::Shop;
use crate::Result;
use crate::import::{
    FileIdentity, ImportOptions, ImportReport, RowSource, check_repetition, import_rows,
};

impl Shop {
    /// Imports the rows of a file: publishes its purchases and refunds in batches, and waits until
    /// they are stored.
    ///
    /// `open` opens the file. The file is opened and read on a thread for blocking work. `report`
    /// counts the rows by their result, also if the import fails. `progress` is called after each
    /// batch. Importing a file again imports no purchase twice. A file that was imported before with
    /// other options is refused, because its rows could be stored a second time, unless
    /// [`again`](ImportOptions::again) is set.
    ///
    /// `Import::run` of `shop-api` imports files of CSV and NDJSON in this way. Here, the rows come
    /// from a program:
    ///
    /// ```
    /// use shop_core::import::{FileIdentity, ImportOptions, ImportReport, ImportRow, RowSource};
    /// use shop_core::{NewPurchase, Shop, Timestamp, Uuid};
    ///
    /// struct Orders(FileIdentity, Vec<ImportRow>);
    ///
    /// impl RowSource for Orders {
    ///     fn identity(&self) -> &FileIdentity {
    ///         &self.0
    ///     }
    ///     fn next_batch(&mut self, max_rows: usize) -> shop_core::Result<Vec<ImportRow>> {
    ///         let count = max_rows.min(self.1.len());
    ///         Ok(self.1.drain(..count).collect())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// let order = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?;
    /// let purchase = order.into_purchase("2026-03-01T09:00:00Z".parse()?, || Uuid::from_u128(7));
    /// let identity = FileIdentity {
    ///     digest: Uuid::new_v5(&Uuid::NAMESPACE_OID, b"orders of March"),
    ///     reading: [("format".to_owned(), "orders".to_owned())].into(),
    /// };
    /// let rows = vec![ImportRow::new(1, Ok(purchase)), ImportRow::new(2, Err("no price".to_owned()))];
    ///
    /// let shop = Shop::in_memory();
    /// let mut report = ImportReport::default();
    /// let open = || Ok(Orders(identity, rows));
    /// shop.import(open, &ImportOptions::default(), &mut report, |_report| ()).await?;
    /// assert_eq!((report.imported, report.problems[0].line), (1, 2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Conflict`](crate::ErrorKind::Conflict) if the file was imported before with other options,
    ///   before any row is imported
    /// - the errors of `open` and of [`RowSource::next_batch`]
    /// - [`Internal`](crate::ErrorKind::Internal) if the file cannot be read
    /// - the errors of the sink and the store, if they last for about half a minute
    /// - [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) if no purchase is ingested within
    ///   the [`store_timeout`](ImportOptions::store_timeout)
    ///
    /// # Cancel safety
    /// Dropping the future may leave a part of the file imported.
    pub async fn import<S: RowSource>(
        &self,
        open: impl FnOnce() -> Result<S> + Send + 'static,
        options: &ImportOptions,
        report: &mut ImportReport,
        progress: impl FnMut(&ImportReport) + Send,
    ) -> Result<()> {
        let ports = &self.ports;
        import_rows(
            &*ports.publisher,
            &*ports.query,
            open,
            options,
            report,
            progress,
        )
        .await
    }

    /// Checks that `file` was not imported before with other options. [`import`](Self::import) checks
    /// this too.
    ///
    /// If the store does not keep how files were read, every file passes.
    ///
    /// # Errors
    /// - [`Conflict`](crate::ErrorKind::Conflict), with what differs
    /// - the errors of a store that cannot be reached
    pub async fn check_repetition(&self, file: &FileIdentity) -> Result<()> {
        check_repetition(&*self.ports.query, file).await
    }
}
