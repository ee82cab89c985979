//! The prefix below which an outer router has mounted these routes.

use std::fmt::Display;

use axum::extract::OriginalUri;
use axum::http::request::Parts;

/// The prefix below which an outer router has mounted these routes, as the client has sent it;
/// empty without one.
#[derive(Default)]
pub(crate) struct Mount(String);

impl Mount {
    /// The prefix that the routers outside of this one have removed from `request`, if any.
    pub(crate) fn of(request: &Parts) -> Option<Self> {
        let OriginalUri(original) = request.extensions.get()?;
        let whole = original.path();
        let inner = request.uri.path();
        if whole.len() == inner.len() {
            return None;
        }
        // `/shop` and `/shop/` are both the root of what is mounted at `/shop`.
        let prefix = if inner == "/" {
            whole.trim_end_matches('/')
        } else {
            whole.strip_suffix(inner)?
        };
        Some(Self(prefix.to_owned()))
    }

    /// The prefix, without a slash at its end.
    pub(crate) fn prefix(&self) -> &str {
        &self.0
    }

    /// The path of a resource as a client sees it.
    pub(crate) fn path(&self, path: impl Display) -> String {
        format!("{}{path}", self.prefix())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn mount(original: &'static str, inner: &'static str) -> String {
        let (mut request, ()) = Request::new(()).into_parts();
        request.uri = inner.parse().unwrap();
        request
            .extensions
            .insert(OriginalUri(original.parse().unwrap()));
        Mount::of(&request).unwrap_or_default().prefix().to_owned()
    }

    #[test]
    fn the_prefix_is_the_part_that_outer_routers_have_removed() {
        for (original, inner, prefix) in [
            ("/v1/purchases?limit=1", "/v1/purchases?limit=1", ""),
            ("/", "/", ""),
            ("/shop", "/", "/shop"),
            ("/shop/", "/", "/shop"),
            (
                "/shop/v1/purchases?limit=1",
                "/v1/purchases?limit=1",
                "/shop",
            ),
            ("/a/%C3%BC/buy", "/buy", "/a/%C3%BC"),
            // Rewritten rather than mounted.
            ("/old/path", "/v1/purchases", ""),
        ] {
            assert_eq!(mount(original, inner), prefix, "{original}");
        }
        assert!(Mount::of(&Request::new(()).into_parts().0).is_none());
    }
}
