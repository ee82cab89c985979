//! Readers of events: the memory of a server with 1,000, and the latency of concurrent buyers.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::http_post::{Measured, measure_load};
use super::two_threads;
use crate::load::{Load, get};
use crate::row::{Row, Unit};
use crate::run::Pairs;
use crate::scale::Scale;
use crate::server::Server;
use crate::usage::{as_f64, median, memory_of};

/// The connections that buy, each for its own user, and their purchases per second together.
const BUYERS: usize = 64;
const RATE: f64 = 2_000.0;
/// The time limit for readers to receive all purchases.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that receives events.
struct Reader {
    stream: TcpStream,
    text: Vec<u8>,
}

impl Reader {
    /// Follows the purchases of the user with this number. Returns when the stream has started.
    async fn start(server: &Server, user: usize) -> Self {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let request = get(&format!("/v1/purchases/events?userid=user-{user:05}"));
        stream.write_all(&request).await.unwrap();
        let mut reader = Self {
            stream,
            text: Vec::new(),
        };
        // The first event has the position alone.
        while !reader.text.windows(4).any(|part| part == b"\nid:") {
            reader.read().await;
            assert!(
                reader.text.starts_with(b"HTTP/1.1 200 "),
                "{}",
                String::from_utf8_lossy(&reader.text)
            );
        }
        reader.text.clear();
        reader
    }

    async fn read(&mut self) {
        assert!(
            self.stream.read_buf(&mut self.text).await.unwrap() > 0,
            "a stream has ended"
        );
    }

    async fn count(mut self, events: Arc<watch::Sender<u64>>) {
        loop {
            self.read().await;
            while let Some(end) = self.text.windows(2).position(|part| part == b"\n\n") {
                let has_purchase = self.text[..end].windows(6).any(|part| part == b"data: ");
                events.send_modify(|events| *events += u64::from(has_purchase));
                self.text.drain(..end + 2);
            }
        }
    }
}

/// Measures buyers with this number of readers. Also returns the memory of the readers, in MiB.
fn measure(readers: usize, time: Duration) -> (Measured, f64) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::facing(folder.path(), &[]);
    let resident = || memory_of(&server.process()).unwrap().resident;
    let (runtime, events, before) = (two_threads(), Arc::new(watch::Sender::new(0)), resident());
    runtime.block_on(async {
        for user in 0..readers {
            let reader = Reader::start(&server, user).await;
            tokio::spawn(reader.count(Arc::clone(&events)));
        }
    });
    let memory = resident() - before;
    let load = Load {
        address: server.address(),
        connections: BUYERS,
        time,
        batch: 1,
        rate: Some(RATE),
        users: 0,
    };
    let measured = measure_load(&server, &load);
    // Each purchase has a reader.
    let expected = if readers == 0 {
        0
    } else {
        measured.loaded.answered
    };
    runtime.block_on(async {
        let mut received = events.subscribe();
        let all = timeout(PATIENCE, received.wait_for(|events| *events >= expected)).await;
        assert_eq!(*all.unwrap().unwrap(), expected, "purchases were repeated");
    });
    (measured, memory)
}

/// The latency of buyers with and without readers, and the memory of the readers.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    // One client may have seven eighths of 1,000 streams.
    let readers = scale.pick(BUYERS, 800, 800);
    let time = Duration::from_millis(scale.pick(100, 1_000, 3_000));
    let pairs = Pairs::alternate(
        scale.pairs(),
        || measure(readers, time),
        || measure(0, time),
    );
    let show = |runs: &[(Measured, f64)]| {
        let of =
            |part: fn(&Measured) -> f64| median(runs.iter().map(|(run, _)| part(run)).collect());
        let (p50, p99) = (of(|run| run.loaded.p50), of(|run| run.loaded.p99));
        format!(
            "p50 {p50:.1} ms, p99 {p99:.1} ms, {:.0} µs of processor",
            of(|run| run.processor)
        )
    };
    let what = format!("POST /buy at {RATE}/s beside {readers} readers of events, p99");
    emit(pairs.row(what, |(run, _)| run.loaded.p99, "no readers", show));
    let memory: Vec<_> = pairs.ours.iter().map(|(_, memory)| *memory).collect();
    let each = format!(
        "{:.0} KiB for each",
        median(memory.clone()) * 1_024.0 / as_f64(readers as u64)
    );
    emit(Row::new(
        format!("memory of {readers} readers of events"),
        memory,
        Unit::Mebibytes,
        each,
    ));
}
