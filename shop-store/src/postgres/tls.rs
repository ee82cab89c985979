//! Reads the options of TLS in a URL, `sslmode` and `sslrootcert`, and configures TLS accordingly.
//!
//! The driver supports neither `sslrootcert` nor the mode `verify-full`. So these options are
//! removed from the URL before the driver parses it, and rustls verifies the certificate of the
//! server.

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
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::error::postgres_error;

/// The options of TLS of a URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TlsOptions {
    /// The mode of the driver, which decides whether TLS is used, but not which certificates are
    /// accepted.
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
    /// Removes the options of TLS from `url`. Returns these options, and the URL that remains.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the value of `sslmode` is not supported.
    pub(super) fn take_from(url: &str) -> Result<(Self, String)> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let mut ssl_mode = "prefer";
        let mut authorities_file = None;
        let mut other_options = Vec::new();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("sslmode", value)) => ssl_mode = value,
                Some(("sslrootcert", value)) => {
                    let path = percent_decode_str(value).decode_utf8_lossy();
                    authorities_file = Some(path.into_owned());
                }
                _ => other_options.push(option),
            }
        }

        let (mode, mut trust) = match ssl_mode {
            "disable" => (SslMode::Disable, CertificateTrust::Any),
            "prefer" => (SslMode::Prefer, CertificateTrust::Any),
            "require" => (SslMode::Require, CertificateTrust::Any),
            "verify-full" => (SslMode::Require, CertificateTrust::System),
            _ => {
                let message = "sslmode must be disable, prefer, require or verify-full";
                return Err(postgres_error(ErrorKind::Invalid, message));
            }
        };
        // A file of authorities is set to verify certificates. So in every mode with TLS, the
        // certificate of the server must be signed by one of these authorities.
        if let Some(file) = authorities_file {
            trust = CertificateTrust::File(file.into());
        }

        let mut remaining_url = address.to_owned();
        if !other_options.is_empty() {
            remaining_url += &format!("?{}", other_options.join("&"));
        }
        Ok((Self { mode, trust }, remaining_url))
    }

    /// Returns the connector that the driver starts TLS with.
    ///
    /// Reads the certificates of the authorities, from the operating system or the file.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the file cannot be read, or if there is no valid certificate of an
    /// authority.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect> {
        let provider = aws_lc_rs::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                postgres_error(ErrorKind::Invalid, "TLS cannot be configured").with_source(error)
            })?;

        let builder_with_verifier = match &self.trust {
            CertificateTrust::Any => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate { algorithms })),
            CertificateTrust::System => {
                // Files of the system that cannot be read are passed over. `root_store` fails if no
                // certificate is left.
                let certificates = rustls_native_certs::load_native_certs().certs;
                builder.with_root_certificates(root_store(certificates, "of the system")?)
            }
            CertificateTrust::File(path) => {
                let certificates = CertificateDer::pem_file_iter(path)
                    .and_then(Iterator::collect)
                    .map_err(|error| {
                        postgres_error(ErrorKind::Invalid, "sslrootcert cannot be read")
                            .with_context("path", path.display())
                            .with_source(error)
                    })?;
                builder.with_root_certificates(root_store(certificates, "in sslrootcert")?)
            }
        };
        Ok(MakeRustlsConnect::new(
            builder_with_verifier.with_no_client_auth(),
        ))
    }
}

/// Creates the store of the authorities that a certificate can be from.
///
/// `source_words` completes the message of the error: "of the system" or "in sslrootcert".
///
/// # Errors
/// [`ErrorKind::Invalid`] if none of the `certificates` is valid. If some are valid, the others are
/// skipped.
fn root_store(
    certificates: Vec<CertificateDer<'static>>,
    source_words: &str,
) -> Result<RootCertStore> {
    let mut authorities = RootCertStore::empty();
    let (added_count, _skipped_count) = authorities.add_parsable_certificates(certificates);
    if added_count == 0 {
        let message = format!("there are no valid certificates of authorities {source_words}");
        return Err(postgres_error(ErrorKind::Invalid, message));
    }
    Ok(authorities)
}

/// A verifier that accepts any certificate, as `sslmode=require` does without `sslrootcert`.
///
/// The server must own the key of the certificate, since the signatures are verified. So the
/// connection is encrypted, but the identity of the server is unknown.
#[derive(Debug)]
struct AnyCertificate {
    /// The algorithms of signatures that are accepted.
    algorithms: WebPkiSupportedAlgorithms,
}

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
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
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
                "?sslmode=prefer",
                SslMode::Prefer,
                CertificateTrust::Any,
                "",
            ),
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
