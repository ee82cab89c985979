//! Shutdown of the binaries.

use rustix::process::Signal;
use shop_client::NewPurchase;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixDatagram};

use crate::process::{Binary, Process, get, open_file, send, soon, stored, until, until_stored};

async fn connect(process: &Process) -> TcpStream {
    TcpStream::connect(process.url.strip_prefix("http://").unwrap())
        .await
        .unwrap()
}

/// A request to buy, in two parts.
fn request(user: &str) -> (Vec<u8>, Vec<u8>) {
    let body = format!(r#"{{"username":"ada","userid":"{user}","price":1}}"#);
    let head = format!(
        "POST /buy HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head.into_bytes(), body.into_bytes())
}

#[tokio::test]
async fn sigterm_completes_requests_in_flight_and_commits() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let client = facing.client();
    for _ in 0..200 {
        client
            .buy(
                NewPurchase::for_user("u1")
                    .with_user_name("ada")
                    .with_price("1")
                    .unwrap(),
            )
            .await
            .unwrap();
    }
    let mut stream = connect(&facing).await;
    let (head, body) = request("u2");
    stream.write_all(&head).await.unwrap();
    // Another response shows that the connection before it has been accepted.
    get(&facing.path("/-/ready")).await;
    facing.signal(Signal::TERM);
    stream.write_all(&body).await.unwrap();
    let mut response = String::new();
    soon("answer", stream.read_to_string(&mut response))
        .await
        .unwrap();
    assert!(response.starts_with("HTTP/1.1 201 "), "{response}");
    assert!(facing.ended().await.success());

    // Acknowledged purchases are stored, and all stored purchases are committed.
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    until_stored(&facing, "u2", 1).await;
    assert_eq!(stored(&facing, "u1").await, 200);
    let ingest = facing.ingest().await;
    assert_eq!(ingest["duplicates"], 0, "{ingest}");
}

#[tokio::test]
async fn systemd_is_notified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let facing = Process::start(
        Binary::Facing,
        folder.path(),
        &[("NOTIFY_SOCKET", path.to_str().unwrap())],
    )
    .await;
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
    for (first, second, code) in [
        (Signal::TERM, Signal::TERM, 143),
        (Signal::TERM, Signal::INT, 130),
    ] {
        let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
        // A request that never ends keeps the first signal from ending the process.
        let mut stream = connect(&facing).await;
        stream.write_all(&request("u1").0).await.unwrap();
        get(&facing.path("/-/ready")).await;
        facing.signal(first);
        // The first signal closes the listener.
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
async fn locked_log_does_not_delay_shutdown() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[("SHOP_DRAIN_TIMEOUT", "3s")]).await;
    let connection = open_file(folder.path());
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut stream = connect(&facing).await;
    let (head, body) = request("u1");
    stream.write_all(&[head, body].concat()).await.unwrap();
    get(&facing.path("/-/ready")).await;
    facing.signal(Signal::TERM);
    let mut response = String::new();
    soon("answer", stream.read_to_string(&mut response))
        .await
        .unwrap();
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
    let mut command = Binary::Facing.command(&[("LOG_FORMAT", "text")]);
    command
        .env("SHOP_DATA_DIR", folder.path())
        .stderr(std::process::Stdio::piped());
    let mut facing = command.spawn().unwrap();
    // By then the process handles signals, and continues with the locked file.
    let mut printed = BufReader::new(facing.stderr.take().unwrap()).lines();
    let starts = soon("start", printed.next_line()).await.unwrap().unwrap();
    assert!(starts.contains("starts"), "{starts}");
    send(&facing, Signal::TERM);
    assert!(soon("end", facing.wait()).await.unwrap().success());
}

#[tokio::test]
async fn endless_request_delays_shutdown_until_the_drain_timeout() {
    let (_folder, facing) = Process::fresh(Binary::Facing, &[("SHOP_DRAIN_TIMEOUT", "1s")]).await;
    let mut stream = connect(&facing).await;
    stream.write_all(&request("u1").0).await.unwrap();
    get(&facing.path("/-/ready")).await;
    facing.stop().await;
}
