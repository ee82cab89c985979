//! TLS with a certificate that is read again when it changes.
//!
//! [`Tls`] reads the files of the certificate through `Refreshed`, at the start, and at most once a
//! second when clients connect or when its expiry is asked for. The handshake decides between
//! HTTP/1.1 and HTTP/2.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shop_core::{Error, ErrorKind, Result, SystemClock, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::metrics::Metrics;
use crate::refreshed::{FileSource, Refreshed};

/// The name of HTTP/2 among the protocols that a client may choose.
pub(super) const HTTP2: &[u8] = b"h2";
/// The time after which the next use reads the files again.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The certificate of a listener, and the authorities that must have signed the certificates of its
/// clients, for [`serve_tls`](crate::serve_tls).
///
/// The files are read again while the listener is in use, at most once a second and when a client
/// connects. New connections get the new certificate; open ones are not interrupted. Files that
/// cannot be read, or do not fit together, are logged, and the last valid ones stay in use.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Refreshed<TlsConfig>>);

/// The configuration of a listener, and the end of the validity of its certificate.
struct TlsConfig {
    config: Arc<ServerConfig>,
    not_after: Option<Timestamp>,
}

impl Tls {
    /// Reads a certificate with its chain and its private key, both PEM.
    ///
    /// With `client_ca`, a client must present a certificate signed by one of the certificates in
    /// this file.
    ///
    /// # Errors
    /// If a file cannot be read or is invalid, or the key does not belong to the certificate.
    pub async fn from_files(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        client_ca: Option<PathBuf>,
    ) -> Result<Self> {
        let source = client_ca
            .into_iter()
            .fold(FileSource::new(certificate).and(key), FileSource::and);
        let mut refreshed_config =
            Refreshed::new(source, parse_files, MAX_AGE, Arc::new(SystemClock));
        refreshed_config.expiry = |tls_config| tls_config.not_after;
        refreshed_config.try_read().await?;
        Ok(Self(Arc::new(refreshed_config)))
    }

    /// Returns the end of the validity of the certificate in use, or `None` if it cannot be read from
    /// the certificate.
    pub async fn not_after(&self) -> Option<Timestamp> {
        self.0.get().await?.not_after
    }

    /// Exposes in `metrics` and `/health` how current the certificate is, and when it expires.
    pub fn expose(&self, metrics: &Metrics) {
        metrics.watch("certificate", &self.0);
    }

    /// Does the handshake on a new connection. Returns `None` if the handshake fails.
    pub(super) async fn accept<S>(&self, stream: S) -> Option<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let Some(tls_config) = self.0.get().await else {
            tracing::debug!("there is no certificate");
            return None;
        };
        TlsAcceptor::from(Arc::clone(&tls_config.config))
            .accept(stream)
            .await
            .inspect_err(|error| tracing::debug!(%error, "TLS handshake failed"))
            .ok()
    }
}

/// Parses the texts of the certificate file, of the key file, and of the file of client CAs, if there
/// is one. The texts are joined as [`FileSource`] joins them.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if a file is not valid, or if the key does not belong to the
/// certificate.
fn parse_files(text: &str) -> Result<TlsConfig> {
    let mut files = text.split(FileSource::SEPARATOR);
    let chain = parse_certificates(files.next(), "the certificate file is invalid")?;
    let key = PrivateKeyDer::from_pem_slice(files.next().unwrap_or_default().as_bytes())
        .map_err(invalid("the key file has no private key"))?;

    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(invalid("TLS cannot be used"))?;
    let builder = match files.next() {
        None => builder.with_no_client_auth(),
        Some(client_ca_text) => {
            const INVALID: &str = "the file of client CAs is invalid";
            let mut roots = RootCertStore::empty();
            for certificate in parse_certificates(Some(client_ca_text), INVALID)? {
                roots.add(certificate).map_err(invalid(INVALID))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(invalid(INVALID))?)
        }
    };

    let not_after = chain
        .first()
        .and_then(|certificate| read_not_after(certificate));
    if not_after.is_none() {
        tracing::warn!("the end of the certificate's validity cannot be read, and is not exported");
    }

    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(invalid("the certificate and the key do not fit"))?;
    // In the order of preference.
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];

    Ok(TlsConfig {
        config: Arc::new(config),
        not_after,
    })
}

/// Returns the end of the validity of a `certificate` in DER, or `None` if it cannot be read.
fn read_not_after(certificate: &[u8]) -> Option<Timestamp> {
    let end = Certificate::from_der(certificate)
        .ok()?
        .tbs_certificate
        .validity
        .not_after
        .to_unix_duration();
    Timestamp::from_millis(end.as_millis().try_into().ok()?).ok()
}

/// Parses the certificates in the PEM `text`. A missing text contains no certificate.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) with the message `problem` if a certificate is not valid, or if
/// there is none.
fn parse_certificates(
    text: Option<&str>,
    problem: &'static str,
) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(text.unwrap_or_default().as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(invalid(problem))?;
    if certificates.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, problem).with_context("has", "no certificate"));
    }
    Ok(certificates)
}

/// Returns a function that wraps an error in an [`Invalid`](ErrorKind::Invalid) error with `message`.
fn invalid<E: std::error::Error + Send + Sync + 'static>(
    message: &'static str,
) -> impl FnOnce(E) -> Error {
    move |error| Error::new(ErrorKind::Invalid, message).with_source(error)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_found_in_both_forms_of_time() {
        // A year of two digits, and of four.
        for (year, text) in [
            (1_995, "1995-03-01T00:00:00Z"),
            (2_049, "2049-03-01T00:00:00Z"),
            (2_051, "2051-03-01T00:00:00Z"),
        ] {
            let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            (params.not_before, params.not_after) =
                (date_time_ymd(1_990, 1, 1), date_time_ymd(year, 3, 1));
            let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(read_not_after(der.der()), Some(text.parse().unwrap()));
            for end in 0..der.der().len().min(120) {
                assert_eq!(
                    read_not_after(&der.der()[..end]),
                    None,
                    "a certificate that is cut off"
                );
            }
        }
    }
}
