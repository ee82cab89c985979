//! Sessions with the server that takes writes: of several hosts, the one on the highest timeline.
//!
//! A promotion begins a new timeline. A primary that could not be reached while another server was promoted may come
//! back and take writes that no other server gets. So every host is asked at each new session, a server on an earlier
//! timeline than one that was seen is refused by name, and the sessions with such a server leave the pools.
//!
//! A server may also accept a connection and never answer, because it is frozen or its machine has vanished. Each host has
//! a time limit over the whole start of a session. A host that was mute is asked, but not waited for, until it answers.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Config, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;

use super::error::{from_connect, postgres_error};
use super::url::DatabaseUrl;

/// A pool of sessions.
pub(super) type SessionPool = managed::Pool<Connector>;
/// A session that is in use.
pub(super) type PooledSession = managed::Object<Connector>;

/// The state of a server: whether transactions are read-only, and the name of the file of the write-ahead log, which
/// begins with the timeline, unless it is a standby.
const SERVER_STATE: &str = "select current_setting('transaction_read_only'),
    case when not pg_is_in_recovery() then pg_walfile_name(pg_current_wal_lsn()) end";
/// The routine of the server that reports that the wait for a standby was cancelled after the commit.
const STANDBY_WAIT: &str = "SyncRepWaitForLSN";

/// What the pools of a store know of the servers.
#[derive(Debug)]
pub(super) struct Servers {
    hosts: Vec<HostState>,
    connect_timeout: Duration,
    /// The highest timeline that was seen; 0 for none.
    timeline: AtomicU32,
}

#[derive(Debug, Default)]
struct HostState {
    /// Whether the host did not answer when it was asked last.
    is_mute: AtomicBool,
    /// Cancelled when the host is mute: its sessions are then of no use.
    abandoned: Mutex<CancellationToken>,
}

impl Servers {
    pub(super) fn new(url: &DatabaseUrl) -> Arc<Self> {
        let hosts = std::iter::repeat_with(HostState::default);
        Arc::new(Self {
            hosts: hosts.take(url.host_count()).collect(),
            connect_timeout: url.connect_timeout(),
            timeline: AtomicU32::new(0),
        })
    }

    /// The highest timeline that was seen; 0 for none.
    pub(super) fn timeline(&self) -> u32 {
        self.timeline.load(Ordering::Acquire)
    }

    /// Whether another server was seen on a higher timeline than that of the session, if that is known.
    fn have_replaced(&self, session: &Session) -> bool {
        session.timeline > 0 && session.timeline < self.timeline()
    }

    fn is_mute(&self, host: usize) -> bool {
        self.hosts[host].is_mute.load(Ordering::Acquire)
    }

    fn abandoned(&self, host: usize) -> MutexGuard<'_, CancellationToken> {
        let token = self.hosts[host].abandoned.lock();
        token.unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the sessions with a host.
    fn abandon(&self, host: usize) {
        std::mem::take(&mut *self.abandoned(host)).cancel();
    }

    /// Notes the timeline of the server that `name` is. A higher one than before is that of a promoted server.
    fn note_timeline(&self, name: &str, timeline: u32) {
        let before = self.timeline.fetch_max(timeline, Ordering::AcqRel);
        if before > 0 && before < timeline {
            tracing::warn!(
                server = name,
                timeline,
                "PostgreSQL was promoted: run management verify, which finds what a standby lacks that was not synchronous"
            );
        }
    }
}

/// Starts the sessions of one pool.
pub(super) struct Connector {
    pub(super) servers: Arc<Servers>,
    /// The name of each host, with the options of a session.
    pub(super) configs: Vec<(String, Config)>,
    pub(super) tls: MakeRustlsConnect,
}

impl fmt::Debug for Connector {
    /// Without the options of the sessions, which have the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

/// A session with a server.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    /// The index of its host.
    pub(super) host: usize,
    /// 0 if the server does not say it.
    timeline: u32,
    /// Whether transactions are read-only, because the server is a standby or by its settings.
    is_read_only: bool,
    /// Cancelled when the server is mute.
    pub(super) abandoned: CancellationToken,
    /// Set when the server has committed without the standby that it had to wait for.
    pub(super) has_skipped_standby: Arc<AtomicBool>,
}

impl Connector {
    /// Asks a host for a session in a separate task: a host that is not waited for is noticed when it answers.
    fn ask(&self, host: usize, answers: mpsc::UnboundedSender<(usize, Result<Session>)>) {
        let (name, config) = self.configs[host].clone();
        let servers = Arc::clone(&self.servers);
        let tls = self.tls.clone();
        tokio::spawn(async move {
            let started = start(&servers, host, &name, config, tls);
            let answer = timeout(servers.connect_timeout, started).await;
            let is_mute = answer.is_err();
            if !servers.hosts[host].is_mute.swap(is_mute, Ordering::AcqRel) && is_mute {
                tracing::warn!(server = name, "PostgreSQL does not answer at this host");
            }
            let answer = answer.unwrap_or_else(|_elapsed| {
                let message = format!("{name} accepts connections and does not answer");
                let error = postgres_error(ErrorKind::Unavailable, message);
                Err(error.with_outcome(Outcome::NotApplied))
            });
            // Without a receiver, the session ends here.
            let _unused = answers.send((host, answer));
        });
    }

    /// Ends the sessions with a host, if it does not answer. To be called when a statement got no response in time: one
    /// that waits for a standby keeps its session, since its server answers others.
    pub(super) fn abandon_if_mute(&self, host: usize) {
        let (sender, mut answers) = mpsc::unbounded_channel();
        self.ask(host, sender);
        let servers = Arc::clone(&self.servers);
        tokio::spawn(async move {
            let _answer = answers.recv().await;
            if servers.is_mute(host) {
                servers.abandon(host);
            }
        });
    }
}

/// Starts a session with one host, and asks for the state of its server.
async fn start(
    servers: &Servers,
    host: usize,
    name: &str,
    config: Config,
    tls: MakeRustlsConnect,
) -> Result<Session> {
    let (client, mut connection) = config.connect(tls).await.map_err(from_connect)?;
    let has_skipped_standby = Arc::new(AtomicBool::new(false));
    let skipped = Arc::clone(&has_skipped_standby);
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) if notice.routine() == Some(STANDBY_WAIT) => {
                    skipped.store(true, Ordering::Release);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection to PostgreSQL has ended");
                    return;
                }
            }
        }
    });
    let state = match client.simple_query(SERVER_STATE).await {
        Ok(state) => state,
        // Another server of this protocol may not know what PostgreSQL does.
        Err(error) if error.as_db_error().is_some() => Vec::new(),
        Err(error) => return Err(from_connect(error)),
    };
    let row = state.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let is_read_only = row.is_some_and(|row| row.get(0) == Some("on"));
    let file = row.and_then(|row| row.get(1));
    // The name begins with the timeline, as eight hexadecimal digits.
    let digits = file.and_then(|file| file.get(..8));
    let timeline = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let session = Session {
        client,
        host,
        timeline: timeline.unwrap_or(0),
        is_read_only,
        abandoned: servers.abandoned(host).clone(),
        has_skipped_standby,
    };
    if !is_read_only {
        servers.note_timeline(name, session.timeline);
    }
    Ok(session)
}

impl managed::Manager for Connector {
    type Type = Session;
    type Error = Error;

    /// Asks all hosts at the same time, and waits for those that answered when they were asked before.
    async fn create(&self) -> Result<Session> {
        let (sender, mut answers) = mpsc::unbounded_channel();
        let hosts = 0..self.configs.len();
        let are_all_mute = hosts.clone().all(|host| self.servers.is_mute(host));
        let mut awaited: Vec<usize> = hosts
            .clone()
            .filter(|host| are_all_mute || !self.servers.is_mute(*host))
            .collect();
        for host in hosts {
            self.ask(host, sender.clone());
        }
        drop(sender);

        let mut best = None::<Session>;
        let mut failure = None;
        while !awaited.is_empty()
            && let Some((host, answer)) = answers.recv().await
        {
            awaited.retain(|other| *other != host);
            match answer {
                Ok(session) if session.is_read_only => {
                    // Of a single host, what it can do is used: a command may only read.
                    if self.configs.len() == 1 {
                        return Ok(session);
                    }
                }
                Ok(session) => {
                    if best
                        .as_ref()
                        .is_none_or(|best| best.timeline < session.timeline)
                    {
                        best = Some(session);
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        let Some(session) = best else {
            return Err(failure.unwrap_or_else(no_primary));
        };
        if self.servers.have_replaced(&session) {
            let (name, _) = &self.configs[session.host];
            return Err(replaced(name, session.timeline, self.servers.timeline()));
        }
        Ok(session)
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Error> {
        if session.client.is_closed() || session.abandoned.is_cancelled() {
            return Err(RecycleError::message("the session has ended"));
        }
        if self.servers.have_replaced(session) {
            return Err(RecycleError::message("the server was replaced"));
        }
        Ok(())
    }
}

fn no_primary() -> Error {
    let message =
        "no host of the PostgreSQL URL takes writes: promote a standby, or start the primary";
    postgres_error(ErrorKind::Unavailable, message).with_outcome(Outcome::NotApplied)
}

/// Returns the error for a primary on an earlier timeline than one that was seen.
fn replaced(name: &str, timeline: u32, seen: u32) -> Error {
    let message = format!(
        "the PostgreSQL server {name} is on timeline {timeline}, and another one on timeline {seen} has replaced it: stop it, or make it a standby"
    );
    postgres_error(ErrorKind::Unavailable, message).with_outcome(Outcome::NotApplied)
}
