//! Signals, and the end of the binaries.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram};

use crate::prelude::*;

const HEAD: &str = "POST /buy HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 45\r\n\r\n";
const BODY: &str = r#"{"username":"ada","userid":"u2","price":1.00}"#;

/// A connection on which the process has read the head of a request, whose body is not sent yet.
async fn begin_to_buy(process: &Process) -> TcpStream {
    let address = process.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(HEAD.as_bytes()).await.unwrap();
    // Another response shows that the connection before it has been accepted.
    get(&process.path("/-/ready")).await;
    stream
}

/// Sends the body, and returns the response.
async fn complete(mut stream: TcpStream) -> String {
    stream.write_all(BODY.as_bytes()).await.unwrap();
    let mut response = String::new();
    soon("answer", stream.read_to_string(&mut response))
        .await
        .unwrap();
    response
}

#[tokio::test]
async fn sigterm_completes_requests_in_flight_and_commits() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    append_all(folder.path(), &[ADA; 50]).await;
    // A purchase behind records that ingest has not read yet would be read once more with them.
    until_stored(&facing, "u1", 50).await;
    let stream = begin_to_buy(&facing).await;
    facing.signal(Signal::TERM);
    let response = complete(stream).await;
    assert!(response.starts_with("HTTP/1.1 201 "), "{response}");
    assert!(facing.ended().await.success());

    // Acknowledged purchases are stored, and all stored purchases are committed.
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    assert_eq!(stored(&facing, "u2").await, 1);
    assert_eq!(stored(&facing, "u1").await, 50);
    assert_eq!(facing.ingest().await["duplicates"], 0);
}

#[tokio::test]
async fn systemd_is_notified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let settings = [("NOTIFY_SOCKET", path.to_str().unwrap())];
    let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
    let said = async || {
        let mut text = [0; 64];
        let length = soon("notify", socket.recv(&mut text)).await.unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    assert_eq!(said().await, "READY=1\n");
    facing.stop().await;
    assert_eq!(said().await, "STOPPING=1\n");
}

#[tokio::test]
async fn second_signal_ends_the_process_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
        // A request that never ends keeps the first signal from ending the process.
        let _stream = begin_to_buy(&facing).await;
        facing.signal(Signal::TERM);
        let address = facing.url.strip_prefix("http://").unwrap();
        until("close the listener", async || {
            TcpStream::connect(address).await.is_err()
        })
        .await;
        facing.signal(second);
        assert_eq!(facing.ended().await.code(), Some(code));
    }
}

#[tokio::test]
async fn endless_request_delays_shutdown_until_the_drain_timeout() {
    let (_folder, facing) = Process::fresh(Binary::Facing, &[("SHOP_DRAIN_TIMEOUT", "1s")]).await;
    let _stream = begin_to_buy(&facing).await;
    facing.stop().await;
}

#[tokio::test]
async fn locked_log_does_not_delay_shutdown() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[("SHOP_DRAIN_TIMEOUT", "3s")]).await;
    let file = open_file(folder.path());
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let stream = begin_to_buy(&facing).await;
    facing.signal(Signal::TERM);
    let response = complete(stream).await;
    assert!(
        response.starts_with("HTTP/1.1 503 ") && response.contains("not_sent"),
        "{response}"
    );
    assert!(facing.ended().await.success());
}

#[tokio::test]
async fn process_waiting_for_the_lock_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let lock = std::fs::File::create(folder.path().join("shop.lock")).unwrap();
    lock.lock().unwrap();
    let settings = [("SHOP_DATA_DIR", folder.path().to_str().unwrap())];
    // By then the process handles signals, and continues with the locked file.
    let mut facing = start_and_log(Binary::Facing, &settings, " starts").await;
    send(&facing, Signal::TERM);
    assert!(soon("end", facing.wait()).await.unwrap().success());
}
