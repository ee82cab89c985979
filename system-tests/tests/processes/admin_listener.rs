//! The listener for probes, metrics and operators.

use crate::prelude::*;

#[tokio::test]
async fn operations_are_only_on_the_admin_listener() {
    let settings = [("SHOP_ADMIN_ADDR", "127.0.0.1:0")];
    let (folder, management) = Process::fresh(Binary::Management, &settings).await;
    let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
    for (process, path, public, admin) in [
        (&facing, "/livez", 200, 200),
        (&facing, "/healthz", 200, 200),
        (&facing, "/readyz", 404, 200),
        (&facing, "/-/ready", 404, 200),
        (&facing, "/health", 404, 200),
        (&facing, "/metrics", 404, 200),
        (&facing, "/v1/summary?userid=u1", 200, 404),
        (&management, "/health", 404, 200),
        (&management, "/metrics", 404, 200),
        (&management, "/v1/summary?userid=u1", 200, 200),
        (&management, "/v1/summary?everyone=true", 403, 200),
        (&management, "/v1/purchases?everyone=true", 403, 200),
        (&management, "/purchases", 403, 200),
    ] {
        let found = [process.path(path), process.admin_path(path)];
        let statuses = (get(&found[0]).await.0, get(&found[1]).await.0);
        assert_eq!(statuses, (public, admin), "{found:?}");
    }
    for (process, path, public, admin) in [
        (&facing, "/buy", 201, 404),
        (&management, "/purchases", 403, 201),
        (&management, "/v1/purchases", 403, 201),
    ] {
        let found = [process.path(path), process.admin_path(path)];
        let statuses = (post(&found[0], ADA).await.0, post(&found[1], ADA).await.0);
        assert_eq!(statuses, (public, admin), "{found:?}");
    }
}
