"""Reads a node's metrics with the parsers of Prometheus's own client, in both formats.

Called by tests/it/cluster/metrics.rs: metrics.py URL. Prints one JSON line: of each format the content type, the type
of each family and the value of each sample. Needs prometheus-client from PyPI.
"""

import json
import sys
from urllib.request import Request, urlopen

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text


def read(url, accept, parse):
    with urlopen(Request(url + "/metrics", headers={"accept": accept}), timeout=30) as answer:
        content_type, text = answer.headers["content-type"], answer.read().decode()
    types, samples = {}, {}
    for family in parse(text):
        assert family.documentation.endswith(".") and not family.documentation.endswith(".."), family
        assert family.name not in types, family
        types[family.name] = family.type
        for sample in family.samples:
            labels = dict(sample.labels)
            if "le" in labels:
                labels["le"] = str(float(labels["le"]))
            key = sample.name + json.dumps(labels, sort_keys=True)
            assert key not in samples, key
            samples[key] = float(sample.value)
    return {"content_type": content_type, "types": types, "samples": samples}


def main(url):
    of_prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    read_both = {"open_metrics": read(url, of_prometheus, open_metrics), "text": read(url, "*/*", prometheus_text)}
    print(json.dumps(read_both))


main(*sys.argv[1:])
