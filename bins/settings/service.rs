//! Which of the two services a binary is.

use std::fs;

/// Which of the two services a binary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// Takes purchases, answers listings.
    Facing,
    /// Consumes purchases, stores them, answers listings.
    Management,
}

impl ServiceKind {
    /// Its name, which is the binary's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Facing => "facing",
            Self::Management => "management",
        }
    }

    /// The port that it listens on by default.
    pub(super) const fn usual_port(self) -> u16 {
        match self {
            Self::Facing => 3000,
            Self::Management => 3001,
        }
    }

    /// The service that process 1 runs, as in a container of the image, whose one health check does not know which of
    /// the two was started. `None` elsewhere.
    pub(super) fn from_container() -> Option<Self> {
        Self::from_command_line(&fs::read("/proc/1/cmdline").ok()?)
    }

    /// The service in a command line whose words end with a NUL: the program itself, or the one that an init program
    /// starts.
    fn from_command_line(command_line: &[u8]) -> Option<Self> {
        command_line.split(|byte| *byte == 0).find_map(|word| {
            let name = word.rsplit(|byte| *byte == b'/').next();
            [Self::Facing, Self::Management]
                .into_iter()
                .find(|service| name == Some(service.name().as_bytes()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_of_a_container_is_its_process_1() {
        for (line, expected) in [
            ("facing\0", Some(ServiceKind::Facing)),
            ("management\0", Some(ServiceKind::Management)),
            ("/usr/local/bin/management\0--kafka-topic\0facing\0", Some(ServiceKind::Management)),
            ("/sbin/docker-init\0--\0management\0", Some(ServiceKind::Management)),
            ("/lib/systemd/systemd\0--system\0", None),
            ("/sbin/init\0", None),
            ("", None),
        ] {
            assert_eq!(ServiceKind::from_command_line(line.as_bytes()), expected, "{line:?}");
        }
    }
}
