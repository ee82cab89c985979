//! The report of a verification, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::PurchaseId;
use crate::log::{Gap, RecordPosition};

/// The result of a verification. Its text is one line; [`details`](Self::details) is the whole
/// report as text, and [`to_json`](Self::to_json) as JSON. Its serialized form contains the numbers
/// alone, without the findings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The number of records of the log.
    pub records: u64,
    /// The number of offsets that the log ever assigned: to its records, to deleted records, and to
    /// the markers of transactions. `None` if the log [cannot be followed](crate::log::ScanEnd::Never).
    pub written: Option<u64>,
    /// Per topic and partition, the first offset that the log still contains, or the next one if it
    /// contains no records any more. Earlier records are not verified. Partitions that never
    /// contained a record are absent.
    #[serde(skip)]
    pub first_offsets: BTreeMap<(String, u32), u64>,
    /// The offset of the first record that a partition ever contained.
    #[serde(skip)]
    pub first_offset: u64,
    /// The number of purchases in the store.
    pub purchases: u64,
    /// The number of documents or rows in the store that are not purchases, as far as the store
    /// scans them.
    pub unreadable: u64,
    /// The number of records with a pending dead letter.
    pub dead_lettered: u64,
    /// The number of records with a pending dead letter for a conflict: a client reused a key with
    /// other content.
    pub conflicts: u64,
    /// The number of records whose dead letter was replayed or discarded. A replayed record is in
    /// the log a second time and is verified there.
    pub resolved: u64,
    /// The number of records that were erased, or whose purchase was erased.
    pub erased: u64,
    /// The number of records whose purchase was deleted because of its age.
    pub expired: u64,
    /// The number of records without an id whose purchase another consumer of the topic stored under
    /// an `ObjectId`.
    pub by_others: u64,
    /// The number of records whose refund waits in the store for its purchase.
    pub waiting: u64,
    /// The number of records that do not decode, if they are
    /// [skipped](super::VerifyOptions::skip_undecodable).
    pub undecodable: u64,
    /// Purchases and undecodable records that are neither stored nor dead-lettered, each with its
    /// first such record.
    #[serde(skip)]
    pub missing: Findings<UnverifiedRecord>,
    /// Records whose id is stored with other content, and that are not dead-lettered.
    #[serde(skip)]
    pub mismatched: Findings<UnverifiedRecord>,
    /// Ids that the store contains more than once, and ids whose purchase another consumer of the
    /// topic stored too.
    #[serde(skip)]
    pub duplicates: Findings<PurchaseId>,
    /// Gaps whose dead letter is pending. Overlapping gaps are merged.
    #[serde(skip)]
    pub gaps: Findings<Gap>,
    /// The number of records in all pending gaps.
    pub lost: u64,
    /// The number of offsets at the ends of the partitions that could not be read: other producers
    /// did not end their transactions in the time that was waited for records in flight.
    pub unstable: u64,
    /// The number of offsets without a record, if they are more than transactions explain: the log
    /// was compacted, or other producers aborted most of their transactions. Otherwise 0.
    pub compacted: u64,
}

impl VerifyReport {
    /// Returns whether the log contains records to verify, and there are no
    /// [findings](Self::has_findings).
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.records > 0 && !self.has_findings()
    }

    /// Returns whether a purchase is missing, duplicated or mismatched, a gap is pending, or the
    /// log was compacted or not read to its end.
    #[must_use]
    pub const fn has_findings(&self) -> bool {
        let differences =
            self.missing.count + self.mismatched.count + self.duplicates.count + self.gaps.count;
        differences + self.unstable + self.compacted > 0
    }

    /// Returns the whole report as text: the first line, a line for each other count that is not
    /// zero, and a line for each sample of the findings.
    #[must_use]
    pub fn details(&self) -> String {
        let mut lines = vec![self.to_string()];
        self.add_counts(&mut lines);

        for ((topic, partition), first_offset) in &self.first_offsets {
            if *first_offset > self.first_offset {
                lines.push(format!(
                    "the log begins at {topic}-{partition}-{first_offset}: records before it are gone and were not verified"
                ));
            }
        }

        add_findings(&mut lines, "gap", &self.gaps, ToString::to_string);
        add_findings(&mut lines, "missing", &self.missing, record_text);
        add_findings(
            &mut lines,
            "stored with other content",
            &self.mismatched,
            record_text,
        );
        add_findings(&mut lines, "twice", &self.duplicates, ToString::to_string);
        lines.join("\n")
    }

    /// Adds a line for each count that is not zero, and that is not in the first line of the report.
    fn add_counts(&self, lines: &mut Vec<String>) {
        let Self {
            written,
            purchases,
            unreadable,
            dead_lettered,
            conflicts,
            resolved,
            erased,
            expired,
            by_others,
            undecodable,
            lost,
            unstable,
            compacted,
            ..
        } = *self;
        let other_dead_letters = dead_lettered - conflicts;
        let never_written = written.map_or(0, |written| purchases.saturating_sub(written));

        let counted_lines = [
            (
                never_written,
                format!(
                    "stored but never written to this log {never_written}: it is older, or not the only source"
                ),
            ),
            (
                dead_lettered,
                format!("dead letters: {conflicts} conflicts, {other_dead_letters} others"),
            ),
            (
                lost,
                format!(
                    "lost {lost}: the log no longer had them when ingest was about to read them"
                ),
            ),
            (
                unstable,
                format!(
                    "not read {unstable}: offsets behind a transaction of another producer that is open"
                ),
            ),
            (
                compacted,
                format!("without a record {compacted}: a compacted topic, or aborted transactions"),
            ),
            (resolved, format!("resolved dead letters {resolved}")),
            (
                undecodable,
                format!("not purchases {undecodable}, as the dry run has named"),
            ),
            (by_others, format!("stored by another consumer {by_others}")),
            (
                erased + expired,
                format!("erased {erased}, older than the retention {expired}"),
            ),
            (
                unreadable,
                format!("unreadable {unreadable}: `management doctor` names them"),
            ),
        ];
        for (count, line) in counted_lines {
            if count > 0 {
                lines.push(line);
            }
        }
    }

    /// Returns the whole report as a JSON object.
    ///
    /// The counts of the findings are named by the words of the text report, such as `twice` for
    /// duplicates. The samples of the findings are members of their own.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let first_offsets: Value = self
            .first_offsets
            .iter()
            .map(|((topic, partition), offset)| {
                json!({ "topic": topic, "partition": partition, "offset": offset })
            })
            .collect();
        // `null` if there was nothing to verify.
        let has_verified = self.is_clean() || self.has_findings();
        let clean = has_verified.then_some(self.is_clean());
        let findings = json!({
            "clean": clean,
            "missing": self.missing.count,
            "mismatched": self.mismatched.count,
            "twice": self.duplicates.count,
            "gaps": self.gaps.count,
            "first_offsets": first_offsets,
            "missing_records": records_json(&self.missing.samples),
            "mismatched_records": records_json(&self.mismatched.samples),
            "lost_records": self.gaps.samples,
            "twice_ids": self.duplicates.samples,
        });

        let mut json = json!(self);
        for (name, value) in findings.as_object().into_iter().flatten() {
            json[name] = value.clone();
        }
        json
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.records == 0 && !self.has_findings() {
            return match self.written {
                Some(0) => f.write_str("nothing verified: no record was ever written to the log"),
                _ => f.write_str("nothing verified: the log has no records any more"),
            };
        }
        write!(
            f,
            "missing {}, twice {}, dead-lettered {}",
            self.missing.count, self.duplicates.count, self.dead_lettered
        )
    }
}

/// The number of findings, with samples.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Findings<T> {
    /// The number of all findings.
    pub count: u64,
    /// The first findings, at most 20.
    pub samples: Vec<T>,
}

impl<T> Default for Findings<T> {
    fn default() -> Self {
        Self {
            count: 0,
            samples: Vec::new(),
        }
    }
}

impl<T> Findings<T> {
    /// Counts `finding`, and keeps it as a sample unless there are `max_samples` samples already.
    pub(super) fn add(&mut self, finding: T, max_samples: usize) {
        self.count += 1;
        if self.samples.len() < max_samples {
            self.samples.push(finding);
        }
    }
}

/// A record that the store does not contain as published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnverifiedRecord {
    /// The id of the purchase in the record, or the id of the record if the record does not decode.
    pub id: PurchaseId,
    /// The position of the record in the log.
    pub position: RecordPosition,
}

/// Adds a line for each sample of `findings`, and a line for the number of findings without a
/// sample.
fn add_findings<T>(
    lines: &mut Vec<String>,
    name: &str,
    findings: &Findings<T>,
    sample_text: impl Fn(&T) -> String,
) {
    for sample in &findings.samples {
        lines.push(format!("  {name}: {}", sample_text(sample)));
    }
    let unsampled_count = findings.count - findings.samples.len() as u64;
    if unsampled_count > 0 {
        lines.push(format!("  {name}: {unsampled_count} more"));
    }
}

/// Returns the id and the position of `record`.
fn record_text(record: &UnverifiedRecord) -> String {
    format!("{} at {}", record.id, record.position)
}

/// Returns the ids and the positions of `records` as JSON.
fn records_json(records: &[UnverifiedRecord]) -> Value {
    records
        .iter()
        .map(|record| json!({ "id": record.id, "position": record.position.to_string() }))
        .collect()
}
