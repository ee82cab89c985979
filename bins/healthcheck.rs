//! `--healthcheck`: whether the service that these settings started is ready, for images that hold no other program
//! that could ask it.

use std::fs;

use shop_client::ShopClient;

use crate::settings::{Service, Settings};
use crate::{Failure, Result};

/// Asks the service that listens where the settings say.
///
/// # Errors
/// When it does not answer, or says that it is not ready.
pub async fn run(settings: &Settings) -> Result<()> {
    let url = settings.url_from_here();
    let asked = match ShopClient::builder(&url).build() {
        Ok(client) => client.check_process().await,
        Err(error) => Err(error),
    };
    asked.map_err(|error| Failure::new(format!("{url} is not ready: {error}")))
}

/// The service that process 1 runs, as in a container of the image, where the health check does not know which one was
/// started. `None` elsewhere.
pub(crate) fn service_here() -> Option<Service> {
    service_of(&fs::read("/proc/1/cmdline").ok()?)
}

/// The service in a command line whose words end with a NUL: the program itself, or the one that an init program starts.
fn service_of(command_line: &[u8]) -> Option<Service> {
    command_line.split(|byte| *byte == 0).find_map(|word| {
        let name = word.rsplit(|byte| *byte == b'/').next();
        [Service::Facing, Service::Management]
            .into_iter()
            .find(|service| name == Some(service.name().as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_of_a_container_is_its_process_1() {
        for (line, expected) in [
            ("facing\0", Some(Service::Facing)),
            ("management\0", Some(Service::Management)),
            ("/usr/local/bin/management\0--kafka-topic\0facing\0", Some(Service::Management)),
            ("/sbin/docker-init\0--\0management\0", Some(Service::Management)),
            ("/lib/systemd/systemd\0--system\0", None),
            ("/sbin/init\0", None),
            ("", None),
        ] {
            assert_eq!(service_of(line.as_bytes()), expected, "{line:?}");
        }
    }
}
