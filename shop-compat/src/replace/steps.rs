//! The steps of each replacement, and of the way back to the old programs.

use crate::ReplacedSystem;

use super::effects::Effect;
use super::{Replacement, ReplacementHost};

/// A step of a replacement.
pub(super) struct Step {
    /// The instruction to the operator, or the task of the replacement.
    pub(super) text: String,
    pub(super) task: Task,
}

/// What the replacement does in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Wait for the effect of a step that an operator or a service does.
    WaitFor(Effect),
    /// Convert the documents to our form.
    MigrateDocuments,
    /// Convert the documents to the form of the old programs.
    ConvertDocumentsBack,
    /// Verify the store against the topics.
    VerifyStore,
    /// Count the rows, of which none may be missing.
    CountRows,
}

impl Step {
    /// Creates a step with the text that an operator reads.
    fn new(task: Task, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            task,
        }
    }

    /// Creates a step that waits for `effect`.
    fn wait_for(effect: Effect, text: impl Into<String>) -> Self {
        Self::new(Task::WaitFor(effect), text)
    }
}

impl<H: ReplacementHost> Replacement<'_, H> {
    /// Returns the steps of the replacement.
    pub(super) fn steps(&self) -> Vec<Step> {
        if self.entries.rows().is_some() {
            self.steps_for_rows()
        } else {
            self.steps_for_purchases()
        }
    }

    /// Returns the steps that replace the service of users or of orders, on its database.
    fn steps_for_rows(&self) -> Vec<Step> {
        let role = &self.service.role_names;
        let port = self.service.port;
        let group = self.new.group();
        vec![
            Step::wait_for(
                Effect::NoOldMember,
                format!(
                    "start our {role} beside the old, with these settings and SHOP_ADOPT_TABLES=on \
                     (SHOP_ROLES={role} PORT={port} management), and turn the proxy to it; then \
                     stop the old {role}: every replica"
                ),
            ),
            Step::wait_for(
                Effect::OurMember,
                format!("wait until ours has taken the group {group}"),
            ),
            Step::wait_for(
                Effect::OldGroupRead,
                "wait until ours has read what was written",
            ),
            Step::new(Task::CountRows, "count the rows"),
        ]
    }

    /// Returns the steps that replace a facing and a consumer of purchases.
    fn steps_for_purchases(&self) -> Vec<Step> {
        let topic = self.new.topic();
        let group = self.new.group();
        let listings = listings_setting(self.system);
        let start_text = format!(
            "start our management with topic {topic} and group {group} on the old collection, and \
             point the listings of the old facing to it: {listings}"
        );
        let stop_text = "stop the old consumer: every replica, and its autoscaler";
        let read_step = Step::wait_for(
            Effect::OldGroupRead,
            "wait until the old consumer has read everything",
        );
        let facing_step = Step::wait_for(
            Effect::OurRecords,
            format!(
                "start our facing on topic {topic}, move the clients to it, and stop the old facing"
            ),
        );
        let migrate_step = Step::new(
            Task::MigrateDocuments,
            "migrate the documents (management migrate)",
        );
        let verify_step = Step::new(
            Task::VerifyStore,
            "verify the store against the topics (management verify)",
        );

        if self.has_new_topic() {
            return vec![
                Step::wait_for(Effect::OurMember, start_text),
                facing_step,
                read_step,
                Step::wait_for(Effect::NoOldMember, stop_text),
                migrate_step,
                verify_step,
            ];
        }
        // On the same topic and group, our management gets no records before the last old member
        // leaves the group.
        vec![
            read_step,
            Step::wait_for(
                Effect::NoOldMember,
                format!("{start_text}; then {stop_text}"),
            ),
            Step::wait_for(Effect::OurMember, "wait until ours has taken the group"),
            facing_step,
            migrate_step,
            verify_step,
        ]
    }

    /// Returns the steps back to the old programs.
    ///
    /// Documents are converted twice, to shorten the time without a service: most of the documents
    /// while our services run, and the rest after our services stop.
    pub(super) fn steps_back(&self) -> Vec<Step> {
        if self.entries.rows().is_some() {
            let role = &self.service.role_names;
            return vec![
                Step::wait_for(
                    Effect::NoMember,
                    format!("let the clients of {role} wait, and stop ours: every replica"),
                ),
                Step::wait_for(
                    Effect::OldMember,
                    format!("start the old {role} on the database, and turn the proxy to it"),
                ),
                Step::new(Task::CountRows, "count the rows"),
            ];
        }
        vec![
            Step::new(
                Task::ConvertDocumentsBack,
                "convert the documents back, while our services run",
            ),
            Step::wait_for(
                Effect::OurGroupRead,
                "stop our facing, and let the clients wait or use the old facing",
            ),
            Step::wait_for(Effect::NoMember, "stop our management, every replica"),
            Step::new(
                Task::ConvertDocumentsBack,
                "convert what was written meanwhile",
            ),
        ]
    }
}

/// Returns the setting of the old facing for the address at which it lists purchases.
const fn listings_setting(system: ReplacedSystem) -> &'static str {
    match system {
        ReplacedSystem::ScalableShop => "CM_API_HOST=host:port",
        ReplacedSystem::UserBuyList => {
            "CUSTOMER_MANAGEMENT_URL=http://host:port, with SHOP_DIALECT=user-buy-list"
        }
        ReplacedSystem::PurchaseTracking => {
            "CUSTOMER_MGMT_API_URL=http://host:port, with SHOP_DIALECT=purchase-tracking"
        }
        _ => "MANAGEMENT_API_ENDPOINT=host:port",
    }
}
