//! The path of an operation, with its dialect and options.

use crate::auth::Policy;
use crate::dialect::{Dialect, INGRESS_PREFIXES};
use crate::options::HttpOptions;
use crate::service::Service;
use crate::service_kind::ServiceKind;

/// The path of an operation, with its dialect and options.
pub(super) struct RouteInfo<'a> {
    pub(super) path: &'a str,
    /// The path without the prefixes that only select a dialect.
    pub(super) unprefixed: String,
    /// Whether the path has a prefix of the ingress. It then exists without the prefix as well.
    pub(super) behind_ingress: bool,
    pub(super) dialect: &'static Dialect,
    pub(super) role: ServiceKind,
    pub(super) options: &'a HttpOptions,
    pub(super) policy: &'a Policy,
}

impl<'a> RouteInfo<'a> {
    pub(super) fn new(path: &'a str, service: &'a Service) -> Self {
        let dialect = Dialect::from_path(path, service.options.dialect);
        let mut unprefixed = path;
        for prefix in INGRESS_PREFIXES.into_iter().chain(["/api/v1", "/api"]) {
            let rest =
                unprefixed.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
            unprefixed = rest.unwrap_or(unprefixed);
        }
        let unprefixed = if unprefixed.is_empty() { "/" } else { unprefixed }.to_owned();
        let behind_ingress = INGRESS_PREFIXES.iter().any(|prefix| path.starts_with(prefix));
        let (role, options, policy) = (service.kind, &*service.options, &service.policy);
        Self { path, unprefixed, behind_ingress, dialect, role, options, policy }
    }

    /// The path of another resource of `/v1`, behind the same prefix.
    pub(super) fn in_v1(&self, resource: &str) -> String {
        let prefix = self.path.split("/v1/").next().unwrap_or_default();
        format!("{prefix}/v1/{resource}")
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
