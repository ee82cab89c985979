//! Imports a file of purchases.

use std::io::Read;

use super::Shop;
use crate::Result;
use crate::import::{Import, ImportReport};

impl Shop {
    /// Imports `file`: publishes its purchases and refunds in batches, and waits until they are
    /// stored.
    ///
    /// The file is read on a thread for blocking work. `report` counts the rows by their result,
    /// also if the import fails. `progress` is called after each batch. Importing a file again
    /// imports no purchase twice. With options by which its rows are read otherwise, the file is
    /// refused, unless [`again`](Import::again) is set.
    ///
    /// ```
    /// use shop_core::Shop;
    /// use shop_core::import::RowFormat;
    /// use shop_core::import::{Import, ImportReport};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// let shop = Shop::in_memory();
    /// let import = Import::new(RowFormat::Csv);
    /// let file = "username,userid,price\nada,u1,29.99\nada,u1,much\n";
    /// let mut report = ImportReport::default();
    /// shop.import(&import, file.as_bytes(), &mut report, |_report| ()).await?;
    /// assert_eq!((report.imported, report.problems[0].line), (1, 3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Conflict`](crate::ErrorKind::Conflict) if the file was imported before and read otherwise.
    ///   Nothing is imported then
    /// - [`Invalid`](crate::ErrorKind::Invalid) if the file is not in the expected format, or if the
    ///   header of CSV is wrong
    /// - [`Internal`](crate::ErrorKind::Internal) if the file cannot be read
    /// - the errors of the sink and the store, if they last for about half a minute
    /// - [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) if no purchase is ingested within
    ///   the [`store_timeout`](Import::store_timeout)
    ///
    /// # Cancel safety
    /// Dropping the future may leave a part of the file imported.
    pub async fn import(
        &self,
        import: &Import,
        file: impl Read + Send + 'static,
        report: &mut ImportReport,
        progress: impl FnMut(&ImportReport) + Send,
    ) -> Result<()> {
        let ports = &self.ports;
        import
            .run(&*ports.publisher, &*ports.query, file, report, progress)
            .await
    }

    /// Checks that `file` was not imported before with options by which its rows were read
    /// otherwise. [`import`](Self::import) checks this too.
    ///
    /// Reads the first line of the file, and blocks meanwhile. A store that cannot tell refuses no
    /// file.
    ///
    /// # Errors
    /// - [`Conflict`](crate::ErrorKind::Conflict), with what differs, unless
    ///   [`again`](Import::again) is set
    /// - the errors of [`preview`](Import::preview), and of a store that cannot be reached
    pub async fn check_repetition(&self, import: &Import, file: impl Read) -> Result<()> {
        import.check_repetition(&*self.ports.query, file).await
    }
}
