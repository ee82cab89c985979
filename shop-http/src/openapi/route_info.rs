//! Where an operation stands, and how it is spoken to there.

use crate::dialect::{Dialect, INGRESS_PREFIXES};
use crate::options::HttpOptions;
use crate::service::Service;
use crate::service_kind::ServiceKind;

/// The place of an operation.
pub(super) struct RouteInfo<'a> {
    pub(super) path: &'a str,
    /// The path without the prefixes that only tell the dialect.
    pub(super) naked: String,
    /// Whether it is there without the prefix, too.
    pub(super) behind_ingress: bool,
    pub(super) dialect: &'static Dialect,
    pub(super) role: ServiceKind,
    pub(super) options: &'a HttpOptions,
}

impl<'a> RouteInfo<'a> {
    pub(super) fn new(path: &'a str, service: &'a Service) -> Self {
        let dialect = Dialect::from_path(path, service.options.dialect);
        let mut naked = path;
        for prefix in INGRESS_PREFIXES.into_iter().chain(["/api/v1", "/api"]) {
            let rest = naked.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
            naked = rest.unwrap_or(naked);
        }
        let naked = if naked.is_empty() { "/" } else { naked }.to_owned();
        let behind_ingress = INGRESS_PREFIXES.iter().any(|prefix| path.starts_with(prefix));
        Self { path, naked, behind_ingress, dialect, role: service.kind, options: &service.options }
    }

    /// The path of another resource of `/v1`, behind the prefix that this one is behind.
    pub(super) fn in_v1(&self, resource: &str) -> String {
        let prefix = self.path.split("/v1/").next().unwrap_or_default();
        format!("{prefix}/v1/{resource}")
    }
}

/// The name of what `method` does at `path`, which no other operation has.
pub(super) fn operation_id(method: &str, path: &str) -> String {
    // What tells paths apart although it is no word.
    let mut path = path.replace("/-/", "/dash/");
    if path.len() > 1 && path.ends_with('/') {
        path.push_str("slash");
    }
    let words = path.split(|character: char| !character.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}
