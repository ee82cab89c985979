//! Observes the effects of the steps that operators and services do, and waits for them.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::topic_group::{Members, TopicGroup, TotalProgress};
use super::{Replacement, ReplacementHost};

/// The pause between two observations of an effect.
const OBSERVATION_PAUSE: Duration = Duration::from_secs(1);

/// The effect by which the replacement sees that an operator or a service has done a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The old group read everything that was in its topic when the step began, or everything if
    /// our services use another topic.
    OldGroupRead,
    /// Our group read everything, and nothing more is written.
    OurGroupRead,
    /// The old group contains no member but ours.
    NoOldMember,
    /// Our service is the only member of our group.
    OurMember,
    /// Our group is empty, and no event of ours is left to publish.
    NoMember,
    /// Old programs are the only members of our group.
    OldMember,
    /// The newest record is one of ours, and the old facing writes none.
    OurRecords,
}

/// The state of an effect at one moment.
struct Observation {
    /// Whether the effect has occurred.
    is_present: bool,
    /// A text for the operator about what the observation read.
    state: String,
}

impl<H: ReplacementHost> Replacement<'_, H> {
    /// Waits until `effect` has lasted for the time `settle`.
    ///
    /// # Errors
    /// The errors of an observation that are not retryable.
    pub(super) async fn wait_for_effect(&self, effect: Effect) -> Result<(), H::Error> {
        let show_progress = self.host.start_progress();
        let mut lasting_since = Instant::now();
        let mut last_state = String::new();
        while lasting_since.elapsed() < self.settle {
            let Observation { is_present, state } = match self.observe(effect).await {
                Ok(observation) => observation,
                // For example, our management has not created its topic yet.
                Err(error) if error.is_retryable() => Observation {
                    is_present: false,
                    state: error.to_string(),
                },
                Err(error) => return Err(error.into()),
            };

            // These two effects have only occurred when no program writes records any more. The
            // state contains the number of records, so a changed state shows that records were
            // written.
            let ends_writes = effect == Effect::OurGroupRead
                || effect == Effect::OurRecords && self.has_new_topic();
            let has_changed = state != last_state;
            if !is_present || ends_writes && has_changed {
                lasting_since = Instant::now();
            }

            if has_changed {
                tracing::info!("{state}");
                last_state.clone_from(&state);
            }
            show_progress(state);
            sleep(OBSERVATION_PAUSE).await;
        }
        Ok(())
    }

    /// Observes whether `effect` is present now.
    ///
    /// # Errors
    /// The errors of the log and of the outbox.
    async fn observe(&self, effect: Effect) -> shop_core::Result<Observation> {
        match effect {
            Effect::OldGroupRead => {
                // If our services use the same topic, the old facing continues to write into it, so
                // the old group can only catch up with the records that were there at first.
                if self.has_new_topic() {
                    observe_everything_read(&self.old).await
                } else {
                    observe_initial_ends_read(&self.old).await
                }
            }
            Effect::OurGroupRead => observe_everything_read(&self.new).await,
            Effect::OurRecords => self.observe_our_records().await,
            Effect::NoOldMember => {
                self.observe_members(&self.old, |_ours, others| others == 0)
                    .await
            }
            Effect::OurMember => {
                self.observe_members(&self.new, |ours, others| ours > 0 && others == 0)
                    .await
            }
            Effect::OldMember => {
                self.observe_members(&self.new, |ours, others| ours == 0 && others > 0)
                    .await
            }
            Effect::NoMember => self.observe_end_of_service().await,
        }
    }

    /// Observes whether one of our services wrote the newest record of the new topic. The state
    /// contains the number of records in the old topic.
    async fn observe_our_records(&self) -> shop_core::Result<Observation> {
        let end = self.old.read_progress().await?.end;
        Ok(Observation {
            is_present: self.new.is_newest_record_ours().await?,
            state: format!("topic {} has {end} records", self.old.topic()),
        })
    }

    /// Observes whether `is_expected` holds for two numbers of members of `group`: the members that
    /// are our services, and the members that are old programs.
    async fn observe_members(
        &self,
        group: &TopicGroup,
        is_expected: impl Fn(usize, usize) -> bool + Send,
    ) -> shop_core::Result<Observation> {
        let Members { names, our_count } = group.read_members(&self.service.client_id).await?;
        Ok(Observation {
            is_present: is_expected(our_count, names.len() - our_count),
            state: format!("group {} has the members {names:?}", group.group()),
        })
    }

    /// Observes whether our group is empty, and no event of ours is left to publish.
    async fn observe_end_of_service(&self) -> shop_core::Result<Observation> {
        let is_empty = |ours, others| ours == 0 && others == 0;
        let mut observation = self.observe_members(&self.new, is_empty).await?;
        if let Some(rows) = self.entries.rows() {
            let events = rows.outbox.backlog().await?.entries;
            observation.state +=
                &format!(", {events} events are left: if they stay, start ours again");
            if events > 0 {
                observation.is_present = false;
            }
        }
        Ok(observation)
    }
}

/// Observes whether `group` has read everything in its topic.
async fn observe_everything_read(group: &TopicGroup) -> shop_core::Result<Observation> {
    let TotalProgress { lag, end, .. } = group.read_progress().await?;
    Ok(Observation {
        is_present: lag == 0,
        state: format!("group {} is {lag} records behind, of {end}", group.group()),
    })
}

/// Observes whether `group` has read everything that was in its topic at the first observation.
async fn observe_initial_ends_read(group: &TopicGroup) -> shop_core::Result<Observation> {
    let lag = group.read_progress().await?.lag_behind_initial_ends;
    Ok(Observation {
        is_present: lag == 0,
        state: format!("group {} is {lag} records behind", group.group()),
    })
}
