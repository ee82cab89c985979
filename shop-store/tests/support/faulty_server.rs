//! A proxy in front of a real server that changes responses to some commands, for faults that cannot be provoked, and
//! records the commands.
//!
//! The messages are of the wire protocol's `OP_MSG`
//! (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>).

#![allow(dead_code, reason = "each test takes its part")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, RawDocument, doc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

use super::fixture::ProxiedServer;

/// The fault of a command.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// This response; the command is not run.
    Refused(Document),
    /// The command is run, with this response.
    AnsweredWith(Document),
    /// The command is run, and the connection breaks before the response.
    AnswerLost,
    /// The connection breaks before the command arrives.
    NotArrived,
    /// The command is run, and its response delayed.
    Late(Duration),
    /// The command is run, and its response waits: for the barrier when the server has responded, and once more.
    Held(Arc<Barrier>),
}

/// The faults of the next commands, by name.
type Faults = Arc<Mutex<BTreeMap<&'static str, VecDeque<Fault>>>>;

/// The responses to the driver's heartbeats.
#[derive(Debug, Clone, Copy)]
enum Heartbeats {
    /// The responses of the server, which are immediate if it is the stand-in.
    OfServer,
    /// As of MongoDB since 4.4: a heartbeat that names the state of the server gets no response before its
    /// `maxAwaitTimeMS`, because the state does not change.
    Streamed,
}

/// Listens on its own port as long as the test runs.
#[derive(Debug)]
pub(crate) struct FaultyServer {
    pub(crate) uri: String,
    faults: Faults,
    commands: Arc<Mutex<Vec<Document>>>,
}

impl FaultyServer {
    /// In front of the primary of the servers at `uri`. `None` if it cannot be there, see [`ProxiedServer::find`].
    pub(crate) async fn before(uri: &str) -> Option<Self> {
        Self::start(uri, Heartbeats::OfServer).await
    }

    /// As [`before`](Self::before), with the heartbeats of a server that waits for a change of its state.
    pub(crate) async fn streaming_before(uri: &str) -> Option<Self> {
        Self::start(uri, Heartbeats::Streamed).await
    }

    async fn start(uri: &str, heartbeats: Heartbeats) -> Option<Self> {
        let server = ProxiedServer::find(uri).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let uri = server.uri_through(&address).to_string();
        let server = server.address;
        let faults = Faults::default();
        let faults_of_connections = Arc::clone(&faults);
        let commands = Arc::<Mutex<Vec<Document>>>::default();
        let commands_of_connections = Arc::clone(&commands);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = server.clone();
                let faults = Arc::clone(&faults_of_connections);
                let commands = Arc::clone(&commands_of_connections);
                // It ends with an error whenever one side hangs up.
                tokio::spawn(async move {
                    let server = TcpStream::connect(server).await?;
                    let connection = Connection {
                        client,
                        server,
                        faults,
                        commands,
                        heartbeats,
                    };
                    connection.run().await
                });
            }
        });
        Some(Self {
            uri,
            faults,
            commands,
        })
    }

    /// The commands of this name since the last call for it.
    pub(crate) fn take_commands(&self, name: &str) -> Vec<Document> {
        let mut commands = self.commands.lock().unwrap();
        let is_named =
            |command: &mut Document| command.keys().next().is_some_and(|key| key == name);
        commands.extract_if(.., is_named).collect()
    }

    /// Takes the numbers of commands since the last call, by name and collection, such as `find purchases`.
    pub(crate) fn take_counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for command in std::mem::take(&mut *self.commands.lock().unwrap()) {
            let (name, value) = command.iter().next().unwrap();
            let collection = value.as_str().unwrap_or_default();
            *counts.entry(format!("{name} {collection}")).or_default() += 1;
        }
        counts
    }

    /// Sets the faults of the next commands of this name, in this order.
    pub(crate) fn next(&self, command: &'static str, fates: impl IntoIterator<Item = Fault>) {
        self.faults
            .lock()
            .unwrap()
            .entry(command)
            .or_default()
            .extend(fates);
    }

    /// Forgets the faults that have not occurred.
    pub(crate) fn clear(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Whether all of the faults have occurred.
    pub(crate) fn has_failed(&self) -> bool {
        let faults = self.faults.lock().unwrap();
        faults.values().all(VecDeque::is_empty)
    }
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    faults: Faults,
    commands: Arc<Mutex<Vec<Document>>>,
    heartbeats: Heartbeats,
}

/// Length, request id, id of the request of a response, opcode; each of 4 bytes, little-endian.
const HEADER: usize = 16;
/// The kind of a message.
const OP_MSG: i32 = 2013;
/// After the header: 4 bytes of flags, and the kind of the body section.
const BODY: usize = HEADER + 5;

impl Connection {
    async fn run(mut self) -> Result<()> {
        loop {
            let request = message(&mut self.client).await?;
            let command = command(&request);
            if let (Heartbeats::Streamed, Some(heartbeat)) = (self.heartbeats, &command)
                && is_heartbeat(heartbeat)
            {
                let answer = self.stream_heartbeat(&request, heartbeat).await?;
                self.client.write_all(&answer).await?;
                continue;
            }
            let fault = command.as_ref().and_then(|command| self.fault_of(command));
            self.commands.lock().unwrap().extend(command);
            let answer = match fault {
                None => self.ask(&request).await?,
                Some(Fault::Refused(answer)) => answer_to(&request, &answer),
                Some(Fault::AnsweredWith(answer)) => {
                    self.ask(&request).await?;
                    answer_to(&request, &answer)
                }
                Some(Fault::NotArrived) => return Ok(()),
                Some(Fault::AnswerLost) => return self.ask(&request).await.map(drop),
                Some(Fault::Late(time)) => {
                    let answer = self.ask(&request).await?;
                    tokio::time::sleep(time).await;
                    answer
                }
                Some(Fault::Held(barrier)) => {
                    let answer = self.ask(&request).await?;
                    barrier.wait().await;
                    barrier.wait().await;
                    answer
                }
            };
            self.client.write_all(&answer).await?;
        }
    }

    fn fault_of(&self, command: &Document) -> Option<Fault> {
        let name = command.keys().next()?.as_str();
        self.faults.lock().unwrap().get_mut(name)?.pop_front()
    }

    /// The server's state, at once to a heartbeat that does not know it, and to others after their `maxAwaitTimeMS`.
    async fn stream_heartbeat(&mut self, request: &[u8], heartbeat: &Document) -> Result<Vec<u8>> {
        if let Ok(wait) = heartbeat.get_i64("maxAwaitTimeMS") {
            tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())).await;
        }
        let plain = doc! { "hello": 1, "$db": "admin" };
        let answer = self.ask(&answer_to(request, &plain)).await?;
        let mut state = command(&answer).ok_or(Error::from(ErrorKind::InvalidData))?;
        let process = ObjectId::from_bytes([7; 12]);
        state.insert(
            "topologyVersion",
            doc! { "processId": process, "counter": 0_i64 },
        );
        Ok(answer_to(request, &state))
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.server.write_all(request).await?;
        message(&mut self.server).await
    }
}

async fn message(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let total = usize::try_from(i32::from_le_bytes(length))
        .ok()
        .filter(|total| *total >= HEADER);
    let mut message = length.to_vec();
    message.resize(total.ok_or(Error::from(ErrorKind::InvalidData))?, 0);
    stream.read_exact(&mut message[4..]).await?;
    Ok(message)
}

/// The body of a message: a command, whose name is its first member, or a response.
fn command(message: &[u8]) -> Option<Document> {
    let body = message
        .get(BODY..)
        .filter(|_| message[12..HEADER] == OP_MSG.to_le_bytes())?;
    let length = i32::from_le_bytes(body[..4].try_into().unwrap());
    let body = RawDocument::from_bytes(&body[..usize::try_from(length).unwrap()]).unwrap();
    Document::try_from(body).ok()
}

fn is_heartbeat(command: &Document) -> bool {
    let name = command.keys().next().map(String::as_str);
    matches!(name, Some("hello" | "isMaster" | "ismaster"))
}

fn answer_to(request: &[u8], answer: &Document) -> Vec<u8> {
    let body = answer.to_vec().unwrap();
    let length = i32::try_from(BODY + body.len()).unwrap().to_le_bytes();
    // A response has the id of its request; its own id is not used.
    [
        &length,
        &[0; 4],
        &request[4..8],
        &OP_MSG.to_le_bytes(),
        &[0; 5],
        &body[..],
    ]
    .concat()
}
