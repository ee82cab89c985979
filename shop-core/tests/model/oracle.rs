//! The invariants of a log and a store, for any behavior of the pipeline between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use shop_core::log::{
    Batch, CommitOffset, CommitOutcome, DeadLetter, LogRecord, Partition, ReasonKind,
    RevocationCause,
};
use shop_core::ports::InsertOutcome;
use shop_core::{Purchase, PurchaseId};
use tokio::time::Instant;

use crate::summary::Summary;

/// All published records and their outcomes. Every effect on the log and the
/// store is recorded and checked when it happens.
#[derive(Debug, Clone)]
pub(crate) struct Oracle {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug)]
struct Book {
    started: Instant,
    /// The records of each partition.
    published: BTreeMap<u32, Vec<Published>>,
    /// The contents with which ids were published.
    contents: BTreeMap<PurchaseId, Vec<Purchase>>,
    stored: BTreeMap<PurchaseId, Purchase>,
    dead_letters: BTreeMap<(u32, u64), LogRecord>,
    /// The ids of purchases that were dead-lettered because the store rejected them.
    refused: BTreeSet<PurchaseId>,
    /// The bytes of the largest batch.
    largest: usize,
    delivered: BTreeSet<(u32, u64)>,
    /// The last owner and the last epoch that a partition was delivered in.
    owners: BTreeMap<u32, (u64, u64)>,
    /// The batches delivered to each member in partitions that it has not given up, with their end.
    handed: BTreeMap<(u64, u32), Handed>,
    committed: BTreeMap<u32, u64>,
    violation: Option<String>,
    summary: Summary,
    /// All events with their times: two runs of one plan have the same.
    trace: Vec<(u128, &'static str, u64)>,
}

#[derive(Debug)]
struct Published {
    record: LogRecord,
    /// `None` for poison.
    purchase: Option<Purchase>,
    /// Found in the store or among the dead letters, neither of which loses records.
    durable: bool,
}

#[derive(Debug)]
struct Handed {
    epoch: u64,
    next: u64,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        let book = Book {
            started: Instant::now(),
            published: BTreeMap::new(),
            contents: BTreeMap::new(),
            stored: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            refused: BTreeSet::new(),
            largest: 0,
            delivered: BTreeSet::new(),
            owners: BTreeMap::new(),
            handed: BTreeMap::new(),
            committed: BTreeMap::new(),
            violation: None,
            summary: Summary::default(),
            trace: Vec::new(),
        };
        Self {
            book: Arc::new(Mutex::new(book)),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(crate) fn count(&self, what: &'static str) {
        self.book().note(what, 0);
    }

    /// Records a violation.
    pub(crate) fn accuse(&self, violation: String) {
        self.book().accuse(violation);
    }

    pub(crate) fn published(&self, partition: u32, record: LogRecord, purchase: Option<Purchase>) {
        let mut book = self.book();
        if let Some(purchase) = &purchase {
            book.contents
                .entry(purchase.id)
                .or_default()
                .push(purchase.clone());
        }
        book.published
            .entry(partition)
            .or_default()
            .push(Published {
                record,
                purchase,
                durable: false,
            });
    }

    /// The first violation, if any.
    pub(crate) fn violation(&self) -> Option<String> {
        self.book().violation.clone()
    }

    pub(crate) fn delivered(&self, member: u64, batch: &Batch) {
        let mut book = self.book();
        let index = batch.partition.index;
        let epoch = batch.partition.epoch;
        book.largest = book.largest.max(batch.size());
        for record in &batch.records {
            book.expect_identical(index, record, "delivered");
            if !book.delivered.insert((index, record.offset)) {
                book.note("event: a record is redelivered", record.offset);
            }
        }
        book.note("event: a batch is delivered", u64::from(index));
        match book.owners.insert(index, (member, epoch)) {
            Some((owner, _)) if owner != member => {
                book.note("event: a partition goes to another member", epoch);
            }
            Some((_, last)) if last != epoch => book.note("event: a partition comes back", epoch),
            _ => {}
        }
        let next = batch.records.last().map_or(0, |last| last.offset + 1);
        book.handed.insert((member, index), Handed { epoch, next });
    }

    pub(crate) fn inserted(&self, batch: &[Purchase], outcomes: &[InsertOutcome]) {
        let mut book = self.book();
        for (purchase, outcome) in batch.iter().zip(outcomes) {
            book.inserted(purchase, outcome);
        }
    }

    pub(crate) fn put(&self, dead_letters: &[DeadLetter]) {
        let mut book = self.book();
        dead_letters
            .iter()
            .for_each(|dead_letter| book.put(dead_letter));
    }

    pub(crate) fn committed(&self, positions: &[CommitOffset], outcomes: &[CommitOutcome]) {
        let mut book = self.book();
        for (position, outcome) in positions.iter().zip(outcomes) {
            if *outcome == CommitOutcome::Fenced {
                book.note("event: a commit is fenced", position.next_offset);
                continue;
            }
            let index = position.partition.index;
            let epoch = position.partition.epoch;
            book.note("event: a position is committed", position.next_offset);
            book.committed.insert(index, position.next_offset);
            if book
                .owners
                .get(&index)
                .is_some_and(|(_, newest)| epoch < *newest)
            {
                book.accuse(format!("{position:?} was committed, but its epoch is over"));
            }
            book.expect_durable_before(index, position.next_offset);
        }
    }

    /// Whether all records delivered to `member` in these partitions are committed; removes its deliveries.
    pub(crate) fn given_up(&self, member: u64, partitions: &[Partition]) -> bool {
        let mut book = self.book();
        let mut all = true;
        for Partition { index, epoch, .. } in partitions {
            let Some(handed) = book.handed.get(&(member, *index)) else {
                continue;
            };
            // The member may have the partition again, in a later epoch.
            if handed.epoch == *epoch {
                all &= book.committed.get(index) >= Some(&handed.next);
                book.handed.remove(&(member, *index));
            }
        }
        all
    }

    /// Like [`given_up`](Self::given_up), for all remaining partitions of the member.
    pub(crate) fn left(&self, member: u64) -> bool {
        let mut book = self.book();
        let mut all = true;
        let handed = std::mem::take(&mut book.handed);
        for ((owner, index), handed) in handed {
            if owner == member {
                all &= book.committed.get(&index) >= Some(&handed.next);
            } else {
                book.handed.insert((owner, index), handed);
            }
        }
        all
    }

    pub(crate) fn revoked(&self, cause: RevocationCause) {
        self.count(match cause {
            RevocationCause::Lost => "event: a membership is lost",
            _ => "event: partitions are revoked",
        });
    }

    /// Compares the log and the store with the book.
    pub(crate) fn check(
        &self,
        committed: &BTreeMap<u32, u64>,
        stored: &[Purchase],
        dead_letters: &[DeadLetter],
    ) {
        let mut book = self.book();
        for (index, next) in committed {
            book.expect_durable_before(*index, *next);
        }
        if &book.committed != committed {
            let known = book.committed.clone();
            book.accuse(format!(
                "the log has the positions {committed:?}, but committed were {known:?}"
            ));
        }
        if !book.stored.values().eq(stored) {
            book.accuse(format!(
                "the store has {stored:?}, which was not inserted first"
            ));
        }
        let kept = dead_letters.iter().map(|dead_letter| {
            (
                (dead_letter.partition.index, dead_letter.record.offset),
                &dead_letter.record,
            )
        });
        if !book
            .dead_letters
            .iter()
            .map(|(place, record)| (*place, record))
            .eq(kept)
        {
            book.accuse("the dead letters differ from those that were put".to_owned());
        }
    }

    /// What is missing until all records are stored or dead-lettered and committed.
    pub(crate) fn missing(&self) -> Option<String> {
        let mut book = self.book();
        let ends: Vec<(u32, u64)> = book
            .published
            .iter()
            .map(|(index, records)| (*index, records.len() as u64))
            .collect();
        for (index, end) in ends {
            if book.committed.get(&index) != Some(&end) {
                return Some(format!(
                    "partition {index} has {end} records: {:?}",
                    book.committed.get(&index)
                ));
            }
            if let Some(offset) = book.first_not_durable(index, end) {
                return Some(format!(
                    "record {offset} of partition {index} is neither stored nor dead-lettered"
                ));
            }
        }
        let lost = book
            .contents
            .keys()
            .find(|id| !book.stored.contains_key(id) && !book.refused.contains(id));
        lost.map(|id| format!("{id} was acknowledged and is not stored"))
    }

    /// The bytes of the largest batch that was delivered.
    pub(crate) fn largest_batch(&self) -> usize {
        self.book().largest
    }

    /// All events and their times.
    pub(crate) fn trace(&self) -> Vec<(u128, &'static str, u64)> {
        self.book().trace.clone()
    }

    pub(crate) fn summary(&self) -> Summary {
        self.book().summary.clone()
    }
}

impl Book {
    fn note(&mut self, what: &'static str, number: u64) {
        self.summary.add(what, 1);
        self.trace
            .push((self.started.elapsed().as_micros(), what, number));
    }

    fn accuse(&mut self, violation: String) {
        self.violation.get_or_insert(violation);
    }

    fn expect_identical(&mut self, index: u32, record: &LogRecord, what: &str) {
        let offset = usize::try_from(record.offset).unwrap();
        let published = self
            .published
            .get(&index)
            .and_then(|records| records.get(offset));
        let is_identical = published.is_some_and(|published| {
            let ours = &published.record;
            (&ours.key, &ours.headers, &ours.value) == (&record.key, &record.headers, &record.value)
        });
        if !is_identical {
            self.accuse(format!(
                "{what}, but not published like this: {index}, {record:?}"
            ));
        }
    }

    fn inserted(&mut self, purchase: &Purchase, outcome: &InsertOutcome) {
        let published = self.contents.get(&purchase.id);
        if !published.is_some_and(|contents| contents.contains(purchase)) {
            self.accuse(format!("inserted, but never published: {purchase:?}"));
        }
        let (is_right, what) = match self.stored.get(&purchase.id) {
            None => (
                matches!(outcome, InsertOutcome::Inserted),
                "event: a purchase is inserted",
            ),
            Some(first) if first.same_content(purchase) => (
                matches!(outcome, InsertOutcome::Duplicate),
                "event: a duplicate is inserted",
            ),
            Some(_) => (
                matches!(outcome, InsertOutcome::Conflict),
                "event: a conflict is inserted",
            ),
        };
        self.note(what, 0);
        if !is_right {
            let stored = self.stored.get(&purchase.id);
            self.accuse(format!(
                "{outcome:?} is wrong for {purchase:?}: {stored:?} was stored"
            ));
        }
        self.stored
            .entry(purchase.id)
            .or_insert_with(|| purchase.clone());
    }

    fn put(&mut self, dead_letter: &DeadLetter) {
        let index = dead_letter.partition.index;
        let offset = dead_letter.record.offset;
        self.expect_identical(index, &dead_letter.record, "dead-lettered");
        let published = self
            .published
            .get(&index)
            .and_then(|all| all.get(usize::try_from(offset).unwrap()));
        let purchase = published.and_then(|published| published.purchase.as_ref());
        let (is_right, what) = match purchase {
            None => (
                dead_letter.reason.kind() == ReasonKind::Undecodable,
                "event: poison is dead-lettered",
            ),
            Some(purchase) if dead_letter.reason.kind() == ReasonKind::Refused => {
                self.refused.insert(purchase.id);
                (
                    true,
                    "event: a purchase that the store rejects is dead-lettered",
                )
            }
            Some(purchase) => {
                let first = self.stored.get(&purchase.id);
                let conflicts = first.is_some_and(|first| !first.same_content(purchase));
                (
                    conflicts && dead_letter.reason.kind() == ReasonKind::Conflict,
                    "event: a conflict is dead-lettered",
                )
            }
        };
        if !is_right {
            self.accuse(format!("dead-lettered without a reason: {dead_letter:?}"));
        }
        self.note(what, offset);
        if self
            .dead_letters
            .insert((index, offset), dead_letter.record.clone())
            .is_some()
        {
            self.note("event: a dead letter is put again", offset);
        }
    }

    fn expect_durable_before(&mut self, index: u32, next: u64) {
        if let Some(offset) = self.first_not_durable(index, next) {
            let record = format!("record {offset}, neither stored nor dead-lettered");
            self.accuse(format!(
                "the position {next} of partition {index} is past {record}"
            ));
        }
    }

    /// The first record before offset `next` that is neither stored with its content nor dead-lettered.
    fn first_not_durable(&mut self, index: u32, next: u64) -> Option<u64> {
        let Self {
            published,
            stored,
            dead_letters,
            ..
        } = self;
        let records = published
            .get_mut(&index)
            .map(Vec::as_mut_slice)
            .unwrap_or_default();
        for offset in 0..next {
            let Some(published) = records.get_mut(usize::try_from(offset).unwrap()) else {
                return Some(offset);
            };
            if !published.durable {
                let same = |purchase: &Purchase| {
                    stored
                        .get(&purchase.id)
                        .is_some_and(|first| first.same_content(purchase))
                };
                published.durable = dead_letters.contains_key(&(index, offset))
                    || published.purchase.as_ref().is_some_and(same);
            }
            if !published.durable {
                return Some(offset);
            }
        }
        None
    }
}
