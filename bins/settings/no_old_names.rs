//! The names of settings in the replaced systems, in a build without the feature `compat`: none.
//!
//! The functions and constants are those of `shop_compat::variables`.

pub(super) const ADDRESSES: [ComposedAddress; 0] = [];
pub(super) const PREFIXES: [&str; 0] = [];
pub(super) const MISTAKEN: [(&str, &str); 0] = [];

/// An address that is composed of several variables, of which this build knows none.
#[derive(Clone, Copy)]
pub(super) struct ComposedAddress {
    pub(super) setting: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test reads it"))]
    pub(super) parts: &'static [&'static str],
    pub(super) description: &'static str,
}

impl ComposedAddress {
    pub(super) fn compose(
        &self,
        _take: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Result<Option<String>, &'static str> {
        Ok(None)
    }
}

pub(super) fn names_of(_setting: &str) -> &'static [&'static str] {
    &[]
}

pub(super) fn parts() -> impl Iterator<Item = &'static str> {
    std::iter::empty()
}

pub(super) fn is_secret_part(_name: &str) -> bool {
    false
}

pub(super) fn translate<'a>(name: &'a str, _text: &mut String) -> &'a str {
    name
}
