//! A MongoDB in a container, for tests on a machine where nobody names a server.

use std::sync::{Arc, OnceLock, Weak};

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage};
use tokio::sync::Mutex;

/// A container that runs as long as some test holds it.
#[derive(Debug)]
pub(crate) struct MongoContainer {
    pub(crate) uri: String,
    _container: ContainerAsync<GenericImage>,
}

/// What tests run on unless they name another.
const IMAGE: &str = "mongo:7";

/// The container that tests of this process share. A static owner would leave it running at the end, so the last
/// test that holds it ends it.
static SHARED: Mutex<Weak<MongoContainer>> = Mutex::const_new(Weak::new());
/// Why there is none; found out once.
static ABSENT: OnceLock<String> = OnceLock::new();

impl MongoContainer {
    /// The shared container, started if it does not run.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub(crate) async fn shared(image: Option<&str>) -> Result<Arc<Self>, &'static str> {
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        if let Some(why) = ABSENT.get() {
            return Err(why);
        }
        match Self::start(image.unwrap_or(IMAGE)).await {
            Ok(container) => {
                let container = Arc::new(container);
                *shared = Arc::downgrade(&container);
                Ok(container)
            }
            Err(error) => Err(ABSENT.get_or_init(|| error.to_string())),
        }
    }

    async fn start(image: &str) -> Result<Self, testcontainers::TestcontainersError> {
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let image = GenericImage::new(name, tag)
            .with_exposed_port(27017.tcp())
            .with_wait_for(WaitFor::message_on_stdout("Waiting for connections"));
        let container = image.start().await?;
        let port = container.get_host_port_ipv4(27017.tcp()).await?;
        // Not by the host's name: published ports listen on this address.
        Ok(Self { uri: format!("mongodb://127.0.0.1:{port}/"), _container: container })
    }
}
