//! Requests that librdkafka does not offer: committed positions with their epochs, and the rights of users.
//!
//! The tests on real brokers send them. The protocol: <https://kafka.apache.org/protocol#protocol_messages>.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The position of `group` in partition 0 of `topic`, and the epoch of the leader that was committed with it.
pub(crate) async fn committed(address: &str, group: &str, topic: &str) -> (i64, i32) {
    let mut request = begin(9, 5);
    put_text(&mut request, group);
    request.put_i32(1);
    put_text(&mut request, topic);
    request.put_i32(1);
    request.put_i32(0);
    let mut answer = ask(address, &request).await;
    // Correlation id, throttle time, one topic by name, one partition by number.
    answer.advance(4 + 4 + 4 + 2 + topic.len() + 4 + 4);
    (answer.get_i64(), answer.get_i32())
}

/// A right of a user.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Right {
    Read = 3,
    Write = 4,
    Describe = 8,
}

/// Grants `user` rights to `topic`, by the broker at `address` without authentication.
pub(crate) async fn grant(address: &str, user: &str, topic: &str, rights: &[Right]) {
    let mut request = begin(30, 1);
    request.put_i32(rights.len().try_into().unwrap());
    for right in rights {
        // A topic, by exactly this name.
        request.put_i8(2);
        put_text(&mut request, topic);
        request.put_i8(3);
        put_text(&mut request, &format!("User:{user}"));
        put_text(&mut request, "*");
        request.put_i8(*right as i8);
        // It is allowed.
        request.put_i8(3);
    }
    let mut answer = ask(address, &request).await;
    // Correlation id, throttle time, number of rights.
    answer.advance(4 + 4 + 4);
    for right in rights {
        assert_eq!(answer.get_i16(), 0, "the broker's error: {right:?}");
        // The error's text: none, or empty.
        answer.advance(2);
    }
}

/// A request of this kind and version, up to its body.
fn begin(kind: i16, version: i16) -> BytesMut {
    let mut request = BytesMut::new();
    request.put_i16(kind);
    request.put_i16(version);
    request.put_i32(1);
    put_text(&mut request, "test");
    request
}

async fn ask(address: &str, request: &[u8]) -> Bytes {
    let mut broker = TcpStream::connect(address).await.unwrap();
    broker
        .write_u32(request.len().try_into().unwrap())
        .await
        .unwrap();
    broker.write_all(request).await.unwrap();
    let mut answer = vec![0; broker.read_u32().await.unwrap().try_into().unwrap()];
    broker.read_exact(&mut answer).await.unwrap();
    Bytes::from(answer)
}

fn put_text(request: &mut BytesMut, text: &str) {
    request.put_i16(text.len().try_into().unwrap());
    request.put_slice(text.as_bytes());
}
