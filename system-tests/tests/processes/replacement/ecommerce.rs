//! System 002: a service is replaced and returns, while its clients insert rows and the other service has events.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use shop_store::postgres::tokio_postgres::Client;
use tokio::sync::Mutex;

use super::programs::{OldConsumer, OldFacing};
use super::systems::Commits;
use super::{replace, until_ready};
use crate::entities::backends::session;
use crate::entities::ledger::outbox;
use crate::prelude::*;

/// A service of the system.
#[derive(Clone, Copy)]
struct Service {
    role: &'static str,
    /// The topic of the other service, and its group there.
    consumed: [&'static str; 2],
    /// Creates its tables, with a row that ours cannot show.
    tables: &'static str,
    /// Inserts the row of a request.
    insert: &'static str,
    /// Inserts what it needs of an event.
    apply: &'static str,
    /// Whether there are $1 of both, beside those of the beginning.
    are_all: &'static str,
}

const USERS: Service = Service {
    role: "users",
    consumed: ["order_created", "user_service_group"],
    tables:
        "create table users (id serial primary key, email varchar unique not null, name varchar not null);
        create table cached_orders (id serial primary key, user_id integer not null);
        insert into users (email, name) values ('long@example.com', repeat('x', 300))",
    insert: "insert into users (email, name) values ($1::text::jsonb ->> 'email', 'Ada')",
    apply: "insert into cached_orders values (($1::text::jsonb ->> 'id')::int, 7000000) on conflict do nothing",
    are_all: "select (select count(*) from users) = $1::bigint + 1 and (select count(*) from cached_orders) = $1::bigint + 1",
};
const ORDERS: Service = Service {
    role: "orders",
    consumed: ["user_created", "order_service_group"],
    tables: "create table orders (id serial primary key, user_id integer not null, product varchar not null,
            quantity integer not null, total_price numeric(10, 2) not null);
        create table cached_users (id serial primary key);
        insert into cached_users values (7000000);
        insert into orders values (default, 7000000, repeat('x', 300), 1, 1)",
    insert: "insert into orders (user_id, product, quantity, total_price) values (7000000, left($1::text, 9), 1, 1.5)",
    apply: "insert into cached_users values (($1::text::jsonb ->> 'id')::int) on conflict do nothing",
    are_all: "select (select count(*) from orders) = $1::bigint + 1 and (select count(*) from cached_users) = $1::bigint + 2",
};

/// The rest of a request and of an event, of both services.
const REST: &str =
    r#""name":"Ada","user_id":7000000,"product":"Pen","quantity":1,"total_price":1.5"#;

/// The program behind the proxy of a service.
enum Program {
    Old(OldConsumer),
    Ours(Box<Process>),
}

/// A service, with its database and its proxy. Without a program, requests wait.
struct Site<'a> {
    servers: &'a Servers,
    cluster: &'a Cluster,
    service: Service,
    database: Arc<Client>,
    proxy: Mutex<Option<Program>>,
}

impl Site<'_> {
    async fn start_old(&self) {
        let names = self.service.consumed.map(|name| self.servers.name(name));
        let servers = self.servers.address("SHOP_TEST_KAFKA");
        let apply = self.service.apply;
        let database = Arc::clone(&self.database);
        let insert = move |event: Vec<u8>| -> BoxFuture<'static, ()> {
            let database = Arc::clone(&database);
            Box::pin(async move {
                let event = text(&event);
                database.execute(apply, &[&event]).await.unwrap();
            })
        };
        let names = [names[0].as_str(), names[1].as_str()];
        let old = OldConsumer::start(Commits::AfterInsert, servers, names, insert);
        self.turn_to(Some(Program::Old(old))).await;
    }

    /// Turns the proxy when no request is in flight, and stops the old program that was behind it.
    async fn turn_to(&self, program: Option<Program>) {
        let before = std::mem::replace(&mut *self.proxy.lock().await, program);
        if let Some(Program::Old(consumer)) = before {
            drop(consumer.stop().await);
        }
    }

    /// Runs `management replace`, and does what it says. Returns its reports.
    async fn replace(&self, more: &[&str]) -> Vec<Value> {
        let role = self.service.role;
        let url = self.cluster.url();
        let names = [self.servers.settings(), self.servers.settings_of_events()].concat();
        let mut settings = borrow_settings(&names);
        settings.extend([
            ("SHOP_ROLES", role),
            ("DATABASE_URL", url.as_str()),
            ("SHOP_ADOPT_TABLES", "on"),
        ]);
        let follow = async |step: &str| {
            if step.starts_with("start our") {
                let nowhere = Path::new("/nonexistent/shop-data");
                let ours = Process::start(Binary::Management, nowhere, &settings).await;
                until_ready(&ours).await;
                self.turn_to(Some(Program::Ours(Box::new(ours)))).await;
            } else if step.starts_with("let the clients") {
                let program = self.proxy.lock().await.take();
                let Some(Program::Ours(ours)) = program else {
                    panic!("{step}")
                };
                until("publish", async || outbox(&ours, role).await == Some(0)).await;
                ours.stop().await;
            } else if step.starts_with("start the old") {
                self.start_old().await;
            }
        };
        let arguments = [&["--system", "002"][..], more].concat();
        let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
        replace(&settings, &arguments, None, follow).await
    }

    /// Inserts rows, each followed by an event of the other service, until `stop`. Returns their number.
    async fn load(&self, other: &OldFacing, stop: &AtomicBool) -> i64 {
        let Service { role, insert, .. } = self.service;
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            let body = format!(
                r#"{{"id":{},"email":"a{count}@example.com",{REST}}}"#,
                count + 1
            );
            let inserted = match &*self.proxy.lock().await {
                None => None,
                Some(Program::Old(_)) => {
                    Some(self.database.execute(insert, &[&body]).await.unwrap() == 1)
                }
                Some(Program::Ours(ours)) => {
                    Some(post(&ours.path(&format!("/{role}")), &body).await.0 == 201)
                }
            };
            if let Some(is_inserted) = inserted {
                assert!(is_inserted && other.write(None, &body).await);
                count += 1;
            }
            pause().await;
        }
        count
    }
}

async fn there_and_back(service: Service) {
    let Some(servers) = Servers::shared(&["kafka"]).await else {
        return;
    };
    let Some(cluster) = crate::postgres::cluster() else {
        return;
    };
    let database = Arc::new(session(&cluster).await);
    database.batch_execute(service.tables).await.unwrap();
    let other = OldFacing::start(
        servers.address("SHOP_TEST_KAFKA"),
        &servers.name(service.consumed[0]),
    );
    assert!(other.write(None, r#"{"id":8000000}"#).await);
    let site = Site {
        servers: &servers,
        cluster: &cluster,
        service,
        database,
        proxy: Mutex::default(),
    };
    site.start_old().await;
    let stop = AtomicBool::new(false);
    let replacing = async {
        let reports = site.replace(&["--dry-run"]).await;
        for odd in ["odd_records", "odd_rows"] {
            assert_eq!(reports[0][odd][0]["count"], 1, "{reports:?}");
        }
        for more in [&[][..], &["--back"]] {
            assert!(site.replace(more).await.is_empty());
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (count, ()) = tokio::join!(Box::pin(site.load(&other, &stop)), Box::pin(replacing));
    assert!(count > 20, "{count}");
    let all = async || {
        site.database
            .query_one(service.are_all, &[&count])
            .await
            .unwrap()
            .get::<_, bool>(0)
    };
    until("have each once", all).await;
    site.turn_to(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_of_ecommerce_are_replaced_and_back() {
    for service in [USERS, ORDERS] {
        Box::pin(there_and_back(service)).await;
    }
}
