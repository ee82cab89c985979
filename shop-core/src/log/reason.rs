//! Reasons for dead-lettering a record.

use super::RecordType;
use crate::macros::{format_as, named_enum};
use crate::{Error, ErrorKind, Invalid, Outcome, Result};

/// The reason why a record can never be processed, however often it is retried.
///
/// Transient errors and unknown outcomes cannot be converted into a reason, so an outage never produces dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    kind: ReasonKind,
    detail: String,
}

format_as!(Reason: |this| Display = Display(format_args!("{}: {}", this.kind.as_str(), this.detail)));

named_enum! {
    /// The kinds of [`Reason`]. The names are those in dead letters and metrics.
    pub enum ReasonKind {
        /// The record does not decode as the type of its topic.
        Undecodable = "undecodable",
        /// Its id is used by a record with different content.
        Conflict = "conflict",
        /// The store rejects the record itself, for example its size.
        Refused = "refused",
        /// An operator has parked it, because the store kept failing over it; or it refunds a purchase that is not stored, in a
        /// store without [waiting refunds](crate::ports::WaitingRefunds).
        Parked = "parked",
        /// The log no longer has the records: see [`Gap`](super::Gap). There is nothing to replay.
        Gap = "gap",
    }

    invalid: "the reason", "must be undecodable, conflict, refused, parked or gap"
}

impl Reason {
    /// Another record of this type has the same id.
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

    /// The store rejects the record itself.
    ///
    /// # Errors
    /// Returns the error when it is not about the record: when it is transient, when its outcome is unknown, or when
    /// its kind is neither [`Invalid`](ErrorKind::Invalid) nor [`TooLarge`](ErrorKind::TooLarge).
    pub fn refused(error: Error) -> Result<Self> {
        let of_the_record = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::TooLarge);
        if !of_the_record || error.is_retryable() || error.outcome() == Outcome::Unknown {
            return Err(error);
        }
        Ok(Self {
            kind: ReasonKind::Refused,
            detail: error.chain().to_string(),
        })
    }

    /// The record can be replayed later: an operator has parked it, or the store cannot keep a refund until its purchase is
    /// stored. `note` says why.
    #[must_use]
    pub fn parked(note: impl Into<String>) -> Self {
        Self {
            kind: ReasonKind::Parked,
            detail: note.into(),
        }
    }

    /// Restores the reason of a stored dead letter.
    #[must_use]
    pub const fn from_parts(kind: ReasonKind, detail: String) -> Self {
        Self { kind, detail }
    }

    /// The kind of the reason.
    #[must_use]
    pub const fn kind(&self) -> ReasonKind {
        self.kind
    }

    /// The exact cause, for the operator who inspects the dead letter.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// The store refuses the record, because its content is invalid.
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
