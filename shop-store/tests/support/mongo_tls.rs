//! MongoDB over TLS: a server with a certificate of a private authority, which asks clients for theirs.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use shop_core::ErrorKind;
use shop_core::ports::RecordStore as _;
use shop_store::mongo::{MongoStore, MongoStoreOptions};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::mongo::{MongoFixture, one_server, with_options};

/// A certificate authority.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for this machine and its key, PEM.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate")
            .pem();
        (certificate, key.serialize_pem())
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, &self.pem).expect("a file");
    }

    /// The acceptor of a server, whose clients need a certificate as well if `asks_clients`.
    pub(crate) fn acceptor(&self, asks_clients: bool) -> TlsAcceptor {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM"))
            .expect("a certificate");
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (certificate, key) = self.sign();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions");
        let builder = match asks_clients {
            true => builder.with_client_cert_verifier(verifier.build().expect("an authority")),
            false => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(vec![certificate], key);
        TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")))
    }
}

/// A server in front of the one at `uri`, with TLS. Returns its port.
async fn serve(authority: &Authority, uri: &str) -> u16 {
    let address = one_server(uri).to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = authority.acceptor(true);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            let address = address.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(address).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_uri_names_a_private_authority_and_a_client_certificate() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let port = serve(&authority, fixture.uri()).await;
    let path = |name: &str| folder.path().join(name);
    authority.write(&path("ca.crt"));
    Authority::new().write(&path("other.crt"));
    let (certificate, key) = authority.sign();
    std::fs::write(path("client.pem"), key + &certificate).expect("a file");
    let check = async |ca: &str, client: &str| {
        let folder = folder.path().display();
        let uri =
            fixture
                .uri()
                .replacen(one_server(fixture.uri()), &format!("localhost:{port}"), 1);
        let options =
            format!("tls=true&tlsCAFile={folder}/{ca}{client}&serverSelectionTimeoutMS=1000");
        let uri = with_options(&uri, &options);
        MongoStore::open(MongoStoreOptions::new(uri.as_str()))
            .await?
            .check()
            .await
    };
    let client = format!("&tlsCertificateKeyFile={}", path("client.pem").display());
    check("ca.crt", &client).await.expect("a server");
    for (ca, client) in [("other.crt", client.as_str()), ("ca.crt", "")] {
        let error = check(ca, client).await.expect_err("a refused connection");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    let error = check("missing.crt", &client)
        .await
        .expect_err("a missing file");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}
