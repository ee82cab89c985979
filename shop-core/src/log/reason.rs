//! The reasons for which a record becomes a dead letter.

use super::RecordType;
use crate::macros::{format_as, named_enum};
use crate::{Error, ErrorKind, Invalid, Outcome, Result};

/// The reason why a record can never be processed, however often it is retried.
///
/// A transient error or an unknown outcome cannot be converted into a reason
/// ([`refused`](Self::refused)), so an outage never produces dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    kind: ReasonKind,
    detail: String,
}

format_as!(Reason: |this| Display = Display(format_args!("{}: {}", this.kind.as_str(), this.detail)));

named_enum! {
    /// The kinds of a [`Reason`]. Dead letters and metrics contain these names.
    pub enum ReasonKind {
        /// The record cannot be decoded as the type of its topic.
        Undecodable = "undecodable",
        /// The id of the record belongs to another record with different content.
        Conflict = "conflict",
        /// The store rejects the record itself, for example because of its size.
        Refused = "refused",
        /// The record can be replayed later. Either an operator parked it, because the store kept
        /// failing over it; or it refunds a purchase that is not stored yet, in a store without
        /// [waiting refunds](crate::ports::WaitingRefunds).
        Parked = "parked",
        /// The log no longer contains the records: see [`Gap`](super::Gap). There is no record to
        /// replay.
        Gap = "gap",
    }

    invalid: "the reason", "must be undecodable, conflict, refused, parked or gap"
}

impl Reason {
    /// Creates the reason [`Conflict`](ReasonKind::Conflict): the store contains another record of
    /// `record_type` with this id.
    #[must_use]
    pub fn conflict(record_type: RecordType) -> Self {
        let detail = format!(
            "the id is taken by a {} with other content",
            record_type.name
        );
        Self {
            kind: ReasonKind::Conflict,
            detail,
        }
    }

    /// Creates the reason [`Refused`](ReasonKind::Refused) from the `error` with which the store
    /// rejects the record itself.
    ///
    /// # Errors
    /// Returns `error` unchanged if it is not about the record:
    ///
    /// - if its kind is neither [`Invalid`](ErrorKind::Invalid) nor
    ///   [`TooLarge`](ErrorKind::TooLarge)
    /// - if it is transient, so that a retry can succeed
    /// - if its outcome is unknown, so that the record may be stored
    pub fn refused(error: Error) -> Result<Self> {
        let is_about_record = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::TooLarge);
        let may_be_stored = error.is_retryable() || error.outcome() == Outcome::Unknown;
        if !is_about_record || may_be_stored {
            return Err(error);
        }
        Ok(Self {
            kind: ReasonKind::Refused,
            detail: error.chain().to_string(),
        })
    }

    /// Creates the reason [`Parked`](ReasonKind::Parked) of a record that can be replayed later.
    /// `note` tells the operator why.
    #[must_use]
    pub fn parked(note: impl Into<String>) -> Self {
        Self {
            kind: ReasonKind::Parked,
            detail: note.into(),
        }
    }

    /// Creates a reason from its kind and its detail, as a log stored them.
    #[must_use]
    pub const fn from_parts(kind: ReasonKind, detail: String) -> Self {
        Self { kind, detail }
    }

    /// Returns the kind of the reason.
    #[must_use]
    pub const fn kind(&self) -> ReasonKind {
        self.kind
    }

    /// Returns the exact cause, for the operator who inspects the dead letter.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// Creates the reason [`Refused`](ReasonKind::Refused) of a record whose content is invalid.
impl From<Invalid> for Reason {
    fn from(invalid: Invalid) -> Self {
        Self {
            kind: ReasonKind::Refused,
            detail: invalid.to_string(),
        }
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
            assert_eq!(
                Reason::refused(Error::new(kind, "x")).unwrap_err().kind(),
                kind
            );
        }
        let large = Error::new(ErrorKind::TooLarge, "x");
        assert!(Reason::refused(large.clone().with_retry(Retry::Safe)).is_err());
        assert!(Reason::refused(large.clone().with_outcome(Outcome::Unknown)).is_err());
        assert_eq!(Reason::refused(large).unwrap().kind(), ReasonKind::Refused);
    }
}
