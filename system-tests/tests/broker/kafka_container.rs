//! A Kafka in a container, for tests on a machine without a configured broker.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, OnceLock, Weak};

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt, TestcontainersError};
use tokio::sync::Mutex;

/// A broker in a container that runs as long as some test holds it.
#[derive(Debug)]
pub(crate) struct KafkaContainer {
    /// The address without authentication.
    pub(crate) address: String,
    /// The address that requires a login with `PLAIN`: [`USER`](Self::USER) has all rights, [`GUEST`](Self::GUEST) none.
    pub(crate) login_address: String,
    _container: ContainerAsync<GenericImage>,
}

/// The default image: that of the modules of testcontainers, which is
/// likely cached, and a broker before version 4, since a configured one is likely newer.
const IMAGE: &str = "apache/kafka:3.8.0";
/// Ports within the container.
const ANYBODY: u16 = 9092;
const LOGINS: u16 = 9094;

/// The container that tests of this process share. A static owner would leave it running at the end, so the last
/// test that holds it ends it.
static SHARED: Mutex<Weak<KafkaContainer>> = Mutex::const_new(Weak::new());
/// The reason if it cannot be started, determined once.
static ABSENT: OnceLock<String> = OnceLock::new();

impl KafkaContainer {
    /// The name and the password of a user with all rights.
    pub(crate) const USER: (&str, &str) = ("shop", "shop-password");
    /// The name and the password of a user without any right.
    pub(crate) const GUEST: (&str, &str) = ("guest", "guest-password");

    /// The container that is shared, started from `image` if it does not run.
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

    async fn start(image: &str) -> Result<Self, TestcontainersError> {
        // A broker advertises its addresses to clients, so that its ports are chosen before it starts, and not by Docker.
        // They are held together, so that they differ. Not by the host's name: published ports listen on this address.
        let listeners = [
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        ];
        let [anybody, logins] = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        drop(listeners);
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let mut image = GenericImage::new(name, tag)
            .with_wait_for(WaitFor::message_on_stdout("Kafka Server started"))
            .with_entrypoint("/etc/kafka/docker/run")
            .with_mapped_port(anybody.port(), ANYBODY.tcp())
            .with_mapped_port(logins.port(), LOGINS.tcp());
        let settings = include_str!("kafka_container.env")
            .replace("ADDRESS", &anybody.to_string())
            .replace("LOGINS", &logins.to_string());
        // Comments have no `=`.
        for (name, value) in settings.lines().filter_map(|line| line.split_once('=')) {
            image = image.with_env_var(name, value);
        }
        Ok(Self {
            address: anybody.to_string(),
            login_address: logins.to_string(),
            _container: image.start().await?,
        })
    }
}
