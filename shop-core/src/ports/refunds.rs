//! Refunds that wait in a store for their purchase.
//!
//! A refund may reach a store before its purchase: from another partition, from a file that is imported newest first, or
//! from a log that is read again. The store then keeps it apart from its purchases, and applies it when the purchase
//! arrives. So the order of arrival does not matter:
//!
//! ```text
//! refund ──▶ purchase stored? ──yes──▶ checked ──▶ inserted, or rejected
//!                   │no
//!                   ▼
//!               waiting ──purchase arrives──▶ checked ──▶ inserted, or refused ──▶ dead letter, by ingest
//! ```

use std::fmt::Debug;

use async_trait::async_trait;

use crate::log::{DeadLetter, Partition, Reason, ReasonKind};
use crate::record::{DecodeError, Record as _, decode_refund, encode};
use crate::{Purchase, PurchaseId, RequestContext, Result, Timestamp};

/// The cluster and the topic of a dead letter about a refund that was written into a store without a log.
const WITHOUT_LOG: &str = "store";

/// A refund that a store keeps apart, because its purchase is not stored or contradicts it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitingRefund {
    /// The number by which the store knows the entry. It ascends in the order of arrival.
    pub sequence: u64,
    /// The refund as it arrived.
    pub refund: Purchase,
    /// Why the refund cannot be applied; `None` while its purchase is not stored.
    pub refusal: Option<Reason>,
}

impl WaitingRefund {
    /// Returns a refund that waits for its purchase.
    #[must_use]
    pub const fn new(sequence: u64, refund: Purchase) -> Self {
        Self {
            sequence,
            refund,
            refusal: None,
        }
    }

    /// Returns the same entry, which is refused for this reason.
    #[must_use]
    pub fn with_refusal(mut self, refusal: Reason) -> Self {
        self.refusal = Some(refusal);
        self
    }

    /// Returns the dead letter about this refund, with `reason`.
    ///
    /// It is about the record that the refund was decoded from. A refund that was written into the store without a log has
    /// no record: its dead letter is at the offset [`sequence`](Self::sequence) of the topic `store`.
    ///
    /// # Errors
    /// As [`encode`].
    pub(crate) fn dead_letter(&self, reason: Reason) -> Result<DeadLetter> {
        let mut record = encode(&self.refund)?;
        let partition = match self.refund.origin().cloned() {
            Some(origin) => {
                record.offset = origin.offset;
                record.time = origin.time;
                Partition::new(origin.cluster, origin.topic, origin.partition, 0)
            }
            None => {
                record.offset = self.sequence;
                record.time = self.refund.timestamp;
                Partition::new(WITHOUT_LOG.into(), WITHOUT_LOG.into(), 0, 0)
            }
        };
        Ok(DeadLetter::new(record, partition, reason, 1))
    }
}

/// A refund that waits, in the columns of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingColumns {
    /// The refund as the value of its record.
    pub value: String,
    /// The record that the refund was decoded from, as JSON.
    pub origin: Option<String>,
}

impl WaitingColumns {
    /// Returns the columns of a refund.
    ///
    /// # Errors
    /// As [`encode`].
    pub fn new(refund: &Purchase) -> Result<Self> {
        let record = encode(refund)?;
        let value = record.value.as_deref().unwrap_or_default();
        Ok(Self {
            value: String::from_utf8_lossy(value).into_owned(),
            origin: refund
                .origin()
                .and_then(|origin| serde_json::to_string(origin).ok()),
        })
    }

    /// Reads the entry with this sequence, for the refund with this id. `refusal` is the text of the reason why the refund
    /// is refused, if it is.
    ///
    /// # Errors
    /// [`DecodeError`] if the columns are not those of a refund.
    pub fn read(
        self,
        sequence: u64,
        id: PurchaseId,
        refusal: Option<&str>,
    ) -> Result<WaitingRefund, DecodeError> {
        let mut refund = decode_refund(id, self.value.as_bytes())?;
        let origin = self
            .origin
            .and_then(|origin| serde_json::from_str(&origin).ok());
        refund.context = origin.map(|origin| Box::new(RequestContext::of_record(origin)));
        Ok(WaitingRefund {
            sequence,
            refund,
            refusal: refusal.map(reason_from_text),
        })
    }
}

/// Reads the text of a [`Reason`], which is its kind and its detail.
fn reason_from_text(text: &str) -> Reason {
    let (kind, detail) = text.split_once(": ").unwrap_or((text, ""));
    let kind = kind.parse().unwrap_or(ReasonKind::Refused);
    Reason::from_parts(kind, detail.to_owned())
}

/// How many refunds wait in a store for their purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WaitingSummary {
    /// The number of refunds that wait.
    pub count: u64,
    /// The timestamp of the oldest one.
    pub oldest: Option<Timestamp>,
}

impl WaitingSummary {
    /// Returns the summary of `count` refunds.
    #[must_use]
    pub const fn new(count: u64, oldest: Option<Timestamp>) -> Self {
        Self { count, oldest }
    }
}

/// The refunds that wait in a store for their purchase.
///
/// [`RecordStore::apply`](super::RecordStore::apply) of the store adds them, with the outcome
/// [`Waiting`](super::InsertOutcome::Waiting), and applies them when their purchase is inserted. An
/// [`Ingest`](crate::ingest::Ingest) calls [`apply_waiting`](Self::apply_waiting) now and then, and dead-letters what it returns.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - A refund whose purchase is not stored waits: it is in no listing and in no sum
///   (`refund::a_refund_waits_for_its_purchase`). It is applied when its purchase is inserted, and the state is the same as
///   in the other order (`refund::the_order_of_arrival_does_not_matter`).
/// - A refund that waits already is a duplicate (`refund::a_waiting_refund_is_kept_once`).
/// - Of several refunds of one purchase, the first valid one is applied. The others are returned by `settle` as
///   conflicts (`refund::the_first_valid_refund_is_applied`).
/// - A refund that contradicts its purchase is returned by `settle` until it is removed
///   (`refund::a_contradicting_refund_is_returned_until_removed`).
/// - Erasing a user erases the refunds that wait for that user (`refund::a_waiting_refund_is_erased_with_its_user`), and a
///   refund of an erased purchase does not wait (`refund::a_refund_of_an_erased_purchase_is_erased`).
/// - Retention deletes refunds that wait, by their own time (`refund::an_old_waiting_refund_is_deleted`).
/// - Inserts, erasures and retention in any order leave the state of a model
///   (`refund::any_order_of_calls_has_the_state_of_the_model`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait WaitingRefunds: Debug + Send + Sync + 'static {
    /// Returns how many refunds wait for a purchase that is not stored.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store cannot be reached.
    async fn waiting_summary(&self) -> Result<WaitingSummary>;

    /// Applies the waiting refunds whose purchase is stored. Returns those that can never be applied, at most `limit`:
    /// they stay until [`remove_waiting`](Self::remove_waiting), and are returned again until then.
    ///
    /// # Errors
    /// As [`waiting_summary`](Self::waiting_summary). Some refunds may have been applied; calling it again is safe.
    ///
    /// # Cancel safety
    /// Dropping the future may apply any of the refunds.
    async fn apply_waiting(&self, limit: usize) -> Result<Vec<WaitingRefund>>;

    /// Removes entries that [`apply_waiting`](Self::apply_waiting) has returned. Entries that are gone already are ignored.
    ///
    /// # Errors
    /// As [`waiting_summary`](Self::waiting_summary).
    ///
    /// # Cancel safety
    /// Dropping the future may remove any of the entries.
    async fn remove_waiting(&self, sequences: &[u64]) -> Result<()>;
}

/// Decides in which of three ways a store treats the refunds that wait for `bought`, which is stored now.
///
/// Of the refunds, which are in the order of their arrival, the first one that is valid is applied. `stored` is the refund
/// that is stored already, if there is one.
#[must_use]
pub fn decide_refunds(
    bought: &Purchase,
    stored: Option<&Purchase>,
    waiting: &[WaitingRefund],
) -> Vec<RefundDecision> {
    let mut applied: Option<Purchase> = stored.cloned();
    let mut decisions = Vec::with_capacity(waiting.len());
    for entry in waiting {
        let decision = match (entry.refund.as_refund_of(bought), &applied) {
            (Err(contradiction), _) => RefundDecision::Refuse(contradiction.into()),
            (Ok(refund), Some(first)) if first.same_content(&refund) => RefundDecision::Forget,
            (Ok(_), Some(_)) => RefundDecision::Refuse(Reason::conflict(Purchase::TYPE)),
            (Ok(refund), None) => {
                applied = Some(refund.clone());
                RefundDecision::Apply(refund)
            }
        };
        decisions.push(decision);
    }
    decisions
}

/// What a store does with a refund whose purchase is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum RefundDecision {
    /// Inserts this row, and removes the waiting entry.
    Apply(Purchase),
    /// Removes the waiting entry: the same refund is stored.
    Forget,
    /// Keeps the waiting entry with this reason, until ingest has dead-lettered it.
    Refuse(Reason),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RecordOrigin;
    use crate::{Details, NewPurchase, Uuid};

    fn refund() -> Purchase {
        let new = NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price("9")
            .unwrap();
        let bought = new.into_purchase(Timestamp::MIN, || Uuid::from_u128(1));
        let mut refund = bought.refund(None, Timestamp::MIN).unwrap();
        let of = bought.id;
        let json = format!(r#"{{"of":"{of}","reason":"late","gift":{{"to":"eva"}}}}"#);
        refund.details = Details::from_json(json.as_bytes(), &[]).unwrap();
        refund
    }

    #[test]
    fn columns_keep_the_refund_its_record_and_the_reason() {
        let mut context = RequestContext::default();
        let (cluster, topic) = ("cluster".into(), "purchases".into());
        context.origin = Some(RecordOrigin::new(cluster, topic, 3, 42, Timestamp::MAX));
        let mut refund = refund();
        for context in [None, Some(Box::new(context))] {
            refund.context = context;
            let columns = WaitingColumns::new(&refund).unwrap();
            let read = columns.clone().read(7, refund.id, None).unwrap();
            assert_eq!(read, WaitingRefund::new(7, refund.clone()));
            let reason = Reason::conflict(Purchase::TYPE);
            let text = reason.to_string();
            let refused = columns.read(7, refund.id, Some(&text)).unwrap();
            assert_eq!(refused.refusal, Some(reason));
        }
    }

    #[test]
    fn a_dead_letter_is_about_the_record_of_the_refund() {
        let mut refund = refund();
        let reason = Reason::parked("x");
        let entry = WaitingRefund::new(7, refund.clone());
        let position = entry.dead_letter(reason.clone()).unwrap().position();
        assert_eq!(position.to_string(), "store-0-7", "without a log");

        let mut context = RequestContext::default();
        let (cluster, topic) = ("cluster".into(), "purchases".into());
        context.origin = Some(RecordOrigin::new(cluster, topic, 3, 42, Timestamp::MAX));
        refund.context = Some(Box::new(context));
        let dead_letter = WaitingRefund::new(7, refund).dead_letter(reason).unwrap();
        assert_eq!(dead_letter.position().to_string(), "purchases-3-42");
        assert_eq!(dead_letter.record.time, Timestamp::MAX);
    }
}
