//! Who may send requests.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use reqwest::Url;

use super::Checks;

/// The value of `SHOP_AUTH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::settings) enum AuthMode {
    /// Everybody.
    Off,
    /// Senders with a token of an issuer.
    Jwt,
    /// Holders of API keys.
    Keys,
}

/// Who may send requests.
#[derive(Debug)]
pub(crate) enum Auth {
    /// Everybody on this machine. `SHOP_AUTH` is not set, so the service may listen only on loopback
    /// addresses.
    LoopbackOnly,
    /// Everybody.
    Off,
    /// Holders of the API keys in a file.
    Keys(PathBuf),
    /// Senders with a token of an issuer.
    Jwt(JwtSettings),
}

/// The settings of an issuer of tokens.
#[derive(Debug)]
pub(crate) struct JwtSettings {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) issuer_keys: IssuerKeys,
    /// The file of API keys, whose holders may send requests too.
    pub(crate) api_keys_file: Option<PathBuf>,
}

/// Where the public keys of an issuer are.
#[derive(Debug)]
pub(crate) enum IssuerKeys {
    File(PathBuf),
    Url(String),
}

impl Auth {
    /// Returns whether requests are authenticated.
    pub(crate) fn authenticates(&self) -> bool {
        match self {
            Self::LoopbackOnly | Self::Off => false,
            Self::Keys(_) | Self::Jwt(_) => true,
        }
    }

    /// Returns the file of the API keys that are accepted, if there is one.
    pub(crate) fn api_keys_file(&self) -> Option<&Path> {
        match self {
            Self::LoopbackOnly | Self::Off => None,
            Self::Keys(file) => Some(file),
            Self::Jwt(jwt) => jwt.api_keys_file.as_deref(),
        }
    }
}

/// Builds the authentication. Adds the faults of its settings to `checks`. Returns `None` only with
/// a fault.
pub(super) fn select(checks: &mut Checks<'_>) -> Option<Auth> {
    let variables = checks.variables;
    if let Some(url) = &variables.auth_jwks_url
        && !url.parse().is_ok_and(|url: Url| is_key_address(&url))
    {
        checks.fault(
            "SHOP_AUTH_JWKS_URL: must start with https:// and have a host, without a user name or a password",
        );
    }

    match variables.auth {
        Some(AuthMode::Off) => {
            let reason = "SHOP_AUTH is off: unset one of them";
            checks.refuse(&["SHOP_AUTH_"], reason);
            checks.refuse(&["SHOP_API_KEYS_FILE"], reason);
            return Some(Auth::Off);
        }
        Some(AuthMode::Jwt) => return build_jwt(checks).map(Auth::Jwt),
        // API keys, or loopback only: see below.
        Some(AuthMode::Keys) | None => {}
    }

    let auth = match &variables.api_keys_file {
        Some(file) => Some(Auth::Keys(file.clone())),
        None if variables.auth.is_none() => Some(Auth::LoopbackOnly),
        None => {
            checks.fault("SHOP_API_KEYS_FILE: not set, but SHOP_AUTH=keys requires it");
            None
        }
    };
    checks.refuse(&["SHOP_AUTH_"], "only SHOP_AUTH=jwt accepts tokens");
    auth
}

/// Builds the settings of the issuer of tokens. Adds a fault for each setting that is missing, and
/// returns `None` if one is.
fn build_jwt(checks: &mut Checks<'_>) -> Option<JwtSettings> {
    let variables = checks.variables;
    let issuer_keys = match (&variables.auth_jwks_url, &variables.auth_jwks_file) {
        (Some(url), None) => Some(IssuerKeys::Url(url.clone())),
        (None, Some(file)) => Some(IssuerKeys::File(file.clone())),
        _ => {
            checks.fault(
                "SHOP_AUTH=jwt requires the keys of the issuer: set SHOP_AUTH_JWKS_URL or SHOP_AUTH_JWKS_FILE, one of them",
            );
            None
        }
    };
    for name in ["SHOP_AUTH_ISSUER", "SHOP_AUTH_AUDIENCE"] {
        if !checks.is_set(name) {
            checks.fault(format!("{name}: not set, but SHOP_AUTH=jwt requires it"));
        }
    }

    Some(JwtSettings {
        issuer: variables.auth_issuer.clone()?,
        audience: variables.auth_audience.clone()?,
        issuer_keys: issuer_keys?,
        api_keys_file: variables.api_keys_file.clone(),
    })
}

/// Returns whether `url` is an address from which public keys can be fetched: of HTTP, with a host,
/// and without a login.
fn is_key_address(url: &Url) -> bool {
    let has_login = !url.username().is_empty() || url.password().is_some();
    matches!(url.scheme(), "http" | "https") && url.has_host() && !has_login
}
