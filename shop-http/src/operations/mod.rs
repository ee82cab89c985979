//! The answers of a service to probes, operators and their tools: whether it works, and its
//! metrics.
//!
//! - `probes`: short responses for probes and load balancers, and `/v1` for clients
//! - `health`: `/health`, the whole state for people and dashboards, in a form of `health_form`
//! - `metrics`: `/metrics` for Prometheus
//!
//! All three use [`Checks`], which calls the ports of a service concurrently. A port that does not
//! respond within two seconds counts as unavailable. The results, and the states of the ingests of
//! this process, determine whether the service is ready and which of its [parts](Checks::parts)
//! work.

pub(crate) mod health;
pub(crate) mod health_form;
pub(crate) mod metrics;
pub(crate) mod probes;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use shop_core::ingest::{Component, IngestMonitor, IngestStatus, Phase};
use shop_core::ports::CurrencyState;
use shop_core::{ErrorKind, Result};

use crate::part_reports::{CurrentReports, PartReport, describe_error};
use crate::role::RoleState;
use crate::service::{Service, ServiceKind, check_with_timeout};

/// The name of the report about a failed check.
const CHECK_REPORT: &str = "check";
/// The time for which the inserts of an ingest may fail before its store no longer counts as ready.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// The ports that a check calls.
struct CheckedPorts {
    /// Whether the sink of purchases is checked.
    sink: bool,
    /// Whether the store from which purchases are listed is checked.
    listings: bool,
    /// Returns whether the store of a role beside purchases is checked.
    role: fn(&RoleState<'_>) -> bool,
}

impl CheckedPorts {
    /// All ports.
    const ALL: Self = Self {
        sink: true,
        listings: true,
        role: |_role| true,
    };
}

/// The results of the checks of the ports of a service. Ports that the service lacks, and ports that
/// were not checked, count as responding.
struct Checks<'a> {
    service: &'a Service,
    /// Whether the sink of purchases responds.
    sink: bool,
    /// Whether the store from which purchases are listed responds.
    listings: bool,
    /// Whether the store of each checked role responds, in the order of [`Service::role_states`].
    roles: Vec<bool>,
    /// The reports of the process about its parts, and the errors of the checks.
    reports: CurrentReports,
}

impl<'a> Checks<'a> {
    /// Checks all ports concurrently.
    async fn run_all(service: &'a Service) -> Self {
        Self::run(service, CheckedPorts::ALL).await
    }

    /// Checks the ports on which readiness depends. On facing, this is only the sink, because facing
    /// accepts purchases while listings are unavailable.
    async fn run_for_readiness(service: &'a Service) -> Self {
        let ports = match service.kind {
            ServiceKind::Facing => CheckedPorts {
                sink: true,
                listings: false,
                role: |_role| false,
            },
            ServiceKind::Management => CheckedPorts::ALL,
        };
        Self::run(service, ports).await
    }

    /// Checks `ports` concurrently.
    async fn run(service: &'a Service, ports: CheckedPorts) -> Self {
        let check_sink = async {
            match &service.purchases {
                Some(purchases) if ports.sink => {
                    check_with_timeout(purchases.shop.check_writes()).await
                }
                _ => Ok(()),
            }
        };
        let check_listings = async {
            match &service.purchases {
                Some(purchases) if ports.listings => {
                    check_with_timeout(purchases.shop.check_reads()).await
                }
                _ => Ok(()),
            }
        };
        let checked_roles = service.role_states().into_iter().filter(ports.role);
        let check_roles = join_all(checked_roles.map(async |role| {
            let result = check_with_timeout(role.check).await;
            (role.name, result)
        }));

        let (sink_result, listings_result, role_results) =
            tokio::join!(check_sink, check_listings, check_roles);
        let mut reports = service.reports.current_reports();
        report_failure(&mut reports, service.kind.sink_part(), &sink_result);
        report_failure(&mut reports, "listings", &listings_result);
        for (role, result) in &role_results {
            report_failure(&mut reports, role, result);
        }
        Self {
            service,
            sink: sink_result.is_ok(),
            listings: listings_result.is_ok(),
            roles: role_results
                .iter()
                .map(|(_name, result)| result.is_ok())
                .collect(),
            reports,
        }
    }

    /// Returns whether all checked ports respond.
    fn all_respond(&self) -> bool {
        self.sink && self.listings && !self.roles.contains(&false)
    }

    /// Returns whether the sink of purchases responds, and accepts purchases.
    ///
    /// The check of a log or store may succeed while every write fails, such as without enough
    /// replicas. So the last writes count as well.
    fn accepts_purchases(&self) -> bool {
        let purchases = self.service.purchases.as_ref();
        self.sink && !purchases.is_some_and(|purchases| purchases.outcomes.is_failing())
    }

    /// Returns whether the currency of the shop lets the service accept purchases.
    fn accepts_currency(&self) -> bool {
        let purchases = self.service.purchases.as_ref();
        purchases.is_none_or(|purchases| purchases.shop.shop_currency().accepts_purchases())
    }

    /// Returns whether the currency of the store differs from the currency in the settings.
    fn has_other_currency(&self) -> bool {
        matches!(self.service.currency(), Some(CurrencyState::Other { .. }))
    }

    /// Returns whether the status of any ingest of this process has the property `has_property`.
    fn any_ingest(&self, has_property: fn(&IngestStatus) -> bool) -> bool {
        let mut statuses = self.service.ingest_statuses();
        statuses.any(|status| has_property(&status))
    }

    /// Returns whether the log is ready. On facing, the log must accept purchases. On management, the
    /// ingests that read the log must run, and the log must not refuse them.
    ///
    /// An ingest also counts as running while it waits to become the active consumer, or for the end
    /// of an outage.
    fn is_log_ready(&self) -> bool {
        match self.service.kind {
            ServiceKind::Facing => self.accepts_purchases(),
            ServiceKind::Management => {
                !self.any_ingest(|status| status.phase != Phase::Running || is_refused(status))
            }
        }
    }

    /// Returns whether the stores of management respond, and accept what callers and ingests write.
    /// On facing, stores always count as ready.
    fn is_store_ready(&self) -> bool {
        if self.service.kind == ServiceKind::Facing {
            return true;
        }
        self.all_respond() && self.accepts_purchases() && !self.any_ingest(has_failing_store)
    }

    /// Returns whether the store of purchases is ready. Returns `None` on facing, and on management
    /// without purchases: users and orders use another store.
    fn is_purchase_store_ready(&self) -> Option<bool> {
        let is_management = self.service.kind == ServiceKind::Management;
        let stores_purchases = is_management && self.service.purchases.is_some();
        stores_purchases.then(|| self.is_store_ready())
    }

    /// Returns whether the service is ready: its log and its stores are ready, the currency of the
    /// shop lets it accept purchases, and no ingest of this process needs an operator.
    fn is_service_ready(&self) -> bool {
        self.is_log_ready()
            && self.is_store_ready()
            && self.accepts_currency()
            && !self.any_ingest(needs_operator)
    }

    /// Returns the parts that requests need, and whether each part works.
    ///
    /// The parts are members of `/health` and `/v1`, and labels of `shop_dependency_up`. A service
    /// is degraded while a part does not work: its check fails, or a [report](crate::PartReports)
    /// says so. All ports must have been checked: see [`run_all`](Self::run_all).
    fn parts(&self) -> BTreeMap<&'static str, bool> {
        let service = self.service;
        let mut checked_parts = Vec::new();

        if service.purchases.is_some() {
            let sink = service.kind.sink_part();
            checked_parts.extend([
                (sink, self.accepts_purchases()),
                ("listings", self.listings),
            ]);
        }
        // A shop without a currency does not have this part.
        if let Some(state) = service.currency()
            && state != CurrencyState::Known(None)
        {
            checked_parts.push(("currency", state.problem().is_none()));
        }

        if let Some(status) = service.ingest().map(IngestMonitor::status) {
            let errors = &status.errors;
            let is_log_failing = errors.keys().any(|part| *part != Component::Store);
            let is_ingesting = status.phase == Phase::Running && status.stuck.is_none();
            checked_parts.extend([
                ("log", !is_log_failing),
                ("store", !errors.contains_key(&Component::Store)),
                ("ingest", is_ingesting),
            ]);
        }

        // `Checks::run` checked the stores of all roles, in the same order.
        for (role, is_store_healthy) in service.role_states().iter().zip(&self.roles) {
            let is_consuming = role
                .ingest
                .map(IngestMonitor::status)
                .is_none_or(|status| status.phase == Phase::Running && status.errors.is_empty());
            let outbox_error = role.outbox.as_ref().and_then(|outbox| outbox.waits_for);
            let works = *is_store_healthy && is_consuming && outbox_error.is_none();
            checked_parts.push((role.name, works));
        }

        for (part, reports) in &self.reports {
            let is_failing = |report| matches!(report, &PartReport::Fails(_));
            if reports.values().any(is_failing) {
                checked_parts.push((*part, false));
            }
        }

        let mut parts = BTreeMap::new();
        for (part, works) in checked_parts {
            // A part that was checked twice, such as the store of management with an ingest, works
            // only if both checks say so.
            *parts.entry(part).or_insert(true) &= works;
        }
        parts
    }
}

/// Adds the error in the `result` of a check of `part` to `reports`, so that `/health` says why the
/// part does not work.
fn report_failure(reports: &mut CurrentReports, part: &'static str, result: &Result<()>) {
    if let Err(error) = result {
        let text = describe_error(error);
        let part_reports = reports.entry(part).or_default();
        part_reports.insert(CHECK_REPORT, PartReport::Fails(text));
    }
}

/// Returns whether the inserts of an ingest have been failing for [`STORE_PATIENCE`].
fn has_failing_store(status: &IngestStatus) -> bool {
    let failing_since = status.failing_since.get(&Component::Store);
    // A store that fails over one record accepts the other records.
    status.stuck.is_none() && failing_since.is_some_and(|since| since.elapsed() >= STORE_PATIENCE)
}

/// Returns whether an ingest does not recover by itself: it stopped, or its log refuses it.
fn needs_operator(status: &IngestStatus) -> bool {
    status.phase == Phase::Stopped || is_refused(status)
}

/// Returns whether the log refuses an ingest, until an operator changes its settings or grants a
/// right.
fn is_refused(status: &IngestStatus) -> bool {
    let error = status.errors.get(&Component::Source);
    error.is_some_and(|error| error.kind() == ErrorKind::Denied)
}
