//! Problem types of `/v1` (RFC 9457), and their additional members.

use serde::{Deserialize, Serialize};

use shop_core::{ErrorKind, Outcome};

/// The additional members of a problem.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProblemMembers {
    /// The invalid member or parameter of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Of a failed purchase request: `not_sent`, or `unknown` if it may have taken effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Of a failed purchase request: the `Idempotency-Key` with which a retry is safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// All errors of the request; empty if there are no specific ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemError>,
}

/// One error of a request: one of three locations, and a description.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProblemError {
    /// In the body: a JSON pointer as a URI fragment, such as `#/price`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// In the query or path: the parameter's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// In the head: the header's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A description of the error.
    #[serde(default)]
    pub detail: String,
}

impl ProblemError {
    /// Creates an error without a location.
    #[must_use]
    pub fn new(detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            ..Self::default()
        }
    }
}

impl ProblemMembers {
    /// Returns the name of `outcome` in the member of the same name.
    #[must_use]
    pub const fn outcome_name(outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::NotApplied => "not_sent",
            // Also a later kind of outcome: `unknown` promises nothing to the client.
            _ => "unknown",
        }
    }

    /// Returns the outcome of the request. It is unknown if the name is missing or not recognized.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.outcome.as_deref() {
            Some("not_sent") => Outcome::NotApplied,
            _ => Outcome::Unknown,
        }
    }
}

/// The `type` of the 404 for a purchase that is not stored, to distinguish it from an unknown path.
pub const UNKNOWN_PURCHASE: &str = "/problems/unknown-purchase";
/// The `type` for the id or the key of a purchase that was erased.
pub const ERASED: &str = "/problems/erased";
/// The `type` for a dead letter that does not exist, or is not pending any more.
pub const UNKNOWN_DEAD_LETTER: &str = "/problems/unknown-dead-letter";
/// The `type` for a user that does not exist or is not replicated yet.
pub const UNKNOWN_USER: &str = "/problems/unknown-user";
/// The `type` for an order that does not exist.
pub const UNKNOWN_ORDER: &str = "/problems/unknown-order";
/// The `type` for an e-mail address that belongs to another user.
pub const EMAIL_TAKEN: &str = "/problems/email-taken";
/// The `type` for an `Idempotency-Key` that was used for another user or order.
pub const KEY_TAKEN: &str = "/problems/key-taken";
/// The `type` of the 429 for a client that sends more than its rate.
pub const RATE_EXCEEDED: &str = "/problems/rate-exceeded";
/// The `type` for a cursor of events whose records the log does not contain any more.
pub const CURSOR_EXPIRED: &str = "/problems/cursor-expired";

/// The descriptions of the problem types for clients, without the types of users and orders.
///
/// This is a JSON array of objects. The `name` is the last segment of the type, the `title` says what
/// the type means, and the `advice` says what the client should do.
pub const PAGES: &str = include_str!("../problems.json");

/// Returns the `type` of the problem for an error of `kind`.
#[must_use]
pub const fn problem_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "/problems/invalid",
        ErrorKind::TooLarge => "/problems/too-large",
        ErrorKind::Conflict => "/problems/conflict",
        ErrorKind::Erased => ERASED,
        ErrorKind::Expired => CURSOR_EXPIRED,
        ErrorKind::Denied => "/problems/denied",
        ErrorKind::Unavailable => "/problems/unavailable",
        ErrorKind::Overloaded => "/problems/overloaded",
        ErrorKind::DeadlineExceeded => "/problems/deadline-exceeded",
        ErrorKind::Closed => "/problems/closed",
        ErrorKind::Unsupported => "/problems/unsupported",
        ErrorKind::Corrupt => "/problems/corrupt",
        // A test fails if a kind has no line of its own here.
        _ => "/problems/internal",
    }
}

/// Returns the [`ErrorKind`] behind problems of the type `problem_type`, if there is one.
#[must_use]
pub fn error_kind(problem_type: &str) -> Option<ErrorKind> {
    ErrorKind::ALL
        .into_iter()
        .find(|kind| self::problem_type(*kind) == problem_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_ends_with_the_name_of_its_kind() {
        for kind in ErrorKind::ALL {
            assert_eq!(problem_type(kind), format!("/problems/{}", kind.as_str()));
            assert_eq!(error_kind(problem_type(kind)), Some(kind));
        }
    }
}
