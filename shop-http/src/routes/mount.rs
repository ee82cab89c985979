//! The prefix below which an outer router of the embedder mounted these routes.
//!
//! A router that nests this one, for example at `/shop`, removes the prefix from the path of each
//! request. Links and documents for clients need the whole path, so a handler puts the prefix of
//! the [`Mount`] before the paths in the response.

use std::fmt::Display;

use axum::extract::OriginalUri;
use axum::http::{Extensions, Uri};

/// The prefix below which an outer router mounted these routes, as the client sent the prefix. It
/// is empty without an outer router.
#[derive(Debug)]
pub struct Mount(String);

impl Mount {
    /// Returns the prefix that outer routers removed from the path of the request with this `uri`
    /// and these `extensions`.
    ///
    /// The prefix is empty if the outer routers removed nothing, or rewrote the path in another way.
    pub fn from_request(uri: &Uri, extensions: &Extensions) -> Self {
        let original_path = original_uri(uri, extensions).path();
        let remaining_path = uri.path();
        if original_path.len() == remaining_path.len() {
            return Self(String::new());
        }

        // Both `/shop` and `/shop/` are the root of a router that is mounted at `/shop`.
        let prefix = if remaining_path == "/" {
            original_path.trim_end_matches('/')
        } else {
            original_path
                .strip_suffix(remaining_path)
                .unwrap_or_default()
        };
        Self(prefix.to_owned())
    }

    /// Returns the prefix, without a slash at its end.
    pub(crate) fn prefix(&self) -> &str {
        &self.0
    }

    /// Returns `path` with the prefix before it, which is the path of a resource as a client sees
    /// it.
    pub fn path(&self, path: impl Display) -> String {
        format!("{}{path}", self.0)
    }
}

/// Returns the URI of a request as the client sent it, with the prefix of outer routers.
pub(crate) fn original_uri<'a>(uri: &'a Uri, extensions: &'a Extensions) -> &'a Uri {
    extensions
        .get()
        .map_or(uri, |OriginalUri(original_uri)| original_uri)
}
