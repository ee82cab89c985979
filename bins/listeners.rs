//! The listeners of a service: the public one, and the one of operators, if there is one.
//!
//! The listener of operators runs on a thread and a runtime of its own.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use shop_http::{HttpOptions, HttpService, RouterBuilder, Tls, serve, serve_tls};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::sync::oneshot;

use crate::settings::{HostPort, Settings};
use crate::signal::Shutdown;
use crate::{CliError, Result, descriptors};

/// The maximum number of connections that wait to be accepted. A full queue would refuse clients at
/// random. Linux allows 4,096 by default.
const BACKLOG: u32 = 4_096;

/// The listeners of a service.
pub(crate) struct Listeners {
    public: TcpListener,
    admin: Option<TcpListener>,
}

impl Listeners {
    /// Listens on the addresses of the settings.
    ///
    /// # Errors
    /// Returns an error with the names of the settings if an address cannot be bound.
    pub(crate) async fn bind(settings: &Settings) -> Result<Self> {
        let public_addr = settings.listen();
        let setting = format!(
            "SHOP_HOST {}, SHOP_PORT {}",
            public_addr.host, public_addr.port
        );
        let public = bind(&public_addr, &setting).await?;

        let service = settings.service.name();
        let mut admin = None;
        if let Some(addr) = &settings.process.admin_addr {
            let listener = bind(addr, &format!("SHOP_ADMIN_ADDR {addr}")).await?;
            let address = listener.local_addr().map_err(CliError::new)?;
            tracing::info!(admin.address = %address, "{service} serves probes and metrics on http://{address}");
            admin = Some(listener);
        }

        let address = public.local_addr().map_err(CliError::new)?;
        let scheme = settings.scheme();
        tracing::info!(http.address = %address, "{service} listens on {scheme}://{address}");
        Ok(Self { public, admin })
    }

    /// Serves `router` on all listeners until the shutdown. The admin listener does not use TLS.
    ///
    /// The public listener accepts as many connections as `options` and the limit of open files
    /// allow.
    ///
    /// # Errors
    /// Returns the error of the first listener that fails.
    pub(crate) async fn serve(
        self,
        router: RouterBuilder,
        settings: &Settings,
        mut options: HttpOptions,
        tls: Option<Tls>,
        shutdown: &Shutdown,
    ) -> io::Result<()> {
        options.max_connections = descriptors::raise_limit_for_connections(options.max_connections);
        // Only this machine can reach a loopback address, so clients name it by a local host name.
        if settings.process.http.hosts.is_none() && self.public.local_addr()?.ip().is_loopback() {
            options.hosts = options.hosts.or_local();
        }

        let router = router.options(options.clone());
        let Some(listener) = self.admin else {
            return serve_public(self.public, router.build_service(), tls, &options, shutdown)
                .await;
        };
        let (service, admin_service) = router.build_services_with_admin();
        let admin_options = settings.admin_options();
        tokio::try_join!(
            serve_public(self.public, service, tls, &options, shutdown),
            serve_apart(listener, admin_service, admin_options, shutdown.clone())
        )
        .map(drop)
    }
}

/// Serves `service` until the shutdown, over TLS if there is a certificate.
async fn serve_public(
    listener: TcpListener,
    service: HttpService,
    tls: Option<Tls>,
    options: &HttpOptions,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let shutdown_begun = shutdown.clone().cancelled_owned();
    match tls {
        Some(tls) => serve_tls(listener, tls, service, options, shutdown_begun).await,
        None => serve(listener, service, options, shutdown_begun).await,
    }
}

/// Serves `service` until the shutdown, on a thread with a runtime of its own. This keeps `service`
/// responsive under any load of the public listener.
///
/// The runtime stays until the process ends, because the public listener may use connections that
/// this runtime opened, such as those to a store.
async fn serve_apart(
    listener: TcpListener,
    service: HttpService,
    options: HttpOptions,
    shutdown: Shutdown,
) -> io::Result<()> {
    let (result_sender, result) = oneshot::channel();
    let listener = listener.into_std()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let work = async move {
        let served = async {
            let listener = TcpListener::from_std(listener)?;
            serve(listener, service, &options, shutdown.cancelled_owned()).await
        };
        drop(result_sender.send(served.await));
        // Keeps the runtime.
        std::future::pending::<()>().await;
    };
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || runtime.block_on(work))?;

    result
        .await
        .unwrap_or_else(|_panicked| Err(io::Error::other("the admin listener has panicked")))
}

/// Listens on `addr`.
///
/// # Errors
/// Returns an error with the text `setting`, which names the settings of the address, if the
/// address cannot be bound.
async fn bind(addr: &HostPort, setting: &str) -> Result<TcpListener> {
    listen_on_first(addr, listen).await.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there: end it, or choose another port"
            }
            io::ErrorKind::PermissionDenied => "this user may not: choose a port of 1024 or above",
            _ => "choose another host or port",
        };
        CliError::new(format!("cannot listen on {setting}: {remedy} ({error})"))
    })
}

/// Listens with `listen` on the first address of the host that can be bound.
///
/// # Errors
/// Returns the error of the last address.
async fn listen_on_first<T>(
    addr: &HostPort,
    listen: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last_error = io::ErrorKind::AddrNotAvailable.into();
    for address in lookup_host((addr.host.as_str(), addr.port)).await? {
        match listen_on(address, &listen) {
            Ok(listener) => return Ok(listener),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

/// Listens with `listen` on `address`. If `address` is `::` and the machine has no IPv6, listens on
/// `0.0.0.0` instead.
///
/// This lets one setting, `::`, work on every machine. It stands for all IPv4 and IPv6 addresses.
fn listen_on<T>(
    address: SocketAddr,
    listen: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    match listen(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
            tracing::info!("this machine has no IPv6: listening on 0.0.0.0 in place of ::");
            listen((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        result => result,
    }
}

/// Returns whether `error`, of an IPv6 listener, means that the machine has no IPv6: the kernel
/// does not support it, or no interface has an IPv6 address.
fn lacks_ipv6(error: &io::Error) -> bool {
    let is_unsupported = error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error());
    is_unsupported || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Listens on `address`, even while connections of an earlier process are still being closed there.
/// A listener on `::` also accepts IPv4 connections, whatever the default of the machine is.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        SockRef::from(&socket).set_only_v6(false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    fn all_addresses() -> HostPort {
        "[::]:0".parse().unwrap()
    }

    #[tokio::test]
    async fn all_addresses_are_those_of_ipv4_on_a_machine_without_ipv6() {
        for error in [
            Errno::AFNOSUPPORT.raw_os_error(),
            Errno::ADDRNOTAVAIL.raw_os_error(),
        ] {
            let listen_without_ipv6 = |address: SocketAddr| match address {
                SocketAddr::V4(_) => Ok(address.to_string()),
                SocketAddr::V6(_) => Err(io::Error::from_raw_os_error(error)),
            };
            let listened = listen_on_first(&all_addresses(), listen_without_ipv6).await;
            assert_eq!(listened.unwrap(), "0.0.0.0:0");
            // An address of this machine is named for a reason.
            let own = listen_on_first(&"[::1]:0".parse().unwrap(), listen_without_ipv6).await;
            assert_eq!(own.unwrap_err().raw_os_error(), Some(error));
        }

        let listen_in_use = |_| Err::<(), _>(io::ErrorKind::AddrInUse.into());
        let error = listen_on_first(&all_addresses(), listen_in_use).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn all_addresses_are_reached_where_the_health_check_connects() {
        let listener = listen_on_first(&all_addresses(), listen).await.unwrap();
        let mut reached = all_addresses();
        reached.port = listener.local_addr().unwrap().port();
        let HostPort { host, port } = reached.to_connectable();
        TcpStream::connect((host, port)).await.unwrap();
    }
}
