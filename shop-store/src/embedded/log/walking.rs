//! Reads the whole log, or all that it has put aside, up to what is there now: for nobody's position, and page by page.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use rusqlite::{Connection, params};
use shop_core::Result;
use shop_core::log::{Batch, DeadLetterState, Partition, Resolution, ResolvedDeadLetter};

use super::dead_letters::{COLUMNS, letter};
use super::position::unsigned;
use super::{EmbeddedDeadLetters, EmbeddedLog, Shared, reading};
use crate::embedded::error::from_sqlite;
use crate::embedded::readers::Readers;

impl EmbeddedLog {
    /// All records that the log holds now, in the order of their offsets and in batches as a source's. Those that
    /// come later are left out.
    ///
    /// No group is joined and no position kept, which would keep records from being deleted for ever. Records that
    /// every group has consumed may be deleted meanwhile; then they do not come.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the file cannot be read; so may the stream's items be.
    pub async fn records(&self) -> Result<impl Stream<Item = Result<Batch>> + Send + use<>> {
        let file = Arc::new(File::open(&self.shared)?);
        let end = file.newest("SELECT coalesce(max(offset), 0) FROM records").await?;
        let (most, bytes) = (self.shared.options.batch_records.max(1), self.shared.options.batch_bytes);
        let (cluster, topic) = (Arc::clone(&self.shared.cluster), Arc::clone(&self.shared.topic));
        let partition = Partition::new(cluster, topic, 0, 0);
        Ok(stream::try_unfold(0, move |next| {
            let (file, partition) = (Arc::clone(&file), partition.clone());
            async move {
                let read = move |connection: &Connection| reading::read(connection, next, most, bytes);
                let mut records = file.read(read).await?;
                records.retain(|record| record.offset <= unsigned(end));
                let Some(last) = records.last() else { return Ok(None) };
                let following = last.offset + 1;
                Ok(Some((Batch::new(partition, records), following)))
            }
        }))
    }
}

impl EmbeddedDeadLetters {
    /// All that the log has put aside by now: first the letters that are kept, in the order in which they were put,
    /// then what is remembered of those that were settled. What is put aside later is left out, so that whoever
    /// replays what this gives does not meet it again.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the file cannot be read; so may the stream's items be.
    pub async fn put_aside(&self) -> Result<impl Stream<Item = Result<DeadLetterState>> + Send + use<>> {
        let file = Arc::new(File::open(&self.log)?);
        let cluster = Arc::clone(&self.log.cluster);
        let newest = file.newest("SELECT coalesce(max(rowid), 0) FROM dead_letters").await?;
        let kept = pages(&file, move |connection, after| kept(connection, &cluster, after, newest));
        let newest = file.newest("SELECT coalesce(max(rowid), 0) FROM settled_letters").await?;
        let settled = pages(&file, move |connection, after| settled(connection, after, newest));
        Ok(kept.chain(settled))
    }
}

/// The file, for one reader of its own: nobody who writes waits for it.
pub(super) struct File {
    readers: Readers,
    path: PathBuf,
}

impl File {
    pub(super) fn open(log: &Arc<Shared>) -> Result<Self> {
        let readers = Readers::start(&log.database, &log.writer, 1, 1)?;
        Ok(Self { readers, path: log.database.path() })
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.path.clone();
        self.readers
            .read(move |connection| query(connection).map_err(|error| from_sqlite(error, &path)))
            .await
    }

    async fn newest(&self, sql: &'static str) -> Result<i64> {
        self.read(move |connection| connection.query_row(sql, [], |row| row.get(0))).await
    }
}

/// Rows and the number of the last one.
type Rows = (Vec<DeadLetterState>, i64);

/// The rows of one page after another; `read` answers those behind a row's number.
fn pages<F>(file: &Arc<File>, read: F) -> impl Stream<Item = Result<DeadLetterState>> + Send + use<F>
where
    F: Fn(&Connection, i64) -> rusqlite::Result<Rows> + Send + Sync + 'static,
{
    let (file, read) = (Arc::clone(file), Arc::new(read));
    let pages = stream::try_unfold(0, move |after| {
        let (file, read) = (Arc::clone(&file), Arc::clone(&read));
        async move {
            let (rows, last) = file.read(move |connection| read(connection, after)).await?;
            Ok((last > after).then(|| (stream::iter(rows.into_iter().map(Ok)), last)))
        }
    });
    pages.try_flatten()
}

/// The most rows of a page.
const ROWS: i64 = 500;
/// The size in bytes at which a page is closed.
const BYTES: usize = 1 << 20;

fn kept(connection: &Connection, cluster: &Arc<str>, after: i64, newest: i64) -> rusqlite::Result<Rows> {
    let sql = format!(
        "SELECT {COLUMNS}, rowid FROM dead_letters WHERE rowid > ?1 AND rowid <= ?2 ORDER BY rowid LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![after, newest, ROWS])?;
    let (mut letters, mut last, mut bytes) = (Vec::new(), after, 0);
    while bytes < BYTES
        && let Some(row) = rows.next()?
    {
        let letter = letter(row, cluster)?;
        bytes += letter.record.size();
        last = row.get("rowid")?;
        letters.push(DeadLetterState::Pending(letter));
    }
    Ok((letters, last))
}

fn settled(connection: &Connection, after: i64, newest: i64) -> rusqlite::Result<Rows> {
    let sql = "SELECT place, purchase, settlement, rowid FROM settled_letters
               WHERE rowid > ?1 AND rowid <= ?2 ORDER BY rowid LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![after, newest, ROWS])?;
    let (mut letters, mut last) = (Vec::new(), after);
    while let Some(row) = rows.next()? {
        last = row.get("rowid")?;
        let (place, purchase): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        let settlement = Resolution::from_word(&row.get::<_, String>(2)?).unwrap_or(Resolution::Dropped);
        // We have written it, so it can be read; what somebody else has made of it says nothing.
        let Ok(place) = place.parse() else { continue };
        let purchase = purchase.and_then(|id| id.parse().ok());
        letters.push(DeadLetterState::Resolved(ResolvedDeadLetter::new(place, purchase, settlement)));
    }
    Ok((letters, last))
}
