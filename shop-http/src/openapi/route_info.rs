//! The path of an operation, with its dialect and options.

use crate::auth::Policy;
use crate::dialect::{Dialect, INGRESS_PREFIXES};
use crate::options::HttpOptions;
use crate::service::Service;
use crate::service_kind::ServiceKind;

/// The path of an operation, with its dialect and options.
pub(super) struct RouteInfo<'a> {
    /// The path without a prefix of the ingress.
    pub(super) path: &'a str,
    /// The path without the prefixes that only select a dialect.
    pub(super) unprefixed: &'a str,
    pub(super) is_behind_ingress: bool,
    pub(super) dialect: &'static Dialect,
    pub(super) role: ServiceKind,
    pub(super) options: &'a HttpOptions,
    pub(super) policy: &'a Policy,
}

impl<'a> RouteInfo<'a> {
    pub(super) fn new(whole: &'a str, service: &'a Service) -> Self {
        let dialect = Dialect::from_path(whole, service.options.dialect);
        let path = without(whole, &INGRESS_PREFIXES);
        let (role, options, policy) = (service.kind, &*service.options, &service.policy);
        Self {
            path,
            unprefixed: without(path, &["/api/v1", "/api"]),
            is_behind_ingress: path != whole,
            dialect,
            role,
            options,
            policy,
        }
    }
}

/// `path` without the first of these prefixes that it has.
fn without<'a>(path: &'a str, prefixes: &[&str]) -> &'a str {
    let rest = |prefix| path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match prefixes.iter().find_map(rest) {
        Some("") => "/",
        Some(rest) => rest,
        None => path,
    }
}

/// The unique name of `method` at `path`.
pub(super) fn operation_id(method: &str, path: &str) -> String {
    // Characters that distinguish paths but are not part of a word.
    let mut path = path.replace("/-/", "/dash/");
    if path.len() > 1 && path.ends_with('/') {
        path.push_str("slash");
    }
    let words = path.split(|character: char| !character.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}
