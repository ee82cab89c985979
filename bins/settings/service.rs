//! The two services.

use std::fs;

pub use shop_http::ServiceKind;

/// The service of process 1, in a container of the image: its health check is the same for both services. `None`
/// elsewhere.
pub(super) fn from_container() -> Option<ServiceKind> {
    from_command_line(&fs::read("/proc/1/cmdline").ok()?)
}

/// The service in a command line with NUL after each word: the program itself, or the argument of an init program.
fn from_command_line(command_line: &[u8]) -> Option<ServiceKind> {
    command_line.split(|byte| *byte == 0).find_map(|word| {
        let name = word.rsplit(|byte| *byte == b'/').next();
        [ServiceKind::Facing, ServiceKind::Management]
            .into_iter()
            .find(|service| name == Some(service.name().as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_command_line_finds_the_service_of_process_1() {
        for (line, expected) in [
            ("facing\0", Some(ServiceKind::Facing)),
            ("management\0", Some(ServiceKind::Management)),
            (
                "/usr/local/bin/management\0--purchases-topic\0facing\0",
                Some(ServiceKind::Management),
            ),
            (
                "/sbin/docker-init\0--\0management\0",
                Some(ServiceKind::Management),
            ),
            ("/lib/systemd/systemd\0--system\0", None),
            ("/sbin/init\0", None),
            ("", None),
        ] {
            assert_eq!(from_command_line(line.as_bytes()), expected, "{line:?}");
        }
    }
}
