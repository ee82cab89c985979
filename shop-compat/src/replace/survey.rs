//! Reads the whole store and the whole topic, and prints what a replacement would do.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use shop_accounts::orders::Order;
use shop_accounts::users::User;
use shop_core::log::{LogExt as _, RecordPosition};
use shop_core::ports::PurchaseQueryExt as _;
use shop_core::record::Record as _;

use super::{ReplacedEntries, Replacement, ReplacementHost};
use crate::records::record_decoders;

/// The maximum number of kinds of odd entries that are reported apart. Odd entries are records that
/// cannot be decoded, and stored entries that cannot be listed.
const MAX_ODD_KINDS: usize = 100;

impl<H: ReplacementHost> Replacement<'_, H> {
    /// Prints the state of the topic, the group and the store, and the steps. Changes nothing.
    ///
    /// # Errors
    /// The errors of the host, of the log and of the store.
    pub async fn print_survey(&self) -> Result<(), H::Error> {
        let started = Instant::now();
        let store_contents = self.read_store().await?;
        // A migration and a verification read the store once each, as this call did. Rounded up.
        let seconds = started.elapsed().as_secs() + 1;
        let topic_contents = self.read_topic().await?;
        let lag = self.old.read_progress().await?.lag;
        let members = self.old.read_members(&self.service.client_id).await?.names;
        let group = self.old.group();

        // The words of the report: the stored entries, the entries in the topic, and how entries
        // are stored.
        let mut step_times = String::new();
        let (entries, consumed_entries, stored_form) = match self.entries {
            ReplacedEntries::Purchases => {
                step_times =
                    format!(", of which `migrate` and `verify` take about {seconds} s each");
                ("purchases", "purchases", "documents")
            }
            // Each of the two services consumes the events of the other.
            ReplacedEntries::Users(_) => ("users", "orders", "rows"),
            ReplacedEntries::Orders(_) => ("orders", "users", "rows"),
        };

        let steps: Vec<_> = self.steps().into_iter().map(|step| step.text).collect();
        let mut numbered_steps = String::new();
        for (number, step) in (1..).zip(&steps) {
            numbered_steps += &format!("\n  {number}. {step}");
        }

        let text = format!(
            "topic  {}: {} records, {} are not {consumed_entries} and become dead letters{}\n\
             group  {group}: {lag} records behind, members {members:?}\n\
             store  {}: {} {entries}, {} {stored_form} are not listed{}\n\
             steps{step_times}:{numbered_steps}",
            topic_contents.name,
            topic_contents.count,
            topic_contents.odd_count,
            topic_contents.odd_lines("dead letters"),
            store_contents.name,
            store_contents.count,
            store_contents.odd_count,
            store_contents.odd_lines("not listed"),
        );
        let report = json!({
            "topic": topic_contents.name, "records": topic_contents.count,
            "odd_records": topic_contents.odd_json(),
            "group": group, "lag": lag, "members": members,
            "store": store_contents.name, entries: store_contents.count,
            format!("odd_{stored_form}"): store_contents.odd_json(),
            "seconds": seconds, "steps": steps,
        });
        self.host.print(&text, &report)
    }

    /// Reads the whole store: the documents of purchases, or the rows of users or of orders. The
    /// odd entries are the entries that are not listed.
    pub(super) async fn read_store(&self) -> Result<Contents, H::Error> {
        let show_progress = self.host.start_progress();
        if let Some(rows) = self.entries.rows() {
            let (count, unreadable) = self.host.read_rows().await?;
            let mut contents = Contents {
                name: rows.database.clone(),
                count,
                ..Contents::default()
            };
            for entry in unreadable {
                contents.count_odd_entry(entry.reason, entry.id);
            }
            return Ok(contents);
        }

        let (name, store) = self.host.open_purchases().await?;
        let mut contents = Contents {
            name,
            ..Contents::default()
        };
        let query = Arc::clone(store.require_query()?);
        let mut batches = pin!(query.scan_batches());
        while let Some(batch) = batches.try_next().await? {
            contents.count += batch.purchases.len() as u64;
            for entry in batch.unreadable {
                contents.count_odd_entry(entry.reason, entry.id);
            }
            show_progress(format!("{} purchases read", contents.count));
        }
        Ok(contents)
    }

    /// Reads all records of the old topic. The odd entries are the records that cannot be decoded.
    async fn read_topic(&self) -> Result<Contents, H::Error> {
        let show_progress = self.host.start_progress();
        let mut contents = Contents {
            name: self.old.topic().to_owned(),
            ..Contents::default()
        };
        let decoders = record_decoders();
        let mut batches = self.old.log.scan_all().await?;
        while let Some(batch) = batches.try_next().await? {
            let partition = &batch.partition;
            for record in &batch.records {
                contents.count += 1;
                // An erased record is no purchase on purpose.
                if record.is_erased() {
                    continue;
                }
                let error = match self.entries {
                    ReplacedEntries::Purchases => decoders.decode(record, partition).err(),
                    ReplacedEntries::Users(_) => Order::decode(record, partition).err(),
                    ReplacedEntries::Orders(_) => User::decode(record, partition).err(),
                };
                if let Some(error) = error {
                    let topic = Arc::clone(&partition.topic);
                    let position = RecordPosition::new(topic, partition.index, record.offset);
                    contents.count_odd_entry(error, position);
                }
            }
            show_progress(format!("{} records read", contents.count));
        }
        Ok(contents)
    }
}

/// The contents of a store or of a topic.
#[derive(Default)]
pub(super) struct Contents {
    /// The name of the store or of the topic.
    name: String,
    /// The number of purchases, of rows or of records.
    pub(super) count: u64,
    /// The number of entries that are not purchases, users or orders.
    odd_count: u64,
    /// These odd entries by what is wrong with them.
    odd_kinds: BTreeMap<String, OddKind>,
}

/// The odd entries of one kind.
struct OddKind {
    count: u64,
    /// The id or the position of one of the entries.
    example: String,
}

impl Contents {
    /// Counts an odd entry of `kind`. Once there are [`MAX_ODD_KINDS`] kinds, entries of further
    /// kinds are counted as `others`.
    fn count_odd_entry(&mut self, kind: impl Display, example: impl Display) {
        let mut kind_text = kind.to_string().replace(char::is_control, " ");
        if self.odd_kinds.len() >= MAX_ODD_KINDS && !self.odd_kinds.contains_key(&kind_text) {
            kind_text = "others".to_owned();
        }

        let entry = self.odd_kinds.entry(kind_text);
        let odd_kind = entry.or_insert_with(|| OddKind {
            count: 0,
            example: example.to_string(),
        });
        odd_kind.count += 1;
        self.odd_count += 1;
    }

    /// Returns a line for each kind of odd entries, which begins with `label`.
    fn odd_lines(&self, label: &str) -> String {
        let mut lines = String::new();
        for (kind, OddKind { count, example }) in &self.odd_kinds {
            lines += &format!("\n  {label} {count}: {kind} (for example {example})");
        }
        lines
    }

    /// Returns the kinds of odd entries as JSON.
    fn odd_json(&self) -> Value {
        let kinds = self.odd_kinds.iter();
        kinds
            .map(|(kind, OddKind { count, example })| {
                json!({ "kind": kind, "count": count, "example": example })
            })
            .collect()
    }
}
