"""Validates documents against the schemas of Kubernetes, KEDA, the Prometheus operator and the Gateway API. Unknown members are failures."""

import functools
import json
import os
import pathlib

import jsonschema
import kubernetes_validate
import yaml
from kubernetes_validate import utils

# The minimum version of the chart, and the newest version with a schema.
KUBERNETES = ["1.30", "1.37"]

# Custom resources that the chart renders, of KEDA, of the Prometheus operator and of the Gateway API, and one that
# values.yaml shows.
USED = {
    "KEDA_SCHEMAS": ["scaledobjects", "triggerauthentications"],
    "OPERATOR_SCHEMAS": ["servicemonitors", "prometheusrules"],
    "GATEWAY_SCHEMAS": ["httproutes", "backendtlspolicies"],
}


class Loader(yaml.SafeLoader):
    """Reads `=` as a string, which YAML 1.1 gives another meaning."""


Loader.add_constructor("tag:yaml.org,2002:value", yaml.SafeLoader.construct_yaml_str)

# Without a cache, it reads the schemas for each document.
utils.schema_contents = functools.cache(utils.schema_contents)


@functools.cache
def custom():
    """Validators of custom resources, by version and kind."""
    found = {}
    for folder, kinds in USED.items():
        for kind in kinds:
            definition = yaml.load(next(pathlib.Path(os.environ[folder]).glob(f"*_{kind}.yaml")).read_text(), Loader)["spec"]
            for version in definition["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                name = f"{definition['group']}/{version['name']}", definition["names"]["kind"]
                found[name] = jsonschema.Draft202012Validator(schema)
    return found


def strict(schema):
    """The schema with unknown members rejected instead of pruned."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: strict(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            result["additionalProperties"] = False
    return result


def failures(document):
    """Unknown, missing and invalid members of a document."""
    return failures_of_text(json.dumps(document, sort_keys=True))


@functools.cache
def failures_of_text(text):
    """The failures of a document in JSON. Most documents are the same in many renderings."""
    document = json.loads(text)
    name = f"{document['kind']} {document['metadata']['name']}"
    validator = custom().get((document["apiVersion"], document["kind"]))
    if validator:
        return [f"{name}: {error.json_path}: {error.message}" for error in validator.iter_errors(document)]
    found = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(map(str, error.absolute_path))
            found.append(f"{name}, Kubernetes {version}: {where}: {error.message}")
        except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.VersionNotSupportedError) as error:
            found.append(f"{name}: {error.message}")
    return found
