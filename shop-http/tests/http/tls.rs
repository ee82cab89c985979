//! TLS: certificates of the server and of clients, HTTP/2, and the time-outs of both.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::StreamExt;
use futures_util::future::join_all;
use http_body_util::BodyExt;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use shop_core::ErrorKind;
use shop_core::memory::InMemoryStore;
use shop_core::ports::PurchaseStore;
use shop_http::{HttpOptions, Tls, router, serve_tls};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::shop::{facing_parts_of, management_parts_of, purchase};

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
    let parts = management_parts_of(InMemoryStore::new());
    let end = tls.not_after().await.unwrap();
    tls.expose(&parts.metrics);
    let app = router(parts, HttpOptions::default());
    let health = async || crate::shop::get(&app, "/health").await.json();
    let first = health().await;
    assert_eq!(
        (&first["status"], &first["certificate"]["failing"]),
        (&"healthy".into(), &false.into())
    );
    assert_eq!(first["certificate"]["not_after"], end.to_string());
    files.write("tls.crt", "not a certificate");
    // The file is read again after a second.
    while health().await["certificate"]["failing"] == false {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(health().await["status"], "degraded");
    let text = crate::shop::get(&app, "/metrics").await.text;
    let series = format!(
        "shop_tls_certificate_not_after_seconds {}",
        end.as_millis() / 1_000
    );
    assert!(
        text.contains(&series) && text.contains(r#"shop_reload_age_seconds{what="certificate"}"#),
        "{text}"
    );
}

struct Served {
    address: std::net::SocketAddr,
    authority: Authority,
    files: Files,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    async fn new(options: HttpOptions, client_ca: Option<&Authority>) -> Self {
        Self::with_purchases(1_000, options, client_ca).await
    }

    async fn with_purchases(
        count: u64,
        options: HttpOptions,
        client_ca: Option<&Authority>,
    ) -> Self {
        let authority = Authority::new();
        let files = Files::new(&authority.sign(), client_ca);
        let store = InMemoryStore::new();
        let purchases: Vec<_> = (1..=count).map(|number| purchase("u1", number)).collect();
        store.insert(purchases.into()).await.unwrap();
        let parts = facing_parts_of(store);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let tls = files.load().await.unwrap();
        let router = router(parts, options.clone());
        let stopped = async move { drop(stopped.await) };
        let task = tokio::spawn(serve_tls(listener, tls, router, &options, stopped));
        Self {
            address,
            authority,
            files,
            stop,
            task,
        }
    }

    /// Connects with this client certificate, if any, and this ALPN protocol.
    async fn connect(
        &self,
        own: Option<&Signed>,
        protocol: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
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
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
    }

    async fn http2_with(
        &self,
        builder: &mut Builder<TokioExecutor>,
    ) -> (
        SendRequest<Body>,
        Connection<TokioIo<TlsStream<TcpStream>>, Body, TokioExecutor>,
    ) {
        let stream = self.connect(None, "h2").await.unwrap();
        builder.handshake(TokioIo::new(stream)).await.unwrap()
    }

    async fn http2(
        &self,
    ) -> (
        SendRequest<Body>,
        Connection<TokioIo<TlsStream<TcpStream>>, Body, TokioExecutor>,
    ) {
        self.http2_with(&mut Builder::new(TokioExecutor::new()))
            .await
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

/// The response to a `GET` on this connection.
async fn exchange(mut stream: TlsStream<TcpStream>) -> std::io::Result<String> {
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

#[tokio::test]
async fn clients_choose_the_protocol() {
    let served = Served::new(HttpOptions::default(), None).await;
    let response = exchange(served.connect(None, "http/1.1").await.unwrap())
        .await
        .unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");

    let (mut client, connection) = served.http2().await;
    tokio::spawn(connection);
    let body = r#"{"userid":"u2","username":"ada","price":29.99}"#;
    let buy = Request::post("https://localhost/v1/purchases")
        .body(Body::from(body))
        .unwrap();
    let listing = get("/v1/purchases?userid=u1&limit=1000");
    let (bought, listed) = tokio::join!(
        client.clone().send_request(buy),
        client.send_request(listing)
    );
    assert_eq!(bought.unwrap().status(), StatusCode::CREATED);
    let page = listed
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
    assert_eq!(page["items"].as_array().unwrap().len(), 1_000);

    // A client without TLS ends only its own connection.
    let mut plain = TcpStream::connect(served.address).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut response = Vec::new();
    // A reset is an end as well.
    let _end = plain.read_to_end(&mut response).await;
    assert!(!response.starts_with(b"HTTP"), "{response:?}");
    assert_eq!(
        client.send_request(get("/healthz")).await.unwrap().status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn hosts_and_origins_are_checked_by_the_authority_of_http2() {
    let hosts = "localhost".parse().unwrap();
    let options = HttpOptions::default()
        .hosts(hosts)
        .cors("https://shop.example".parse().unwrap());
    let served = Served::new(options, None).await;
    let (mut client, connection) = served.http2().await;
    tokio::spawn(connection);
    for (host, headers, status) in [
        ("localhost", &[][..], StatusCode::CREATED),
        (
            "localhost",
            &[("origin", "https://localhost")],
            StatusCode::CREATED,
        ),
        (
            "localhost",
            &[("origin", "https://shop.example")],
            StatusCode::CREATED,
        ),
        (
            "localhost",
            &[("origin", "https://evil.example")],
            StatusCode::FORBIDDEN,
        ),
        // The header `Host` is not the authority.
        (
            "localhost",
            &[("origin", "https://evil.example"), ("host", "evil.example")],
            StatusCode::FORBIDDEN,
        ),
        ("evil.example", &[], StatusCode::MISDIRECTED_REQUEST),
        (
            "evil.example",
            &[("host", "localhost")],
            StatusCode::MISDIRECTED_REQUEST,
        ),
        (
            "evil.example",
            &[("origin", "https://evil.example")],
            StatusCode::MISDIRECTED_REQUEST,
        ),
    ] {
        let mut request = Request::post(format!("https://{host}/v1/purchases"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Body::from(r#"{"userid":"u2","username":"ada","price":29.99}"#);
        let response = client
            .send_request(request.body(body).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{host} {headers:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_while_serving() {
    let served = Served::new(HttpOptions::default(), None).await;
    let (mut open, connection) = served.http2().await;
    tokio::spawn(connection);
    let peer =
        |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let mut request = async || {
        assert_eq!(
            open.send_request(get("/healthz")).await.unwrap().status(),
            StatusCode::OK
        );
        let stream = served.connect(None, "http/1.1").await.unwrap();
        let presented = peer(&stream);
        assert!(exchange(stream).await.unwrap().starts_with("HTTP/1.1 200 "));
        presented
    };
    let first = request().await;
    let mut last = first.clone();
    for _ in 0..2 {
        let next = served.authority.sign();
        // The certificate does not fit the key yet, so the last pair stays in use.
        served.files.write("tls.crt", &next.certificate);
        assert_eq!(request().await, last);
        served.files.write("tls.key", "");
        assert_eq!(request().await, last);
        served.files.write("tls.key", &next.key);
        last = certificate(&next.certificate);
        while request().await != last {}
    }
    assert_ne!(first, last);
}

#[tokio::test]
async fn clients_need_a_certificate_of_the_authority() {
    let clients = Authority::new();
    let served = Served::new(HttpOptions::default(), Some(&clients)).await;
    let response =
        async |own: Option<&Signed>| exchange(served.connect(own, "http/1.1").await?).await;
    assert!(
        response(Some(&clients.sign()))
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );
    // A certificate of the server's authority is not valid for clients.
    for own in [
        None,
        Some(served.authority.sign()),
        Some(Authority::new().sign()),
    ] {
        // An alert, or a reset that arrives before it.
        let refused = response(own.as_ref()).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    // An authority that is removed is refused once its file is read again, and by every handshake from then on.
    served.files.write("ca.crt", &Authority::new().pem);
    while response(Some(&clients.sign())).await.is_ok() {}
    let own = clients.sign();
    let all = join_all((0..8).map(|_| response(Some(&own)))).await;
    assert!(all.iter().all(Result::is_err), "{all:?}");
}

#[tokio::test]
async fn mismatched_certificate_files_are_rejected() {
    let authority = Authority::new();
    let one = Authority::new().sign();
    let other = Authority::new().sign();
    let mixed = Signed {
        key: other.key.clone(),
        ..one.clone()
    };
    let none = Signed {
        certificate: "none".to_owned(),
        ..one.clone()
    };
    let no_key = Signed {
        key: one.certificate.clone(),
        ..one.clone()
    };
    for signed in [mixed, none, no_key] {
        let error = Files::new(&signed, None).load().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(!error.chain().to_string().contains(&one.key), "{error}");
    }
    let files = Files::new(&one, Some(&authority));
    assert!(files.load().await.is_ok());
    files.write("ca.crt", "no certificate");
    assert_eq!(files.load().await.unwrap_err().kind(), ErrorKind::Invalid);
    std::fs::remove_file(files.path("tls.crt")).unwrap();
    let error = files.load().await.unwrap_err();
    assert!(error.message().contains("tls.crt"), "{error}");
}

#[tokio::test]
async fn slow_handshakes_and_idle_connections_are_ended() {
    let mut options = HttpOptions::default();
    options.tls_handshake_timeout = Duration::from_millis(20);
    options.header_read_timeout = Duration::from_millis(20);
    options.idle_timeout = Duration::from_millis(20);
    let served = Served::new(options, None).await;
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    let (mut client, connection) = served.http2().await;
    let connection = tokio::spawn(connection);
    let answered = client.send_request(get("/healthz")).await;
    // A reset is an end as well.
    let _end = connection.await.unwrap();
    // The timeout may end before the request.
    assert!(
        answered.is_err() || answered.is_ok_and(|response| response.status() == StatusCode::OK)
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let mut options = HttpOptions::default();
    options.write_timeout = Duration::from_millis(20);
    options.max_requests = 1;
    // More than the buffers of a connection hold.
    let served = Served::with_purchases(50_000, options, None).await;
    let (mut client, connection) = served.http2().await;
    let connection = tokio::spawn(connection);
    let unread = client
        .send_request(get("/getAllUserBuys/u1"))
        .await
        .unwrap();
    assert_eq!(unread.status(), StatusCode::OK);
    assert!(connection.await.is_ok());
    let read = unread.into_body().collect().await;
    assert!(read.is_err());
    // Its slot is free.
    let (mut client, connection) = served.http2().await;
    tokio::spawn(connection);
    let other = client
        .send_request(get("/v1/purchases?userid=u2"))
        .await
        .unwrap();
    assert_eq!(other.status(), StatusCode::OK);
}

#[tokio::test]
async fn unread_responses_over_http2_are_limited() {
    let served = Served::new(HttpOptions::default().max_requests(16), None).await;
    let mut open = Vec::new();
    let mut blocked = Builder::new(TokioExecutor::new());
    blocked.initial_stream_window_size(1);
    // With shares, 28 of 32 are for one client.
    for _ in 0..28 {
        let (mut client, connection) = served.http2_with(&mut blocked).await;
        tokio::spawn(connection);
        let unread = client
            .send_request(get("/v1/purchases?userid=u1"))
            .await
            .unwrap();
        assert_eq!(unread.status(), StatusCode::OK);
        open.push((client, unread));
    }
    let (mut client, connection) = served.http2().await;
    tokio::spawn(connection);
    let refused = client.send_request(get("/healthz")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    drop(open.pop());
    while client.send_request(get("/healthz")).await.unwrap().status() != StatusCode::OK {}
}

#[tokio::test]
async fn stopping_completes_requests_over_http2() {
    let served = Served::new(HttpOptions::default(), None).await;
    let (mut client, connection) = served.http2().await;
    let connection = tokio::spawn(connection);
    let (parts, mut body) = mpsc::channel::<&'static str>(1);
    let body = futures_util::stream::poll_fn(move |context| body.poll_recv(context))
        .map(Ok::<_, std::io::Error>);
    let buy = Request::post("https://localhost/buy").header("content-type", "application/json");
    let response = tokio::spawn(client.send_request(buy.body(Body::from_stream(body)).unwrap()));
    parts
        .send(r#"{"username":"ada","userid":"u1""#)
        .await
        .unwrap();
    // A response on the same connection shows that the server has accepted the first request.
    assert_eq!(
        client.send_request(get("/healthz")).await.unwrap().status(),
        StatusCode::OK
    );
    // A connection before its handshake does not delay the end.
    let silent = TcpStream::connect(served.address).await.unwrap();
    served.stop.send(()).unwrap();
    parts.send(r#","price":1}"#).await.unwrap();
    drop(parts);
    assert_eq!(
        response.await.unwrap().unwrap().status(),
        StatusCode::CREATED
    );
    served.task.await.unwrap().unwrap();
    drop(silent);
    let _end = connection.await.unwrap();
    assert!(client.send_request(get("/healthz")).await.is_err());
}
