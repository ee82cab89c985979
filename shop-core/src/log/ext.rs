//! [`LogExt`]: shorthands for the calls of every [`Log`].

use std::future::ready;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{Batch, DeadLetter, DeadLetterFilter, Log, Offsets, Reason, RecordPosition, ScanEnd};
use crate::record::Event;
use crate::{Error, ErrorKind, Result};

/// Shorthands for every [`Log`].
///
/// For an example of `publish`, see [`JsonEvent`](crate::record::JsonEvent).
#[async_trait]
pub trait LogExt: Log {
    /// Appends `event` durably. The log must be the [topic](Event::TOPIC) of the event.
    ///
    /// # Errors
    /// - the errors of [`append`](Log::append)
    /// - [`Internal`](ErrorKind::Internal) if the event cannot be encoded
    ///
    /// # Cancel safety
    /// See [`append`](Log::append).
    fn publish<E: Event>(&self, event: &E) -> impl Future<Output = Result<()>> + Send {
        let record = event.encode();
        async move { self.append(record?).await }
    }

    /// Reads all records that are in the log at the time of the call, and then ends.
    ///
    /// # Errors
    /// See [`Log::scan`]. The items of the stream fail for the same reasons.
    async fn scan_all(&self) -> Result<BoxStream<'static, Result<Batch>>> {
        let scan = self.scan(&Offsets::new(), ScanEnd::Current).await?;
        Ok(scan.batches)
    }

    /// Returns the names of the members of `group`: see
    /// [`GroupMembers::members`](super::GroupMembers::members).
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) if the log does not know the members
    /// - the errors of [`GroupMembers::members`](super::GroupMembers::members)
    async fn members(&self, group: &str) -> Result<Vec<String>> {
        let Some(group_members) = self.info().members else {
            let message = "this log does not report the members of a group";
            return Err(Error::new(ErrorKind::Unsupported, message).with_context("group", group));
        };
        group_members.members(group).await
    }

    /// Erases the records at these positions: see
    /// [`RecordEraser::erase`](super::RecordEraser::erase).
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) if the log deletes records only by its retention
    /// - the errors of [`RecordEraser::erase`](super::RecordEraser::erase)
    ///
    /// # Cancel safety
    /// Dropping the future may leave some of the records erased.
    async fn erase(&self, records: &[RecordPosition]) -> Result<u64> {
        let Some(eraser) = self.info().eraser else {
            let message = "this log deletes records by its retention only";
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        eraser.erase(records).await
    }

    /// Returns all dead letters that are pending at the time of the call.
    ///
    /// # Errors
    /// See [`Log::scan_dead_letters`].
    async fn pending_dead_letters(&self) -> Result<Vec<DeadLetter>> {
        self.select_dead_letters(DeadLetterFilter::default())
            .await?
            .try_collect()
            .await
    }

    /// Reads the pending dead letters that `filter` selects.
    ///
    /// Dead letters that are put after the call are excluded, so that the caller can resolve dead
    /// letters while it reads them.
    ///
    /// # Errors
    /// See [`Log::scan_dead_letters`]. The items of the stream fail for the same reasons.
    async fn select_dead_letters(
        &self,
        filter: DeadLetterFilter,
    ) -> Result<BoxStream<'static, Result<DeadLetter>>> {
        // A log may find dead letters by their position without reading all.
        if !filter.positions.is_empty() {
            let no_limit = usize::MAX;
            let selected = self.dead_letters(&filter, no_limit).await?;
            return Ok(stream::iter(selected.into_iter().map(Ok)).boxed());
        }

        let states = self.scan_dead_letters().await?;
        let selected = states.try_filter_map(move |state| ready(Ok(filter.select_pending(state))));
        Ok(selected.boxed())
    }

    /// Creates the dead letter with which an operator parks the record at `position`, or returns
    /// `None` if the log contains no such record.
    ///
    /// To *park* a record is to dead-letter it by hand, because the store keeps failing over it and
    /// ingest cannot continue. `note` tells why. The caller stores the dead letter with
    /// [`Log::put_dead_letters`].
    ///
    /// # Errors
    /// See [`Log::find`].
    async fn parked_dead_letter(
        &self,
        position: &RecordPosition,
        note: &str,
    ) -> Result<Option<DeadLetter>> {
        let Some((partition, record)) = self.find(position.partition, position.offset).await?
        else {
            return Ok(None);
        };
        // The attempts of ingest are not known here: 0 stands for a parked record.
        let attempts = 0;
        Ok(Some(DeadLetter::new(
            record,
            partition,
            Reason::parked(note),
            attempts,
        )))
    }
}

impl<T: Log + ?Sized> LogExt for T {}
