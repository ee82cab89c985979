//! `GET /problems/{name}`: what the `type` of a problem means and what to do.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse};

use crate::response::HttpError;

/// The page has no script, style or image.
const POLICY: [(HeaderName, HeaderValue); 1] = [(
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
)];

/// The last segment of a type, what it means, and what to do.
const PROBLEMS: [(&str, &str, &str); 19] = [
    (
        "invalid",
        "The request is invalid",
        "Correct what `errors` lists: each entry names a member of the body by a \
      JSON pointer, a parameter or a header. A repetition without a change fails again.",
    ),
    (
        "too-large",
        "The purchase is too large for the log",
        "Shorten the texts of the purchase, or raise the largest \
      message of the log.",
    ),
    (
        "conflict",
        "The idempotency key was used with other content",
        "Use a new key for a new purchase. To repeat a \
      purchase, send the same content with its key.",
    ),
    (
        "erased",
        "The purchase with this id or idempotency key was erased",
        "Use a new key for a new purchase.",
    ),
    (
        "denied",
        "The operation is not permitted",
        "Use a token with the scope that `detail` names, or ask for your \
      own data only.",
    ),
    (
        "unavailable",
        "The log or the store is unavailable",
        "Repeat the request after the seconds in `Retry-After`, \
      a purchase with the key in `idempotency_key`.",
    ),
    (
        "overloaded",
        "The service is overloaded",
        "Repeat the request after the seconds in `Retry-After`. Nothing of \
      it took effect.",
    ),
    (
        "deadline-exceeded",
        "The log or the store did not answer in time",
        "Repeat the request, a purchase with the \
      key in `idempotency_key`: if `outcome` is `unknown`, the first one may have taken effect.",
    ),
    (
        "closed",
        "The service is shutting down",
        "Repeat the request: another replica, or the service after its \
      restart, answers it.",
    ),
    (
        "unsupported",
        "The backend does not support the operation",
        "Choose another backend, or do without the \
      operation.",
    ),
    (
        "corrupt",
        "Stored data cannot be read",
        "An operator has to look at the log of the service. A repetition \
      fails again.",
    ),
    (
        "internal",
        "The service failed unexpectedly",
        "Report the `X-Request-Id` of the response: the log of the \
      service has the error with it.",
    ),
    (
        "unknown-purchase",
        "The purchase is not stored",
        "Check the id. If the purchase was acknowledged a moment \
      ago, wait for it with `wait_for`.",
    ),
    (
        "unknown-user",
        "The user does not exist, or is not replicated yet",
        "Check the number. If the user was \
      registered a moment ago, repeat the request.",
    ),
    (
        "cursor-expired",
        "The log does not continue at the last event",
        "List the purchases, and read the events without \
      `Last-Event-ID`.",
    ),
    (
        "unknown-dead-letter",
        "There is no pending dead letter at this position",
        "List the pending ones: this one may be \
      replayed or discarded already.",
    ),
    ("unknown-order", "The order does not exist", "Check the number."),
    ("email-taken", "Another user has this e-mail address", "Use another address, or the user that has it."),
    ("key-taken", "The idempotency key was used for another user or order", "Use a new key."),
];

/// `GET /problems/{name}`.
pub(crate) async fn get(path: Result<Path<String>, PathRejection>) -> Result<impl IntoResponse, HttpError> {
    let known = |name: String| PROBLEMS.iter().find(|(known, ..)| *known == name);
    let known = path.ok().and_then(|Path(name)| known(name)).ok_or(HttpError::NO_ROUTE);
    known.map(|(name, title, advice)| (POLICY, Html(page(name, title, advice))))
}

/// The texts are ours and need no escaping.
fn page(name: &str, title: &str, advice: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<h1>{title}</h1>\n<p>{advice}</p>\n\
         <p>Problems of the type <code>/problems/{name}</code> are JSON as RFC 9457 defines it.</p>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use shop_core::api::problem::types;

    use super::*;

    #[test]
    fn every_type_has_a_page_and_is_documented() {
        let names: Vec<_> = PROBLEMS.iter().map(|(name, ..)| format!("/problems/{name}")).collect();
        for known in types() {
            assert_eq!(names.iter().filter(|name| *name == known).count(), 1, "{known}");
            let document = include_str!("../../openapi.json");
            assert!(document.contains(&format!("\"{known}\"")), "{known} is not in openapi.json");
        }
        assert_eq!(types().count(), names.len());
        assert!(
            PROBLEMS
                .iter()
                .all(|(_, title, advice)| !title.contains(['<', '&']) && !advice.contains(['<', '&']))
        );
    }
}
