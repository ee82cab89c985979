//! MongoDB and PostgreSQL over TLS: a server with a certificate of a private authority, in front of that of the tests.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use shop_core::conformance::soon;
use shop_core::ports::RecordStore as _;
use shop_core::{Error, ErrorKind};
use shop_store::mongo::{MongoStore, MongoStoreOptions};
use shop_store::postgres::{PostgresStore, PostgresStoreOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::mongo::{MongoFixture, ProxiedServer};
use crate::postgres::server::Cluster;
use crate::postgres::{session, skipped, with_option};

/// A certificate authority.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority, whose certificate is written to `file`.
    fn new(file: &Path) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(file, certificate.pem()).expect("a file");
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for this machine, and its key.
    fn sign(&self) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer);
        (certificate.expect("a certificate"), key)
    }

    /// The acceptor of a server, whose clients need a certificate as well if `asks_clients`.
    fn acceptor(&self, asks_clients: bool) -> TlsAcceptor {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("protocol versions");
        let builder = if asks_clients {
            let mut roots = RootCertStore::empty();
            let authority = self.certificate.der().clone();
            roots.add(authority).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("an authority"))
        } else {
            builder.with_no_client_auth()
        };
        let (certificate, key) = self.sign();
        let config = builder.with_single_cert(vec![certificate.der().clone()], key.into());
        TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")))
    }
}

/// Serves each connection by `relay`. Returns the port.
async fn serve<R>(relay: impl Fn(TcpStream) -> R + Send + 'static) -> u16
where
    R: Future<Output = io::Result<(u64, u64)>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(relay(client));
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_uri_of_mongodb_names_a_private_authority_and_a_client_certificate() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let Some(server) = ProxiedServer::find(fixture.uri()).await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new(&path("ca.crt"));
    Authority::new(&path("other.crt"));
    let (certificate, key) = authority.sign();
    let client_pem = key.serialize_pem() + &certificate.pem();
    std::fs::write(path("client.pem"), client_pem).expect("a file");
    let acceptor = authority.acceptor(true);
    let relay_to = server.address.clone();
    let port = serve(move |client| {
        let accepting = acceptor.accept(client);
        let connecting = TcpStream::connect(relay_to.clone());
        async { copy_bidirectional(&mut accepting.await?, &mut connecting.await?).await }
    })
    .await;
    let check = async |ca: &str, client: Option<&str>| {
        let file = |name: &str| path(name).display().to_string();
        let mut uri = server
            .uri_through(&format!("localhost:{port}"))
            .with_option("tls", "true")
            .with_option("tlsCAFile", &file(ca))
            .with_option("serverSelectionTimeoutMS", "1000");
        if let Some(client) = client {
            uri = uri.with_option("tlsCertificateKeyFile", &file(client));
        }
        let options = MongoStoreOptions::new(uri.to_string());
        MongoStore::open(options).await?.check().await
    };
    let client = Some("client.pem");
    check("ca.crt", client).await.expect("a server");
    for (ca, client, kind) in [
        ("other.crt", client, ErrorKind::Unavailable),
        ("ca.crt", None, ErrorKind::Unavailable),
        ("missing.crt", client, ErrorKind::Invalid),
    ] {
        let error = check(ca, client).await.expect_err("a refused connection");
        assert_eq!(error.kind(), kind, "{error}");
    }
}

/// The length of the message by which a client of PostgreSQL asks for TLS. Every other first message is longer.
const SSL_REQUEST: usize = 8;

async fn asks_for_tls(client: &TcpStream) -> io::Result<bool> {
    let mut head = [0; 4];
    while client.peek(&mut head).await? < head.len() {}
    Ok(u32::from_be_bytes(head) as usize == SSL_REQUEST)
}

/// Serves the cluster, with TLS if there is an `acceptor`. Returns the port.
async fn serve_postgres(cluster: &Cluster, acceptor: Option<TlsAcceptor>) -> u16 {
    let socket = cluster.socket();
    serve(move |mut client| {
        let connecting = UnixStream::connect(socket.clone());
        let acceptor = acceptor.clone();
        async move {
            let mut server = connecting.await?;
            if let Some(acceptor) = acceptor
                && asks_for_tls(&client).await?
            {
                client.read_exact(&mut [0; SSL_REQUEST]).await?;
                client.write_all(b"S").await?;
                let mut client = acceptor.accept(client).await?;
                return copy_bidirectional(&mut client, &mut server).await;
            }
            copy_bidirectional(&mut client, &mut server).await
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sslmode_decides_how_postgresql_is_verified() {
    let cluster = match Cluster::shared() {
        Ok(cluster) => cluster,
        Err(why) => return skipped(why),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new(&path("ca.crt"));
    Authority::new(&path("other.crt"));
    let tls = serve_postgres(cluster, Some(authority.acceptor(false))).await;
    let plain = serve_postgres(cluster, None).await;
    let schema = session(&cluster.url()).await;
    let created = schema.batch_execute("create schema tls").await;
    created.expect("a schema");
    let check = async |host: &str, port: u16, query: &str| {
        let url = format!("postgresql://postgres@{host}:{port}/postgres{query}");
        let url = with_option(&url, "options=-c%20search_path%3Dtls");
        let store = PostgresStore::open(PostgresStoreOptions::new(url)).await?;
        // A check has 2 s, which may not be enough on a busy machine.
        loop {
            let checked = store.check().await;
            let kind = checked.as_ref().err().map(Error::kind);
            if kind != Some(ErrorKind::DeadlineExceeded) {
                return checked;
            }
        }
    };
    let with_ca = |query: &str, ca: &str| format!("{query}sslrootcert={}", path(ca).display());
    let of_authority = with_ca("?", "ca.crt");
    let verified = with_ca("?sslmode=verify-full&", "ca.crt");
    let of_another = with_ca("?sslmode=require&", "other.crt");

    let (unavailable, denied) = (ErrorKind::Unavailable, ErrorKind::Denied);
    // Each with the kinds of the error, if it is refused.
    for (host, port, query, kinds) in [
        ("localhost", plain, "", &[][..]),
        ("localhost", plain, "?sslmode=disable", &[]),
        ("localhost", tls, "", &[]),
        ("localhost", tls, "?sslmode=disable", &[]),
        ("localhost", tls, "?sslmode=require", &[]),
        ("localhost", tls, &of_authority, &[]),
        ("localhost", tls, &verified, &[]),
        ("localhost", tls, &of_another, &[unavailable]),
        ("127.0.0.1", tls, &verified, &[unavailable]),
        // The authorities of the system, if it has any.
        (
            "localhost",
            tls,
            "?sslmode=verify-full",
            &[unavailable, ErrorKind::Invalid],
        ),
        (
            "localhost",
            plain,
            "?sslmode=require",
            &[unavailable, denied],
        ),
        ("localhost", plain, &verified, &[unavailable, denied]),
    ] {
        let error = soon("an answer", check(host, port, query)).await.err();
        let is_expected = match &error {
            Some(error) => kinds.contains(&error.kind()),
            None => kinds.is_empty(),
        };
        assert!(is_expected, "{host} {query}: {error:?}");
    }
}
