//! PostgreSQL over TLS: a server in front of a private cluster, with a certificate of a private authority.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

use shop_core::ErrorKind;
use shop_core::ports::RecordStore as _;
use shop_store::postgres::{PostgresStore, PostgresStoreOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::mongo_tls::Authority;
use crate::postgres::server::Cluster;
use crate::postgres::skipped;

/// The length of the message by which a client asks for TLS.
const SSL_REQUEST: usize = 8;

/// A server in front of the one at `socket`: with TLS if it has an `authority`. Returns its port.
async fn serve(authority: Option<&Authority>, socket: std::path::PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = authority.map(|authority| authority.acceptor(false));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            let socket = socket.clone();
            tokio::spawn(async move {
                let mut server = UnixStream::connect(socket).await?;
                let Some(acceptor) = acceptor else {
                    return tokio::io::copy_bidirectional(&mut client, &mut server).await;
                };
                // The first message of a client without TLS is longer.
                if !asks_for_tls(&client).await? {
                    return tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
                client.read_exact(&mut [0; SSL_REQUEST]).await?;
                client.write_all(b"S").await?;
                let mut client = acceptor.accept(client).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    port
}

async fn asks_for_tls(client: &TcpStream) -> std::io::Result<bool> {
    let mut head = [0; 4];
    while client.peek(&mut head).await? < head.len() {}
    Ok(u32::from_be_bytes(head) as usize == SSL_REQUEST)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sslmode_decides_how_the_server_is_verified() {
    let cluster = match Cluster::shared() {
        Ok(cluster) => cluster,
        Err(why) => return skipped(why),
    };
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    authority.write(path("ca.crt").as_ref());
    Authority::new().write(path("other.crt").as_ref());
    let tls = serve(Some(&authority), cluster.socket()).await;
    let plain = serve(None, cluster.socket()).await;
    let check = async |host: &str, port: u16, query: String| {
        let url = format!("postgresql://postgres@{host}:{port}/postgres{query}");
        let url = crate::postgres::with_option(&url, "options=-c%20search_path%3Dtls");
        PostgresStore::open(PostgresStoreOptions::new(url))
            .await?
            .check()
            .await
    };
    crate::postgres::session(&cluster.url())
        .await
        .batch_execute("create schema tls")
        .await
        .expect("a schema");
    let known = format!("?sslmode=verify-full&sslrootcert={}", path("ca.crt"));
    for query in ["", "?sslmode=prefer", "?sslmode=disable"] {
        check("localhost", plain, query.to_owned())
            .await
            .expect(query);
        check("localhost", tls, query.to_owned())
            .await
            .expect(query);
    }
    for query in [
        "?sslmode=require".to_owned(),
        format!("?sslrootcert={}", path("ca.crt")),
        known.clone(),
    ] {
        check("localhost", tls, query.clone()).await.expect(&query);
    }
    // Another authority, those of the system, and another name.
    let other = format!("?sslmode=require&sslrootcert={}", path("other.crt"));
    for (host, query) in [("localhost", other.as_str()), ("127.0.0.1", known.as_str())] {
        let error = check(host, tls, query.to_owned())
            .await
            .expect_err("a refused connection");
        assert_eq!(
            error.kind(),
            ErrorKind::Unavailable,
            "{query}: {}",
            error.chain()
        );
    }
    let error = check("localhost", tls, "?sslmode=verify-full".to_owned())
        .await
        .expect_err("a refusal");
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Invalid),
        "{}",
        error.chain()
    );
    for query in ["?sslmode=require", known.as_str()] {
        let error = check("localhost", plain, query.to_owned())
            .await
            .expect_err("a server without TLS");
        assert!(
            matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unavailable),
            "{}",
            error.chain()
        );
    }
}
