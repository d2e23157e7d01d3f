//! The Helm chart, rendered by Helm's own engine: its objects are Kubernetes', and what it tells nodes is a configuration
//! that they take.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{SECRET, config, deploy, read, said};
use crate::harness::python_with;

const DATABASE: &str = "postgres://sproxy:secret@db/sproxy";

/// A rendered chart.
struct Chart {
    documents: Vec<Value>,
    notes: String,
}

/// What `tests/deploy/chart.py` says of the chart with these values; none, with a note, without Helm's engine.
async fn run(values: &Value) -> Option<Value> {
    let python = python_with("helm_python, kubernetes_validate").await?;
    let mut script = Command::new(python);
    script.arg("-B").arg(deploy("../tests/deploy/chart.py")).arg(deploy("helm/sproxy"));
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut script = script.spawn().unwrap();
    script.stdin.take().unwrap().write_all(values.to_string().as_bytes()).await.unwrap();
    let output = script.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", said(&output));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

async fn rendered(values: &Value) -> Option<Chart> {
    let rendered = run(values).await?;
    assert_eq!(rendered["lint"], json!([]), "{values}: {}", rendered["refused"]);
    let documents = rendered["documents"].as_array().unwrap().clone();
    Some(Chart { documents, notes: rendered["notes"].as_str().unwrap().to_owned() })
}

impl Chart {
    fn names(&self, kind: &str) -> Vec<&str> {
        let names = self.documents.iter().filter(|document| document["kind"] == kind);
        names.map(|document| document["metadata"]["name"].as_str().unwrap()).collect()
    }

    fn get(&self, kind: &str, name: &str) -> &Value {
        let mut found = self
            .documents
            .iter()
            .filter(|document| document["kind"] == kind && document["metadata"]["name"] == name);
        found.next().unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// What `sproxy config show` says in the first pod of a role, with its variables, and its files where they lie here.
    fn shown(&self, role: &str) -> String {
        let name = format!("gw-sproxy-{role}");
        let files = tempfile::tempdir().unwrap();
        let here = |path: &str| path.replace("/etc/sproxy", &files.path().display().to_string());
        let container = &self.get("StatefulSet", &name)["spec"]["template"]["spec"]["containers"][0];
        let mut environment = vec![("ANTHROPIC_API_KEY".to_owned(), "sk-1".to_owned())];
        for variable in container["env"].as_array().unwrap() {
            let (variable, value) = (variable["name"].as_str().unwrap(), variable["value"].as_str());
            if let Some(value) = value.filter(|_| variable.starts_with("SPROXY_")) {
                environment
                    .push((variable.to_owned(), here(&value.replace("$(POD_NAME)", &format!("{name}-0")))));
            }
        }
        let write = |path: &str, text: &str| {
            let path = here(path);
            std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("/etc/sproxy/secrets/cluster-secret", SECRET);
        write("/etc/sproxy/secrets/database-url", DATABASE);
        for tls in ["tls.crt", "tls.key", "ca.crt"] {
            write(&format!("/etc/sproxy/tls/grpc/{tls}"), "");
            write(&format!("/etc/sproxy/tls/http/{tls}"), "");
        }
        let arguments = container["args"].as_array().unwrap();
        assert_eq!(arguments[..2], [json!("serve"), json!("--config")]);
        let file = arguments[2].as_str().unwrap();
        write(file, self.get("ConfigMap", "gw-sproxy")["data"]["sproxy.toml"].as_str().unwrap());
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (&**name, &**value)).collect();
        for command in ["check", "show"] {
            let output = config(command, Path::new(&here(file)), &environment);
            assert!(output.status.success(), "{role}: {}", said(&output));
            if command == "show" {
                return said(&output);
            }
        }
        unreachable!("show is the last")
    }
}

fn values(more: &Value) -> Value {
    let mut values = json!({
        "cluster": { "secret": { "value": SECRET } },
        "providerKeys": { "values": { "ANTHROPIC_API_KEY": "sk-1" } },
    });
    values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    values
}

fn several_leaders() -> Value {
    values(&json!({
        "leader": { "replicas": 3 },
        "follower": { "replicas": 1 },
        "database": { "kind": "postgres", "url": { "existingSecret": "db-app", "key": "uri" } },
        "adminPassword": { "existingSecret": "admin" },
    }))
}

#[tokio::test]
async fn by_default_one_node_leads_on_sqlite_and_two_follow() {
    let Some(chart) = rendered(&values(&json!({}))).await else { return };
    assert_eq!(chart.names("StatefulSet"), ["gw-sproxy-leader", "gw-sproxy-follower"]);
    assert_eq!(
        chart.names("Service"),
        ["gw-sproxy", "gw-sproxy-admin", "gw-sproxy-leader-nodes", "gw-sproxy-follower-nodes"]
    );
    assert_eq!(chart.names("PodDisruptionBudget"), ["gw-sproxy-follower"], "one node cannot be spared");
    assert_eq!(chart.get("Secret", "gw-sproxy")["stringData"], json!({ "cluster-secret": SECRET }));
    assert_eq!(
        chart.get("Secret", "gw-sproxy-providers")["stringData"],
        json!({ "ANTHROPIC_API_KEY": "sk-1" })
    );
    assert!(chart.notes.contains("1 leading node(s) on sqlite, 2 following"), "{}", chart.notes);

    let leader = chart.shown("leader");
    for line in [
        "id = \"gw-sproxy-leader-0\"",
        "listen = \"0.0.0.0:9001\"",
        "advertise = \"http://gw-sproxy-leader-0.gw-sproxy-leader-nodes.llm.svc:9000\"",
        "shutdown_delay = \"10s\"",
        "provider = \"anthropic\"",
    ] {
        assert!(leader.contains(line), "{line} in {leader}");
    }
    let follower = chart.shown("follower");
    let leads = "\"http://gw-sproxy-leader-0.gw-sproxy-leader-nodes.llm.svc:9001\"";
    assert!(follower.lines().any(|line| line.starts_with("leader = ") && line.contains(leads)), "{follower}");
}

#[tokio::test]
async fn several_lead_on_the_database_whose_address_is_in_a_secret() {
    let Some(chart) = rendered(&several_leaders()).await else { return };
    assert_eq!(chart.names("PodDisruptionBudget"), ["gw-sproxy-leader"]);
    let leader = chart.shown("leader");
    assert!(leader.contains("url = \"***\"") || leader.contains("url_file"), "{leader}");
    let follower = chart.shown("follower");
    for number in 0..3 {
        let leads = format!("http://gw-sproxy-leader-{number}.gw-sproxy-leader-nodes.llm.svc:9001");
        assert!(follower.contains(&leads), "{leads} in {follower}");
    }
    let spec = |role: &str| {
        let mut set = chart.get("StatefulSet", &format!("gw-sproxy-{role}")).clone();
        set.sort_all_objects();
        set["spec"]["template"]["spec"].to_string()
    };
    assert!(spec("leader").contains(r#""items":[{"key":"uri","path":"database-url"}],"name":"db-app""#));
    assert!(spec("leader").contains(r#""secretKeyRef":{"key":"admin-password","name":"admin"}"#));
    assert!(
        !spec("follower").contains("db-app") && !spec("follower").contains("admin-password"),
        "not a follower's"
    );
}

#[tokio::test]
async fn pods_may_do_nothing_but_what_they_need_and_have_the_time_that_they_need() {
    let slow = values(&json!({ "shutdown": { "delaySeconds": 20, "timeoutSeconds": 600 } }));
    let Some(chart) = rendered(&slow).await else { return };
    for role in ["leader", "follower"] {
        let set = chart.get("StatefulSet", &format!("gw-sproxy-{role}"));
        let pod = &set["spec"]["template"]["spec"];
        // Both times, and 15 s for the books.
        assert_eq!(pod["terminationGracePeriodSeconds"], 635);
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(
            (&pod["securityContext"]["runAsNonRoot"], &pod["securityContext"]["runAsUser"]),
            (&json!(true), &json!(65532))
        );
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0];
        assert_eq!(
            container["securityContext"],
            json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } })
        );
        assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
        assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
        assert_eq!(set["spec"]["volumeClaimTemplates"][0]["spec"]["accessModes"], json!(["ReadWriteOnce"]));
        assert!(chart.shown(role).contains("shutdown_timeout = \"10m\""));
    }
    let policy = chart.get("NetworkPolicy", "gw-sproxy")["spec"]["ingress"].to_string();
    assert_eq!(policy.matches("\"grpc\"").count(), 1, "{policy}");
}

#[tokio::test]
async fn everything_that_may_be_asked_for_is_kubernetes_own_too() {
    let all = values(&json!({
        "leader": {
            "extraEnv": [{ "name": "SPROXY_CLUSTER__WEIGHT", "value": "10" }], "podAnnotations": { "a": "b" }, "podLabels": { "c": "d" },
            "nodeSelector": { "e": "f" }, "tolerations": [{ "operator": "Exists" }], "priorityClassName": "high",
            "affinity": { "podAntiAffinity": {} }, "persistence": { "storageClass": "fast" },
        },
        "imagePullSecrets": [{ "name": "registry" }],
        "tls": { "http": { "existingSecret": "https" }, "grpc": { "existingSecret": "grpc", "clientAuth": true } },
        "service": { "type": "LoadBalancer", "annotations": { "g": "h" }, "loadBalancerClass": "i", "loadBalancerSourceRanges": ["10.0.0.0/8"] },
        "serviceAccount": { "annotations": { "j": "k" } },
        "networkPolicy": {
            "http": { "from": [{ "namespaceSelector": {} }] }, "egress": { "enabled": true, "to": [{ "ports": [{ "port": 443 }] }] },
        },
        "extraEnv": [{ "name": "HTTPS_PROXY", "value": "http://proxy:3128" }], "extraEnvFrom": [{ "secretRef": { "name": "l" } }],
        "extraVolumes": [{ "name": "ca", "configMap": { "name": "ca" } }], "extraVolumeMounts": [{ "name": "ca", "mountPath": "/ca" }],
        "metrics": {
            "serviceMonitor": { "enabled": true, "labels": { "release": "prometheus" } }, "prometheusRule": { "enabled": true }, "dashboard": { "enabled": true },
        },
    }));
    let Some(chart) = rendered(&all).await else { return };
    let follower = chart.shown("follower");
    assert!(
        follower.contains("\"https://gw-sproxy-leader-0.gw-sproxy-leader-nodes.llm.svc:9001\""),
        "{follower}"
    );
    assert!(follower.contains("tls_client_auth = true"), "{follower}");
    // Each node is scraped, once.
    let monitor = &chart.get("ServiceMonitor", "gw-sproxy")["spec"];
    let scraped = chart.documents.iter().filter(|document| document["kind"] == "Service").filter(|service| {
        let asked = monitor["selector"]["matchLabels"].as_object().unwrap();
        asked.iter().all(|(label, value)| service["metadata"]["labels"][label] == *value)
    });
    let scraped: Vec<&Value> = scraped.map(|service| &service["metadata"]["name"]).collect();
    assert_eq!(scraped, ["gw-sproxy-leader-nodes", "gw-sproxy-follower-nodes"]);
    assert_eq!(
        monitor["endpoints"][0]["relabelings"][0],
        json!({ "targetLabel": "job", "replacement": "sproxy" })
    );
    let rules = chart.get("PrometheusRule", "gw-sproxy")["spec"]["groups"].to_string();
    assert_eq!(
        rules.matches("\"alert\":").count(),
        read("prometheus/rules.yml").matches("- alert: ").count()
    );
    assert!(rules.contains("{{ $labels.instance }}"), "Prometheus' templates are not Helm's");
    let dashboard = chart.get("ConfigMap", "gw-sproxy-dashboard")["data"]["sproxy.json"].as_str().unwrap();
    assert_eq!(dashboard.trim(), read("grafana/sproxy.json").trim());
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_what_to_do() {
    for (more, word) in [
        (json!({ "cluster": {} }), "cluster.secret has to be set"),
        (json!({ "cluster": { "secret": { "value": "short" } } }), "32 or more characters"),
        (json!({ "leader": { "replicas": 2 } }), "needs one PostgreSQL for all leaders"),
        (json!({ "database": { "kind": "postgres" } }), "database.url.existingSecret"),
        (json!({ "leader": { "replicas": 0 } }), "minimum"),
        (json!({ "leader": { "replica": 3 } }), "replica"),
        (json!({ "database": { "kind": "mysql" } }), "postgres"),
    ] {
        let Some(said) = run(&values(&more)).await else { return };
        assert!(said["refused"].as_str().is_some_and(|refused| refused.contains(word)), "{more}: {said}");
    }
}

#[test]
fn the_chart_is_of_this_version() {
    let chart = read("helm/sproxy/Chart.yaml");
    assert!(chart.contains(concat!("appVersion: \"", env!("CARGO_PKG_VERSION"), "\"")), "{chart}");
}
