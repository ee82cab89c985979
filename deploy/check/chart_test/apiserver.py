"""Applies the plain manifests and all cases of the chart to the API server of KUBECONFIG, and installs, upgrades and rolls
back releases there. Prints a line for each, and the failures; exits with 1 if there are any."""

import json
import os
import pathlib
import ssl
import sys
import time
import urllib.error
import urllib.request

import certificates  # noqa: F401  registers cases
import entities  # noqa: F401  registers cases
import manifests
import passthrough  # noqa: F401  registers cases
import patches
import presets  # noqa: F401  registers cases
import scheduled  # noqa: F401  registers cases
import schemas
import yaml
from cases import CASES, INTERNAL
from rendering import CHART, OPEN, SERVERS, Rendering, helm, sets


class Server:
    """The API server, for requests that are not helm's."""

    def __init__(self):
        config = yaml.safe_load(pathlib.Path(os.environ["KUBECONFIG"]).read_text())
        cluster = config["clusters"][0]["cluster"]
        self.address, self.token = cluster["server"], config["users"][0]["user"]["token"]
        self.tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self.kinds = {}

    def request(self, method, path, body=None, kind="application/json"):
        """The response, and failures: errors and warnings."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        data = body and json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, context=self.tls) as response:
                return json.load(response), response.headers.get_all("Warning") or []
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            return {}, [json.loads(text)["message"] if text.startswith("{") else text]

    def place(self, document):
        """The path of the objects of a kind in the namespace `{}`."""
        version = document["apiVersion"]
        root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
        if version not in self.kinds:
            listed, failures = self.request("GET", root)
            assert not failures, f"{version}: {failures}"
            self.kinds[version] = {one["kind"]: one for one in listed["resources"] if "/" not in one["name"]}
        known = self.kinds[version][document["kind"]]
        return f"{root}/namespaces/{{}}/{known['name']}" if known["namespaced"] else f"{root}/{known['name']}"

    def apply(self, document, namespace, dry=True):
        """The failures of a server-side apply that rejects unknown and duplicate members."""
        name = document["metadata"]["name"]
        query = "fieldManager=check&force=true&fieldValidation=Strict" + ("&dryRun=All" if dry else "")
        path = f"{self.place(document).format(namespace)}/{name}?{query}"
        failures = self.request("PATCH", path, document, "application/apply-patch+yaml")[1]
        return [f"{document['kind']} {name}: {failure}" for failure in failures]

    def namespace(self, name):
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        failures = self.request("POST", "/api/v1/namespaces", body)[1]
        assert not failures, failures

    def define(self):
        """Custom resources that the chart uses."""
        for variable, kinds in schemas.USED.items():
            for kind in kinds:
                path = next(pathlib.Path(os.environ[variable]).glob(f"*_{kind}.yaml"))
                definition = yaml.load(path.read_text(), schemas.Loader)
                failures = self.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)[1]
                assert not failures, failures
                spec = definition["spec"]
                used = next(version["name"] for version in spec["versions"] if version["storage"])
                for _ in range(100):
                    listed = self.request("GET", f"/apis/{spec['group']}/{used}")[0]
                    if any(one["kind"] == spec["names"]["kind"] for one in listed.get("resources", [])):
                        break
                    time.sleep(0.1)


def preset_of(arguments):
    used = [pathlib.Path(one).stem.removeprefix("values-") for one in arguments if "/presets/" in one]
    return f" (preset {used[0]})" if used else ""


def applied(server, documents):
    return f"{len(documents)} objects", [failure for document in documents for failure in server.apply(document, "ns")]


class Release:
    """A release in its own namespace."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        server.namespace(name)

    def __call__(self, command, *arguments, refused=None, chart=CHART):
        chart = [str(chart)] if command in ("install", "upgrade") else []
        done = helm(command, "rel", *chart, "--namespace", self.name, *(OPEN if chart else []), *arguments)
        message = " ".join(done.stderr.split())
        if refused:
            assert done.returncode and refused in message, f"{command} is not refused with {refused!r}: {message or 'it succeeds'}"
        else:
            assert done.returncode == 0, f"{command}: {message}"
            assert "arning" not in message, f"{command}: {message}"
        return done.stdout

    def get(self, kind, name, version="v1"):
        path = self.server.place({"apiVersion": version, "kind": kind}).format(self.name)
        return self.server.request("GET", f"{path}/{name}")[0]


def cycle(release, values, changed):
    """Install, upgrade, roll back, uninstall."""
    release("install", *values)
    before = release.get("Deployment", "rel-shop-facing", "apps/v1")["spec"]["template"]
    release("upgrade", *values, *changed)
    assert release.get("Deployment", "rel-shop-facing", "apps/v1")["spec"]["template"] != before, "the upgrade changed nothing"
    release("rollback")
    assert release.get("Deployment", "rel-shop-facing", "apps/v1")["spec"]["template"] == before, "the rollback is incomplete"


def cluster_release(release):
    cycle(release, SERVERS, sets(settings__logLevel="debug"))
    release("upgrade", *sets(mode="embedded"), refused="set mode=cluster")
    release("upgrade", *SERVERS, *sets(mongodb__database="other"), refused="mongodb.database: this release has its purchases in purchases, not in other")
    moved = ["--set", r"kafka.bootstrapServers=kafka-0:9092,mongodb.uri=mongodb://u:p@elsewhere:27018/"]
    release("upgrade", *moved, refused="mongodb: this release has its purchases at mongo:27018, not at elsewhere:27018")
    grown = ["--set", r"kafka.bootstrapServers=kafka-0:9092,mongodb.uri=mongodb://u:p@elsewhere:27018\,mongo:27018/"]
    release("upgrade", *grown)
    release("upgrade", "--set", "kafka.bootstrapServers=kafka-0:9092,postgres.existingSecret=s", refused="mongodb.collection: this release has its purchases in purchases, not in PostgreSQL")
    release("upgrade", *SERVERS, *sets(mongodb__database="other", allowStoreChange="true"))
    release("uninstall")


def embedded_release(release):
    cycle(release, sets(mode="embedded"), sets(settings__logLevel="debug"))
    release("upgrade", *SERVERS, refused="set mode=embedded")
    release("upgrade", *sets(mode="embedded", persistence__existingClaim="other"), refused="this release has its purchases on rel-shop-facing-data, not on other")
    release("upgrade", *sets(mode="embedded", persistence__existingClaim="rel-shop-facing-data"))
    release("uninstall")
    assert release.get("PersistentVolumeClaim", "rel-shop-facing-data")["kind"] == "PersistentVolumeClaim", "the volume is not kept"


def generated_password(release):
    values = sets(kafka__internal__enabled="true", mongodb__internal__enabled="true")
    cycle(release, values, sets(settings__logLevel="debug"))
    secret = release.get("Secret", "rel-shop-mongodb-login")
    release("upgrade", *values)
    assert release.get("Secret", "rel-shop-mongodb-login")["data"] == secret["data"], "the password changed"
    again = next(one for one in Rendering(values, namespace=release.name).documents if one["kind"] == "Secret")
    failures = release.server.apply(again, release.name, dry=False)
    assert "immutable" in str(failures), f"another password is accepted: {failures}"
    release("uninstall")
    release("install", *values)
    assert release.get("Secret", "rel-shop-mongodb-login")["data"] == secret["data"], "a reinstall has another password than the volume"


def topic_job(release):
    values = INTERNAL + sets(topicJob__enabled="true")
    cycle(release, values, sets(settings__logLevel="debug"))
    release("upgrade", *values, *sets(kafka__partitions=7))
    release("uninstall")


def upgrade_from_last_release(release):
    internal = sets(kafka__internal__enabled="true", mongodb__internal__enabled="true", topicJob__enabled="true")
    for values in (SERVERS, sets(mode="embedded"), internal):
        release("install", *values, chart=os.environ["LAST_CHART"])
        release("upgrade", *values)
        release("rollback")
        release("uninstall")


RELEASES = [cluster_release, embedded_release, generated_password, topic_job]
if os.environ.get("LAST_CHART"):
    RELEASES.append(upgrade_from_last_release)


def attempt(name, check):
    """Prints the result of a check, and returns its failures."""
    try:
        what, failures = check()
    except Exception as error:
        what, failures = "", [f"{type(error).__name__}: {error}"]
    print(f"{'FAILED' if failures else 'ok    '} {name}: {what}", *failures, sep="\n       ", flush=True)
    return failures


def install(server, check):
    check(Release(server, check.__name__.replace("_", "-")))
    return "install, upgrade, rollback, refusals", []


# Not restricted, so the server must warn.
UNRESTRICTED = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "canary"}, "spec": {
    "selector": {"matchLabels": {"a": "b"}},
    "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c:1"}]}},
}}  # fmt: skip


def main():
    server = Server()
    version = server.request("GET", "/version")[0]["gitVersion"]
    server.namespace("ns")
    server.define()
    print(f"kube-apiserver {version}, Pod Security restricted, custom resources {', '.join(sum(schemas.USED.values(), []))}")
    canary = server.apply(UNRESTRICTED, "ns")
    assert "PodSecurity" in str(canary), f"the namespace does not restrict pods: {canary}"
    failed = 0
    for name in manifests.PRESETS:
        documents = manifests.Manifests(name).documents
        failed += bool(attempt(f"deploy/render {name}", lambda: applied(server, documents)))
    cases = [*CASES, ("strategy_probes_and_contexts", patches.MERGED, None)]
    for name, arguments, _ in cases:
        failed += bool(attempt(f"{name}{preset_of(arguments)}", lambda: applied(server, Rendering(arguments).documents)))
    for check in RELEASES:
        failed += bool(attempt(check.__name__, lambda: install(server, check)))
    total = len(manifests.PRESETS) + len(cases) + len(RELEASES)
    print(f"{total - failed} of {total} are as expected")
    sys.exit(1 if failed else 0)


main()
