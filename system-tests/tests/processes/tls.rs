//! Both services over TLS: with certificates for each other, and with one that is replaced.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::prelude::*;
use crate::proxy::Proxy;

/// Writes the certificates of a new authority for 127.0.0.1 into `folder`. Returns the authority's certificate.
fn write_certificates(folder: &Path) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    std::fs::write(folder.join("ca.crt"), &authority).unwrap();
    let issuer = Issuer::new(params, key);
    for name in ["management", "facing", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        std::fs::write(folder.join(format!("{name}.crt")), certificate).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
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
    let authority = write_certificates(folder.path());
    let names = [
        "ca.crt",
        "management.crt",
        "management.key",
        "facing.crt",
        "facing.key",
        "client.crt",
        "client.key",
    ];
    let paths = names.map(|name| folder.path().join(name));
    let [
        ca,
        management_crt,
        management_key,
        facing_crt,
        facing_key,
        client_crt,
        client_key,
    ] = paths.each_ref().map(|path| path.to_str().unwrap());
    let of_management = [
        ("SHOP_TLS_CERT_FILE", management_crt),
        ("SHOP_TLS_KEY_FILE", management_key),
        ("SHOP_TLS_CLIENT_CA_FILE", ca),
    ];
    let management = start(Binary::Management, data.path(), &of_management).await;
    let address = management.url.strip_prefix("https://").unwrap();
    let proxy = Proxy::to(address.parse().unwrap()).await;
    let url = format!("https://{}", proxy.address());
    let of_facing = [
        ("SHOP_TLS_CERT_FILE", facing_crt),
        ("SHOP_TLS_KEY_FILE", facing_key),
        ("SHOP_SERVICE_CA_FILE", ca),
        ("MANAGEMENT_URL", &url),
        ("SHOP_SERVICE_CERT_FILE", client_crt),
        ("SHOP_SERVICE_KEY_FILE", client_key),
    ];
    let facing = start(Binary::Facing, data.path(), &of_facing).await;
    let ada = client(&facing, &authority);
    ada.buy(purchase_of("u1")).await.unwrap();
    until("list the purchase", async || {
        ada.user("u1").summary().await.unwrap().count == 1
    })
    .await;

    // Without a client certificate, management rejects the connection.
    let unknown = Process::start(Binary::Facing, data.path(), &of_facing[..4]).await;
    let rejected = client(&unknown, &authority).user("u1").summary().await;
    assert!(rejected.is_err());

    // All of another authority. Open connections keep theirs.
    let ada = client(&facing, &write_certificates(folder.path()));
    proxy.cut().await;
    proxy.restore();
    until("list with the new certificates", async || {
        ada.user("u1").summary().await.is_ok()
    })
    .await;
}
