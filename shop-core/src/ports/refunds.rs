//! Refunds that wait in a store for their purchase.
//!
//! A refund may reach a store before its purchase: from another partition, from a file that is
//! imported newest first, or from a log that is read again. The store then keeps it apart from its
//! purchases, and applies it when the purchase arrives. So the order of arrival does not matter:
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

/// The name of the cluster and of the topic in a dead letter about a refund that came without a
/// log.
const WITHOUT_LOG: &str = "store";
/// The epoch of a partition outside of any group.
const NO_EPOCH: u64 = 0;

/// A refund that a store keeps apart, because its purchase is not stored or contradicts it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitingRefund {
    /// The number that identifies the entry in the store. It ascends in the order of arrival.
    pub sequence: u64,
    /// The refund as it arrived.
    pub refund: Purchase,
    /// The reason why the refund can never be applied. `None` while its purchase is not stored.
    pub refusal: Option<Reason>,
}

impl WaitingRefund {
    /// Creates the entry `sequence` of a refund that waits for its purchase.
    #[must_use]
    pub const fn new(sequence: u64, refund: Purchase) -> Self {
        Self {
            sequence,
            refund,
            refusal: None,
        }
    }

    /// Returns this entry, marked as one that can never be applied because of `refusal`.
    #[must_use]
    pub fn with_refusal(mut self, refusal: Reason) -> Self {
        self.refusal = Some(refusal);
        self
    }

    /// Creates the dead letter of this refund, which states the `reason` why the refund cannot be
    /// applied.
    ///
    /// The dead letter contains the position of the record that the refund was decoded from. A
    /// refund that was written into the store without a log has no record. Its dead letter is at
    /// the offset [`sequence`](Self::sequence) of the topic `store`.
    ///
    /// # Errors
    /// Returns the errors of [`encode`].
    pub(crate) fn dead_letter(&self, reason: Reason) -> Result<DeadLetter> {
        let mut record = encode(&self.refund)?;
        let partition = match self.refund.origin().cloned() {
            Some(origin) => {
                record.offset = origin.offset;
                record.time = origin.time;
                Partition::new(origin.cluster, origin.topic, origin.partition, NO_EPOCH)
            }
            None => {
                record.offset = self.sequence;
                record.time = self.refund.timestamp;
                Partition::new(WITHOUT_LOG.into(), WITHOUT_LOG.into(), 0, NO_EPOCH)
            }
        };
        // The store decided about the refund once, when its purchase arrived.
        let attempts = 1;
        Ok(DeadLetter::new(record, partition, reason, attempts))
    }
}

/// The columns in which a store keeps a waiting refund.
///
/// All databases use the same form, so that a refund is read as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingColumns {
    /// The refund, encoded as the value of its record.
    pub value: String,
    /// The position of the record that the refund was decoded from, as JSON. `None` if it came
    /// without a log.
    pub origin: Option<String>,
}

impl WaitingColumns {
    /// Encodes `refund` and its origin as columns.
    ///
    /// # Errors
    /// Returns the errors of [`encode`].
    pub fn new(refund: &Purchase) -> Result<Self> {
        let record = encode(refund)?;
        let value = record.value.as_deref().unwrap_or_default();
        Ok(Self {
            value: String::from_utf8_lossy(value).into_owned(),
            // An origin consists of texts and numbers, so it can always be written as JSON.
            origin: refund
                .origin()
                .and_then(|origin| serde_json::to_string(origin).ok()),
        })
    }

    /// Decodes these columns as the entry `sequence` of the refund with the id `id`.
    ///
    /// `refusal` is the text of the reason why the refund can never be applied, if there is one. If
    /// the origin cannot be decoded, the refund counts as one that came without a log.
    ///
    /// # Errors
    /// [`DecodeError`] if `value` is not the value of a record of a refund.
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
        refund.context = origin.map(|origin| Box::new(RequestContext::from_origin(origin)));
        Ok(WaitingRefund {
            sequence,
            refund,
            refusal: refusal.map(reason_from_text),
        })
    }
}

/// Parses the text of a [`Reason`], which is its kind, a colon, and its detail.
///
/// A kind that this version does not know is read as [`ReasonKind::Refused`].
fn reason_from_text(text: &str) -> Reason {
    // A text without a colon is a kind without a detail.
    let (kind_name, detail) = text.split_once(": ").unwrap_or((text, ""));
    let kind = kind_name.parse().unwrap_or(ReasonKind::Refused);
    Reason::from_parts(kind, detail.to_owned())
}

/// The number and the age of the refunds that wait in a store for their purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WaitingSummary {
    /// The number of refunds that wait.
    pub count: u64,
    /// The timestamp of the oldest waiting refund. `None` if no refund waits.
    pub oldest: Option<Timestamp>,
}

impl WaitingSummary {
    /// Creates the summary of `count` waiting refunds, the oldest with the timestamp `oldest`.
    #[must_use]
    pub const fn new(count: u64, oldest: Option<Timestamp>) -> Self {
        Self { count, oldest }
    }
}

/// The refunds that wait in a store for their purchase.
///
/// [`RecordStore::apply`](super::RecordStore::apply) of the store adds a refund with the outcome
/// [`Waiting`](super::InsertOutcome::Waiting), and applies the refund when its purchase is
/// inserted.
///
/// An [`Ingest`](crate::ingest::Ingest) calls [`apply_waiting`](Self::apply_waiting) now and then.
/// It writes the returned refunds, which can never be applied, to the dead letters, and its next
/// call removes them. In this order no refund is lost if the process ends between the two.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - A refund whose purchase is not stored waits: it is found by its id, and is in no listing, in no
///   sum and in no scan. It is applied when its purchase is inserted, and
///   the state is the same as in the other order. A refund that waits already is a duplicate. Erasing
///   a user erases the refunds that wait for that user, and retention deletes refunds that wait by
///   their own time. Inserts, erasures and retention in any order leave the state of a model
///   (`refund::any_order_of_calls_has_the_state_of_the_model`).
/// - Of several refunds of one purchase, the first valid one is applied. `apply_waiting` returns the
///   others as conflicts, and a refund that contradicts its purchase, until they are removed
///   (`refund::a_contradicting_refund_is_returned_until_removed`).
/// - A refund that is earlier than the purchase contradicts it. So a refund of a purchase that
///   retention deleted is never applied to a later purchase with the same id
///   (`refund::a_refund_is_never_of_a_later_purchase`).
/// - Repeated calls of `apply_waiting` reach every refund whose purchase is stored, however many
///   others wait before it (`refund::refunds_of_unknown_purchases_hold_up_no_others`).
/// - A refund of an erased purchase does not wait
///   (`refund::any_order_of_calls_has_the_state_of_the_model`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait WaitingRefunds: Debug + Send + Sync + 'static {
    /// Returns the number and the age of the refunds that wait for a purchase that is not stored.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store cannot be reached.
    async fn waiting_summary(&self) -> Result<WaitingSummary>;

    /// Removes the entries `removed`, applies the waiting refunds whose purchase is stored, and
    /// returns at most `limit` refunds that can never be applied.
    ///
    /// `removed` are sequences of refunds that this function has returned. A returned refund stays
    /// in the store, and is returned again, until a call removes it. An entry that does not exist
    /// any more is ignored.
    ///
    /// # Errors
    /// Returns the errors of [`waiting_summary`](Self::waiting_summary). Some refunds may have been
    /// applied. Calling this function again is safe.
    ///
    /// # Cancel safety
    /// Dropping the future may remove any of the entries, and apply any of the refunds.
    async fn apply_waiting(&self, removed: &[u64], limit: usize) -> Result<Vec<WaitingRefund>>;
}

/// Decides for each refund that waits for `purchase` whether the store applies, forgets or refuses
/// the refund.
///
/// A store calls this function when it contains `purchase`. `stored_refund` is the refund of
/// `purchase` that the store contains already, if there is one. `waiting_refunds` are in the order
/// of arrival.
///
/// A purchase is refunded once. So only the first valid refund is applied, and none if there is a
/// stored refund. A refusal of an earlier call is final: the purchase that it was about may have
/// been deleted, and `purchase` may be another one with the same id.
///
/// Returns one decision per entry of `waiting_refunds`, in the same order.
#[must_use]
pub fn decide_refunds(
    purchase: &Purchase,
    stored_refund: Option<&Purchase>,
    waiting_refunds: &[WaitingRefund],
) -> Vec<RefundDecision> {
    let mut applied_refund: Option<Purchase> = stored_refund.cloned();
    let mut decisions = Vec::with_capacity(waiting_refunds.len());
    for entry in waiting_refunds {
        if let Some(refusal) = &entry.refusal {
            decisions.push(RefundDecision::Refuse(refusal.clone()));
            continue;
        }
        // A refund that contradicts the purchase is refused even if no other refund is applied.
        let decision = match (entry.refund.as_refund_of(purchase), &applied_refund) {
            (Err(contradiction), _) => RefundDecision::Refuse(contradiction.into()),
            (Ok(refund), Some(applied)) if applied.same_content(&refund) => RefundDecision::Forget,
            (Ok(_), Some(_)) => RefundDecision::Refuse(Reason::conflict(Purchase::TYPE)),
            (Ok(refund), None) => {
                applied_refund = Some(refund.clone());
                RefundDecision::Apply(refund)
            }
        };
        decisions.push(decision);
    }
    decisions
}

/// The decision of a store about a waiting refund whose purchase is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum RefundDecision {
    /// The store inserts this refund, and removes the waiting entry.
    Apply(Purchase),
    /// The store removes the waiting entry, because the same refund is stored already.
    Forget,
    /// The store keeps the waiting entry with this reason, until ingest writes it to the dead
    /// letters.
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

    /// The context of a record at `purchases-3-42`.
    fn context_of_record() -> Box<RequestContext> {
        let (cluster, topic) = ("cluster".into(), "purchases".into());
        let origin = RecordOrigin::new(cluster, topic, 3, 42, Timestamp::MAX);
        Box::new(RequestContext {
            origin: Some(origin),
            ..RequestContext::default()
        })
    }

    #[test]
    fn columns_keep_the_refund_its_record_and_the_reason() {
        let mut refund = refund();
        for context in [None, Some(context_of_record())] {
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
    fn a_refused_refund_is_never_applied_to_a_later_purchase() {
        let refund = refund();
        let new = NewPurchase::for_user("u1").with_user_name("ada");
        let bought = new.with_price("9").unwrap();
        let bought = bought.into_purchase(Timestamp::MIN, || Uuid::from_u128(1));
        let reason = Reason::conflict(Purchase::TYPE);
        let waiting = WaitingRefund::new(7, refund);
        let refused = waiting.clone().with_refusal(reason.clone());
        let decisions = decide_refunds(&bought, None, &[refused, waiting]);
        assert_eq!(decisions[0], RefundDecision::Refuse(reason));
        assert!(matches!(decisions[1], RefundDecision::Apply(_)));
    }

    #[test]
    fn a_dead_letter_is_about_the_record_of_the_refund() {
        let mut refund = refund();
        let reason = Reason::parked("x");
        let entry = WaitingRefund::new(7, refund.clone());
        let position = entry.dead_letter(reason.clone()).unwrap().position();
        assert_eq!(position.to_string(), "store-0-7", "without a log");

        refund.context = Some(context_of_record());
        let dead_letter = WaitingRefund::new(7, refund).dead_letter(reason).unwrap();
        assert_eq!(dead_letter.position().to_string(), "purchases-3-42");
        assert_eq!(dead_letter.record.time, Timestamp::MAX);
    }
}
