//! Settings from variables, and their errors.

use shop_http::CorsOrigins;

use super::*;

fn read(service: ServiceKind, pairs: &[(&str, &str)]) -> Result<Settings> {
    let owned = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::from_parts(
        service,
        &[service.name().into()],
        Environment::from_pairs(owned),
    )
}

fn faults(service: ServiceKind, pairs: &[(&str, &str)]) -> String {
    read(service, pairs).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn settings_default_to_embedded() {
    let facing = read(ServiceKind::Facing, &[]).unwrap();
    assert_eq!(facing.url(), "http://127.0.0.1:3000");
    assert!(facing.ingests() && facing.stores_at_once() && !facing.http_options().read_your_writes);
    assert_eq!(
        (
            facing.purchases_topic.as_str(),
            facing.purchases_group_id.as_str()
        ),
        ("purchases", "purchase-group")
    );
    let probe_url = |pairs: &[(&str, &str)]| read(ServiceKind::Facing, pairs).unwrap().probe_url();
    assert_eq!(probe_url(&[("HOST", "::")]), "http://[::1]:3000");
    assert_eq!(
        probe_url(&[("HOST", "::"), ("SHOP_ADMIN_ADDR", "0.0.0.0:9000")]),
        "http://127.0.0.1:9000"
    );
    let management = read(ServiceKind::Management, &[]).unwrap();
    assert_eq!(management.listen().port, 3001);
    assert!(management.ingests() && management.stores_at_once());
    let reader = read(ServiceKind::Management, &[("SHOP_INGEST", "off")]).unwrap();
    assert!(!reader.ingests() && !reader.stores_at_once());
}

#[test]
fn facing_with_a_management_does_not_ingest_by_default() {
    let url = ("CM_API_HOST", "cm:3001");
    let facing = read(ServiceKind::Facing, &[url]).unwrap();
    assert_eq!(facing.management_url.as_deref(), Some("http://cm:3001"));
    assert!(!facing.ingests() && !facing.http_options().read_your_writes);
    assert!(
        read(ServiceKind::Facing, &[url, ("SHOP_INGEST", "ON")])
            .unwrap()
            .ingests()
    );
    let reading = read(ServiceKind::Facing, &[("SHOP_INGEST", "off")]).unwrap();
    assert!(!reading.ingests() && reading.http_options().read_your_writes);
}

#[test]
fn refunds_are_off_where_programs_of_a_replaced_system_may_read_them() {
    for service in [ServiceKind::Facing, ServiceKind::Management] {
        let is_on = |pairs: &[(&str, &str)]| read(service, pairs).unwrap().http_options().refunds;
        assert!(is_on(&[]) && !is_on(&[("SHOP_REFUNDS", "off")]));
        let replaced = ("SHOP_DIALECT", "user-buy-list");
        assert!(!is_on(&[replaced]) && is_on(&[replaced, ("SHOP_REFUNDS", "on")]));
    }
}

#[test]
fn users_and_orders_default_to_the_url_of_management() {
    let roles = ("SHOP_ROLES", "purchases, users,orders");
    let pairs = [
        roles,
        ("MANAGEMENT_URL", "http://m:1"),
        ("USERS_URL", "http://u:1"),
        ("SHOP_ORDER_USER_WAIT", "9ms"),
    ];
    let facing = read(ServiceKind::Facing, &pairs).unwrap();
    assert_eq!(facing.users_url.as_deref(), Some("http://u:1"));
    assert_eq!(facing.orders_url.as_deref(), Some("http://m:1"));
    assert!(facing.order_user_wait.is_zero(), "management waits");
    let management = read(ServiceKind::Management, &[pairs[0], pairs[3]]).unwrap();
    assert_eq!(
        (&management.users_url, &management.orders_url),
        (&None, &None)
    );
    assert_eq!(management.order_user_wait, Duration::from_millis(9));
    let wrong = faults(
        ServiceKind::Facing,
        &[("SHOP_ROLES", "users,orders"), ("ORDERS_URL", "o:1")],
    );
    assert!(
        wrong.contains("facing requires purchases") && wrong.contains("ORDERS_URL"),
        "{wrong}"
    );
    let same = faults(
        ServiceKind::Management,
        &[roles, ("SHOP_USERS_TOPIC", "x"), ("SHOP_ORDERS_TOPIC", "x")],
    );
    assert!(
        same.contains("SHOP_USERS_TOPIC and SHOP_ORDERS_TOPIC are both x"),
        "{same}"
    );
}

#[test]
fn all_errors_are_reported_at_once() {
    let wrong = [
        ("PORT", "http"),
        ("KAFKA_BROKER", "a:1"),
        ("KAFKA_BROKERS", "b:1"),
        ("SHOP_DIALECT", "klingon"),
        ("SHOP_DRAIN_TIMEOUT", "0"),
        ("SHOP_DEAD_LETTER_LIMIT", "-1"),
        ("CORS_ALLOW_ORIGINS", "shop.example"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "loud"),
        ("KAFKA_COMPRESSION", "brotli"),
        ("SHOP_ROLES", "purchases,klingons"),
        ("SHOP_ORDER_USER_WAIT", "60s"),
        ("KAFKA_USERNAME", "shop"),
        ("MANAGEMENT_URL", "cm:3001"),
    ];
    let text = faults(ServiceKind::Facing, &wrong);
    let pairs = [
        "KAFKA_BROKER and KAFKA_BROKERS",
        "KAFKA_USERNAME and SHOP_KAFKA_PASSWORD",
    ];
    for name in wrong.iter().map(|(name, _)| *name).chain(pairs) {
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[test]
fn conflicting_settings_are_errors() {
    let url = faults(ServiceKind::Facing, &[("MANAGEMENT_URL", "cm:3001")]);
    assert!(url.contains("MANAGEMENT_URL"), "{url}");
    for url in [
        "https://svc:hunter2@issuer.example/keys",
        "https://svc@issuer.example",
        "ftp://h/k",
        "h/keys",
    ] {
        let fault = faults(ServiceKind::Facing, &[("SHOP_AUTH_JWKS_URL", url)]);
        assert!(
            fault.contains("SHOP_AUTH_JWKS_URL: must") && !fault.contains("hunter2"),
            "{fault}"
        );
    }
    let kafka = faults(ServiceKind::Facing, &[("KAFKA_BROKERS", "a:1")]);
    assert!(
        kafka.contains("neither SHOP_MANAGEMENT_URL nor SHOP_MONGODB_URI"),
        "{kafka}"
    );
    let url = ("DATABASE_URL", "postgres://u:hunter2@h/db");
    for pairs in [
        &[url][..],
        &[
            url,
            ("KAFKA_BROKERS", "a:1"),
            ("SHOP_REQUIRE_SERVERS", "on"),
        ],
    ] {
        drop(read(ServiceKind::Facing, pairs).unwrap());
    }
    let both = faults(ServiceKind::Facing, &[url, ("MONGODB_URI", "mongodb://h")]);
    assert!(
        both.contains("two stores of purchases") && !both.contains("hunter2"),
        "{both}"
    );
    let other = faults(ServiceKind::Facing, &[("POSTGRES_URL", "mysql://h")]);
    assert!(other.contains("must begin with postgresql://"), "{other}");
}

#[test]
fn required_servers_depend_on_service_and_roles() {
    let on = ("SHOP_REQUIRE_SERVERS", "on");
    let log = ("KAFKA_BROKERS", "a:1");
    let store = ("MONGODB_URI", "mongodb://h");
    let management = ("MANAGEMENT_URL", "http://m:1");
    let missing = |service, pairs: &[(&str, &str)]| {
        let text =
            read(service, pairs).map_or_else(|failure| failure.to_string(), |_| String::new());
        ["KAFKA_BOOTSTRAP_SERVERS: not set", "MONGODB_URI: not set"].map(|part| text.contains(part))
    };
    for service in [ServiceKind::Facing, ServiceKind::Management] {
        assert_eq!(missing(service, &[]), [false, false], "off unless chosen");
        assert_eq!(missing(service, &[on]), [true, true]);
        assert_eq!(missing(service, &[on, log]), [false, true]);
        assert_eq!(missing(service, &[on, store]), [true, false]);
        assert_eq!(missing(service, &[on, log, store]), [false, false]);
    }
    assert_eq!(
        missing(ServiceKind::Facing, &[on, log, management]),
        [false, false],
        "management keeps all"
    );
    let ingests = [on, log, management, ("SHOP_INGEST", "on")];
    assert_eq!(missing(ServiceKind::Facing, &ingests), [false, true]);
    let users = faults(ServiceKind::Management, &[on, log, ("SHOP_ROLES", "users")]);
    assert!(
        users.contains("POSTGRES_URL: not set") && !users.contains("MONGODB_URI"),
        "{users}"
    );
}

#[test]
fn users_and_orders_are_in_postgresql_or_in_files_beside_any_store_of_purchases() {
    let mongodb = ("MONGODB_URI", "mongodb://h");
    let postgres = ("POSTGRES_URL", "postgresql://h/db");
    for roles in ["users", "orders", "purchases,users,orders"] {
        let roles = ("SHOP_ROLES", roles);
        let refused = faults(ServiceKind::Management, &[roles, mongodb]);
        assert!(
            refused.contains("MONGODB_URI has no users and orders: set SHOP_POSTGRES_URL"),
            "{refused}"
        );
        for store in [&[roles][..], &[roles, postgres]] {
            drop(read(ServiceKind::Management, store).unwrap());
        }
    }
    let all = ("SHOP_ROLES", "purchases,users,orders");
    drop(read(ServiceKind::Management, &[all, mongodb, postgres]).unwrap());
    let facing = [
        all,
        mongodb,
        ("MANAGEMENT_URL", "http://m:1"),
        ("SHOP_INGEST", "on"),
    ];
    drop(read(ServiceKind::Facing, &facing).unwrap());
    let users = faults(
        ServiceKind::Management,
        &[("SHOP_ROLES", "users"), mongodb, postgres],
    );
    assert!(
        users.contains("MONGODB_URI stores purchases, which are not in SHOP_ROLES"),
        "{users}"
    );
}

#[cfg(feature = "kafka")]
#[test]
fn kafka_settings_without_brokers_are_errors() {
    for pair in [
        ("KAFKA_USERNAME", "shop"),
        ("KAFKA_TLS", "on"),
        ("KAFKA_CA_FILE", "/ca.pem"),
        ("KAFKA_REPLICAS", "3"),
        ("KAFKA_CREATE_TOPICS", "off"),
        ("KAFKA_CLIENT_ID", "x"),
        ("KAFKA_PARTITIONS", "1"),
        ("SHOP_KAFKA_COMPRESSION", "gzip"),
        ("KAFKA_PROPERTY_", "x"),
    ] {
        let text = faults(ServiceKind::Management, &[pair]);
        assert!(
            text.contains(pair.0) && text.contains("SHOP_KAFKA_BOOTSTRAP_SERVERS is not"),
            "{text}"
        );
    }
    assert!(
        read(
            ServiceKind::Management,
            &[("KAFKA_TOPIC", "x"), ("KAFKA_TLS", "off")]
        )
        .is_ok()
    );
}

#[test]
fn properties_of_librdkafka_are_settings() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2\n").unwrap();
    let pairs = [
        ("KAFKA_BROKERS", "a:1"),
        ("KAFKA_PROPERTY_CLIENT_RACK", "eu-1a"),
        ("KAFKA_PROPERTY_SASL_PASSWORD", "hunter2"),
        (
            "KAFKA_PROPERTY_SSL_KEY_PASSWORD_FILE",
            file.path().to_str().unwrap(),
        ),
    ];
    let settings = read(ServiceKind::Management, &pairs).unwrap();
    let shown = settings
        .in_effect
        .iter()
        .filter(|setting| setting.name.contains("KAFKA_PROPERTY_"));
    let shown: Vec<_> = shown
        .map(|setting| (setting.name.as_str(), setting.value.as_str()))
        .collect();
    let expected = [
        ("CLIENT_RACK", "eu-1a"),
        ("SASL_PASSWORD", "***"),
        ("SSL_KEY_PASSWORD", "***"),
    ];
    assert_eq!(
        shown,
        expected
            .map(|(name, value)| (format!("SHOP_KAFKA_PROPERTY_{name}"), value))
            .each_ref()
            .map(|(name, value)| (name.as_str(), *value))
    );
    let set: Vec<_> = settings
        .kafka_properties
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(set, ["client.rack", "sasl.password", "ssl.key.password"]);
    let password = &settings.kafka_properties["ssl.key.password"];
    assert_eq!(secrecy::ExposeSecret::expose_secret(password), "hunter2");
    assert!(!format!("{settings:?}").contains("hunter2"));
    let twice = [pairs[0], pairs[1], ("KAFKA_PROPERTY_client.rack", "eu-1b")];
    let twice = faults(ServiceKind::Management, &twice);
    assert!(
        twice.contains("KAFKA_PROPERTY_client.rack is another name"),
        "{twice}"
    );
    let alone = faults(ServiceKind::Management, &pairs[1..2]);
    assert!(
        alone.contains("KAFKA_PROPERTY_CLIENT_RACK: set, but SHOP_KAFKA_BOOTSTRAP_SERVERS is not"),
        "{alone}"
    );
}

#[test]
fn incomplete_certificates_and_tokens_are_errors() {
    let brokers = ("KAFKA_BOOTSTRAP_SERVERS", "k:1");
    for (pairs, said) in [
        (
            &[("SHOP_TLS_CERT_FILE", "a")][..],
            "SHOP_TLS_CERT_FILE and SHOP_TLS_KEY_FILE go together",
        ),
        (
            &[("SHOP_TLS_CLIENT_CA_FILE", "a")],
            "SHOP_TLS_CERT_FILE is not",
        ),
        (
            &[("SHOP_SERVICE_KEY_FILE", "a")],
            "SHOP_SERVICE_CERT_FILE and SHOP_SERVICE_KEY_FILE go together",
        ),
        (
            &[brokers, ("KAFKA_CERT_FILE", "a"), ("KAFKA_KEY_FILE", "b")],
            "KAFKA_TLS is off",
        ),
        (
            &[brokers, ("KAFKA_TLS", "on"), ("KAFKA_CERT_FILE", "a")],
            "KAFKA_CERT_FILE and SHOP_KAFKA_KEY_FILE",
        ),
        (
            &[brokers, ("KAFKA_OAUTH_TOKEN_URL", "https://i/token")],
            "KAFKA_OAUTH_CLIENT_SECRET go together",
        ),
        (
            &[("KAFKA_OAUTH_TOKEN_URL", "https://i/token")],
            "KAFKA_BOOTSTRAP_SERVERS is not",
        ),
    ] {
        let wrong = faults(ServiceKind::Management, pairs);
        assert!(wrong.contains(said), "{pairs:?}: {wrong}");
    }
    let pair = [
        ("SHOP_TLS_CERT_FILE", "a"),
        ("SHOP_TLS_KEY_FILE", "b"),
        ("HOST", "0.0.0.0"),
    ];
    let management = read(ServiceKind::Management, &pair).unwrap();
    assert_eq!(management.probe_url(), "https://127.0.0.1:3001");
}

#[test]
fn secrets_are_read_again_from_their_files() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first").unwrap();
    let path = file.path().to_str().unwrap();
    let settings = read(ServiceKind::Facing, &[("SHOP_SERVICE_TOKEN_FILE", path)]).unwrap();
    let token = settings.secret(
        "SHOP_SERVICE_TOKEN",
        settings.service_token.as_ref().unwrap(),
    );
    std::fs::write(file.path(), "second").unwrap();
    assert_eq!(
        secrecy::ExposeSecret::expose_secret(&token.current()),
        "second"
    );
}

#[cfg(feature = "kafka")]
#[test]
fn topics_are_created_with_the_brokers_replication_by_default() {
    let kafka = |more: &[(&str, &str)]| {
        let pairs = [
            &[("KAFKA_BROKERS", "a:1"), ("MANAGEMENT_URL", "http://m:1")],
            more,
        ]
        .concat();
        let settings = read(ServiceKind::Facing, &pairs).unwrap();
        (
            settings.kafka.kafka_replicas,
            settings.kafka.kafka_create_topics,
        )
    };
    assert_eq!(kafka(&[]), (None, true));
    assert_eq!(
        kafka(&[("KAFKA_REPLICAS", "3"), ("KAFKA_CREATE_TOPICS", "off")]),
        (Some(3), false)
    );
    for wrong in [("KAFKA_REPLICAS", "0"), ("KAFKA_CREATE_TOPICS", "perhaps")] {
        let text = faults(ServiceKind::Management, &[("KAFKA_BROKERS", "a:1"), wrong]);
        assert!(text.contains(wrong.0), "{text}");
    }
}

#[test]
fn a_setting_reaches_its_option() {
    let of_service_and_files = [
        ("SHOP_ACCESS_LOG", "on", "access_log: All"),
        ("SHOP_RATE_WRITES", "7", "rate_writes: Some(7)"),
        ("SHOP_RATE_READS", "8", "rate_reads: Some(8)"),
        (
            "SHOP_CLIENT_CONNECTIONS",
            "9",
            "client_connections: Some(9)",
        ),
        ("SHOP_TRUSTED_PROXIES", "10.1.0.0/16", "10.1.0.0/16"),
        ("SHOP_HOSTS", "shop.example", "shop.example"),
        (
            "SHOP_CORS_ALLOW_ORIGINS",
            "https://a.example",
            "https://a.example",
        ),
        (
            "SHOP_PURCHASE_RETENTION",
            "30d",
            "purchase_retention: Some(2592000s)",
        ),
        ("SHOP_LOG_RETENTION", "2h", "retention: 7200s"),
        ("SHOP_LOG_MAX_SIZE", "3MiB", "max_file_bytes: Some(3145728)"),
    ];
    let of_kafka = [
        (
            "SHOP_KAFKA_BOOTSTRAP_SERVERS",
            "kafka:9092",
            "brokers: \"kafka:9092\"",
        ),
        ("SHOP_KAFKA_PARTITIONS", "12", "partitions: 12"),
        ("SHOP_KAFKA_REPLICAS", "3", "replication_factor: Some(3)"),
        ("SHOP_KAFKA_CREATE_TOPICS", "off", "create_topics: false"),
        (
            "SHOP_KAFKA_INSTANCE_ID",
            "till-1",
            "group_instance_id: Some(\"till-1\")",
        ),
        ("SHOP_KAFKA_USERNAME", "ada", "username: Some(\"ada\")"),
        ("SHOP_KAFKA_PASSWORD", "secret", "password: Some("),
        (
            "SHOP_KAFKA_SASL_MECHANISM",
            "SCRAM-SHA-512",
            "mechanism: ScramSha512",
        ),
        ("SHOP_KAFKA_TLS", "on", "tls: true"),
        (
            "SHOP_KAFKA_CA_FILE",
            "/ca.pem",
            "ca_file: Some(\"/ca.pem\")",
        ),
        (
            "SHOP_KAFKA_CERT_FILE",
            "/cert.pem",
            "cert_file: Some(\"/cert.pem\")",
        ),
        (
            "SHOP_KAFKA_KEY_FILE",
            "/key.pem",
            "key_file: Some(\"/key.pem\")",
        ),
        ("SHOP_KAFKA_COMPRESSION", "zstd", "compression: Zstd"),
    ];
    let options = |pairs: &[(&str, &str)]| {
        let store = ("SHOP_MONGODB_URI", "mongodb://mongo/shop");
        let settings = read(ServiceKind::Facing, &[pairs, &[store]].concat()).unwrap();
        let of_service = settings.http_options();
        let of_kafka = settings.kafka.options();
        let of_files = settings.embedded.options();
        format!("{of_service:?} {of_kafka:?} {of_files:?}")
    };

    let defaults = options(&[("SHOP_KAFKA_BOOTSTRAP_SERVERS", "another:9092")]);
    for settings in [&of_service_and_files[..], &of_kafka[..]] {
        let pairs: Vec<_> = settings
            .iter()
            .map(|(name, value, _)| (*name, *value))
            .collect();
        let reached = options(&pairs);
        for (name, _, option) in settings {
            assert!(!defaults.contains(option), "{option} is a default");
            assert!(reached.contains(option), "{name}: no {option} in {reached}");
        }
    }
}

#[test]
fn log_levels_of_other_systems_are_accepted_in_any_case() {
    let level = |text| {
        read(ServiceKind::Facing, &[("LOG_LEVEL", text)])
            .unwrap()
            .log_level
            .clone()
    };
    assert_eq!(level("INFO"), "info");
    assert_eq!(level("Warning"), "warn");
    assert_eq!(level("critical"), "error");
    assert_eq!(level("warn,shop_core=DEBUG"), "warn,shop_core=debug");
    for wrong in ["loud", "info,loud", "shop_core=loud", "5x"] {
        assert!(
            faults(ServiceKind::Facing, &[("LOG_LEVEL", wrong)]).contains("LOG_LEVEL"),
            "{wrong}"
        );
    }
}

#[test]
fn ipv6_address_is_bracketed_in_the_url() {
    for host in ["::1", "[::1]"] {
        assert_eq!(
            read(ServiceKind::Facing, &[("HOST", host)]).unwrap().url(),
            "http://[::1]:3000"
        );
    }
}

#[test]
fn debug_output_hides_secrets() {
    let uri = "mongodb://u:hunter2@h";
    let password = ("KAFKA_PASSWORD", "hunter2");
    let pairs = [
        ("MONGODB_URI", uri),
        ("KAFKA_BROKERS", "a:1"),
        ("KAFKA_USERNAME", "u"),
        password,
    ];
    let owned = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = Environment::from_pairs(owned);
    let settings =
        Settings::from_parts(ServiceKind::Management, &["management".into()], environment);
    let shown = format!("{:?}", settings.unwrap());
    assert!(
        shown.contains("a:1") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn a_command_is_not_checked() {
    let arguments = ["management", "verify", "--check-config"].map(OsString::from);
    let environment = Environment::from_pairs([]);
    let wrong = Settings::from_parts(ServiceKind::Management, &arguments, environment).unwrap_err();
    assert!(
        wrong.to_string().contains("leave out the command"),
        "{wrong}"
    );
}

#[test]
fn a_setting_that_the_service_does_not_read_is_an_error() {
    let roles = ("SHOP_ROLES", "purchases,users");
    for (service, pairs, said) in [
        (
            ServiceKind::Management,
            &[("MANAGEMENT_URL", "http://m:1")][..],
            "SHOP_MANAGEMENT_URL: set, but management",
        ),
        (
            ServiceKind::Management,
            &[roles, ("USERS_URL", "http://u:1")],
            "SHOP_USERS_URL: set, but management",
        ),
        (
            ServiceKind::Management,
            &[("SHOP_SERVICE_TOKEN", "x")],
            "SHOP_SERVICE_TOKEN: set, but management",
        ),
        (
            ServiceKind::Management,
            &[("CORS_ALLOW_ORIGINS", "*")],
            "SHOP_CORS_ALLOW_ORIGINS: set, but management",
        ),
        (
            ServiceKind::Facing,
            &[("SHOP_USERS_TOPIC", "x")],
            "SHOP_USERS_TOPIC: set, but only the roles",
        ),
        (
            ServiceKind::Facing,
            &[("SHOP_ORDER_USER_WAIT", "9ms")],
            "SHOP_ORDER_USER_WAIT: set, but only the roles",
        ),
        (
            ServiceKind::Facing,
            &[("MONGODB_DB", "x")],
            "SHOP_MONGODB_DATABASE: set, but SHOP_MONGODB_URI is not",
        ),
        (
            ServiceKind::Facing,
            &[("POSTGRES_MAX_CONNECTIONS", "12")],
            "but SHOP_POSTGRES_URL is not",
        ),
        (
            ServiceKind::Facing,
            &[("SHOP_LOG_RETENTION", "0s")],
            "SHOP_LOG_RETENTION: invalid value '0s': must be at least 1s",
        ),
    ] {
        let wrong = faults(service, pairs);
        assert!(wrong.contains(said), "{pairs:?}: {wrong}");
    }
}

#[test]
fn a_number_without_a_unit_is_refused() {
    for (name, value) in [
        ("SHOP_DRAIN_TIMEOUT", "20"),
        ("SHOP_ORDER_USER_WAIT", "2"),
        ("SHOP_LOG_MAX_SIZE", "2097152"),
        ("SHOP_LOG_RETENTION", "7"),
    ] {
        let text = faults(
            ServiceKind::Facing,
            &[("SHOP_ROLES", "purchases,orders"), (name, value)],
        );
        assert!(
            text.contains("is not a whole number with a unit of"),
            "{name}: {text}"
        );
    }
}

#[test]
fn traces_are_exported_by_one_protocol_unless_they_are_off() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
    let general = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let text = faults(ServiceKind::Facing, &[endpoint, general]);
    assert!(
        text.contains("OTEL_EXPORTER_OTLP_PROTOCOL: grpc is not supported: set http/protobuf"),
        "{text}"
    );
    let of_traces = |value| ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", value);
    let text = faults(ServiceKind::Facing, &[endpoint, of_traces("http/json")]);
    assert!(
        text.contains("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: http/json"),
        "{text}"
    );
    for (used, exports_traces) in [
        (&[endpoint, of_traces("http/protobuf")][..], true),
        (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.1)], true),
        (&[general], false),
        (
            &[endpoint, general, ("OTEL_TRACES_EXPORTER", "none")],
            false,
        ),
        (&[endpoint, general, ("OTEL_SDK_DISABLED", "true")], false),
    ] {
        let settings = read(ServiceKind::Facing, used).unwrap();
        assert_eq!(settings.exports_traces(), exports_traces, "{used:?}");
    }
}

#[test]
fn pages_of_other_origins_may_call_where_the_replaced_system_allowed_it() {
    for dialect in [
        "default",
        "user-buy-list",
        "scalable-shop",
        "purchase-tracking",
        "shopping-system",
    ] {
        let cors = read(ServiceKind::Facing, &[("SHOP_DIALECT", dialect)])
            .unwrap()
            .http_options()
            .cors;
        assert_eq!(
            cors == CorsOrigins::Any,
            ["default", "user-buy-list"].contains(&dialect),
            "{dialect}"
        );
    }
}

#[test]
fn bare_names_are_accepted() {
    for (old, new) in [("HOST", "::1"), ("KAFKA_TOPIC", "x"), ("LOG_LEVEL", "warn")] {
        drop(read(ServiceKind::Facing, &[(old, new)]).unwrap());
    }
    let both = faults(
        ServiceKind::Facing,
        &[("RUST_LOG", "debug"), ("SHOP_LOG_LEVEL", "info")],
    );
    assert!(
        both.contains("RUST_LOG and SHOP_LOG_LEVEL are two names of one setting"),
        "{both}"
    );
}

/// The settings of facing with a file of this text.
fn with_file(text: &str, pairs: &[(&str, &str)], flags: &[&str]) -> Result<Settings> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let config = [("SHOP_CONFIG", file.path().to_str().unwrap())];
    let owned = config
        .iter()
        .chain(pairs)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let arguments: Vec<_> = ["facing"].iter().chain(flags).map(OsString::from).collect();
    Settings::from_parts(
        ServiceKind::Facing,
        &arguments,
        Environment::from_pairs(owned),
    )
}

#[test]
fn flags_precede_variables_and_variables_the_file() {
    let text = "port = 1\nroles = [\"purchases\", \"users\"]\nlog.level = \"warn\"\naccess_log = true\n\
                [users]\ntopic = \"u\"\ngroup_id = \"g\"\n[drain]\ntimeout = \"5s\"";
    let settings = with_file(
        text,
        &[("SHOP_USERS_TOPIC", "v"), ("LOG_LEVEL", "error")],
        &["--log-level", "debug"],
    );
    let settings = settings.unwrap();
    assert_eq!(
        (settings.port, &*settings.users_topic, &*settings.log_level),
        (Some(1), "v", "debug")
    );
    assert_eq!(
        (&*settings.users_group_id, settings.drain_timeout),
        ("g", Duration::from_secs(5))
    );
    assert!(settings.has(ProcessRole::Users) && !settings.has(ProcessRole::Orders));
    for (name, value, origin) in [
        ("SHOP_PORT", "1", "file"),
        ("SHOP_USERS_TOPIC", "v", "environment"),
        ("SHOP_LOG_LEVEL", "debug", "flag"),
        ("SHOP_ORDERS_TOPIC", "order_created", "default"),
        ("SHOP_TRUSTED_PROXIES", "none", "default"),
    ] {
        let setting = settings
            .in_effect
            .iter()
            .find(|setting| setting.name == name)
            .unwrap();
        assert_eq!((&*setting.value, setting.origin), (value, origin), "{name}");
    }
}

#[test]
fn faults_of_a_file_are_named_by_its_keys() {
    for (text, said) in [
        ("purchases_topik = 'x'", "purchases_topik in "),
        ("purchases_topik = 'x'", ": purchases_topic in "),
        ("[kafka]\ntopic = 'x'", "kafka_topic in "),
        ("klingon = 1", "remove it"),
        ("port = 'http'", "port in "),
        ("port = 1\nport = 2", "line 2: duplicate key"),
        ("mongodb_uri = 'hunter2", "line 1: "),
        (
            "log_level = 'info'\nlog.level = 'warn'",
            "are two names of one setting",
        ),
        ("port = 2026-01-01", "port: must be a text, a number"),
        ("config = 'other.toml'", "cannot name another one"),
        (
            "kafka_password_file = '/nowhere'",
            "/nowhere cannot be read",
        ),
    ] {
        let wrong = with_file(text, &[], &[]).map(drop).unwrap_err().to_string();
        assert!(
            wrong.contains(said) && !wrong.contains("hunter2"),
            "{text}: {wrong}"
        );
    }
    let missing = faults(ServiceKind::Facing, &[("SHOP_CONFIG", "/nowhere.toml")]);
    assert!(
        missing.contains("/nowhere.toml (--config): cannot be read"),
        "{missing}"
    );
}

#[test]
fn empty_variables_are_warned_of_with_what_they_mean() {
    let pairs = [
        ("KAFKA_BOOTSTRAP_SERVERS", ""),
        ("MONGODB_URI_FILE", " "),
        ("SHOP_DATADIR", ""),
        ("EDITOR", ""),
    ];
    let settings = read(ServiceKind::Facing, &pairs).unwrap();
    let warnings: Vec<_> = settings.warnings().collect();
    let expected = [
        "KAFKA_BOOTSTRAP_SERVERS is set, but empty, which counts as unset: SHOP_KAFKA_BOOTSTRAP_SERVERS is none, the log is \
         embedded (default)",
        "MONGODB_URI_FILE is set, but empty, which counts as unset: SHOP_MONGODB_URI is none, the store is embedded (default)",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn shown_addresses_have_no_login_and_no_query() {
    let pairs = [
        ("KAFKA_BOOTSTRAP_SERVERS", "k:1"),
        ("MANAGEMENT_URL", "http://m:1"),
        (
            "SHOP_KAFKA_OAUTH_TOKEN_URL",
            "https://u:hunter2@issuer/token?key=hunter2",
        ),
        ("SHOP_KAFKA_OAUTH_CLIENT_ID", "id"),
        ("SHOP_KAFKA_OAUTH_CLIENT_SECRET", "hunter2"),
        ("SHOP_AUTH", "jwt"),
        ("SHOP_AUTH_JWKS_URL", "https://issuer/keys?key=hunter2"),
        ("SHOP_AUTH_ISSUER", "https://issuer"),
        ("SHOP_AUTH_AUDIENCE", "shop"),
        ("SHOP_KAFKA_PROPERTY_SASL_JAAS_CONFIG", "password=hunter2"),
    ];
    let settings = read(ServiceKind::Facing, &pairs).unwrap();
    let shown: Vec<&str> = settings
        .in_effect
        .iter()
        .map(|setting| &*setting.value)
        .collect();
    assert!(
        shown.contains(&"https://issuer/token") && shown.contains(&"https://issuer/keys"),
        "{shown:?}"
    );
    assert!(!shown.concat().contains("hunter2"), "{shown:?}");
}

#[test]
fn a_log_feeds_one_collection_of_one_database() {
    let uri = ("MONGODB_URI", "mongodb://u:p@h/a");
    let fed = |more: &[_]| {
        read(ServiceKind::Facing, &[&[uri], more].concat())
            .unwrap()
            .fed_store()
            .unwrap()
    };
    assert_eq!(fed(&[]), "mongodb://h/a default.purchases");
    assert_eq!(
        fed(&[("SHOP_MONGODB_DATABASE", "b")]),
        "mongodb://h/a b.purchases"
    );
    assert_eq!(
        fed(&[("SHOP_MONGODB_COLLECTION", "c")]),
        "mongodb://h/a default.c"
    );
}
