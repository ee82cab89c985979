//! Reasons for dead-lettering a record.

use std::str::FromStr;

use super::RecordType;
use crate::format::format_as;
use crate::{Error, ErrorKind, Outcome, Result};

/// The reason why a record can never be processed, however often it is retried.
///
/// Transient errors and unknown outcomes cannot be converted into a reason, so an outage never produces dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    kind: ReasonKind,
    detail: String,
}

format_as!(Reason: |this| Display = Display(format_args!("{}: {}", this.kind.as_str(), this.detail)));

/// The kinds of [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ReasonKind {
    /// The record does not decode as the type of its topic.
    Undecodable,
    /// Its id is used by a record with different content.
    Conflict,
    /// The store rejects the record itself, for example its size.
    Refused,
    /// An operator has parked it, because the store kept failing over it.
    Parked,
    /// The log no longer has the records: see [`Gap`](super::Gap). There is nothing to replay.
    Gap,
}

impl ReasonKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Undecodable, Self::Conflict, Self::Refused, Self::Parked, Self::Gap];

    /// Its name in dead letters and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Parked => "parked",
            Self::Gap => "gap",
        }
    }
}

/// Text that is not a [`ReasonKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be undecodable, conflict, refused, parked or gap")]
pub struct InvalidReasonKind;

impl FromStr for ReasonKind {
    type Err = InvalidReasonKind;

    fn from_str(word: &str) -> std::result::Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or(InvalidReasonKind)
    }
}

impl Reason {
    /// Another record of this type has the same id.
    #[must_use]
    pub fn conflict(of: RecordType) -> Self {
        let detail = format!("the id is taken by a {} with other content", of.name);
        Self { kind: ReasonKind::Conflict, detail }
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
        Ok(Self { kind: ReasonKind::Refused, detail: error.chain().to_string() })
    }

    /// An operator has parked the record. `note` says why.
    #[must_use]
    pub fn parked(note: impl Into<String>) -> Self {
        Self { kind: ReasonKind::Parked, detail: note.into() }
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
