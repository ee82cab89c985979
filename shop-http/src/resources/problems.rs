//! `GET /problems/{name}`: what the `type` of a problem means and what to do.

use std::sync::LazyLock;

use axum::http::{HeaderName, header};
use axum::response::{Html, IntoResponse};
use serde::Deserialize;

use crate::request::PathText;
use crate::response::{HttpError, HttpResult};

/// The page has no script, style or image.
const POLICY: [(HeaderName, &str); 1] = [(
    header::CONTENT_SECURITY_POLICY,
    "default-src 'none'; frame-ancestors 'none'",
)];

/// A type of problems.
#[derive(Deserialize)]
struct ProblemPage {
    /// The last segment of the type.
    name: String,
    title: String,
    /// What to do.
    advice: String,
}

/// The types, from the file `problems.json`. A test reads it.
static PROBLEMS: LazyLock<Vec<ProblemPage>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../problems.json")).unwrap_or_default());

/// `GET /problems/{name}`.
pub(crate) async fn get(path: PathText) -> HttpResult<impl IntoResponse> {
    let known = |name: String| PROBLEMS.iter().find(|known| known.name == name);
    let problem = path.0.and_then(known).ok_or(HttpError::NO_ROUTE)?;
    Ok((POLICY, Html(page(problem))))
}

/// The texts are ours and need no escaping.
fn page(
    ProblemPage {
        name,
        title,
        advice,
    }: &ProblemPage,
) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<h1>{title}</h1>\n<p>{advice}</p>\n\
         <p>Problems of the type <code>/problems/{name}</code> are JSON as RFC 9457 defines it.</p>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use shop_core::ErrorKind;
    use shop_core::api::problem::*;

    use super::*;

    #[test]
    fn every_type_has_a_page_and_is_documented() {
        let names: Vec<_> = PROBLEMS
            .iter()
            .map(|problem| format!("/problems/{}", problem.name))
            .collect();
        let types_of_resources = [
            UNKNOWN_PURCHASE,
            UNKNOWN_DEAD_LETTER,
            UNKNOWN_USER,
            UNKNOWN_ORDER,
            EMAIL_TAKEN,
            KEY_TAKEN,
            RATE_EXCEEDED,
        ];
        let types_of_errors = ErrorKind::ALL.map(problem_type);
        for known in types_of_errors.into_iter().chain(types_of_resources) {
            assert_eq!(
                names.iter().filter(|name| *name == known).count(),
                1,
                "{known}"
            );
            let document = include_str!("../../openapi.json");
            assert!(
                document.contains(&format!("\"{known}\"")),
                "{known} is not in openapi.json"
            );
        }
        let count = types_of_errors.len() + types_of_resources.len();
        assert_eq!(count, names.len());
        let is_plain = |text: &str| !text.contains(['<', '&']);
        assert!(
            PROBLEMS
                .iter()
                .all(|problem| is_plain(&problem.title) && is_plain(&problem.advice))
        );
    }
}
