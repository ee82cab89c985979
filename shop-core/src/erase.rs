//! Erases a user: the purchases in a store, the records of a log, and the dead letters.
//!
//! An erasure takes these steps, in this order:
//!
//! 1. It erases the rows of the store, and marks their ids as erased. If the store refuses that,
//!    the erasure ends with an error, and the log is unchanged.
//! 2. It reads the log. The id of each purchase of the user is marked as erased in the store,
//!    unless the purchase is stored, so that ingest never stores it. Then the record is erased. A
//!    log that cannot erase single records keeps them until its retention, and the report counts
//!    them.
//! 3. It erases the rows that ingest has stored meanwhile, from records whose ids were not marked
//!    yet.
//! 4. It drops the dead letters.
//!
//! ```
//! use shop_core::erase::erase_user;
//! use shop_core::memory::{InMemoryLog, InMemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> shop_core::Result<()> {
//! let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
//! let report = erase_user("u1".parse()?, &log, &store).await?;
//! assert_eq!((report.purchases, report.records, report.dead_letters), (0, 0, 0));
//! # Ok(())
//! # }
//! ```

use std::borrow::Cow;
use std::fmt;
use std::future::ready;

use futures_util::TryStreamExt as _;
use serde::Serialize;

use crate::json::{Members, text};
use crate::log::{
    DeadLetterFilter, Log, LogExt as _, LogRecord, Partition, RecordPosition, RecordType,
    Resolution, ResolveOptions, resolve,
};
use crate::ports::{
    LeftEntries, ListOrder, PageLimit, PageRequest, PurchaseErase, PurchaseQuery, Selector,
};
use crate::record::{Record as _, RecordDecoders};
use crate::{Purchase, PurchaseId, Result, Timestamp, UserId};

/// The number of purchases or dead letters that are erased together.
const BATCH_SIZE: usize = 500;

/// Erases the purchases of `user` from `store`, the records about the purchases from `log`, and
/// their dead letters.
///
/// The ids of the purchases are marked as erased in the store. So a record that is not stored yet,
/// or that the log delivers again, is never stored.
///
/// The erasure can run beside services. It does not erase:
/// - purchases that are made after the erasure began
/// - the row of a registered user
/// - copies in backups
/// - records in a log that deletes records by its retention only: the report counts these records
///   in [`kept`](EraseReport::kept)
///
/// # Errors
/// Returns the errors of the log and of the store. After an error, a part of the purchases and
/// records may be erased. Repeating the call erases the rest.
///
/// # Cancel safety
/// Dropping the future may leave a part erased. Repeating the call erases the rest.
pub async fn erase_user<S>(user: UserId, log: &dyn Log, store: &S) -> Result<EraseReport>
where
    S: PurchaseErase + PurchaseQuery,
{
    let mut erasure = Erase::new(user, |_progress| ());
    let query = store;
    erasure
        .erase_purchases("the log", log, query, store)
        .await?;
    Ok(erasure.report)
}

/// The erasure of a user, which counts in its report what it erases.
///
/// The erasure can be stopped and repeated, and can run beside services. Purchases that are made
/// after it began are not erased.
#[derive(Debug)]
pub struct Erase<F> {
    /// Called after each batch.
    progress: F,
    /// The number of records of logs that were read.
    scanned_records: u64,
    /// Decodes the records of a log of purchases.
    pub(crate) decoders: RecordDecoders,
    /// The counts of rows and records that were erased so far.
    pub report: EraseReport,
}

/// The progress of an [`Erase`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EraseProgress {
    /// The number of records of logs that were read.
    pub records: u64,
    /// The number of purchases that were erased.
    pub purchases: u64,
}

/// The counts of erased rows and records, or of those that would be erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EraseReport {
    /// The user who is erased.
    pub user: UserId,
    /// Whether nothing was erased, only counted.
    pub dry_run: bool,
    /// The number of purchases and refunds in the store.
    pub purchases: u64,
    /// The number of registered users: one or none. The caller of an [`Erase`] sets it.
    pub users: u64,
    /// The number of records in logs.
    pub records: u64,
    /// The number of dead letters, which are records that could not be ingested.
    pub dead_letters: u64,
    /// The records that logs keep until their retention deletes them, with one entry per log.
    pub kept: Vec<KeptRecords>,
    /// The entries of the user in the store that could not be erased, because they are damaged.
    /// With such entries, the erasure is not [complete](Self::is_complete).
    pub left: LeftEntries,
}

impl EraseReport {
    /// Returns whether the store has nothing of the user any more.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.left.is_empty()
    }
}

/// The records about a user that a log keeps until its retention deletes them.
///
/// Such a log, for example Kafka, cannot erase single records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeptRecords {
    /// The name of the log in the report.
    pub log: String,
    /// The topic of the records.
    pub topic: String,
    /// The number of kept records.
    pub records: u64,
    /// The position of the last kept record.
    #[serde(with = "text")]
    pub last: RecordPosition,
    /// The time of the last kept record.
    pub last_time: Timestamp,
    /// The time from which on the log deletes the last kept record; `None` if the log reports no
    /// retention.
    pub until: Option<Timestamp>,
}

impl KeptRecords {
    /// Creates the entry of the log `name` without records. `last` is a position in its topic, and
    /// is replaced by the first call of [`add`](Self::add).
    fn new(name: &str, last: RecordPosition) -> Self {
        Self {
            log: name.to_owned(),
            topic: last.topic.to_string(),
            records: 0,
            last,
            last_time: Timestamp::MIN,
            until: None,
        }
    }

    /// Adds `count` kept records, of which the last one is at the position `last` and has the time
    /// `last_time`.
    fn add(&mut self, count: u64, last: RecordPosition, last_time: Timestamp) {
        self.records += count;
        if last_time >= self.last_time {
            self.last = last;
            self.last_time = last_time;
        }
    }
}

/// A predicate that tells whether a record, in a partition, is about the user who is erased.
type IsAbout<'a> = dyn Fn(&LogRecord, &Partition) -> bool + Send + Sync + 'a;

impl<F: Fn(EraseProgress) + Send + Sync> Erase<F> {
    /// Creates an erasure of `user` that calls `progress` after each batch.
    pub fn new(user: UserId, progress: F) -> Self {
        Self {
            progress,
            scanned_records: 0,
            decoders: RecordDecoders::default(),
            report: EraseReport {
                user,
                dry_run: false,
                purchases: 0,
                users: 0,
                records: 0,
                dead_letters: 0,
                kept: Vec::new(),
                left: LeftEntries::default(),
            },
        }
    }

    /// Sets whether the erasure only counts rows and records (`true`), or erases them (`false`, the
    /// default).
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.report.dry_run = dry_run;
        self
    }

    /// Erases the purchases of the user from a store, and the records about them and their dead
    /// letters from `log`.
    ///
    /// `query` and `store` are ports of the same store. The report calls the log `name`. A dry run
    /// counts instead.
    ///
    /// The erasure takes these steps:
    ///
    /// 1. the rows of the store
    /// 2. the records of the log, with a mark in the store for the id of each purchase
    /// 3. the rows that ingest has stored since step 1
    /// 4. the dead letters
    ///
    /// # Errors
    /// Returns the errors of the log and of the store. Repeating the call erases the rest. If the
    /// store refuses to erase its rows, the log is unchanged.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a part erased. Repeating the call erases the rest.
    pub(crate) async fn erase_purchases(
        &mut self,
        name: &str,
        log: &dyn Log,
        query: &dyn PurchaseQuery,
        store: &dyn PurchaseErase,
    ) -> Result<()> {
        let user = self.report.user.clone();
        let decoders = self.decoders.clone();
        let is_about = |record: &LogRecord, partition: &Partition| {
            is_of_user(record, partition, &decoders, &user)
        };
        let mark_store = if self.report.dry_run {
            None
        } else {
            Some(store)
        };

        // The store comes before the log. If the store cannot erase, the erasure ends here, and no
        // record is lost whose purchase is still stored.
        if self.report.dry_run {
            self.count_purchases(query).await?;
        } else {
            self.erase_rows(store).await?;
        }

        // Ingest may store a purchase of the log until the id of the purchase is marked here. So the
        // rows are erased once more afterwards.
        self.erase_records(name, log, &is_about, mark_store).await?;
        if !self.report.dry_run {
            self.erase_rows(store).await?;
        }
        self.erase_dead_letters(log, Purchase::TYPE, &is_about)
            .await
    }

    /// Adds the number of the user's purchases and refunds in the store behind `query` to the
    /// report.
    ///
    /// The pages of the listing are counted. [`PurchaseQuery::summary`] would be faster, but it
    /// leaves out refunds, and an erasure erases refunds too.
    ///
    /// # Errors
    /// Returns the errors of the store.
    async fn count_purchases(&mut self, query: &dyn PurchaseQuery) -> Result<()> {
        let selector = Selector::User(self.report.user.clone());
        let mut request = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
        loop {
            let page = query.page(&selector, &request).await?;
            self.report.purchases += page.items.len() as u64;
            request.cursor = page.next_cursor(&request)?;
            if request.cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Erases the purchases and refunds of the user from `store` in batches, and adds their number
    /// to the report.
    ///
    /// The report also lists the entries that the store could not erase.
    ///
    /// # Errors
    /// Returns the errors of the store.
    async fn erase_rows(&mut self, store: &dyn PurchaseErase) -> Result<()> {
        loop {
            let erased = store.erase(&self.report.user, BATCH_SIZE).await?;
            if erased.count == 0 {
                self.report.left = erased.left;
                return Ok(());
            }
            self.report.purchases += erased.count;
            self.report_progress();
        }
    }

    /// Calls the progress function with the counts so far.
    fn report_progress(&self) {
        (self.progress)(EraseProgress {
            records: self.scanned_records,
            purchases: self.report.purchases,
        });
    }

    /// Erases the records of `log` for which `is_about` is true, and counts them in the report.
    ///
    /// A log that cannot erase single records keeps them until its retention. The report then lists
    /// them as kept records, under the name `name` of the log.
    ///
    /// `mark_store` is the store in which the ids of the purchases in these records are marked as
    /// erased first. It is `None` in a dry run, and for a log whose records are not purchases.
    ///
    /// # Errors
    /// Returns the errors of the log and of the store.
    pub(crate) async fn erase_records(
        &mut self,
        name: &str,
        log: &dyn Log,
        is_about: &IsAbout<'_>,
        mark_store: Option<&dyn PurchaseErase>,
    ) -> Result<()> {
        let mut batches = log.scan_all().await?;
        let mut kept_records: Option<KeptRecords> = None;
        while let Some(batch) = batches.try_next().await? {
            self.scanned_records += batch.records.len() as u64;
            self.report_progress();

            let partition = &batch.partition;
            let matching_records: Vec<_> = batch
                .records
                .iter()
                .filter(|record| is_about(record, partition))
                .collect();
            let Some(last_record) = matching_records.last() else {
                continue;
            };

            // The ids are marked before the records are erased. If the erasure fails in between,
            // the next erasure finds the records again.
            if let Some(store) = mark_store {
                let ids = self.purchase_ids(&matching_records, partition);
                store.mark_erased(&ids).await?;
            }

            let positions: Vec<_> = matching_records
                .iter()
                .map(|record| RecordPosition::from_record(record, partition))
                .collect();
            let record_count = positions.len() as u64;
            let eraser = log.info().eraser;
            match eraser {
                None => {
                    let last = RecordPosition::from_record(last_record, partition);
                    kept_records
                        .get_or_insert_with(|| KeptRecords::new(name, last.clone()))
                        .add(record_count, last, last_record.time);
                }
                Some(_) if self.report.dry_run => self.report.records += record_count,
                Some(eraser) => self.report.records += eraser.erase(&positions).await?,
            }
        }

        // The time at which the log deletes the last kept record follows from that record.
        if let Some(kept) = &mut kept_records {
            kept.until = log
                .info()
                .retention
                .map(|retention| kept.last_time.saturating_add(retention));
        }
        self.report.kept.extend(kept_records);
        Ok(())
    }

    /// Returns the ids of the purchases in `records`. A record that does not decode has no purchase, and
    /// so no id.
    fn purchase_ids(&self, records: &[&LogRecord], partition: &Partition) -> Vec<PurchaseId> {
        records
            .iter()
            .filter_map(|record| self.decoders.decode(record, partition).ok())
            .map(|purchase| purchase.id)
            .collect()
    }

    /// Drops the dead letters of `log` for which `is_about` is true, and counts them in the report.
    /// A dry run only counts them.
    ///
    /// The records of the log are of the type `record_type`.
    ///
    /// # Errors
    /// Returns the errors of the log.
    pub(crate) async fn erase_dead_letters(
        &mut self,
        log: &dyn Log,
        record_type: RecordType,
        is_about: &IsAbout<'_>,
    ) -> Result<()> {
        let pending_dead_letters = log.select_dead_letters(DeadLetterFilter::default()).await?;
        let matching_dead_letters = pending_dead_letters
            .try_filter(|dead_letter| ready(is_about(&dead_letter.record, &dead_letter.partition)));
        let options = ResolveOptions::new(Resolution::Dropped).dry_run(self.report.dry_run);
        // Every dead letter can be dropped, so there is no refusal.
        let count_dropped = |_dead_letter, _refusal| {
            self.report.dead_letters += 1;
            // `true` continues with the next dead letter.
            true
        };
        resolve(
            log,
            record_type,
            matching_dead_letters,
            &options,
            count_dropped,
        )
        .await
    }
}

/// Checks whether a record is a purchase of `user`, or a record that cannot be decoded but names
/// `user`.
///
/// A record that is not a valid purchase may still contain personal data. It is about the user if
/// the id of the user is in one of these places:
///
/// - its key
/// - the member `userid` of its value, if the value is a JSON object
/// - where one of `decoders` finds it
fn is_of_user(
    record: &LogRecord,
    partition: &Partition,
    decoders: &RecordDecoders,
    user: &UserId,
) -> bool {
    if let Ok(purchase) = decoders.decode(record, partition) {
        return purchase.user_id == *user;
    }
    has_key(record, user.as_str())
        || user_id_in_value(record).is_some_and(|user_id| user_id == user.as_str())
        || decoders
            .named_user(record)
            .is_some_and(|user_id| user_id == user.as_str())
}

/// Reads the user id from the value of `record`. The record need not be a valid purchase.
///
/// Returns `None` if the value is missing or not a JSON object, or if the object does not contain a
/// user id that is a text or a number.
fn user_id_in_value(record: &LogRecord) -> Option<Cow<'_, str>> {
    let members = Members::parse(record.value.as_deref()?, ["userid"]).ok()?;
    members.get("userid")?.text_or_number()
}

/// Checks whether the key of `record` is `key`.
#[must_use]
pub fn has_key(record: &LogRecord, key: &str) -> bool {
    record.key.as_deref() == Some(key.as_bytes())
}

impl fmt::Display for EraseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "purchases {}, users {}, records of the log {}, dead letters {}: ",
            self.purchases, self.users, self.records, self.dead_letters
        )?;
        f.write_str(if self.dry_run {
            "would be erased"
        } else {
            "erased"
        })?;
        if !self.left.is_empty() {
            let count = self.left.count;
            write!(
                f,
                "\nleft: {count} damaged rows of the store, which have data of the user: \
                 restore or repair the file, and run the command again\n{}",
                self.left
            )?;
        }
        for KeptRecords {
            log,
            topic,
            records,
            last,
            last_time,
            until,
        } in &self.kept
        {
            write!(
                f,
                "\nkept: {records} records in {log}, the last {last} of {last_time}: "
            )?;
            match until {
                Some(until) => write!(
                    f,
                    "it deletes them from {until} on, a whole segment at a time"
                )?,
                None => write!(
                    f,
                    "the topic {topic} has no retention, so it never deletes them"
                )?,
            }
            write!(
                f,
                "\ndiscarded dead letters stay in {topic}.dlq, and backups have what they had when they were made"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{InMemoryLog, InMemoryStore};
    use crate::ports::{Deletion, Lookup, PurchaseSink as _, PurchaseStore as _, Removed};
    use crate::{Error, ErrorKind, NewPurchase, Uuid};
    use async_trait::async_trait;

    fn purchase(user: &str, number: u128) -> Purchase {
        let new = NewPurchase::for_user(user)
            .with_user_name("ada")
            .with_price("5")
            .unwrap();
        new.into_purchase(Timestamp::MIN, || Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn an_erasure_erases_what_its_dry_run_counts() {
        let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
        for (user, number) in [("1", 1), ("1", 2), ("2", 3)] {
            log.sink().publish(&purchase(user, number)).await.unwrap();
        }
        let poison = LogRecord::new(0, Timestamp::MIN, Some("{\"userid\":\"1\"}".into()));
        let position = log.append(poison);
        let dead_letter = log.parked_dead_letter(&position, "by hand").await.unwrap();
        log.put_dead_letters(&[dead_letter.unwrap()]).await.unwrap();
        // The second one is not stored yet.
        store
            .insert([purchase("1", 1), purchase("2", 3)].into())
            .await
            .unwrap();
        let erase = async |dry_run| {
            let mut erase = Erase::new("1".parse().unwrap(), |_| ()).dry_run(dry_run);
            erase
                .erase_purchases("memory", &log, &store, &store)
                .await
                .unwrap();
            let counts = (erase.report.purchases, erase.report.dead_letters);
            let kept = erase.report.kept.iter().map(|kept| kept.records);
            let in_log = erase.report.records + kept.sum::<u64>();
            assert_eq!(in_log, if counts == (0, 0) { 0 } else { 3 });
            (counts, erase)
        };
        let (counts, counted) = erase(true).await;
        assert_eq!(counts, (1, 1));
        assert!(
            counted.report.to_string().ends_with(": would be erased"),
            "{}",
            counted.report
        );
        let (counts, erased) = erase(false).await;
        assert_eq!(counts, (1, 1));
        let json = serde_json::to_value(&erased.report).unwrap();
        assert_eq!(
            (&json["user"], &json["dry_run"], &json["purchases"]),
            (&"1".into(), &false.into(), &1.into())
        );
        assert!(
            matches!(
                store.look_up(&purchase("1", 2).id).await.unwrap(),
                Lookup::Erased
            ),
            "it is marked"
        );
        assert!(matches!(
            store.look_up(&purchase("2", 3).id).await.unwrap(),
            Lookup::Stored(_)
        ));
        assert_eq!(log.pending_dead_letters().await.unwrap(), []);
        assert_eq!(erase(false).await.0, (0, 0));
    }

    /// A store that finds the purchases of a user, and cannot replace them by marks.
    #[derive(Debug)]
    struct WithoutMarks;

    impl WithoutMarks {
        fn refuse<T>() -> Result<T> {
            Err(Error::new(ErrorKind::Denied, "no marks"))
        }
    }

    #[async_trait]
    impl PurchaseErase for WithoutMarks {
        async fn erase(&self, _user: &UserId, _limit: usize) -> Result<Removed> {
            Self::refuse()
        }

        /// All ids are stored, so there is nothing to mark.
        async fn mark_erased(&self, _ids: &[PurchaseId]) -> Result<u64> {
            Ok(0)
        }

        async fn delete_before(
            &self,
            _time: Timestamp,
            _limit: usize,
            _deletion: Deletion,
        ) -> Result<Removed> {
            Self::refuse()
        }

        async fn last_seen(&self, _stored: Option<Timestamp>) -> Result<Option<Timestamp>> {
            Self::refuse()
        }
    }

    #[tokio::test]
    async fn an_erasure_that_the_store_refuses_leaves_the_log() {
        let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
        log.sink().publish(&purchase("1", 1)).await.unwrap();
        let mut erase = Erase::new("1".parse().unwrap(), |_| ());
        let refused = erase.erase_purchases("memory", &log, &store, &WithoutMarks);
        assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::Denied);

        let mut counted = Erase::new("1".parse().unwrap(), |_| ()).dry_run(true);
        counted
            .erase_purchases("memory", &log, &store, &store)
            .await
            .unwrap();
        let kept = counted.report.kept.iter().map(|kept| kept.records);
        assert_eq!(counted.report.records + kept.sum::<u64>(), 1);
    }
}
