//! Operations on the store: compares it with the log, reads, exports and erases purchases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::Operations;
use crate::erase::{Erase, EraseProgress};
use crate::log::{LogRecord, Partition};
use crate::ports::{
    ListOrder, PageLimit, PageRequest, PurchaseQuery, PurchaseQueryExt as _, ScanBatch, Selector,
    UnreadableEntry, WaitingSummary,
};
use crate::verify::{SpotCheck, Verify, VerifyOptions, VerifyProgress, VerifyReport};
use crate::{ErrorKind, Purchase, Result, UserId};

impl Operations {
    /// Compares the store with the whole log. See [`verify`](crate::verify::verify()) for what is
    /// compared, and its [module](mod@crate::verify) for what the comparison costs.
    ///
    /// `progress` is called after each batch and page.
    ///
    /// # Errors
    /// - the errors of the log and of the store
    /// - [`Unsupported`](ErrorKind::Unsupported) without a log or a store
    ///
    /// # Cancel safety
    /// Dropping the future ends the verification without side effects.
    pub async fn verify(
        &self,
        options: VerifyOptions,
        progress: impl Fn(VerifyProgress) + Send + Sync,
    ) -> Result<VerifyReport> {
        let query = Arc::clone(self.backend.require_query()?);
        let log = self.backend.require_log()?;
        Verify::new(query, options)
            .with_decoders(self.backend.decoders.clone())
            .run(&**log, progress)
            .await
    }

    /// Returns a check that notices if the store was created again, or is an older copy. A service
    /// repeats the check.
    ///
    /// The check looks up a few records before the position of the group. `retention` is the time
    /// for which the store keeps purchases. Older ones may be absent.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) without a log, a group or a store.
    pub fn spot_check(&self, retention: Option<Duration>) -> Result<SpotCheck> {
        let spot_check = SpotCheck::new(
            Arc::clone(self.backend.require_log()?),
            self.backend.require_group()?.to_owned(),
            Arc::clone(self.backend.require_query()?),
            retention,
        );
        Ok(spot_check.with_decoders(self.backend.decoders.clone()))
    }

    /// Returns a stream of all entries of the store in batches, also those that cannot be read.
    ///
    /// The rest of a damaged store cannot be read. The stream then ends with a batch of one
    /// unreadable entry with the id `store`.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) without a store
    /// - in the stream, the other errors of the store. A transient error is retried for about half a
    ///   minute. An error ends the stream.
    pub fn scan_store(&self) -> Result<BoxStream<'static, Result<ScanBatch>>> {
        let batches = Arc::clone(self.backend.require_query()?).scan_batches();
        let batches_with_damage = batches.map(|batch| match batch {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let damage = UnreadableEntry::new("store", error.chain());
                Ok(ScanBatch::default().with_unreadable(vec![damage]))
            }
            batch => batch,
        });
        Ok(batches_with_damage.boxed())
    }

    /// Returns a stream of the purchases of `user`, or of all purchases without a user.
    ///
    /// The purchases can be imported in the order of the stream: each purchase comes before its
    /// refund. The purchases of a user come from the oldest to the newest.
    ///
    /// The stream of all purchases also contains the entries that cannot be read. It scans a store
    /// with refunds twice, because a scan is in no particular order: the second scan yields the
    /// refunds.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) without a store
    /// - in the stream, the errors of the store. An error ends the stream.
    pub fn export(&self, user: Option<UserId>) -> Result<BoxStream<'static, Result<ScanBatch>>> {
        let query = Arc::clone(self.backend.require_query()?);
        if let Some(user) = user {
            // Pages are in the order of time, so that a refund follows its purchase.
            let first_page = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
            let pages = query.pages(Selector::User(user), first_page);
            // The stream requests the pages itself, so a batch needs no cursor of the next one.
            return Ok(pages
                .map_ok(|page| ScanBatch::new(page.items, None))
                .boxed());
        }

        let refund_flag = Arc::new(AtomicBool::new(false));
        let refund_flag_of_scan = Arc::clone(&refund_flag);
        let without_refunds = Arc::clone(&query).scan_batches().map_ok(move |mut batch| {
            let batch_size = batch.purchases.len();
            batch.purchases.retain(|purchase| !is_refund(purchase));
            if batch.purchases.len() < batch_size {
                refund_flag_of_scan.store(true, Ordering::Relaxed);
            }
            batch
        });
        // `chain` polls this stream after the end of the first scan, so the flag is final here.
        let refunds = stream::once(async move { refund_flag.load(Ordering::Relaxed) })
            .flat_map(move |has_refunds| scan_refunds(Arc::clone(&query), has_refunds));
        Ok(without_refunds.chain(refunds).boxed())
    }

    /// Erases the purchases of the user of `erasure`, the records about them, and their dead
    /// letters.
    ///
    /// A dry run of `erasure` only counts them. The report calls the log `log_name`.
    ///
    /// # Errors
    /// - the errors of the log and of the store. Repeating the call erases the rest.
    /// - [`Unsupported`](ErrorKind::Unsupported) without a log or a store
    ///
    /// # Cancel safety
    /// Dropping the future may leave a part erased. Repeating the call erases the rest.
    pub async fn erase_purchases<F>(&self, erasure: &mut Erase<F>, log_name: &str) -> Result<()>
    where
        F: Fn(EraseProgress) + Send + Sync,
    {
        let query = self.backend.require_query()?;
        let eraser = self.backend.require_erase()?;
        let log = self.backend.require_log()?;
        erasure.decoders = self.backend.decoders.clone();
        erasure
            .erase_purchases(log_name, &**log, &**query, &**eraser)
            .await
    }

    /// Erases the records for which `is_about` is true, and their dead letters, from a log whose
    /// records are not purchases, such as a log of users.
    ///
    /// A dry run of `erasure` only counts them. The report calls the log `log_name`.
    ///
    /// # Errors
    /// - the errors of the log. Repeating the call erases the rest.
    /// - [`Unsupported`](ErrorKind::Unsupported) without a log
    ///
    /// # Cancel safety
    /// Dropping the future may leave a part erased. Repeating the call erases the rest.
    pub async fn erase_records<F>(
        &self,
        erasure: &mut Erase<F>,
        log_name: &str,
        is_about: impl Fn(&LogRecord, &Partition) -> bool + Send + Sync,
    ) -> Result<()>
    where
        F: Fn(EraseProgress) + Send + Sync,
    {
        let log = self.backend.require_log()?;
        // No store marks the ids of these records, because they are not purchases.
        let mark_store = None;
        erasure
            .erase_records(log_name, &**log, &is_about, mark_store)
            .await?;
        erasure
            .erase_dead_letters(&**log, self.backend.record_type, &is_about)
            .await
    }

    /// Returns the number of the stored purchases.
    ///
    /// # Errors
    /// - the errors of the store
    /// - [`Unsupported`](ErrorKind::Unsupported) without a store
    pub async fn count_purchases(&self) -> Result<u64> {
        let summary = self
            .backend
            .require_query()?
            .summary(&Selector::All)
            .await?;
        Ok(summary.count)
    }

    /// Returns the number and the age of the refunds that wait in the store for their purchase. A
    /// store that keeps no such refunds has none.
    ///
    /// # Errors
    /// - the errors of the store
    /// - [`Unsupported`](ErrorKind::Unsupported) without a store, or with one that only lists
    ///   purchases
    pub async fn waiting_refunds(&self) -> Result<WaitingSummary> {
        match self.backend.require_store()?.info().waiting_refunds {
            Some(refunds) => refunds.waiting_summary().await,
            None => Ok(WaitingSummary::default()),
        }
    }
}

/// Returns a stream of the refunds of the store, which is empty if the store has none.
///
/// The entries that cannot be read are left out: the scan of the purchases, which an export runs
/// before this one, has yielded them.
fn scan_refunds(
    query: Arc<dyn PurchaseQuery>,
    has_refunds: bool,
) -> BoxStream<'static, Result<ScanBatch>> {
    if !has_refunds {
        return stream::empty().boxed();
    }
    let batches = query.scan_batches().map_ok(|mut batch| {
        batch.purchases.retain(is_refund);
        batch.unreadable.clear();
        batch
    });
    batches.boxed()
}

/// Returns whether `purchase` is a refund of another purchase.
fn is_refund(purchase: &Purchase) -> bool {
    purchase.details.of.is_some()
}
