//! The ports with failpoints around them, for tests.

use std::sync::Arc;

use shop_core::fault::{Failpoints, set_up_failpoints};

use super::Ports;

pub(super) fn wrap(ports: Ports) -> Ports {
    set_up_failpoints();
    let open_source = ports.open_source;
    Ports {
        sink: Arc::new(Failpoints(ports.sink)),
        store: ports.store.map(|(store, durability)| (Arc::new(Failpoints(store)) as _, durability)),
        dead_letters: Arc::new(Failpoints(ports.dead_letters)),
        open_source: Box::new(move || Ok(Arc::new(Failpoints(open_source()?)))),
        ..ports
    }
}
