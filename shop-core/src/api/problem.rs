//! The RFC 9457 problems of `/v1`: their types, and what stands in them besides the standard members.

use serde::{Deserialize, Serialize};

use crate::{ErrorKind, Outcome};

/// The members that a problem has besides those of RFC 9457.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProblemMembers {
    /// The member or parameter of the request that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub field: Option<String>,
    /// Of a buy that failed: `not_sent`, or `unknown` when it may have taken effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(schema_with = super::schema::outcome))]
    pub outcome: Option<String>,
    /// Of a buy that failed: the `Idempotency-Key` with which repeating it is harmless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub idempotency_key: Option<String>,
    /// Everything that is wrong with the request; empty where nothing in particular is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(inline))]
    pub errors: Vec<ProblemError>,
}

/// One fault of a request: where it is, which is one of three, and what is wrong there.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProblemError {
    /// In the body: a JSON pointer as a URI fragment, such as `#/price`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub pointer: Option<String>,
    /// In the query or in the path: the parameter's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub parameter: Option<String>,
    /// In the head: the header's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub header: Option<String>,
    /// What is wrong.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub detail: String,
}

impl ProblemError {
    /// What is wrong, without its place.
    #[must_use]
    pub fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..Self::default() }
    }
}

impl ProblemMembers {
    /// The word for `outcome`.
    #[must_use]
    pub const fn outcome_word(outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::NotApplied => "not_sent",
            Outcome::Unknown => "unknown",
        }
    }

    /// The outcome that the word stands for: unknown unless it says otherwise.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.outcome.as_deref() {
            Some("not_sent") => Outcome::NotApplied,
            _ => Outcome::Unknown,
        }
    }
}

/// The `type` of the 404 of a purchase that is not stored, unlike the 404 of a server that has no such path.
pub const UNKNOWN_PURCHASE: &str = "/problems/unknown-purchase";
/// The `type` when there is no such user, or none that has been replicated yet.
pub const UNKNOWN_USER: &str = "/problems/unknown-user";
/// The `type` when there is no such order.
pub const UNKNOWN_ORDER: &str = "/problems/unknown-order";
/// The `type` when another user has the e-mail address.
pub const EMAIL_TAKEN: &str = "/problems/email-taken";
/// The `type` when the `Idempotency-Key` was used for another user, or for another order.
pub const KEY_TAKEN: &str = "/problems/key-taken";

const KINDS: [(ErrorKind, &str); 11] = [
    (ErrorKind::Invalid, "/problems/invalid"),
    (ErrorKind::TooLarge, "/problems/too-large"),
    (ErrorKind::Conflict, "/problems/conflict"),
    (ErrorKind::Denied, "/problems/denied"),
    (ErrorKind::Unavailable, "/problems/unavailable"),
    (ErrorKind::Overloaded, "/problems/overloaded"),
    (ErrorKind::DeadlineExceeded, "/problems/deadline-exceeded"),
    (ErrorKind::Closed, "/problems/closed"),
    (ErrorKind::Unsupported, "/problems/unsupported"),
    (ErrorKind::Corrupt, "/problems/corrupt"),
    (ErrorKind::Internal, "/problems/internal"),
];

/// The `type` of a problem of `kind`.
#[must_use]
pub fn problem_type(kind: ErrorKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("about:blank", |(_, text)| text)
}

/// The kind that a problem's `type` stands for, if it is one of ours.
#[must_use]
pub fn kind_of_problem(problem_type: &str) -> Option<ErrorKind> {
    KINDS.iter().find(|(_, text)| *text == problem_type).map(|(kind, _)| *kind)
}
