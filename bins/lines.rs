//! The writer of log lines: a thread with a bounded queue, so that no request waits for a reader of
//! standard error, or for a disk.
//!
//! | Part | Runs on | Responsibility |
//! |---|---|---|
//! | [`Lines`] | any thread | adds lines to the queue, and drops lines for which there is no room |
//! | [`write_queued_lines`] | the thread `log` | writes the lines to the output, many at once |
//! | [`Records`] | any thread | formats the events of the access log and the audit log |
//!
//! Dropped lines are counted, and `/health` reports whether the last write failed.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use shop_core::{Clock, SystemClock};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::telemetry::AUDIT;

/// The maximum number of lines in the queue: about 4 MiB.
const MAX_QUEUED: usize = 1 << 14;
/// The part of the queue for lines of the audit log only, so that lines that anyone can cause do
/// not take their room.
const AUDIT_RESERVE: usize = MAX_QUEUED / 4;
/// The approximate number of bytes that are written at once.
const CHUNK_BYTES: usize = 64 << 10;
/// The time limit of each of two waits at the end of the process: for room in the queue, and until
/// the queued lines are written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A queue of lines for an output. Clones share the queue. Lines that do not fit into the queue are
/// dropped, and counted.
#[derive(Clone)]
pub(crate) struct Lines {
    queue: Sender<Message>,
    /// Whether the last write failed.
    pub(crate) is_failing: Arc<AtomicBool>,
    /// The number of lines that were dropped.
    pub(crate) dropped: Arc<AtomicU64>,
}

/// An entry of the queue.
enum Message {
    Line(Vec<u8>),
    /// A request to drop this sender once all lines before it are written.
    Flush(Sender<()>),
}

impl Lines {
    /// Starts the thread that writes to `output`. Each write of `output` must take whole lines.
    ///
    /// # Errors
    /// Returns an error if the operating system cannot start the thread.
    pub(crate) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, messages) = bounded(MAX_QUEUED);
        let lines = Self {
            queue,
            is_failing: Arc::default(),
            dropped: Arc::default(),
        };

        let is_failing = Arc::clone(&lines.is_failing);
        let dropped = Arc::clone(&lines.dropped);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_queued_lines(&messages, output, &is_failing, &dropped))?;
        Ok(lines)
    }

    /// Adds a line to the queue, or drops and counts the line if there is no room. A part of the
    /// queue is reserved for the audit log.
    fn add(&self, line: Vec<u8>, is_audit: bool) {
        let has_room = is_audit || self.queue.len() < MAX_QUEUED - AUDIT_RESERVE;
        if !has_room || self.queue.try_send(Message::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until the queued lines are written, at most twice [`FLUSH_TIMEOUT`].
    pub(crate) fn wait_until_written(&self) {
        let no_capacity = 0;
        let (sender, receiver) = bounded(no_capacity);
        let request = Message::Flush(sender);
        if self.queue.send_timeout(request, FLUSH_TIMEOUT).is_ok() {
            // Nothing is sent: the wait ends when the thread drops the sender.
            let _disconnected = receiver.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Writes the lines of the queue to `output` until all senders are dropped. Lines that cannot be
/// written are dropped, and counted in `dropped`.
fn write_queued_lines(
    messages: &Receiver<Message>,
    mut output: impl Write,
    is_failing: &AtomicBool,
    dropped: &AtomicU64,
) {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    let mut reported_count = 0;
    while let Ok(first_message) = messages.recv() {
        let remaining_messages = messages.try_iter();
        // These senders are dropped after the chunk is written, which ends the waits of
        // `wait_until_written`.
        let _flush_requests = fill_chunk(
            &mut chunk,
            std::iter::once(first_message).chain(remaining_messages),
        );
        if !chunk.is_empty() {
            let is_written = write_chunk(&mut output, &mut chunk);
            is_failing.store(!is_written, Ordering::Relaxed);
        }
        // The chunk contains the lines that could not be written.
        let unwritten_count = chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        chunk.clear();

        let dropped_count = dropped.fetch_add(unwritten_count, Ordering::Relaxed) + unwritten_count;
        // After a failed write, the warning could not be written either, so it waits.
        if dropped_count > reported_count && unwritten_count == 0 {
            tracing::warn!(
                lines = dropped_count - reported_count,
                "log lines were dropped: their reader is too slow, or their file could not be written"
            );
            reported_count = dropped_count;
        }
    }
}

/// Adds the lines of `messages` to `chunk`, until the chunk is full. Returns the senders of the
/// requests to flush that are between the lines.
fn fill_chunk(chunk: &mut Vec<u8>, messages: impl Iterator<Item = Message>) -> Vec<Sender<()>> {
    let mut flush_requests = Vec::new();
    for message in messages {
        match message {
            Message::Line(line) => chunk.extend_from_slice(&line),
            Message::Flush(sender) => flush_requests.push(sender),
        }
        if chunk.len() >= CHUNK_BYTES {
            break;
        }
    }
    flush_requests
}

/// Writes the lines of `chunk`, and removes from it the lines that were written. Returns whether
/// all lines were written.
fn write_chunk(output: &mut impl Write, chunk: &mut Vec<u8>) -> bool {
    while !chunk.is_empty() {
        match output.write(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return false,
            Ok(byte_count) => {
                chunk.drain(..byte_count);
            }
        }
    }
    true
}

/// Adds a line per call, because a formatter of `tracing-subscriber` writes each line at once.
impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_audit = false;
        self.add(bytes.to_vec(), is_audit);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A layer that adds events to the queue as JSON, in the form of `tracing-subscriber`.
///
/// The access log contains a line for each request. The formatter of `tracing-subscriber` would
/// cost about as much as the rest of the request.
pub(crate) struct Records(pub(crate) Lines);

impl<S: Subscriber> Layer<S> for Records {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let target = event.metadata().target();
        let now = SystemClock.now();

        let mut line = JsonMembers(Vec::with_capacity(512));
        // A write to a vector cannot fail.
        let _written = write!(line.0, "{{\"timestamp\":\"{now}\",\"level\":\"INFO\"");
        event.record(&mut line);
        line.add("target", target);
        line.0.extend_from_slice(b"}\n");
        self.0.add(line.0, target == AUDIT);
    }
}

/// The text of a JSON object, to which members are added.
struct JsonMembers(Vec<u8>);

impl JsonMembers {
    /// Adds a member. `name` must need no escaping, as the names of fields do.
    fn add(&mut self, name: &str, value: impl serde::Serialize) {
        for part in [",\"", name, "\":"] {
            self.0.extend_from_slice(part.as_bytes());
        }
        // A write to a vector cannot fail.
        drop(serde_json::to_writer(&mut self.0, &value));
    }
}

impl Visit for JsonMembers {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // Most texts need no escaping, and are copied. The test for them never ends early, so that
        // it can be compiled to instructions that test many bytes at once.
        let needs_no_escape = value.bytes().fold(true, |is_plain, byte| {
            is_plain & (byte >= b' ') & !matches!(byte, b'"' | b'\\')
        });
        if !needs_no_escape {
            return self.add(field.name(), value);
        }
        for part in [",\"", field.name(), "\":\"", value, "\""] {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// An output that accepts a write for each permit. It sends nothing when a write begins, and
    /// then what is written.
    struct Slow(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            drop(self.1.send(Vec::new()));
            let _permit = self.0.recv();
            drop(self.1.send(bytes.to_vec()));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn records_are_json_whatever_their_texts_are() {
        let (written, output) = bounded(MAX_QUEUED);
        let (permit, permits) = bounded(1);
        permit.send(()).unwrap();
        let lines = Lines::start(Slow(permits, written)).unwrap();
        let texts = ["plain, ä", "a \"quoted\" one", "a\\b", "a\nb\u{1}"];
        let subscriber = tracing_subscriber::registry().with(Records(lines.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(
                a = texts[0],
                b = texts[1],
                c = texts[2],
                d = texts[3],
                number = 7_u64
            );
        });
        lines.wait_until_written();
        let line: Vec<u8> = output.try_iter().flatten().collect();
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| line[name].as_str().unwrap()),
            texts
        );
        assert_eq!(line["number"], 7);
    }

    #[test]
    fn a_stuck_output_drops_lines_and_keeps_room_for_the_audit_log() {
        let ((permit, permits), (written, output)) = (bounded(0), bounded(MAX_QUEUED));
        let lines = Lines::start(Slow(permits, written)).unwrap();
        lines.add(b"first\n".to_vec(), false);
        // The thread has taken it alone, and waits for the output.
        assert_eq!(output.recv(), Ok(Vec::new()));
        for (is_audit, room) in [(false, MAX_QUEUED - AUDIT_RESERVE), (true, AUDIT_RESERVE)] {
            let before = lines.dropped.load(Ordering::Relaxed);
            let taken = (0..).take_while(|_| {
                lines.add(b"line\n".to_vec(), is_audit);
                lines.dropped.load(Ordering::Relaxed) == before
            });
            assert_eq!(taken.count(), room, "audit: {is_audit}");
        }
        drop(permit);
        lines.wait_until_written();
        lines.add(b"last\n".to_vec(), true);
        lines.wait_until_written();
        let all: Vec<u8> = output.try_iter().flatten().collect();
        assert!(all.len() >= MAX_QUEUED * b"line\n".len() && all.ends_with(b"last\n"));
    }

    /// A disk with room for so many bytes, which takes whole lines.
    struct Full(usize, Sender<Vec<u8>>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes
                .split_inclusive(|byte| *byte == b'\n')
                .scan(0, |end, line| {
                    *end += line.len();
                    (*end <= self.0).then_some(*end)
                });
            let taken = fits.last().ok_or(io::ErrorKind::StorageFull)?;
            self.0 -= taken;
            self.1.send(bytes[..taken].to_vec()).unwrap();
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_disk_refuses_are_counted() {
        let (written, output) = bounded(MAX_QUEUED);
        let lines = Lines::start(Full(8, written)).unwrap();
        for (line, is_failing, dropped) in [
            ("one\n", false, 0),
            ("two\nthree\nfour\n", true, 2),
            ("five\n", true, 3),
            ("", true, 3),
        ] {
            lines.add(line.as_bytes().to_vec(), true);
            lines.wait_until_written();
            let counted = lines.dropped.load(Ordering::Relaxed);
            assert_eq!(
                (lines.is_failing.load(Ordering::Relaxed), counted),
                (is_failing, dropped),
                "{line}"
            );
        }
        assert_eq!(
            output.try_iter().flatten().collect::<Vec<u8>>(),
            b"one\ntwo\n"
        );
    }
}
