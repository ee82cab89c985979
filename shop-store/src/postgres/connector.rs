//! Starts sessions with the server that takes writes. If several hosts take writes, it is the one
//! on the highest timeline.
//!
//! PostgreSQL numbers the histories of a database as timelines, and the promotion of a standby
//! begins a new one. A primary that was unreachable while a standby was promoted may come back on
//! its earlier timeline, and accept writes that no other server receives. Three rules prevent that
//! the store writes there:
//!
//! - Each new session asks all hosts, see [`Connector`].
//! - A server on an earlier timeline than the highest that was seen is refused. The error names the
//!   server.
//! - Pooled sessions with such a server are not used again.
//!
//! A server may also accept a connection and never answer, because it is frozen or its machine
//! vanished. So the whole start of a session is limited in time for each host. A host that exceeds
//! the limit is mute: each new session asks it again, but does not wait for it, until it answers
//! once.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use shop_core::{Error, Result};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Config, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;

use super::error::{from_connect, unavailable_error};
use super::url::DatabaseUrl;

/// A pool of sessions, all with the same options.
pub(super) type SessionPool = managed::Pool<Connector>;
/// A session that a statement uses. It returns to its pool when it is dropped.
pub(super) type PooledSession = managed::Object<Connector>;

/// The query of the state of a server, in two columns.
///
/// The first column tells whether transactions are read-only. The second one is the name of the
/// present file of the write-ahead log, which begins with the timeline. It is null on a standby,
/// which writes no such file.
const SERVER_STATE: &str = "select current_setting('transaction_read_only'),
    case when not pg_is_in_recovery() then pg_walfile_name(pg_current_wal_lsn()) end";

/// The routine of the server that sends a notice when the wait for a synchronous standby was
/// cancelled.
///
/// The transaction is committed on the server by then, but the standby may lack it.
const STANDBY_WAIT: &str = "SyncRepWaitForLSN";

/// The state of all servers of a URL, which both pools of a store share.
#[derive(Debug)]
pub(super) struct Servers {
    hosts: Vec<HostState>,
    connect_timeout: Duration,
    /// The highest timeline of any server that took writes, or 0 if no timeline was seen yet.
    timeline: AtomicU32,
}

/// The state of one host of the URL.
#[derive(Debug, Default)]
struct HostState {
    /// Whether the host did not answer within the connect timeout when it was asked last.
    is_mute: AtomicBool,
    /// The token of the present sessions with the host. It is cancelled, and replaced by a new
    /// token for later sessions, when the host turns out to be mute.
    abandoned: Mutex<CancellationToken>,
}

impl Servers {
    /// Creates the state for the hosts in `url`. No host is mute, and no timeline is known.
    pub(super) fn new(url: &DatabaseUrl) -> Arc<Self> {
        let hosts = std::iter::repeat_with(HostState::default);
        Arc::new(Self {
            hosts: hosts.take(url.host_count()).collect(),
            connect_timeout: url.connect_timeout(),
            timeline: AtomicU32::new(0),
        })
    }

    /// Returns the highest timeline of any server that took writes, or 0 if no timeline was seen
    /// yet.
    pub(super) fn timeline(&self) -> u32 {
        self.timeline.load(Ordering::Acquire)
    }

    /// Returns whether a server on a higher timeline replaced the server of `session`.
    ///
    /// Returns `false` if the timeline of the session is unknown (0).
    fn have_replaced_server_of(&self, session: &Session) -> bool {
        session.timeline > 0 && session.timeline < self.timeline()
    }

    /// Returns whether the host with index `host` did not answer when it was asked last.
    fn is_mute(&self, host: usize) -> bool {
        self.hosts[host].is_mute.load(Ordering::Acquire)
    }

    /// Locks the token of the present sessions with a host, see [`HostState::abandoned`].
    fn lock_abandoned(&self, host: usize) -> MutexGuard<'_, CancellationToken> {
        let token = self.hosts[host].abandoned.lock();
        token.unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the timeline of a server that takes writes.
    ///
    /// If the timeline is higher than all earlier ones, the server was promoted, and a warning is
    /// logged. `name` is the `host:port` of the server.
    fn record_timeline(&self, name: &str, timeline: u32) {
        let previous = self.timeline.fetch_max(timeline, Ordering::AcqRel);
        if previous > 0 && previous < timeline {
            tracing::warn!(
                server = name,
                timeline,
                "PostgreSQL was promoted: run management verify, which finds what a standby lacks that was not synchronous"
            );
        }
    }
}

/// The manager of one pool, which starts the sessions.
///
/// ```text
/// pool is empty ──▶ create ──▶ ask host 1 ─┐
///                         ├──▶ ask host 2 ─┼──▶ the session that takes writes, on the highest timeline
///                         └──▶ ask host 3 ─┘
/// ```
pub(super) struct Connector {
    pub(super) servers: Arc<Servers>,
    /// The `host:port` of each host, with the options of a session with this host.
    pub(super) configs: Vec<(String, Config)>,
    pub(super) tls: MakeRustlsConnect,
}

impl fmt::Debug for Connector {
    /// Leaves out the options of the sessions, because they contain the password.
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
    /// The index of the session's host in the URL.
    pub(super) host: usize,
    /// The timeline of the server, or 0 if the server is a standby or does not state one.
    timeline: u32,
    /// Whether transactions are read-only, because the server is a standby or its settings say so.
    is_read_only: bool,
    /// The token that is cancelled when the host turns out to be mute.
    pub(super) abandoned: CancellationToken,
    /// The flag that is set when the server committed a transaction without waiting for its
    /// synchronous standby.
    pub(super) has_skipped_standby: Arc<AtomicBool>,
}

impl Connector {
    /// Starts a session with a host in a separate task, and sends the result to `answers`.
    ///
    /// The result is an error if the host does not answer within the connect timeout. The task
    /// updates whether the host is mute even if no task waits for the result, so a host that
    /// recovers is noticed.
    fn request_session(
        &self,
        host: usize,
        answers: mpsc::UnboundedSender<(usize, Result<Session>)>,
    ) {
        let (name, config) = self.configs[host].clone();
        let servers = Arc::clone(&self.servers);
        let tls = self.tls.clone();
        tokio::spawn(async move {
            let start = start_session(&servers, host, &name, config, tls);
            let answer = timeout(servers.connect_timeout, start).await;

            let is_mute = answer.is_err();
            let was_mute = servers.hosts[host].is_mute.swap(is_mute, Ordering::AcqRel);
            if is_mute && !was_mute {
                tracing::warn!(server = name, "PostgreSQL does not answer at this host");
            }

            let session_result = answer.unwrap_or_else(|_elapsed| {
                let message = format!("{name} accepts connections and does not answer");
                Err(unavailable_error(message))
            });

            // The session ends here if the receiver was dropped, because another host was chosen
            // meanwhile.
            let _receiver_dropped = answers.send((host, session_result));
        });
    }

    /// Checks in the background whether a host still answers, and ends all sessions with the host
    /// if it does not.
    ///
    /// This function is called for a statement that received no response in time. The statement may
    /// only be waiting for a standby. In this case, the server answers the new session that is started
    /// here, and the statement keeps its session.
    pub(super) fn abandon_if_mute(&self, host: usize) {
        let (sender, mut answers) = mpsc::unbounded_channel();
        self.request_session(host, sender);

        let servers = Arc::clone(&self.servers);
        tokio::spawn(async move {
            // Only whether the host is mute matters. The new session, if any, ends here.
            let _answer = answers.recv().await;
            if servers.is_mute(host) {
                // The statements of all present sessions fail, and the pools do not use these
                // sessions again. Later sessions get the new token.
                std::mem::take(&mut *servers.lock_abandoned(host)).cancel();
            }
        });
    }
}

/// Starts a session with one host, and queries the state of the server.
///
/// Spawns a task that drives the connection until it ends. `name` is the `host:port` of the host.
///
/// # Errors
/// An error of [`from_connect`] if the connection, the login or the query fails.
async fn start_session(
    servers: &Servers,
    host: usize,
    name: &str,
    config: Config,
    tls: MakeRustlsConnect,
) -> Result<Session> {
    let (client, mut connection) = config.connect(tls).await.map_err(from_connect)?;
    let has_skipped_standby = Arc::new(AtomicBool::new(false));
    let skipped_flag = Arc::clone(&has_skipped_standby);

    // The task polls messages instead of awaiting the connection, because only messages carry the
    // server's notices.
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) if notice.routine() == Some(STANDBY_WAIT) => {
                    skipped_flag.store(true, Ordering::Release);
                }
                // Other messages are notices and notifications that mean nothing here.
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection to PostgreSQL has ended");
                    return;
                }
            }
        }
    });

    let state_messages = match client.simple_query(SERVER_STATE).await {
        Ok(messages) => messages,
        // Another server that speaks this protocol may not know these functions. It is used without
        // a timeline.
        Err(error) if error.as_db_error().is_some() => Vec::new(),
        Err(error) => return Err(from_connect(error)),
    };
    let state_row = state_messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });

    let is_read_only = state_row.is_some_and(|row| row.get(0) == Some("on"));
    let wal_file = state_row.and_then(|row| row.get(1));
    // The name of the file begins with the timeline, as eight hexadecimal digits.
    let digits = wal_file.and_then(|name| name.get(..8));
    let timeline = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());

    let session = Session {
        client,
        host,
        timeline: timeline.unwrap_or(0),
        is_read_only,
        abandoned: servers.lock_abandoned(host).clone(),
        has_skipped_standby,
    };
    // A standby states no timeline, and cannot have replaced a primary.
    if !is_read_only {
        servers.record_timeline(name, session.timeline);
    }
    Ok(session)
}

impl managed::Manager for Connector {
    type Type = Session;
    type Error = Error;

    /// Starts a session with the host that takes writes.
    ///
    /// Asks all hosts at the same time. Waits for each host that answered when it was asked last,
    /// or for all hosts if all are mute. Of the sessions that take writes, the session on the highest
    /// timeline is returned, and the others end. With a single host, its session is returned even
    /// if it is read-only.
    ///
    /// # Errors
    /// - [`Unavailable`](shop_core::ErrorKind::Unavailable) if all hosts are read-only, or if the hosts
    ///   that take writes are on an earlier timeline than was seen before
    /// - the error of the last host that failed, if no host takes writes and a host failed
    async fn create(&self) -> Result<Session> {
        let (sender, mut answers) = mpsc::unbounded_channel();
        let hosts = 0..self.configs.len();
        // A mute host is asked again, but not waited for, unless all hosts are mute.
        let mut awaited_hosts: Vec<usize> = hosts
            .clone()
            .filter(|host| !self.servers.is_mute(*host))
            .collect();
        if awaited_hosts.is_empty() {
            awaited_hosts.extend(hosts.clone());
        }

        for host in hosts {
            self.request_session(host, sender.clone());
        }
        drop(sender);

        let mut best_session = None::<Session>;
        let mut last_error = None;
        while !awaited_hosts.is_empty()
            && let Some((host, answer)) = answers.recv().await
        {
            awaited_hosts.retain(|awaited| *awaited != host);
            match answer {
                Ok(session) if session.is_read_only => {
                    // If there is no other host to choose, the session is used. The caller may be a
                    // command that only reads.
                    if self.configs.len() == 1 {
                        return Ok(session);
                    }
                }
                Ok(session) => {
                    let is_better = best_session
                        .as_ref()
                        .is_none_or(|best| best.timeline < session.timeline);
                    if is_better {
                        best_session = Some(session);
                    }
                }
                Err(error) => last_error = Some(error),
            }
        }

        let Some(session) = best_session else {
            // Without an error, all hosts answered, but are read-only.
            let message = "no host of the PostgreSQL URL takes writes: promote a standby, or start the primary";
            return Err(last_error.unwrap_or_else(|| unavailable_error(message)));
        };
        if self.servers.have_replaced_server_of(&session) {
            let (name, _) = &self.configs[session.host];
            return Err(unavailable_error(format!(
                "the PostgreSQL server {name} is on timeline {}, and another one on timeline {} has replaced it: stop it, or make it a standby",
                session.timeline,
                self.servers.timeline()
            )));
        }
        Ok(session)
    }

    /// Checks whether a pooled session can be used again. The pool discards the session if this
    /// fails.
    ///
    /// # Errors
    /// If the session ended, its host is mute, or another server was promoted since the session
    /// started.
    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Error> {
        if session.client.is_closed() || session.abandoned.is_cancelled() {
            return Err(RecycleError::message("the session has ended"));
        }
        if self.servers.have_replaced_server_of(session) {
            return Err(RecycleError::message("the server was replaced"));
        }
        Ok(())
    }
}
