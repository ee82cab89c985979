//! Why a record is dead-lettered.

use std::fmt;

use crate::record::DecodeError;
use crate::{Error, ErrorKind, Outcome, Result};

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

impl From<DecodeError> for Reason {
    fn from(error: DecodeError) -> Self {
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
