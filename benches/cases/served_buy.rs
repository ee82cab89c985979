//! `POST /buy` as a client sends it: over a TCP connection to facing's own server, which publishes to librdkafka's mock
//! cluster.
//!
//! The client allocates nothing, so that the allocations of the process are those of the server. The cluster and the
//! client library are C, and use the allocator of C.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use shop_core::memory::InMemoryStore;
use shop_http::{HttpOptions, Parts, routes, serve};
use shop_kafka::{KafkaLog, KafkaLogOptions};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::two_threads;

const TOPIC: &str = "purchases";
const PARTITIONS: i32 = 5;

/// A buy, with the headers that HTTP libraries send.
const REQUEST: &str = "POST /buy HTTP/1.1\r\nhost: localhost:3000\r\nuser-agent: bench\r\naccept: */*\r\n\
    content-type: application/json\r\ncontent-length: 65\r\n\r\n\
    {\"username\":\"Ada Lovelace\",\"userid\":\"user-00001\",\"price\":1195.30}";

/// The size of the client's buffer: no response is larger.
const MAX_RESPONSE_BYTES: usize = 4_096;

/// A server of facing on librdkafka's mock cluster, and one connection of a client.
#[expect(
    missing_debug_implementations,
    reason = "the mock cluster has no debug format"
)]
pub struct ServedBuy {
    client: TcpStream,
    _runtime: Runtime,
    _cluster: MockCluster<'static, DefaultProducerContext>,
}

impl ServedBuy {
    /// Starts the cluster and the server, and connects the client.
    #[must_use]
    pub fn start() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
        let mut log_options = KafkaLogOptions::new(cluster.bootstrap_servers());
        TOPIC.clone_into(&mut log_options.topic);

        let runtime = two_threads();
        let address = runtime.block_on(async {
            let log = KafkaLog::open(log_options).await.unwrap();
            let parts = Parts::facing(Arc::new(log.sink()), Arc::new(InMemoryStore::new()));
            let options = HttpOptions::default();
            let service = routes(parts).options(options.clone()).build_service();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(serve(listener, service, &options, std::future::pending()));
            address
        });
        let client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        Self {
            client,
            _runtime: runtime,
            _cluster: cluster,
        }
    }

    /// Sends `count` buys one after another, and returns the size of the last response in bytes.
    ///
    /// The client does not allocate.
    pub fn buy(&mut self, count: u64) -> usize {
        let mut response_bytes = 0;
        for _ in 0..count {
            self.client.write_all(REQUEST.as_bytes()).unwrap();
            response_bytes = self.read_response();
        }
        response_bytes
    }

    /// Reads one response, which ends with the two braces that close the body, and returns its size in bytes.
    fn read_response(&mut self) -> usize {
        let mut buffer = [0; MAX_RESPONSE_BYTES];
        let mut filled = 0;
        loop {
            let read = self.client.read(&mut buffer[filled..]).unwrap();
            assert!(read > 0, "the server has closed the connection");
            filled += read;
            if buffer[..filled].ends_with(b"}}") {
                break;
            }
        }
        assert!(buffer.starts_with(b"HTTP/1.1 201 "), "not accepted");
        filled
    }
}
