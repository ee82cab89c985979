//! Decides how many parts of a large job are committed together.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::checkpoint::Load;
use super::job::{JobCache, WriteJob};

/// The maximum number of parts in a transaction if another write waited during the last
/// [`QUIET_PERIOD`].
const MAX_BUSY_PARTS: usize = 4;
/// The time without a waiting write after which all parts of a job are committed together.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// Decides how many parts of a large job, such as a batch of an import, are committed together.
///
/// A transaction writes each page once for all of its parts, so many parts are cheap. But other
/// writes wait until the transaction ends. So a transaction ends when another write waits, and is
/// limited to a few parts while other writes come.
pub(in crate::embedded) struct CommitSizer {
    /// The last time when another write waited for a job. Initially, the time of the start.
    last_awaited: Instant,
    /// The number of parts in the last transaction. 0 if it was not a large job.
    part_count: usize,
}

impl CommitSizer {
    /// Starts with few parts, as if another write had just waited.
    pub(in crate::embedded) fn new() -> Self {
        Self {
            last_awaited: Instant::now(),
            part_count: 0,
        }
    }

    /// Applies further parts of `job`, whose first part is applied already, within the caller's
    /// transaction.
    ///
    /// Stops when no part is left, when `is_awaited` returns `true` because another write waits, or
    /// after [`MAX_BUSY_PARTS`] parts unless the last second was quiet.
    pub(in crate::embedded) fn apply_parts(
        &mut self,
        job: &mut dyn WriteJob,
        connection: &Connection,
        cache: &mut JobCache,
        is_awaited: impl Fn() -> bool,
    ) -> rusqlite::Result<()> {
        let is_quiet = self.is_quiet();
        self.part_count = 1;
        while job.has_more() && (is_quiet || self.part_count < MAX_BUSY_PARTS) {
            if is_awaited() {
                self.last_awaited = Instant::now();
                break;
            }
            job.apply_next_part(connection, cache)?;
            self.part_count += 1;
        }
        Ok(())
    }

    /// Returns whether no other write waited for a job during the last [`QUIET_PERIOD`].
    fn is_quiet(&self) -> bool {
        self.last_awaited.elapsed() >= QUIET_PERIOD
    }

    /// Returns the load around the last transaction, and forgets it: the next call returns
    /// [`Load::Small`] unless [`apply_parts`](Self::apply_parts) was called meanwhile.
    pub(in crate::embedded) fn take_load(&mut self) -> Load {
        match std::mem::take(&mut self.part_count) {
            0 => Load::Small,
            _ if !self.is_quiet() => Load::Contended,
            1..=MAX_BUSY_PARTS => Load::Small,
            _ => Load::Bulk,
        }
    }
}
