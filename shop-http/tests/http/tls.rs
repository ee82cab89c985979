//! TLS: certificates of the server and of clients, HTTP/2, and the time-outs of both.

use std::io;
use std::path::PathBuf;

use futures_util::future::join_all;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use shop_http::Tls;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::connections::Served;
use crate::prelude::*;
use crate::shop;

/// A certificate authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
struct Signed {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self) -> Signed {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed {
            certificate,
            key: key.serialize_pem(),
        }
    }
}

/// The files of a service in a folder.
struct Files(TempDir);

impl Files {
    fn new(signed: &Signed, client_ca: Option<&Authority>) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("tls.crt", &signed.certificate);
        files.write("tls.key", &signed.key);
        if let Some(authority) = client_ca {
            files.write("ca.crt", &authority.pem);
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    async fn load(&self) -> shop_core::Result<Tls> {
        let ca = Some(self.path("ca.crt")).filter(|path| path.exists());
        Tls::from_files(self.path("tls.crt"), self.path("tls.key"), ca).await
    }
}

/// A valid certificate.
pub(crate) async fn valid() -> Tls {
    Files::new(&Authority::new().sign(), None)
        .load()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_failed_reload_and_the_end_of_the_certificate_are_exposed() {
    let files = Files::new(&Authority::new().sign(), None);
    let tls = files.load().await.unwrap();
    let end = tls.not_after().await.unwrap();
    let mut parts = AllRoles::default().management();
    parts.purchases.as_mut().unwrap().ingest = None;
    tls.expose(&parts.metrics);
    let management = router(parts, HttpOptions::default());
    let health = async || shop::get(&management, "/health").await.json();
    let first = health().await;
    assert_eq!(first["status"], "healthy");
    assert_eq!(first["certificate"]["failing"], false);
    assert_eq!(first["certificate"]["not_after"], end.to_string());

    files.write("tls.crt", "not a certificate");
    // The file is read again after a second.
    while health().await["certificate"]["failing"] == false {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(health().await["status"], "degraded");
    let metrics = shop::get(&management, "/metrics").await.text;
    let seconds = end.as_millis() / 1_000;
    assert!(metrics.contains(&format!(
        "shop_tls_certificate_not_after_seconds {seconds}\n"
    )));
    assert!(metrics.contains("shop_reload_age_seconds{what=\"certificate\"}"));
}

/// Facing with a certificate, and 1,000 purchases of `u1`.
struct Encrypted {
    authority: Authority,
    files: Files,
    served: Served,
}

type Http2 = (
    SendRequest<Body>,
    Connection<TokioIo<TlsStream<TcpStream>>, Body, TokioExecutor>,
);

impl Encrypted {
    async fn new(options: HttpOptions, client_ca: Option<&Authority>) -> Self {
        let authority = Authority::new();
        let files = Files::new(&authority.sign(), client_ca);
        let tls = files.load().await.unwrap();
        let shop = Shop::with(options.clone());
        let purchases: Vec<_> = (1..=1_000).map(|number| purchase("u1", number)).collect();
        shop.stored(&purchases).await;
        let served = Served::new(shop.facing, options, Some(tls)).await;
        Self {
            authority,
            files,
            served,
        }
    }

    /// Connects with this client certificate, if any, and this ALPN protocol.
    async fn connect(
        &self,
        own: Option<&Signed>,
        protocol: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.authority.pem)).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                config
                    .with_client_auth_cert(vec![certificate(&own.certificate)], key)
                    .unwrap()
            }
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.served.address).await?;
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
    }

    async fn http2_with(&self, builder: &Builder<TokioExecutor>) -> Http2 {
        let stream = self.connect(None, "h2").await.unwrap();
        builder.handshake(TokioIo::new(stream)).await.unwrap()
    }

    /// A client of HTTP/2, whose connection is driven by a task.
    async fn http2(&self) -> SendRequest<Body> {
        let builder = Builder::new(TokioExecutor::new());
        let (client, connection) = self.http2_with(&builder).await;
        tokio::spawn(connection);
        client
    }

    /// The response over HTTP/1.1 to a client with this certificate.
    async fn exchange(&self, own: Option<&Signed>) -> io::Result<String> {
        answer(self.connect(own, "http/1.1").await?).await
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(format!("https://localhost{path}"))
        .body(Body::empty())
        .unwrap()
}

async fn status_of(client: &mut SendRequest<Body>, request: Request<Body>) -> StatusCode {
    client.send_request(request).await.unwrap().status()
}

/// The response to a `GET` on this connection.
async fn answer(mut stream: TlsStream<TcpStream>) -> io::Result<String> {
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

const BUY: &str = r#"{"userid":"u2","username":"ada","price":29.99}"#;

#[tokio::test]
async fn clients_choose_the_protocol() {
    let encrypted = Encrypted::new(HttpOptions::default(), None).await;
    let response = encrypted.exchange(None).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");

    let mut client = encrypted.http2().await;
    let listing = get("/v1/purchases?userid=u1&limit=1000");
    let listed = client.send_request(listing).await.unwrap().into_body();
    let page = listed.collect().await.unwrap().to_bytes();
    let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
    assert_eq!(page["items"].as_array().unwrap().len(), 1_000);

    // A client without TLS ends only its own connection.
    let mut plain = TcpStream::connect(encrypted.served.address).await.unwrap();
    let head = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    plain.write_all(head).await.unwrap();
    let mut response = Vec::new();
    // A reset is an end as well.
    let _end = plain.read_to_end(&mut response).await;
    assert!(!response.starts_with(b"HTTP"), "{response:?}");
    assert_eq!(status_of(&mut client, get("/healthz")).await, 200);
}

#[tokio::test]
async fn a_handshake_that_does_not_begin_is_ended() {
    let options = HttpOptions::default().header_read_timeout(Duration::from_millis(20));
    let encrypted = Encrypted::new(options, None).await;
    let mut silent = TcpStream::connect(encrypted.served.address).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn hosts_and_origins_are_checked_by_the_authority_of_http2() {
    let hosts = "localhost".parse().unwrap();
    let cors = "https://shop.example".parse().unwrap();
    let options = HttpOptions::default().hosts(hosts).cors(cors);
    let encrypted = Encrypted::new(options, None).await;
    let mut client = encrypted.http2().await;
    for (host, headers, status) in [
        ("localhost", &[("origin", "https://localhost")][..], 201),
        // The header `Host` is not the authority.
        (
            "localhost",
            &[("origin", "https://evil.example"), ("host", "evil.example")],
            403,
        ),
        ("evil.example", &[("host", "localhost")], 421),
    ] {
        let mut request = Request::post(format!("https://{host}/v1/purchases"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(BUY)).unwrap();
        let found = status_of(&mut client, request).await;
        assert_eq!(found, status, "{host} {headers:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_while_serving() {
    let encrypted = Encrypted::new(HttpOptions::default(), None).await;
    let mut open = encrypted.http2().await;
    // The certificate of a new connection. One that is open stays in use.
    let mut presented = async || {
        assert_eq!(status_of(&mut open, get("/healthz")).await, StatusCode::OK);
        let stream = encrypted.connect(None, "http/1.1").await.unwrap();
        let certificates = stream.get_ref().1.peer_certificates().unwrap();
        let presented = certificates[0].clone();
        let response = answer(stream).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        presented
    };
    let first = presented().await;
    let mut last = first.clone();
    for _ in 0..2 {
        let next = encrypted.authority.sign();
        // The certificate does not fit the key yet, so the last pair stays in use.
        encrypted.files.write("tls.crt", &next.certificate);
        assert_eq!(presented().await, last);
        encrypted.files.write("tls.key", "");
        assert_eq!(presented().await, last);
        encrypted.files.write("tls.key", &next.key);
        last = certificate(&next.certificate);
        while presented().await != last {}
    }
    assert_ne!(first, last);
}

#[tokio::test]
async fn clients_need_a_certificate_of_the_authority() {
    let clients = Authority::new();
    let encrypted = Encrypted::new(HttpOptions::default(), Some(&clients)).await;
    let own = clients.sign();
    let accepted = encrypted.exchange(Some(&own)).await.unwrap();
    assert!(accepted.starts_with("HTTP/1.1 200 "), "{accepted}");
    // A certificate of the server's authority is not valid for clients.
    let of_server = encrypted.authority.sign();
    let of_nobody = Authority::new().sign();
    for other in [None, Some(&of_server), Some(&of_nobody)] {
        // An alert, or a reset that arrives before it.
        let refused = encrypted.exchange(other).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    // An authority that is removed is refused once its file is read again, and by every handshake from then on.
    encrypted.files.write("ca.crt", &Authority::new().pem);
    while encrypted.exchange(Some(&own)).await.is_ok() {}
    let all = join_all((0..8).map(|_| encrypted.exchange(Some(&own)))).await;
    assert!(all.iter().all(Result::is_err), "{all:?}");
}

#[tokio::test]
async fn mismatched_certificate_files_are_rejected() {
    let one = Authority::new().sign();
    let other = Authority::new().sign();
    let authority = Authority::new().pem;
    let kind_of_error = async |certificate: &str, key: &str, client_ca: &str| {
        let files = Files::new(&one, None);
        files.write("tls.crt", certificate);
        files.write("tls.key", key);
        files.write("ca.crt", client_ca);
        let error = files.load().await.err()?;
        assert!(!error.chain().to_string().contains(&one.key), "{error}");
        Some(error.kind())
    };
    let Signed { certificate, key } = &one;
    let invalid = Some(ErrorKind::Invalid);
    assert_eq!(kind_of_error(certificate, key, &authority).await, None);
    assert_eq!(
        kind_of_error(certificate, &other.key, &authority).await,
        invalid
    );
    assert_eq!(kind_of_error("none", key, &authority).await, invalid);
    assert_eq!(
        kind_of_error(certificate, certificate, &authority).await,
        invalid
    );
    assert_eq!(kind_of_error(certificate, key, "none").await, invalid);

    let files = Files::new(&one, None);
    std::fs::remove_file(files.path("tls.crt")).unwrap();
    let error = files.load().await.unwrap_err();
    assert!(error.message().contains("tls.crt"), "{error}");
}

#[tokio::test]
async fn unread_responses_over_http2_are_limited() {
    let encrypted = Encrypted::new(HttpOptions::default().max_requests(16), None).await;
    let mut blocked = Builder::new(TokioExecutor::new());
    blocked.initial_stream_window_size(1);
    let mut open = Vec::new();
    // With shares, 28 of 32 are for one client.
    for _ in 0..28 {
        let (mut client, connection) = encrypted.http2_with(&blocked).await;
        tokio::spawn(connection);
        let listing = get("/v1/purchases?userid=u1");
        let unread = client.send_request(listing).await.unwrap();
        assert_eq!(unread.status(), StatusCode::OK);
        open.push((client, unread));
    }
    let mut client = encrypted.http2().await;
    let refused = client.send_request(get("/healthz")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    drop(open.pop());
    while status_of(&mut client, get("/healthz")).await != StatusCode::OK {}
}

#[tokio::test]
async fn stopping_completes_requests_over_http2() {
    let encrypted = Encrypted::new(HttpOptions::default(), None).await;
    let mut client = encrypted.http2().await;
    let (parts, mut body) = mpsc::channel::<&'static str>(1);
    let body = futures_util::stream::poll_fn(move |context| body.poll_recv(context));
    let body = Body::from_stream(body.map(Ok::<_, io::Error>));
    let buy = Request::post("https://localhost/v1/purchases").body(body);
    let response = tokio::spawn(client.send_request(buy.unwrap()));
    let (first_part, second_part) = BUY.split_at(10);
    parts.send(first_part).await.unwrap();
    // A response on the same connection shows that the server has accepted the first request.
    assert_eq!(
        status_of(&mut client, get("/healthz")).await,
        StatusCode::OK
    );

    // A connection before its handshake does not delay the end.
    let _silent = TcpStream::connect(encrypted.served.address).await.unwrap();
    encrypted.served.stop.send(()).unwrap();
    parts.send(second_part).await.unwrap();
    drop(parts);
    let bought = response.await.unwrap().unwrap();
    assert_eq!(bought.status(), StatusCode::CREATED);
    encrypted.served.task.await.unwrap().unwrap();
    assert!(client.send_request(get("/healthz")).await.is_err());
}
