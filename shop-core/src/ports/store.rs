//! The way into the store.

use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;

use crate::record::UndecodableRecord;
use crate::{Error, ErrorKind, Outcome, Purchase, Result};

/// Where purchases are kept to be listed.
///
/// Every call ends by itself in a time that the implementation bounds.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - `insert` answers with one outcome for each purchase, in the order of the batch
///   (`store::outcomes_match_their_batch`).
/// - A purchase with a new id is stored (`store::a_new_purchase_is_stored`), as it was given
///   (`store::purchases_are_kept_as_given`).
/// - The same id with the same content is a duplicate: the first document and its time stay
///   (`store::a_duplicate_changes_nothing`).
/// - The same id with other content is a conflict: the first document stays
///   (`store::a_conflict_changes_nothing`).
/// - Both rules hold within one batch too (`store::a_batch_may_repeat_itself`), and between calls that run at
///   the same time (`store::racing_inserts_store_once`).
/// - A batch is not all or nothing: a conflict does not keep the others out
///   (`store::a_conflict_does_not_keep_others_out`).
/// - An empty batch is answered with no outcomes (`store::an_empty_batch_is_fine`).
/// - Dropping the future of `insert` leaves the store whole: each purchase is stored or not
///   (`store::a_dropped_insert_leaves_the_store_whole`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait PurchaseStore: Debug + Send + Sync + 'static {
    /// Stores each purchase unless its id is there already.
    ///
    /// # Errors
    /// When nothing can be said of any purchase of the batch, such as
    /// [`Unavailable`](ErrorKind::Unavailable). Whatever went wrong with some of them only is an
    /// [`Unknown`](InsertOutcome::Unknown) among the outcomes.
    ///
    /// # Cancel safety
    /// Dropping the future may store any part of the batch; inserting it again is harmless.
    async fn insert(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>>;

    /// Whether an insert has a chance now. Writes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self) -> Result<()>;
}

/// What became of one purchase of a batch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum InsertOutcome {
    /// It is stored now, durably.
    Inserted,
    /// It was stored already, with the same content.
    Duplicate,
    /// Its id was taken already by a purchase with other content.
    Conflict,
    /// The store can never hold it.
    Rejected(Reason),
    /// Nobody knows: insert it again.
    Unknown(Error),
}

/// Why a record can never be stored, however often it is tried.
///
/// An outage is no reason: the only way from an [`Error`] to a reason refuses transient errors and unknown
/// outcomes, so that an outage cannot become a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    kind: ReasonKind,
    detail: String,
}

/// The kinds of [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ReasonKind {
    /// The record is no purchase in any known format.
    Undecodable,
    /// Its id is taken by a purchase with other content.
    Conflict,
    /// The store refuses it for what it is, such as its size.
    Refused,
}

impl ReasonKind {
    /// The word for it in dead letters and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
        }
    }

    /// The kind that the word stands for, if it is one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Undecodable, Self::Conflict, Self::Refused].into_iter().find(|kind| kind.as_str() == word)
    }
}

impl Reason {
    /// Another purchase has the id.
    #[must_use]
    pub fn conflict() -> Self {
        Self { kind: ReasonKind::Conflict, detail: "the id is taken by a purchase with other content".into() }
    }

    /// The store refuses the purchase for what it is.
    ///
    /// # Errors
    /// The error itself, when it does not speak of the purchase: when it is transient, when its outcome is
    /// unknown, or when its kind is none of [`Invalid`](ErrorKind::Invalid) and
    /// [`TooLarge`](ErrorKind::TooLarge).
    pub fn refused(error: Error) -> Result<Self> {
        let of_the_purchase = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::TooLarge);
        if !of_the_purchase || error.is_transient() || error.outcome() == Outcome::Unknown {
            return Err(error);
        }
        Ok(Self { kind: ReasonKind::Refused, detail: error.chain().to_string() })
    }

    /// The reason that a dead letter was put aside for, as the letter has it.
    #[must_use]
    pub const fn of_letter(kind: ReasonKind, detail: String) -> Self {
        Self { kind, detail }
    }

    /// Which kind of reason it is.
    #[must_use]
    pub const fn kind(&self) -> ReasonKind {
        self.kind
    }

    /// What exactly is wrong, for whoever looks at the dead letter.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<UndecodableRecord> for Reason {
    fn from(error: UndecodableRecord) -> Self {
        Self { kind: ReasonKind::Undecodable, detail: error.to_string() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Retry;

    #[test]
    fn an_outage_cannot_become_a_reason() {
        let kinds = [
            ErrorKind::Conflict,
            ErrorKind::Denied,
            ErrorKind::Unavailable,
            ErrorKind::Overloaded,
            ErrorKind::DeadlineExceeded,
            ErrorKind::Closed,
            ErrorKind::Unsupported,
            ErrorKind::Corrupt,
            ErrorKind::Internal,
        ];
        for kind in kinds {
            assert_eq!(Reason::refused(Error::new(kind, "x")).unwrap_err().kind(), kind);
        }
        let large = Error::new(ErrorKind::TooLarge, "x");
        assert!(Reason::refused(large.clone().with_retry(Retry::Safe)).is_err());
        assert!(Reason::refused(large.clone().with_outcome(Outcome::Unknown)).is_err());
        assert_eq!(Reason::refused(large).unwrap().kind(), ReasonKind::Refused);
    }
}
