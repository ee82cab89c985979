//! Servers in containers, for tests on a machine without a configured server.

use std::sync::{Arc, OnceLock, Weak};

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::sync::Mutex;

/// A variable of the test environment.
#[expect(clippy::disallowed_methods, reason = "the addresses of servers")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A container that runs as long as some test holds it.
#[derive(Debug)]
pub(crate) struct Container {
    /// Host and port.
    pub(crate) address: String,
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
    variables: &'static [(&'static str, &'static str)],
    running: Mutex<Weak<Container>>,
    /// The reason if it cannot be started, determined once.
    absent: OnceLock<String>,
}

impl SharedContainer {
    /// A container of `image`, unless the tests configure another.
    pub(crate) const fn new(
        image: &'static str,
        port: u16,
        ready: &'static str,
        variables: &'static [(&'static str, &'static str)],
    ) -> Self {
        let running = Mutex::const_new(Weak::new());
        Self {
            image,
            port,
            ready,
            variables,
            running,
            absent: OnceLock::new(),
        }
    }

    /// The URL of the server that the variable `url` names, or of this container with the image that the variable
    /// `image` names. The container runs as long as the second value lives.
    ///
    /// # Errors
    /// Why there is neither.
    pub(crate) async fn find_server(
        &self,
        url: &str,
        image: &str,
        url_of_address: impl FnOnce(&str) -> String,
    ) -> Result<(String, Option<Arc<Container>>), String> {
        if let Some(url) = environment(url) {
            return Ok((url, None));
        }
        match self.get(environment(image).as_deref()).await {
            Ok(container) => Ok((url_of_address(&container.address), Some(container))),
            Err(why) => Err(format!("{url} names no server, and {why}")),
        }
    }

    /// The container, started if it does not run.
    ///
    /// # Errors
    /// Why it cannot be started.
    async fn get(&self, image: Option<&str>) -> Result<Arc<Container>, &str> {
        let mut shared = self.running.lock().await;
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        if let Some(why) = self.absent.get() {
            return Err(why);
        }
        match self.start(image.unwrap_or(self.image)).await {
            Ok(container) => {
                let container = Arc::new(container);
                *shared = Arc::downgrade(&container);
                Ok(container)
            }
            Err(error) => Err(self.absent.get_or_init(|| error.to_string())),
        }
    }

    async fn start(&self, image: &str) -> Result<Container, testcontainers::TestcontainersError> {
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let image = GenericImage::new(name, tag)
            .with_exposed_port(self.port.tcp())
            .with_wait_for(WaitFor::message_on_stdout(self.ready));
        let with =
            |request: testcontainers::ContainerRequest<GenericImage>,
             (name, value): &(&str, &str)| { request.with_env_var(*name, *value) };
        let container = self
            .variables
            .iter()
            .fold(image.into(), with)
            .start()
            .await?;
        let port = container.get_host_port_ipv4(self.port.tcp()).await?;
        // Not by the host's name: published ports listen on this address.
        Ok(Container {
            address: format!("127.0.0.1:{port}"),
            _container: container,
        })
    }
}
