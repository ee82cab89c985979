//! Servers that cannot be used: each check and each call names the login, the replica set, TLS, or the
//! secondary.

use bson::{Document, doc};
use tokio::net::TcpListener;

use super::faults_test::Faulty;
use super::faulty_server::{Fault, FaultyServer};
use super::fixture::ConnectionString;
use super::{MongoStore, MongoStoreOptions};
use crate::server_fixture::*;

/// A reply to `hello` of a secondary of the replica set `rs0`.
fn secondary() -> Document {
    doc! {
        "ok": 1.0, "isWritablePrimary": false, "ismaster": false, "secondary": true, "setName": "rs0", "setVersion": 1,
        "hosts": ["127.0.0.1:1"], "me": "127.0.0.1:1", "maxWireVersion": 13, "minWireVersion": 0,
        "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
        "logicalSessionTimeoutMinutes": 30,
    }
}

/// Returns `uri` with an option.
fn with_option(uri: &str, name: &str, value: &str) -> String {
    ConnectionString::new(uri)
        .with_option(name, value)
        .to_string()
}

/// Opens a store at `uri`, and returns the errors of both checks and of an inspection.
async fn errors_at(uri: &str) -> Vec<shop_core::Error> {
    let options = MongoStoreOptions::new(uri).create_indexes(false);
    let store = MongoStore::open(options).await.unwrap();
    vec![
        store.check().await.unwrap_err(),
        store.check_reads().await.unwrap_err(),
        store.inspect().await.unwrap_err(),
    ]
}

#[tokio::test]
async fn a_secondary_is_named_though_the_collection_does_not_exist() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let Some(server) = FaultyServer::before(faulty.direct.uri()).await else {
        return;
    };
    let hellos = || vec![Fault::Refused(secondary()); 100];
    server.next("isMaster", hellos());
    server.next("hello", hellos());
    let options = MongoStoreOptions::new(with_option(&server.uri, "directConnection", "true"))
        .database(Some(format!("{}_missing", faulty.direct.database)))
        .create_indexes(false);
    let store = MongoStore::open(options).await.unwrap();
    let text = store.check().await.unwrap_err().chain().to_string();
    assert!(
        text.contains("is a secondary of the replica set rs0"),
        "{text}"
    );
    let refused = doc! { "ok": 0.0, "errmsg": "not primary", "code": 10107, "codeName": "NotWritablePrimary" };
    server.next("insert", [Fault::Refused(refused)]);
    let error = store.insert(purchases(1).into()).await.unwrap_err();
    assert!(
        error
            .chain()
            .to_string()
            .contains("without directConnection"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_wrong_login_set_or_tls_is_the_cause_of_each_error() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    // A server that is not a member of a set.
    for error in errors_at(&with_option(faulty.direct.uri(), "replicaSet", "shop")).await {
        let text = error.chain().to_string();
        assert!(text.contains("remove replicaSet=shop"), "{text}");
    }

    // A member of another set.
    let Some(server) = FaultyServer::before(faulty.direct.uri()).await else {
        return;
    };
    for name in ["isMaster", "hello"] {
        server.next(name, vec![Fault::Refused(secondary()); 100]);
    }
    let uri = ConnectionString::new(&server.uri)
        .without_option("directConnection")
        .with_option("replicaSet", "shop");
    for error in errors_at(&uri.to_string()).await {
        let text = error.chain().to_string();
        assert!(text.contains("the replica set rs0, not of shop"), "{text}");
    }

    // A server without TLS waits for the rest of a message, or closes the connection.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_uri = format!("mongodb://{}/?tls=true", silent.local_addr().unwrap());
    for uri in [with_option(faulty.direct.uri(), "tls", "true"), silent_uri] {
        for error in errors_at(&uri).await {
            let text = error.chain().to_string();
            assert!(
                text.contains("requires TLS: check that the server has TLS"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_rejected_login_is_named_by_each_call() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    if faulty.direct.uri().contains('@') {
        return;
    }
    let Some(server) = FaultyServer::before(faulty.direct.uri()).await else {
        return;
    };
    let rejected = doc! { "ok": 0.0, "errmsg": "Authentication failed.", "code": 18, "codeName": "AuthenticationFailed" };
    // The first answer is quick, and the others take longer than a check waits, as on a server that
    // is slow to hash passwords.
    let late = Fault::Late(Duration::from_secs(20));
    let answers = [vec![Fault::Refused(rejected)], vec![late; 100]].concat();
    server.next("saslStart", answers);
    let uri = server.uri.replacen("mongodb://", "mongodb://u:wrong@", 1);
    for error in errors_at(&uri).await {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        let text = error.chain().to_string();
        assert!(text.contains("MongoDB rejected the login"), "{text}");
    }
}
