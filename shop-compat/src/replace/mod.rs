//! Replaces the programs of an earlier system by ours, and returns to them.
//!
//! A [`Replacement`] is a list of steps. This module does some steps, such as to migrate the
//! documents. The others are steps of an operator, such as to stop the old consumer, or of the
//! services: the replacement waits until the effect of such a step has lasted for a while.
//!
//! The replacement keeps no state. The topics, the groups and the store show which steps are done,
//! so it can be stopped and run again.
//!
//! System 002 consists of a service of users and a service of orders, which are replaced one by one
//! on their database. The other systems consist of a facing and a consumer, whose purchases are
//! documents.
//!
//! | module | content |
//! |---|---|
//! | `host` | what the program that runs a replacement does for it |
//! | `topic_group` | the progress and the members of a group that consumes a topic |
//! | `steps` | the steps of each replacement, and of the way back |
//! | `effects` | observes the effects of the steps, and waits for them |
//! | `survey` | reads the store and the topic, for a rehearsal |

mod effects;
mod host;
mod steps;
mod survey;
mod topic_group;

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use crate::ReplacedSystem;
use serde_json::json;
use shop_accounts::outbox::Outbox;
use shop_core::verify::VerifyOptions;

pub use self::host::{Finding, ProgressLine, ReplacementHost};
pub use self::topic_group::TopicGroup;

use self::steps::{Step, Task};

/// The replacement of the programs of an earlier system by one of our services.
#[derive(Debug)]
pub struct Replacement<'a, H> {
    /// The program that runs the replacement.
    pub host: &'a H,
    /// The system whose programs are replaced.
    pub system: ReplacedSystem,
    /// The entries of the old programs that our service takes over.
    pub entries: ReplacedEntries,
    /// Our service, as an operator starts it.
    pub service: OurService,
    /// The topic and the group of the old programs.
    pub old: TopicGroup,
    /// The topic and the group of our services.
    pub new: TopicGroup,
    /// How long an effect must last until its step is done.
    pub settle: Duration,
}

/// The service that replaces old programs.
#[derive(Debug, Clone)]
pub struct OurService {
    /// The client id by which our services are members of a group.
    pub client_id: String,
    /// The roles of the service, as the setting of its roles names them.
    pub role_names: String,
    /// The port that the service listens on.
    pub port: u16,
}

/// The entries that one of our services takes over from the old programs.
#[derive(Debug)]
pub enum ReplacedEntries {
    /// Purchases, which the old programs store as documents.
    Purchases,
    /// The rows of users. Their service consumes the events of orders.
    Users(EntityRows),
    /// The rows of orders. Their service consumes the events of users.
    Orders(EntityRows),
}

/// The rows of users or of orders.
pub struct EntityRows {
    /// The name of the database.
    pub database: String,
    /// The events about the rows that are not published yet.
    pub outbox: Arc<dyn Outbox>,
}

impl Debug for EntityRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = f.debug_struct("EntityRows");
        rows.field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl ReplacedEntries {
    /// Returns the rows of users or of orders, or `None` if the entries are purchases.
    pub(crate) const fn rows(&self) -> Option<&EntityRows> {
        match self {
            Self::Purchases => None,
            Self::Users(rows) | Self::Orders(rows) => Some(rows),
        }
    }
}

impl<H: ReplacementHost> Replacement<'_, H> {
    /// Replaces the old programs.
    ///
    /// # Errors
    /// - a [`Finding`] if rows are missing
    /// - the errors of the host, of the log and of the store
    pub async fn run(&self) -> Result<(), H::Error> {
        let end_text = "done: to return, run `management replace --back` with the same options";
        self.run_steps(self.steps(), end_text).await
    }

    /// Returns to the old programs.
    ///
    /// # Errors
    /// - a [`Finding`] if the old consumer runs, so that there is nothing to return from, or if rows
    ///   are missing
    /// - the errors of the host, of the log and of the store
    pub async fn run_back(&self) -> Result<(), H::Error> {
        let members = self.old.read_members(&self.service.client_id).await?;
        // The names of our services come first, so this is the first old member.
        if let Some(member) = members.names.get(members.our_count) {
            return Err(Finding::new(format!(
                "the old consumer runs, as {member}: there is nothing to return from"
            ))
            .into());
        }

        let end_text = if self.entries.rows().is_some() {
            "done"
        } else {
            "done: start the old consumer in its group, then the old facing"
        };
        self.run_steps(self.steps_back(), end_text).await
    }

    /// Prints each of `steps`, and does the step or waits for its effect. Prints `end_text` after
    /// the last step.
    ///
    /// # Errors
    /// - a [`Finding`] if rows are missing
    /// - the errors of the host, of the log and of the store
    async fn run_steps(&self, steps: Vec<Step>, end_text: &str) -> Result<(), H::Error> {
        let mut rows_before = 0;
        if self.entries.rows().is_some() {
            rows_before = self.read_store().await?.count;
        }

        for step in steps {
            self.print_step(&step.text)?;
            match step.task {
                Task::MigrateDocuments => {
                    let to_our_form = None;
                    self.host.convert_documents(to_our_form).await?;
                }
                Task::ConvertDocumentsBack => {
                    self.host.convert_documents(Some(self.system)).await?;
                }
                Task::CountRows => self.count_rows(rows_before).await?,
                Task::VerifyStore => {
                    self.verify(&self.old).await?;
                    if self.has_new_topic() {
                        self.verify(&self.new).await?;
                    }
                }
                Task::WaitFor(effect) => self.wait_for_effect(effect).await?,
            }
        }
        self.print_step(end_text)
    }

    /// Counts the rows, prints their number, and compares it with `rows_before`.
    ///
    /// # Errors
    /// - a [`Finding`] if there are fewer rows than before
    /// - the errors of the host
    async fn count_rows(&self, rows_before: u64) -> Result<(), H::Error> {
        let rows = self.read_store().await?.count;
        self.print_step(&format!(
            "{rows} rows are there, {rows_before} at the beginning"
        ))?;
        if rows < rows_before {
            let missing_count = rows_before - rows;
            return Err(Finding::new(format!("{missing_count} rows are missing")).into());
        }
        Ok(())
    }

    /// Verifies the store against the topic of `group`. A record that is not a purchase is ignored,
    /// because old programs may have written anything.
    async fn verify(&self, group: &TopicGroup) -> Result<(), H::Error> {
        let options = VerifyOptions::default()
            .quiet_period(self.settle)
            .skip_undecodable(true);
        self.host.verify(group, options).await
    }

    /// Prints the text of a step.
    fn print_step(&self, text: &str) -> Result<(), H::Error> {
        self.host.print(text, &json!({ "step": text }))
    }

    /// Returns whether our services use another topic than the old programs.
    fn has_new_topic(&self) -> bool {
        self.old.topic() != self.new.topic()
    }
}
