"""Renders the chart with helm."""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]


def quick_copy(chart):
    """A copy of the chart whose checksums of secrets are not slow on purpose, which is most of the time of a rendering."""
    folder = tempfile.TemporaryDirectory()
    copy = pathlib.Path(folder.name) / chart.name
    shutil.copytree(chart, copy)
    template = copy / "templates/_deployment.tpl"
    text = template.read_text()
    slow = 'derivePassword 1 "maximum" . '
    assert text.count(slow) == 1, f"{template.name} has no slow checksum of the secrets"
    template.write_text(text.replace(slow, 'printf "%s %s %s" . '))
    return folder, copy


# The folder is deleted at the end.
FOLDER, CHART = quick_copy(ROOT / "deploy/helm/shop")
HELM = os.environ["HELM"]
# The settings of the services, as the tests of the services write them.
SETTINGS = json.loads((CHART / "files/settings.json").read_text())
KUBERNETES = ["--kube-version", "1.33"]

# Addresses of Kafka and MongoDB, for cases that do not depend on them.
SERVERS = ["--set", r"kafka.bootstrapServers=kafka-0:9092\,kafka-1:9094,mongodb.uri=mongodb://mongo:27018/"]
# Users and orders, too.
ENTITIES = ["--set-json", 'settings.roles=["purchases","users","orders"]', "--set", "postgres.existingSecret=shop-db"]
# Cases are without authentication, unless they set another mode.
OPEN = ["--set", "auth.mode=off"]
# Values that must not appear outside of Secrets.
SECRETS = {"kafka.sasl.password": "kafka-secret-text", "mongodb.password": "mongodb-secret-text"}


def sets(**values):
    """Arguments of helm that set values; `__` represents a dot."""
    return [part for name, value in values.items() for part in ("--set", f"{name.replace('__', '.')}={value}")]


def preset(name):
    return ["-f", str(CHART / f"presets/values-{name}.yaml")]


def helm(*arguments, **variables):
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, env=os.environ | variables)


def lint(arguments):
    """The output of a failed `helm lint`; empty if it succeeds."""
    done = helm("lint", "--strict", str(CHART), *KUBERNETES, *OPEN, *arguments)
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


def rejection(arguments):
    """The error of `helm template`; empty if it succeeds."""
    done = helm("template", "rel", str(CHART), *KUBERNETES, *OPEN, *arguments)
    return done.stderr if done.returncode else ""


def documents_of(text):
    # The parser in C, which is much faster.
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


class Rendering:
    """The rendered documents, and lookups in them."""

    def __init__(self, arguments, release="rel", namespace="ns"):
        done = helm("template", release, str(CHART), "--namespace", namespace, *KUBERNETES, *OPEN, *arguments)
        if done.returncode:
            raise AssertionError(f"helm template failed: {done.stderr}")
        self.documents = documents_of(done.stdout)

    def all(self, kind):
        return [document for document in self.documents if document["kind"] == kind]

    def names(self, kind):
        return {document["metadata"]["name"] for document in self.all(kind)}

    def one(self, kind, name):
        found = [document for document in self.all(kind) if document["metadata"]["name"] == name]
        assert len(found) == 1, f"{kind} {name}: found {len(found)}, of {sorted(self.names(kind))}"
        return found[0]

    def of(self, kind, component):
        found = [document for document in self.all(kind) if component_of(document) == component]
        assert len(found) == 1, f"{kind} of {component}: found {len(found)}"
        return found[0]

    def workloads(self):
        """Every document with pods, and the metadata and spec of the pod."""
        for document in self.documents:
            if document["kind"] == "Pod":
                yield document, document["metadata"], document["spec"]
            elif document["kind"] in ("Deployment", "StatefulSet", "Job"):
                template = document["spec"]["template"]
                yield document, template["metadata"], template["spec"]
            elif document["kind"] == "CronJob":
                template = document["spec"]["jobTemplate"]["spec"]["template"]
                yield document, template["metadata"], template["spec"]

    def variables(self, component):
        """The environment variables of a service, from ConfigMaps and the pod."""
        container = self.of("Deployment", component)["spec"]["template"]["spec"]["containers"][0]
        variables = {}
        for source in container.get("envFrom", []):
            variables |= self.one("ConfigMap", source["configMapRef"]["name"])["data"] if "configMapRef" in source else {}
        return variables | {given["name"]: given.get("value") for given in container.get("env", [])}


def component_of(document):
    return document["metadata"].get("labels", {}).get("app.kubernetes.io/component")


def default_of(variable):
    """The default of a setting of the services."""
    return next(setting["default"] for setting in SETTINGS if setting["name"] == variable)


@functools.cache
def chart_and_workspace():
    """The versions of the chart, the app and the workspace."""
    import tomllib

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    return chart["version"], chart["appVersion"], workspace
