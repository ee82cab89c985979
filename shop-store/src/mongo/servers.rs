//! What the driver's events tell about the servers of the URI, and why none of them serves a call.
//!
//! The driver reports the cause of a failed call only after its own timeout, and often not at all:
//! a call that its caller has given up knows nothing. The events know it earlier. [`Servers`] keeps
//! the latest ones, and is the only place that names a cause.
//!
//! | event | what is kept |
//! |---|---|
//! | the topology has changed | each server with its role, or with the error of its last heartbeat |
//! | a heartbeat succeeded | the server's replica set, and whether it takes writes |
//! | a server became unknown by a failed login | the error, until a connection is ready |

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mongodb::error::{Error as DriverError, ErrorKind as DriverErrorKind};
use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use mongodb::event::sdam::{SdamEvent, TopologyDescription};
use mongodb::options::{ClientOptions, ServerAddress, Tls};
use mongodb::{ServerType, TopologyType};

use super::error::describe;

/// The servers of a client, as the driver's events describe them.
#[derive(Debug)]
pub(super) struct Servers {
    /// The name of the replica set that the URI requires.
    required_set: Option<String>,
    /// Whether the URI requires TLS.
    uses_tls: bool,
    observed: Mutex<ObservedServers>,
}

/// What the events have reported so far.
#[derive(Debug, Default)]
struct ObservedServers {
    topology: Option<TopologyDescription>,
    /// The servers whose last heartbeat succeeded, by their addresses.
    heartbeats: BTreeMap<String, Heartbeat>,
    /// The error of the last login that failed, since a connection was last ready.
    login_failure: Option<DriverError>,
}

/// What a server replied to its last heartbeat.
#[derive(Debug)]
struct Heartbeat {
    /// The replica set of the server; `None` if the server is not a member of a set.
    set_name: Option<String>,
    takes_writes: bool,
}

/// Why no server serves a call.
#[derive(Debug)]
pub(super) enum NoServer {
    /// The servers reject the login of the URI.
    Login(DriverError),
    /// Any other cause, as a sentence about the servers and the URI.
    Other(String),
}

impl Servers {
    /// Starts to observe the client that will be created with `options`.
    pub(super) fn observe(options: &mut ClientOptions) -> Arc<Self> {
        let servers = Arc::new(Self {
            required_set: options.repl_set_name.clone(),
            uses_tls: matches!(options.tls, Some(Tls::Enabled(_))),
            observed: Mutex::default(),
        });
        let observer = Arc::clone(&servers);
        options.sdam_event_handler = Some(EventHandler::callback(move |event| {
            observer.record_server_event(event);
        }));
        let observer = Arc::clone(&servers);
        options.cmap_event_handler = Some(EventHandler::callback(move |event| {
            if let CmapEvent::ConnectionReady(_) = event {
                observer.lock().login_failure = None;
            }
        }));
        servers
    }

    /// Records what `event` tells about the servers.
    fn record_server_event(&self, event: SdamEvent) {
        let mut observed = self.lock();
        match event {
            SdamEvent::TopologyDescriptionChanged(change) => {
                observed.topology = Some(change.new_description);
            }
            SdamEvent::ServerHeartbeatSucceeded(event) => {
                let reply = event.reply;
                let is_set = |member: &str| reply.get_bool(member).unwrap_or(false);
                // A member that is starting does not know its set yet.
                if !is_set("isreplicaset") {
                    let heartbeat = Heartbeat {
                        set_name: reply.get_str("setName").ok().map(str::to_owned),
                        takes_writes: is_set("isWritablePrimary") || is_set("ismaster"),
                    };
                    let address = event.server_address.to_string();
                    observed.heartbeats.insert(address, heartbeat);
                }
            }
            SdamEvent::ServerHeartbeatFailed(event) => {
                observed
                    .heartbeats
                    .remove(&event.server_address.to_string());
            }
            SdamEvent::ServerDescriptionChanged(change) => {
                if let Some(error) = change.new_description.error()
                    && matches!(&*error.kind, DriverErrorKind::Authentication { .. })
                {
                    observed.login_failure = Some(error.clone());
                }
            }
            // Other events tell nothing about the cause of a failed call.
            _ => {}
        }
    }

    /// Returns why no server serves calls now, or `None` if a server does, as far as is known.
    pub(super) fn cause(&self) -> Option<NoServer> {
        let observed = self.lock();
        if let Some(error) = &observed.login_failure {
            return Some(NoServer::Login(error.clone()));
        }
        let sentence = observed
            .directly_connected_secondary()
            .or_else(|| self.topology_cause(&observed));
        sentence.map(NoServer::Other)
    }

    /// Returns a sentence about the only server of the URI if the URI forbids the driver to look for
    /// other servers, and the server is a member of a replica set and takes no writes.
    pub(super) fn directly_connected_secondary(&self) -> Option<String> {
        self.lock().directly_connected_secondary()
    }

    /// Returns a sentence about the servers, if none of them serves calls.
    fn topology_cause(&self, observed: &ObservedServers) -> Option<String> {
        let topology = observed.topology.as_ref()?;
        let servers = topology.servers();
        let is_any_reachable = servers
            .values()
            .any(|server| server.server_type() != ServerType::Unknown);
        if is_any_reachable {
            let name = topology.set_name().map_or("", String::as_str);
            let lacks_primary = topology.topology_type() == TopologyType::ReplicaSetNoPrimary;
            return lacks_primary.then(|| format!("the replica set {name} has no primary"));
        }
        if let Some(sentence) = self.wrong_set_sentence(observed) {
            return Some(sentence);
        }
        for server in servers.values() {
            if let Some(error) = server.error() {
                return Some(self.server_cause(server.address(), error));
            }
        }
        let address = servers.keys().next()?;
        let hint = self.tls_hint(io::ErrorKind::TimedOut);
        Some(format!("{address} has not answered yet{hint}"))
    }

    /// Returns a sentence about a server of another replica set than the URI requires.
    fn wrong_set_sentence(&self, observed: &ObservedServers) -> Option<String> {
        let required_set = self.required_set.as_ref()?;
        let mut heartbeats = observed.heartbeats.iter();
        let (address, heartbeat) =
            heartbeats.find(|(_, heartbeat)| heartbeat.set_name.as_ref() != Some(required_set))?;
        Some(match &heartbeat.set_name {
            Some(name) => format!(
                "{address} is a member of the replica set {name}, not of {required_set}: correct replicaSet in \
                 SHOP_MONGODB_URI"
            ),
            None => format!(
                "{address} is not a member of a replica set: remove replicaSet={required_set} from SHOP_MONGODB_URI"
            ),
        })
    }

    /// Returns a sentence about the server at `address`, whose last heartbeat failed with `error`.
    fn server_cause(&self, address: &ServerAddress, error: &DriverError) -> String {
        let hint = match &*error.kind {
            // An error about a certificate says itself that TLS failed.
            DriverErrorKind::Io(error) if !error.to_string().contains("certificate") => {
                self.tls_hint(error.kind())
            }
            _ => "",
        };
        format!("{address}: {}{hint}", describe(error))
    }

    /// Returns what may be wrong about TLS if a connection fails with an error of this kind. Returns an
    /// empty text if the error does not point to TLS.
    fn tls_hint(&self, error_kind: io::ErrorKind) -> &'static str {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, TimedOut, UnexpectedEof,
        };
        match error_kind {
            InvalidData | UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe
            | TimedOut
                if self.uses_tls =>
            {
                " (SHOP_MONGODB_URI requires TLS: check that the server has TLS)"
            }
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => {
                " (if the server requires TLS, add tls=true to SHOP_MONGODB_URI)"
            }
            _ => "",
        }
    }

    /// Locks what the events have reported.
    fn lock(&self) -> MutexGuard<'_, ObservedServers> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ObservedServers {
    /// Returns the sentence of [`Servers::directly_connected_secondary`].
    fn directly_connected_secondary(&self) -> Option<String> {
        let topology = self.topology.as_ref()?;
        if topology.topology_type() != TopologyType::Single {
            return None;
        }
        let (address, heartbeat) = self.heartbeats.first_key_value()?;
        let name = heartbeat.set_name.as_ref()?;
        (!heartbeat.takes_writes).then(|| {
            format!(
                "{address} is a secondary of the replica set {name}, which takes no writes: name all members and \
                 replicaSet in SHOP_MONGODB_URI, without directConnection"
            )
        })
    }
}
