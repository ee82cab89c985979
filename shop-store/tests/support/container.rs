//! Servers of the tests, in containers on a machine without a configured server, and stores on them.

#![allow(dead_code, reason = "each test takes its part")]

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use shop_core::conformance::{EraseFixture, StoreFixture};
use shop_core::ports::{CurrencyStore, PurchaseErase, PurchaseQuery, PurchaseStore};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{
    ContainerAsync, ContainerRequest, GenericImage, ImageExt, TestcontainersError,
};
use tokio::sync::Mutex;

/// A variable of the test environment.
#[expect(clippy::disallowed_methods, reason = "the addresses of servers")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A server of the tests, as long as this lives.
#[derive(Debug)]
pub(crate) struct TestServer {
    pub(crate) url: String,
    container: Option<Arc<Container>>,
}

impl TestServer {
    /// The server at `url`, which outlives the tests.
    pub(crate) const fn at(url: String) -> Self {
        let container = None;
        Self { url, container }
    }

    /// Returns whether the tests have started this server.
    pub(crate) const fn is_container(&self) -> bool {
        self.container.is_some()
    }
}

/// A container that runs as long as some test holds it.
#[derive(Debug)]
pub(crate) struct Container {
    /// Host and port.
    address: String,
    _container: ContainerAsync<GenericImage>,
}

/// The container that tests of this process share. A static owner would leave it running at the end, so the last
/// test that holds it ends it.
#[derive(Debug)]
pub(crate) struct SharedContainer {
    image: &'static str,
    port: u16,
    /// The line that it prints when it is ready.
    ready: &'static str,
    variable: Option<(&'static str, &'static str)>,
    /// What it runs; the image's default if empty.
    command: &'static [&'static str],
    /// The container, or why it cannot be started, which is determined once.
    running: Mutex<Result<Weak<Container>, String>>,
}

impl SharedContainer {
    /// A container of `image`, unless the tests configure another.
    pub(crate) const fn new(
        image: &'static str,
        port: u16,
        ready: &'static str,
        variable: Option<(&'static str, &'static str)>,
        command: &'static [&'static str],
    ) -> Self {
        Self {
            image,
            port,
            ready,
            variable,
            command,
            running: Mutex::const_new(Ok(Weak::new())),
        }
    }

    /// The server that the variable `url` names, or this container with the image that the variable `image` names.
    ///
    /// # Errors
    /// Why there is neither.
    pub(crate) async fn find_server(
        &self,
        url: &str,
        image: &str,
        url_of_address: impl FnOnce(&str) -> String,
    ) -> Result<TestServer, String> {
        if let Some(url) = environment(url) {
            return Ok(TestServer::at(url));
        }
        let image = environment(image);
        let container = self.get(image.as_deref().unwrap_or(self.image)).await;
        let container = container.map_err(|why| format!("{url} names no server, and {why}"))?;
        Ok(TestServer {
            url: url_of_address(&container.address),
            container: Some(container),
        })
    }

    /// The container, started if it does not run.
    ///
    /// # Errors
    /// Why it cannot be started.
    async fn get(&self, image: &str) -> Result<Arc<Container>, String> {
        let mut running = self.running.lock().await;
        if let Some(container) = running.clone()?.upgrade() {
            return Ok(container);
        }
        let started = self.start(image).await;
        let started = started.map(Arc::new).map_err(|error| error.to_string());
        *running = started.as_ref().map(Arc::downgrade).map_err(String::clone);
        started
    }

    async fn start(&self, image: &str) -> Result<Container, TestcontainersError> {
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let image = GenericImage::new(name, tag)
            .with_exposed_port(self.port.tcp())
            .with_wait_for(WaitFor::message_on_stdout(self.ready));
        let mut request = ContainerRequest::from(image);
        if !self.command.is_empty() {
            request = request.with_cmd(self.command.iter().copied());
        }
        if let Some((name, value)) = self.variable {
            request = request.with_env_var(name, value);
        }
        let container = request.start().await?;
        let port = container.get_host_port_ipv4(self.port.tcp()).await?;
        // Not by the host's name: published ports listen on this address.
        Ok(Container {
            address: format!("127.0.0.1:{port}"),
            _container: container,
        })
    }
}

/// An empty store on a server.
#[derive(Debug)]
pub(crate) struct ServerFixture<S> {
    pub(crate) store: S,
    pub(crate) server: TestServer,
    /// What the store alone uses: the name of a database of MongoDB, or the URL of a schema of PostgreSQL.
    pub(crate) database: String,
}

/// A store on a server, which another process may open too.
#[async_trait]
pub(crate) trait SharedStore: PurchaseStore + PurchaseQuery + Clone {
    /// Opens the store of `fixture` once more, with connections and a memory of its own.
    async fn open_again(fixture: &ServerFixture<Self>) -> Self;

    /// See [`StoreFixture::hold_back_writes`].
    async fn hold_back_writes(_fixture: &ServerFixture<Self>) -> bool {
        false
    }

    /// See [`StoreFixture::fail_over`].
    async fn fail_over(_fixture: &ServerFixture<Self>) {}
}

#[async_trait]
impl<S> EraseFixture for ServerFixture<S>
where
    S: SharedStore + PurchaseErase + CurrencyStore,
{
    async fn erase(&self) -> Arc<dyn PurchaseErase> {
        Arc::new(self.store.clone())
    }

    async fn currency(&self) -> Arc<dyn CurrencyStore> {
        Arc::new(self.store.clone())
    }
}

#[async_trait]
impl<S: SharedStore> StoreFixture for ServerFixture<S> {
    async fn store(&self) -> Arc<dyn PurchaseStore> {
        Arc::new(self.store.clone())
    }

    async fn query(&self) -> Arc<dyn PurchaseQuery> {
        Arc::new(self.store.clone())
    }

    async fn reopen(&self) -> Option<Box<dyn StoreFixture>> {
        Some(Box::new(S::open_again(self).await))
    }

    async fn hold_back_writes(&self) -> bool {
        S::hold_back_writes(self).await
    }

    async fn fail_over(&self) {
        S::fail_over(self).await;
    }
}
