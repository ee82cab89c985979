"""Scheduled commands, and how long purchases are kept."""

import json

from cases import KEYS, SERVERS, case
from rendering import sets


@case(SERVERS, KEYS, sets(auth__serviceTokenSecret="t", verify__schedule="30 3 * * *", settings__purchaseRetention="730d", settings__currency="EUR", settings__refunds="off"))
def verification_at_night(r):
    job = r.all("CronJob")[0]["spec"]
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    assert (job["schedule"], pod["containers"][0]["command"]) == ("30 3 * * *", ["/usr/local/bin/management", "verify"])
    assert pod["containers"][0]["envFrom"] == [{"configMapRef": {"name": "rel-shop-management-config"}}]
    assert pod["volumes"] == r.of("Deployment", "management")["spec"]["template"]["spec"]["volumes"] and "affinity" not in pod
    assert job["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [1, 2], "an outage is retried"
    assert r.variables("facing")["SHOP_PURCHASE_RETENTION"] == r.variables("management")["SHOP_PURCHASE_RETENTION"] == "730d"
    assert r.variables("facing")["SHOP_CURRENCY"] == r.variables("management")["SHOP_CURRENCY"] == "EUR"
    assert r.variables("facing")["SHOP_REFUNDS"] == r.variables("management")["SHOP_REFUNDS"] == "off"


@case(sets(mode="embedded", backup__schedule="@daily", backup__existingClaim="backups", verify__schedule="@weekly", settings__logMaxSize="10GiB", settings__logRetention="14d"))
def backups_of_the_embedded_mode(r):
    assert (r.variables("facing")["SHOP_LOG_MAX_SIZE"], r.variables("facing")["SHOP_LOG_RETENTION"]) == ("10GiB", "14d")
    pod = r.of("CronJob", "backup")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    backup, delete = pod["initContainers"][0], pod["containers"][0]
    assert backup["command"] + backup["args"] == ["/usr/local/bin/management", "backup", "/backup/$(POD_NAME)"]
    assert "ls -d /backup/rel-shop-facing-backup-* | sort -r | tail -n +8 |" in delete["args"][0], "only older backups of this release are deleted"
    assert {json.dumps(one) for one in pod["volumes"]} == {
        json.dumps({"name": name, "persistentVolumeClaim": {"claimName": claim}}) for name, claim in (("backup", "backups"), ("data", "rel-shop-facing-data"))
    }
    affinity = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    assert affinity["labelSelector"]["matchLabels"].items() <= r.of("Deployment", "facing")["spec"]["template"]["metadata"]["labels"].items()
    assert r.of("CronJob", "verify")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"] == [pod["volumes"][1]]
