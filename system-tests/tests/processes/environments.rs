//! Variables of other programs, in the environment of a service.

use crate::prelude::*;

/// Variables of a login shell, of compose, and of the project's tests.
const LOGIN_SHELL: [(&str, &str); 11] = [
    ("HOME", "/home/ada"),
    ("USER", "ada"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("LANG", "en_GB.UTF-8"),
    ("TERM", "xterm-256color"),
    ("MAIL", "/var/mail/ada"),
    ("HOSTNAME", "laptop"),
    ("_", "/usr/bin/env"),
    ("SHOP_IMAGE", "shop:dev"),
    ("SHOP_BIND", "0.0.0.0"),
    ("SHOP_TEST_REQUIRE", "kafka"),
];

/// Services of a cluster whose variables begin as settings do.
const SERVICES_OF_CLUSTER: &str = "kubernetes:443 kafka:9092 mongo:27017 mongodb:27017 database:5432 postgres:5432 \
    management:3001 customer-management:3001 cm-api:3001 app:80 log:80 shop:80 shop-facing:3000 shop-management:3001 \
    shop-kafka:9092";

/// The variables that Kubernetes sets for a service with one port.
fn variables_of_service(name: &str, port: &str) -> Vec<(String, String)> {
    let address = "10.96.0.17";
    let name = name.to_uppercase().replace('-', "_");
    let url = format!("tcp://{address}:{port}");
    [
        ("SERVICE_HOST".to_owned(), address),
        ("SERVICE_PORT".to_owned(), port),
        ("SERVICE_PORT_HTTP".to_owned(), port),
        ("PORT".to_owned(), &url),
        (format!("PORT_{port}_TCP"), &url),
        (format!("PORT_{port}_TCP_PROTO"), "tcp"),
        (format!("PORT_{port}_TCP_PORT"), port),
        (format!("PORT_{port}_TCP_ADDR"), address),
    ]
    .map(|(ending, value)| (format!("{name}_{ending}"), value.to_owned()))
    .to_vec()
}

#[tokio::test]
async fn services_start_in_a_login_shell_and_in_a_pod() {
    let pod: Vec<_> = SERVICES_OF_CLUSTER
        .split(' ')
        .map(|service| service.split_once(':').unwrap())
        .flat_map(|(name, port)| variables_of_service(name, port))
        .collect();
    let pod: Vec<_> = pod
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();

    for environment in [&LOGIN_SHELL[..], &pod] {
        let (_folder, facing) = Process::fresh(Binary::Facing, environment).await;
        must_buy(&facing, ADA).await;
        facing.stop().await;

        let (_folder, management) = Process::fresh(Binary::Management, environment).await;
        management.stop().await;
    }
}
