//! `GET /problems/{name}`: what the `type` of a problem means, and what to do.
//!
//! The `type` of a problem of this service, if any, is the path of such a page. The texts are
//! [`shop_api::problem::PAGES`], and those in the roles of the service.

use std::sync::{Arc, LazyLock};

use axum::http::request::Parts;
use axum::http::{HeaderName, header};
use axum::response::{Html, IntoResponse};

use crate::request::path::path_parameter;
use crate::response::{HttpError, HttpResult};
use crate::role::ProblemPage;
use crate::service::Service;

/// The header that forbids everything else: the page contains no script, style or image.
const POLICY: [(HeaderName, &str); 1] = [(
    header::CONTENT_SECURITY_POLICY,
    "default-src 'none'; frame-ancestors 'none'",
)];

/// The pages of every service. A test reads this JSON, so the empty default is never used.
static PROBLEMS: LazyLock<Vec<ProblemPage>> =
    LazyLock::new(|| serde_json::from_str(shop_api::problem::PAGES).unwrap_or_default());

/// Handles `GET /problems/{name}`: answers with the page about a type.
///
/// # Errors
/// 404 if there is no such type.
pub(crate) async fn get(service: Arc<Service>, head: Parts) -> HttpResult {
    let name = path_parameter(&head).ok_or(HttpError::NO_ROUTE)?;
    let role_pages = service.roles.iter().flat_map(|role| role.problems());
    let page = PROBLEMS
        .iter()
        .chain(role_pages)
        .find(|page| page.name == name)
        .ok_or(HttpError::NO_ROUTE)?;
    Ok((POLICY, Html(render_page(page))).into_response())
}

/// Renders a page as HTML. Its texts come from this crate and its roles, and need no escaping.
fn render_page(page: &ProblemPage) -> String {
    let ProblemPage {
        name,
        title,
        advice,
    } = page;
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<h1>{title}</h1>\n<p>{advice}</p>\n\
         <p>Problems of the type <code>/problems/{name}</code> are JSON as RFC 9457 defines it.</p>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use shop_api::problem::*;
    use shop_core::ErrorKind;

    use super::*;

    #[test]
    fn every_type_has_a_page_and_is_documented() {
        let names: Vec<_> = PROBLEMS
            .iter()
            .map(|problem| format!("/problems/{}", problem.name))
            .collect();
        let types_of_resources = [UNKNOWN_PURCHASE, UNKNOWN_DEAD_LETTER, RATE_EXCEEDED];
        let types_of_errors = ErrorKind::ALL.map(problem_type);
        for known in types_of_errors.into_iter().chain(types_of_resources) {
            assert_eq!(
                names.iter().filter(|name| *name == known).count(),
                1,
                "{known}"
            );
            assert!(
                shop_api::OPENAPI.contains(&format!("\"{known}\"")),
                "{known} is not in the OpenAPI document"
            );
        }
        let count = types_of_errors.len() + types_of_resources.len();
        assert_eq!(count, names.len());
        let is_plain = |text: &str| !text.contains(['<', '&']);
        assert!(
            PROBLEMS
                .iter()
                .all(|problem| is_plain(problem.title) && is_plain(problem.advice))
        );
    }
}
