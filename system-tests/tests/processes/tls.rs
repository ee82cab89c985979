//! Both services over TLS: with certificates for each other, and with one that is replaced.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::prelude::*;
use crate::proxy::{Link, Weather};

/// Writes the certificate of a service at 127.0.0.1, by a new authority, into `folder`. Returns the authority's certificate.
fn write_certificate(folder: &Path) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    for (name, text) in [
        ("ca.crt", &authority),
        ("service.crt", &certificate),
        ("service.key", &key.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    authority
}

fn client(process: &Process, authority: &str) -> ShopClient {
    ShopClient::builder(&process.url)
        .ca_certificates(authority.as_bytes())
        .retries(RetryPolicy::none())
        .build()
        .unwrap()
}

/// Starts a service, which must be healthy by its own check.
async fn start(binary: Binary, data: &Path, settings: &[(&str, &str)]) -> Process {
    let process = Process::start(binary, data, settings).await;
    let settings = [settings, &[("PORT", process.port())]].concat();
    let output = binary.run(&["--healthcheck"], &settings).await;
    assert_ended(&output, 0, "");
    process
}

#[tokio::test]
async fn both_services_use_their_certificates_and_replaced_ones() {
    let folder = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let authority = write_certificate(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [ca, certificate, key] = ["ca.crt", "service.crt", "service.key"].map(path);
    let of_management = [
        ("SHOP_TLS_CERT_FILE", &*certificate),
        ("SHOP_TLS_KEY_FILE", &key),
        ("SHOP_TLS_CLIENT_CA_FILE", &ca),
    ];
    let management = start(Binary::Management, data.path(), &of_management).await;
    let address = management.url.strip_prefix("https://").unwrap();
    let link = Link::to(address.parse().unwrap()).await;
    let url = format!("https://{}", link.address);
    let of_facing = [
        ("SHOP_TLS_CERT_FILE", &*certificate),
        ("SHOP_TLS_KEY_FILE", &key),
        ("SHOP_SERVICE_CA_FILE", &ca),
        ("MANAGEMENT_URL", &url),
        ("SHOP_SERVICE_CERT_FILE", &certificate),
        ("SHOP_SERVICE_KEY_FILE", &key),
    ];
    let facing = start(Binary::Facing, data.path(), &of_facing).await;
    let ada = client(&facing, &authority);
    ada.shop().buy(purchase_of("u1")).await.unwrap();
    until("list the purchase", async || {
        ada.shop().user("u1").summary().await.unwrap().count == 1
    })
    .await;

    // Without a client certificate, management rejects the connection.
    let unknown = Process::start(Binary::Facing, data.path(), &of_facing[..4]).await;
    let rejected = client(&unknown, &authority)
        .shop()
        .user("u1")
        .summary()
        .await;
    assert!(rejected.is_err());

    // All of another authority. Open connections keep theirs.
    let ada = client(&facing, &write_certificate(folder.path()));
    link.cut().await;
    link.set(Weather::Fair);
    until("list with the new certificates", async || {
        ada.shop().user("u1").summary().await.is_ok()
    })
    .await;
}
