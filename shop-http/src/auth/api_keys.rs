//! API keys from a file, which contains the SHA-256 of each key.
//!
//! The hash of a key is compared with the hashes of all keys, in constant time. A file that changed
//! is parsed into a new list, so that a key that was removed from the file is refused from then on.

use std::sync::Arc;

use async_trait::async_trait;
use data_encoding::HEXLOWER_PERMISSIVE;
use sha2::{Digest as _, Sha256};
use shop_core::{Error, ErrorKind};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::authenticate::{Authenticate, Rejection};
use super::authorize::Principal;
use super::scopes::Scopes;
use crate::refreshed::Refreshed;

/// A list of API keys, which is parsed from the hashes of the keys.
///
/// A line is `name sha256-of-the-key scopes [subject]`. Scopes are separated by commas. With a
/// `subject`, the key is for the user with this id, and without one, it is for a service. Empty lines
/// and lines that begin with `#` are skipped.
///
/// ```
/// use shop_http::ApiKeys;
///
/// // printf %s secret | sha256sum
/// let keys = ApiKeys::parse(
///     "reports 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b purchases:read:any",
/// )?;
/// assert_eq!(keys.holder("secret").unwrap().name(), Some("reports"));
/// assert!(keys.holder("guess").is_none());
/// # Ok::<(), shop_http::InvalidApiKeys>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ApiKeys(Vec<ApiKey>);

/// The SHA-256 of an API key, and the holder of the key.
#[derive(Debug, Clone)]
struct ApiKey {
    hash: [u8; 32],
    principal: Principal,
}

/// The index of no key.
const NO_MATCH: u64 = u64::MAX;

/// A line that is not an API key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} {problem}: a line is a name, the SHA-256 of the key in hex, scopes separated by commas, and \
         optionally a user id"
)]
pub struct InvalidApiKeys {
    line: usize,
    problem: &'static str,
}

impl From<InvalidApiKeys> for Error {
    fn from(error: InvalidApiKeys) -> Self {
        Self::new(ErrorKind::Invalid, "the API keys are invalid").with_source(error)
    }
}

impl ApiKeys {
    /// Parses the keys of `text`.
    ///
    /// # Errors
    /// [`InvalidApiKeys`], with the number of the first invalid line. The error never contains the
    /// line.
    pub fn parse(text: &str) -> Result<Self, InvalidApiKeys> {
        Self::parse_with_scopes(text, |_scope| true)
    }

    /// Parses the keys of `text`, and refuses scopes that the default policy does not know.
    ///
    /// # Errors
    /// [`InvalidApiKeys`], with the number of the first line that is invalid or names an unknown
    /// scope.
    pub fn parse_known(text: &str) -> Result<Self, InvalidApiKeys> {
        Self::parse_with_scopes(text, |scope| {
            Scopes::ALL.split(' ').any(|known| known == scope)
        })
    }

    /// Parses the keys of `text`, and refuses scopes for which `is_known_scope` returns `false`.
    fn parse_with_scopes(
        text: &str,
        is_known_scope: impl Fn(&str) -> bool,
    ) -> Result<Self, InvalidApiKeys> {
        let mut keys = Vec::<ApiKey>::new();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }

            let key = parse_line(content, &is_known_scope)
                .map_err(|problem| InvalidApiKeys { line, problem })?;
            if keys.iter().any(|earlier| earlier.hash == key.hash) {
                return Err(InvalidApiKeys {
                    line,
                    problem: "repeats the key of an earlier line",
                });
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }

    /// Returns the holder of `key`, or `None` if the key is unknown. Takes the same time for every key
    /// of the same length, so that its duration says nothing about the keys.
    #[must_use]
    pub fn holder(&self, key: &str) -> Option<Principal> {
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();

        // The loop visits all keys and does not branch.
        let mut matching_index = NO_MATCH;
        for (index, api_key) in (0..).zip(&self.0) {
            matching_index.conditional_assign(&index, api_key.hash.ct_eq(&hash));
        }

        let api_key = self.0.get(usize::try_from(matching_index).ok()?)?;
        Some(api_key.principal.clone())
    }
}

/// Parses a line that is neither empty nor a comment: name, hash, scopes, and optionally a subject.
///
/// # Errors
/// The problem of the line, as the end of the sentence "line 1 …".
fn parse_line(line: &str, is_known_scope: impl Fn(&str) -> bool) -> Result<ApiKey, &'static str> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let hash_text = words.next().ok_or("has no hash")?;
    let scope_list = words.next().ok_or("has no scopes")?;
    let subject = words.next();
    if words.next().is_some() {
        return Err("has more than four words");
    }

    let scopes = scope_list.split(',').filter(|scope| !scope.is_empty());
    if !scopes.clone().all(is_known_scope) {
        return Err("has an unknown scope");
    }
    let hash_bytes = HEXLOWER_PERMISSIVE.decode(hash_text.as_bytes()).ok();
    let hash = hash_bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or("has no SHA-256 of 64 hex digits")?;

    let principal = match subject {
        Some(subject) => Principal::new(subject).with_name(name),
        None => Principal::service(name),
    };
    Ok(ApiKey {
        hash,
        principal: principal.with_scopes(scopes),
    })
}

#[async_trait]
impl Authenticate for ApiKeys {
    async fn principal(&self, token: &str) -> Result<Principal, Rejection> {
        self.holder(token)
            .ok_or_else(|| Rejection::invalid("is unknown"))
    }
}

#[async_trait]
impl Authenticate for Arc<Refreshed<ApiKeys>> {
    async fn principal(&self, token: &str) -> Result<Principal, Rejection> {
        let keys = self.get().await.ok_or(Rejection::Unavailable)?;
        ApiKeys::principal(&keys, token).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    #[test]
    fn invalid_lines_are_named_by_their_number() {
        for (text, line) in [
            ("# keys\n\nreports", 3),
            (&format!("a {HASH} operate\nb short operate"), 2),
            (&format!("a {HASH} operate\nb {HASH} operate"), 2),
            (&format!("a {HASH}"), 1),
            (&format!("a {HASH} operate u1 more"), 1),
            (&format!("a {HASH}00 operate"), 1),
        ] {
            let error = ApiKeys::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(!error.to_string().contains(HASH), "{error}");
        }
        let unknown = format!("a {HASH} operate,PURCHASES:READ:ANY");
        assert_eq!(
            ApiKeys::parse_known(&unknown).unwrap_err().problem,
            "has an unknown scope"
        );
        assert!(
            ApiKeys::parse(&unknown).is_ok(),
            "a policy of the embedder may know it"
        );
        assert!(
            ApiKeys::parse_known(&format!("a {HASH} {}", Scopes::ALL.replace(' ', ","))).is_ok()
        );
    }

    #[test]
    fn a_key_has_the_scopes_and_the_subject_of_its_line() {
        let text = format!(
            "# all\nreports {} operate,purchases:read:any u1\n",
            HASH.to_uppercase()
        );
        let found = ApiKeys::parse(&text).unwrap().holder("secret").unwrap();
        assert_eq!(
            (found.name(), found.subject()),
            (Some("reports"), Some("u1"))
        );
        assert_ne!(found.owner(), Principal::service("u1").owner());
        assert_eq!(
            found.owner(),
            Some("u1"),
            "two keys of a user share its limits and its idempotency keys"
        );
        assert!(
            found.has_scope("operate")
                && found.has_scope("purchases:read:any")
                && !found.has_scope("")
        );
        assert!(ApiKeys::default().holder("secret").is_none());
    }
}
