//! The scenarios of who operates the services, and of who embeds their routes: probes, metrics, logs, who may do what.

use crate::scenario::scenarios;
use crate::service_scene::Services;

scenarios! {
    Services, in "services":
    access_log access_log_mounted access_log_sampled audit_log audit_of_dead_letters
    authenticate_layer authorize browsers disconnected failures
    health health_history health_of_ingest health_of_stopped_ingest health_of_stuck_record
    hosts metrics metrics_of_ingest misbehaving_ports mounted page rates request_ids
    wait_of_ingest waits whoami writing_routes
}
