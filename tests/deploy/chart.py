"""Renders the chart by Helm's own engine, with the values that come as JSON on standard input, and holds what comes out
to the schemas of Kubernetes and of Prometheus' operator. Prints {"lint", "documents", "notes"}, or {"refused"} with
Helm's words."""

import json
import sys

import helm_python
import kubernetes_validate
import yaml

# The oldest that Chart.yaml allows, and the newest that has schemas here.
VERSIONS = ("1.27", kubernetes_validate.latest_version())


def problems(document):
    """What is wrong with a manifest, and with what Kubernetes."""
    whose = f"{document['kind']} {document['metadata']['name']}"
    if document["apiVersion"] == "monitoring.coreos.com/v1":
        yield from (f"{whose}: {problem}" for problem in operator_problems(document))
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except Exception as error:
            yield f"{whose}, Kubernetes {version}: {error}"


def operator_problems(document):
    """The operator's models leave out what they do not know, so what does not come back is unknown."""
    import cloudcoil.models.prometheus_operator.v1 as prometheus_operator  # takes two seconds

    try:
        known = getattr(prometheus_operator, document["kind"]).model_validate(document)
    except ValueError as error:
        return [str(error)]
    return missing(document["spec"], json.loads(known.model_dump_json(by_alias=True, exclude_none=True))["spec"], "spec")


def missing(given, known, path):
    if isinstance(given, dict):
        for key, value in given.items():
            yield from missing(value, known[key], f"{path}.{key}") if key in known else [f"{path}.{key} is not known"]
    elif isinstance(given, list):
        for number, (value, back) in enumerate(zip(given, known, strict=True)):
            yield from missing(value, back, f"{path}[{number}]")


def main(path):
    values = json.load(sys.stdin)
    with helm_python.Chart.load(path) as chart:
        try:
            rendered = chart.render(chart.merge_values(values), name="gw", namespace="llm")
        except helm_python.HelmError as error:
            return {"refused": str(error)}
    report = helm_python.lint(path, values, strict=True)
    lint = [found["error"] for found in report["messages"] if found["severity"] > 1] + report["errors"]
    manifests = [text for name, text in sorted(rendered.items()) if name.endswith(".yaml")]
    documents = [document for text in manifests for document in yaml.safe_load_all(text) if document]
    for document in documents:
        lint += problems(document)
    notes = next(text for name, text in rendered.items() if name.endswith("NOTES.txt"))
    return {"lint": lint, "documents": documents, "notes": notes}


json.dump(main(sys.argv[1]), sys.stdout)
