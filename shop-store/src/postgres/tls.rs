//! Reads the options of TLS in a URL, `sslmode` and `sslrootcert`, and configures TLS by them.
//!
//! The driver knows neither `sslrootcert` nor `verify-full`. So these options are removed from the
//! URL before the driver parses it, and rustls verifies the certificate of the server.

use std::path::PathBuf;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use shop_core::{ErrorKind, Result};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::error::postgres_error;

/// The options of TLS of a URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TlsOptions {
    /// The driver's mode, which tells whether TLS is used. It says nothing about certificates.
    pub(super) mode: SslMode,
    trust: CertificateTrust,
}

/// The rule by which the certificate of a server is accepted.
#[derive(Debug, PartialEq, Eq)]
enum CertificateTrust {
    /// Any certificate is accepted.
    Any,
    /// The certificate must be for the host, from an authority that the operating system trusts.
    System,
    /// The certificate must be for the host, from an authority in this PEM file.
    File(PathBuf),
}

impl TlsOptions {
    /// Removes the options of TLS from `url`. Returns the options, and the URL without them.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the mode is not supported.
    pub(super) fn take_from(url: &str) -> Result<(Self, String)> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut mode = None;
        let mut file = None;
        let mut others = Vec::new();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => {
                    file = Some(percent_decode_str(value).decode_utf8_lossy().into_owned());
                }
                _ => others.push(option),
            }
        }
        let (mode, trust) = match mode.unwrap_or("prefer") {
            "disable" => (SslMode::Disable, CertificateTrust::Any),
            "prefer" => (SslMode::Prefer, CertificateTrust::Any),
            "require" => (SslMode::Require, CertificateTrust::Any),
            "verify-full" => (SslMode::Require, CertificateTrust::System),
            _ => {
                let message = "sslmode must be disable, prefer, require or verify-full";
                return Err(postgres_error(ErrorKind::Invalid, message));
            }
        };
        // A file of authorities is a wish to verify, so it holds in every mode with TLS.
        let trust = file.map_or(trust, |file| CertificateTrust::File(file.into()));
        let query = if others.is_empty() {
            String::new()
        } else {
            format!("?{}", others.join("&"))
        };
        Ok((Self { mode, trust }, format!("{base}{query}")))
    }

    /// Returns the connector that the driver starts TLS with.
    ///
    /// Reads the certificates of the authorities, from the operating system or the file.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the file cannot be read, or if there is no valid certificate of an
    /// authority.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect> {
        let authorities = match &self.trust {
            CertificateTrust::Any => None,
            CertificateTrust::System => Some((
                rustls_native_certs::load_native_certs().certs,
                "of the system",
            )),
            CertificateTrust::File(path) => {
                let unreadable = |error: pem::Error| {
                    postgres_error(ErrorKind::Invalid, "sslrootcert cannot be read")
                        .with_context("path", path.display())
                        .with_source(error)
                };
                let found = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
                let found = found.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
                Some((found, "in sslrootcert"))
            }
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let config = config
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                postgres_error(ErrorKind::Invalid, "TLS cannot be configured").with_source(error)
            })?;
        let config = match authorities {
            None => config
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
            Some((found, which)) => {
                let mut roots = RootCertStore::empty();
                if roots.add_parsable_certificates(found).0 == 0 {
                    let message = format!("there are no valid certificates of authorities {which}");
                    return Err(postgres_error(ErrorKind::Invalid, message));
                }
                config.with_root_certificates(roots)
            }
        };
        Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
    }
}

/// A verifier that accepts any certificate, as `sslmode=require` does without `sslrootcert`.
///
/// The server must own the key of the certificate, since the signatures are verified. So the
/// connection is encrypted, but the identity of the server is unknown.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_tls_are_taken_from_the_url() {
        let taken =
            |query: &str| TlsOptions::take_from(&format!("postgresql://u:p%3F@h/shop{query}"));
        for (query, mode, trust, rest) in [
            ("", SslMode::Prefer, CertificateTrust::Any, ""),
            (
                "?sslmode=disable",
                SslMode::Disable,
                CertificateTrust::Any,
                "",
            ),
            (
                "?a=1&sslmode=require&b=2",
                SslMode::Require,
                CertificateTrust::Any,
                "?a=1&b=2",
            ),
            (
                "?sslmode=verify-full",
                SslMode::Require,
                CertificateTrust::System,
                "",
            ),
            (
                "?sslrootcert=%2Fca+1.pem",
                SslMode::Prefer,
                CertificateTrust::File("/ca+1.pem".into()),
                "",
            ),
        ] {
            let expected = (
                TlsOptions { mode, trust },
                format!("postgresql://u:p%3F@h/shop{rest}"),
            );
            assert_eq!(taken(query).unwrap(), expected, "{query}");
        }
        let error = taken("?sslmode=verify-ca").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn connectors_are_made_without_a_default_provider() {
        let (tls, _) = TlsOptions::take_from("postgresql://h?sslmode=require").unwrap();
        tls.connector().unwrap();
        let (tls, _) = TlsOptions::take_from("postgresql://h?sslrootcert=/nowhere").unwrap();
        assert_eq!(
            tls.connector().map(drop).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
}
