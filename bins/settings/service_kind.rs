//! The kinds of services, and the kind of the service in a container.
//!
//! The image uses one health check for both services, which must find out which service runs in its
//! container.

use std::fs;

pub use shop_http::ServiceKind;

/// Returns the service that is process 1, or that process 1 started, in a container of the image.
/// Returns `None` if neither process 1 nor one of its arguments is a service.
pub(super) fn from_container() -> Option<ServiceKind> {
    from_command_line(&fs::read("/proc/1/cmdline").ok()?)
}

/// Returns the service in a command line, in which a NUL follows each word.
///
/// The service is the program itself, or an argument of an init program. The first word whose file
/// name is the name of a service decides.
fn from_command_line(command_line: &[u8]) -> Option<ServiceKind> {
    for word in command_line.split(|byte| *byte == 0) {
        let file_name = word.rsplit(|byte| *byte == b'/').next();
        for service in [ServiceKind::Facing, ServiceKind::Management] {
            if file_name == Some(service.name().as_bytes()) {
                return Some(service);
            }
        }
    }
    None
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
