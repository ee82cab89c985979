//! The certificate of this service, and the other services that it calls.

use std::path::PathBuf;

use super::Checks;
use crate::settings::variables::Variables;
use crate::settings::{ProcessRole, Secret};

/// The files of a certificate with its chain, and of its private key.
#[derive(Debug, Clone)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl CertificateFiles {
    /// Returns the files, unless one of them is missing, which [`check`] reports.
    fn new(certificate: Option<&PathBuf>, key: Option<&PathBuf>) -> Option<Self> {
        Some(Self {
            certificate: certificate?.clone(),
            key: key?.clone(),
        })
    }
}

/// The files with which this service serves HTTPS.
#[derive(Debug)]
pub(crate) struct TlsFiles {
    pub(crate) own: CertificateFiles,
    /// The authorities of the certificates that clients must have. `None` if they need none.
    pub(crate) client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// Returns the files, or `None` if this service serves plain HTTP.
    pub(super) fn from_variables(variables: &Variables) -> Option<Self> {
        let own = CertificateFiles::new(
            variables.tls_cert_file.as_ref(),
            variables.tls_key_file.as_ref(),
        )?;
        Some(Self {
            own,
            client_ca: variables.tls_client_ca_file.clone(),
        })
    }
}

/// The credentials and files with which this process calls other services.
#[derive(Debug)]
pub(crate) struct ServiceCalls {
    /// The token or API key. `None` if the other services need none.
    pub(crate) token: Option<Secret>,
    /// The authorities of the certificates of the other services. `None` for those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// The client certificate. `None` if the other services need none.
    pub(crate) client: Option<CertificateFiles>,
}

impl ServiceCalls {
    /// Returns the credentials and files of the settings.
    pub(super) fn new(checks: &Checks<'_>) -> Self {
        let variables = checks.variables;
        let mut token = None;
        if let Some(token_at_start) = &variables.service_token {
            token = Some(checks.secret("SHOP_SERVICE_TOKEN", token_at_start));
        }
        Self {
            token,
            ca: variables.service_ca_file.clone(),
            client: CertificateFiles::new(
                variables.service_cert_file.as_ref(),
                variables.service_key_file.as_ref(),
            ),
        }
    }
}

/// Adds the faults of incomplete certificates.
pub(super) fn check(checks: &mut Checks<'_>) {
    checks.require_all_or_none(&["SHOP_TLS_CERT_FILE", "SHOP_TLS_KEY_FILE"]);
    checks.require_all_or_none(&["SHOP_SERVICE_CERT_FILE", "SHOP_SERVICE_KEY_FILE"]);
    if checks.variables.tls_cert_file.is_none() {
        let reason = "SHOP_TLS_CERT_FILE is not: plain HTTP has no certificates of clients";
        checks.refuse(&["SHOP_TLS_CLIENT_CA_FILE"], reason);
    }
}

/// Where the users or the orders are that a process serves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EntityLocation {
    /// This process does not have the role.
    Absent,
    /// In the store of this process.
    Stored,
    /// In another service, by its address.
    Remote(String),
}

impl EntityLocation {
    /// Returns where the rows of `role` are. `url` is the address of the service of the role, if it
    /// is set, and management is the default.
    ///
    /// Only facing calls other services. Management and commands use the store.
    pub(super) fn new(checks: &Checks<'_>, role: ProcessRole, url: Option<&String>) -> Self {
        if !checks.roles.has(role) {
            return Self::Absent;
        }
        let service_url = url.or(checks.variables.management_url.as_ref());
        match service_url {
            Some(url) if checks.is_facing() => Self::Remote(url.clone()),
            _ => Self::Stored,
        }
    }

    /// Returns the address of the service that has the rows, unless this process stores them.
    pub(crate) fn url(&self) -> Option<&str> {
        match self {
            Self::Remote(url) => Some(url),
            Self::Absent | Self::Stored => None,
        }
    }
}
