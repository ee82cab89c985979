//! The scenarios of who operates the services, and of who embeds their routes, on the paths of the replaced systems.

use crate::scenario::scenarios;
use crate::service_scene::Services;

scenarios! {
    Services, in "services":
    authenticate_layer authorize forms_of_errors health_of_stopped_ingest metrics misbehaving_ports
    mounted page rates writing_routes
}
