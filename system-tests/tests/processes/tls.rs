//! Both services over TLS: with certificates for each other, and with one that is replaced.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use shop_client::{RetryPolicy, ShopClient};
use shop_core::NewPurchase;

use crate::process::{Binary, Process, until};
use crate::proxy::Proxy;

/// A certificate authority with certificates in a folder.
struct Authority<'a> {
    folder: &'a Path,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl<'a> Authority<'a> {
    fn new(folder: &'a Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(folder.join("ca.crt"), &pem).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Signs a certificate for 127.0.0.1 into `<name>.crt` and `<name>.key`.
    fn sign(&self, name: &str) {
        self.sign_until(name, 2_100);
    }

    /// The same, valid until the end of a year.
    fn sign_until(&self, name: &str, year: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        std::fs::write(self.folder.join(format!("{name}.crt")), certificate).unwrap();
        std::fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn client(&self, process: &Process) -> ShopClient {
        let client = ShopClient::builder(&process.url).ca_certificates(self.pem.as_bytes());
        client.retries(RetryPolicy::none()).build().unwrap()
    }
}

/// A health check of the process, with its settings.
async fn is_healthy(binary: Binary, process: &Process, settings: &[(&str, &str)]) -> bool {
    let port = process.url.rsplit(':').next().unwrap();
    let settings = [settings, &[("PORT", port)]].concat();
    binary
        .run(&["--healthcheck"], &settings)
        .await
        .status
        .success()
}

#[tokio::test]
async fn both_services_use_their_certificates_and_replaced_ones() {
    let certificates = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let sign = || {
        let authority = Authority::new(certificates.path());
        ["management", "facing", "client"]
            .iter()
            .for_each(|name| authority.sign(name));
        authority
    };
    let authority = sign();
    let paths = [
        "ca.crt",
        "management.crt",
        "management.key",
        "facing.crt",
        "facing.key",
        "client.crt",
        "client.key",
    ]
    .map(|name| authority.path(name));
    let [
        ca,
        management_crt,
        management_key,
        facing_crt,
        facing_key,
        client_crt,
        client_key,
    ] = paths.each_ref().map(String::as_str);
    let of_management = [
        ("SHOP_TLS_CERT_FILE", management_crt),
        ("SHOP_TLS_KEY_FILE", management_key),
        ("SHOP_TLS_CLIENT_CA_FILE", ca),
    ];
    let management = Process::start(Binary::Management, data.path(), &of_management).await;
    assert!(is_healthy(Binary::Management, &management, &of_management).await);

    let proxy = Proxy::to(
        management
            .url
            .strip_prefix("https://")
            .unwrap()
            .parse()
            .unwrap(),
    )
    .await;
    let url = format!("https://{}", proxy.address());
    let of_facing = [
        ("SHOP_TLS_CERT_FILE", facing_crt),
        ("SHOP_TLS_KEY_FILE", facing_key),
        ("SHOP_SERVICE_CA_FILE", ca),
        ("MANAGEMENT_URL", &url),
        ("SHOP_SERVICE_CERT_FILE", client_crt),
        ("SHOP_SERVICE_KEY_FILE", client_key),
    ];
    let facing = Process::start(Binary::Facing, data.path(), &of_facing).await;
    assert!(is_healthy(Binary::Facing, &facing, &of_facing).await);
    let client = authority.client(&facing);
    client
        .buy(
            NewPurchase::for_user("u1")
                .with_user_name("ada")
                .with_price("29.99")
                .unwrap(),
        )
        .await
        .unwrap();
    let user = client.user("u1");
    until("list the purchase", async || {
        user.summary().await.unwrap().count == 1
    })
    .await;

    // Without a client certificate, management rejects the connection.
    let unknown = Process::start(Binary::Facing, data.path(), &of_facing[..4]).await;
    assert!(
        authority
            .client(&unknown)
            .user("u1")
            .summary()
            .await
            .is_err()
    );
    let settings = [
        &of_facing[..],
        &[("SHOP_DATA_DIR", data.path().to_str().unwrap())],
    ]
    .concat();
    let report = Binary::Facing.run(&["--check-config"], &settings).await;
    let printed = String::from_utf8_lossy(&report.stdout);
    assert!(
        report.status.success() && printed.contains(facing_crt),
        "{printed}"
    );

    // All of another authority. Open connections keep theirs.
    let client = sign().client(&facing);
    proxy.cut().await;
    proxy.restore();
    until("list with the new certificates", async || {
        client.user("u1").summary().await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_expired_certificate_is_a_fault_of_the_check() {
    let certificates = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let authority = Authority::new(certificates.path());
    let certificate = authority.path("facing.crt");
    let key = authority.path("facing.key");
    let data = ("SHOP_DATA_DIR", data.path().to_str().unwrap());
    let settings = [
        ("SHOP_TLS_CERT_FILE", certificate.as_str()),
        ("SHOP_TLS_KEY_FILE", &key),
        data,
    ];
    for (year, code) in [(2_021, 1), (2_100, 0)] {
        authority.sign_until("facing", year);
        let output = Binary::Facing.run(&["--check-config"], &settings).await;
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert_eq!(
            printed.contains("the certificate has expired on 2021-12-31"),
            code == 1,
            "{printed}"
        );
    }
}
