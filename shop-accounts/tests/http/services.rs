//! Fixture: facing and management with users and orders, for scenarios.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::outbox::Outbox as _;
use shop_core::Timestamp;
use shop_core::conformance::fault::{Call, Fault};
use shop_core::log::LogRecord;
use shop_core::memory::InMemoryStore;
use shop_http::{HttpOptions, router};

use crate::entities::Entities;
use crate::misbehaving::Misbehaving;
use crate::roles_of;
use crate::rows::management;
use crate::scenario::Scene;
use crate::shop::{facing_parts_of, get};

/// Both services, on the same users and orders in memory.
pub(crate) struct Services {
    entities: Arc<Entities>,
    options: HttpOptions,
    unknown_user_wait: Duration,
    /// The failure of every call to the store, instead of the users and orders.
    failure: Option<Misbehaving>,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            entities: Arc::new(Entities::new()),
            options: HttpOptions::default(),
            unknown_user_wait: Accounts::default().unknown_user_wait,
            failure: None,
        }
    }
}

impl Services {
    /// The roles; those of facing have no relay and no ingest.
    fn accounts(&self, is_facing: bool) -> Accounts {
        let mut accounts = match self.failure {
            Some(failure) => failure.accounts(),
            None => self.entities.accounts(),
        };
        accounts.unknown_user_wait = self.unknown_user_wait;
        if is_facing {
            accounts.users = Some(UsersRole::new(accounts.users.unwrap().store));
            accounts.orders = Some(OrdersRole::new(accounts.orders.unwrap().store));
        }
        accounts
    }

    /// Returns the metrics of management that begin with one of these words.
    async fn metrics(&mut self, beginnings: &str) -> String {
        let management = self.service("management").await;
        let text = get(&management, "/metrics").await.text;
        let is_shown = |line: &&str| beginnings.split(' ').any(|word| line.starts_with(word));
        let mut shown: Vec<_> = text.lines().filter(is_shown).collect();
        shown.sort_unstable();
        format!("\n{}", shown.join("\n"))
    }
}

impl Scene for Services {
    /// `facing` and `management`, and a management that has only `users`, only `orders`, or `nothing`.
    async fn service(&mut self, host: &str) -> Router {
        let mut accounts = self.accounts(host == "facing");
        match host {
            "facing" => {
                let mut parts = facing_parts_of(InMemoryStore::new());
                parts.roles.extend(roles_of(accounts));
                return router(parts, self.options.clone());
            }
            "management" => {}
            "users" => accounts.orders = None,
            "orders" => accounts.users = None,
            "nothing" => accounts = Accounts::default(),
            _ => panic!("there is no service {host}"),
        }
        management(accounts, self.options.clone())
    }

    /// - `user-1 MILLISECONDS` tells the orders of user 1 after this time, as its event does
    /// - `events` starts relays and ingest, and waits until they run
    /// - `poison` appends a record that is no event to the log of users
    /// - `log unavailable` refuses the events of the relays until `log available`
    /// - `headers-of-pending` shows those of the pending event of a user, `age` waits until it has an age
    /// - `metrics PREFIX ...` shows the metrics with these beginnings
    /// - `pass MILLISECONDS` lets the time pass
    /// - `store FAILURE` fails every call from there on
    /// - `unknown_user_wait MILLISECONDS`, `publish_timeout MILLISECONDS` are options
    async fn direct(&mut self, name: &str, argument: &str) -> Option<String> {
        let time = Duration::from_millis(argument.parse().unwrap_or_default());
        match name {
            "user-1" => {
                let entities = Arc::clone(&self.entities);
                let consuming = tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    entities.introduce_ada().await;
                });
                if time.is_zero() {
                    consuming.await.unwrap();
                }
            }
            "events" => {
                Arc::get_mut(&mut self.entities).unwrap().start();
                let management = self.service("management").await;
                while get(&management, "/-/ready").await.status != 200 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            "poison" => {
                let poison = LogRecord::new(0, Timestamp::MIN, Some("poison".into()));
                let _position = self.entities.users_log.append(poison);
            }
            "log" => match argument {
                "unavailable" => {
                    let faults = &self.entities.faults;
                    faults.always(Call::Append, Fault::unavailable());
                }
                _ => self.entities.faults.clear(Call::Append),
            },
            "headers-of-pending" => {
                let pending = self.entities.users.pending(2).await.unwrap();
                return Some(format!("{:?}", pending[0].record.headers));
            }
            "age" => {
                // The age is measured by the system clock.
                let series = "shop_outbox_oldest_seconds{role=\"users\"}";
                while self.metrics(series).await.ends_with(" 0") {
                    tokio::task::yield_now().await;
                }
            }
            "metrics" => return Some(self.metrics(argument).await),
            "pass" => tokio::time::sleep(time).await,
            "store" => self.failure = Some(Misbehaving::from_name(argument)),
            "unknown_user_wait" => self.unknown_user_wait = time,
            "publish_timeout" => self.options.publish_timeout = time,
            _ => panic!("there is no directive {name}"),
        }
        None
    }
}
