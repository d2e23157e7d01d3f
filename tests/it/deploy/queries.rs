//! A real Prometheus scrapes a leader and a follower under traffic, as the shipped configuration says: every panel of
//! the dashboard shows something, and no rule asks for a metric that nodes do not have.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::promql::metrics;
use super::{has, read, said};
use crate::harness::{Mock, Node, Setup, until};

const CLUSTER: &str = "heartbeat_interval = \"300ms\"\nsync_interval = \"200ms\"";

/// Metrics that are not there from the start.
const LATE: [&str; 6] = [
    "sproxy_requests_total",
    "sproxy_tokens_total",
    "sproxy_cost_nanousd_total",
    "sproxy_price_unknown_total",
    "sproxy_dropped_fields_total",
    "sproxy_cluster_complete_behind_seconds",
];

/// Dropping it kills it.
struct Prometheus {
    address: SocketAddr,
    http: reqwest::Client,
    directory: TempDir,
    _child: Child,
}

impl Prometheus {
    /// With the shipped configuration and rules, but for the nodes' addresses and the pace.
    async fn watching(nodes: &[&Node]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let addresses: Vec<String> = nodes.iter().map(|node| format!("\"{}\"", node.address)).collect();
        let mut config = read("prometheus/prometheus.yml");
        for (shipped, here) in [
            ("\"sp-1:9000\", \"sp-2:9000\", \"sp-3:9000\"", &*addresses.join(", ")),
            ("scrape_interval: 15s", "scrape_interval: 1s"),
            ("evaluation_interval: 15s", "evaluation_interval: 1s"),
        ] {
            assert!(config.contains(shipped), "{shipped} in {config}");
            config = config.replace(shipped, here);
        }
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        std::fs::write(directory.path().join("rules.yml"), read("prometheus/rules.yml")).unwrap();
        let data = directory.path().join("data");
        // It takes no socket from others: a port is looked for, and another one if somebody was faster.
        for _ in 0..10 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let log = std::fs::File::create(directory.path().join("log")).unwrap();
            let mut child = Command::new("prometheus")
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", data.display()))
                .arg(format!("--web.listen-address={address}"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let http = reqwest::Client::new();
            let is_up = until("Prometheus is ready, or has ended", async || {
                if child.try_wait().unwrap().is_some() {
                    return Some(false);
                }
                let ready = http.get(format!("http://{address}/-/ready")).send().await.ok()?;
                ready.status().is_success().then_some(true)
            });
            if is_up.await {
                return Self { address, http, directory, _child: child };
            }
        }
        panic!("{}", std::fs::read_to_string(directory.path().join("log")).unwrap());
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let asked = self.http.get(format!("http://{}/api/v1/{path}", self.address)).query(query);
        let answer: Value = asked.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{path} {query:?}: {answer}");
        answer["data"].clone()
    }

    /// The query as Prometheus writes it.
    async fn formatted(&self, query: &str) -> String {
        self.get("format_query", &[("query", query)]).await.as_str().unwrap().to_owned()
    }

    /// How many values a query has now.
    async fn values(&self, query: &str) -> usize {
        self.get("query", &[("query", query)]).await["result"].as_array().unwrap().len()
    }

    /// The names of all metrics that were scraped.
    async fn names(&self) -> BTreeSet<String> {
        let names = self.get("label/__name__/values", &[]).await;
        names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    /// Every rule, once all were evaluated.
    async fn rules(&self) -> Vec<Value> {
        until("every rule was evaluated", async || {
            let groups = self.get("rules", &[]).await;
            let groups = groups["groups"].as_array().unwrap().clone();
            let rules: Vec<Value> =
                groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
            rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
        })
        .await
    }
}

/// Says what it has said when a test fails.
impl Drop for Prometheus {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default());
        }
    }
}

/// A target for each way in which a call may end.
fn targets(mock: &Mock, hosted: &Mock) -> String {
    let target = |name: &str, provider: &str, url: &str, more: &str| {
        format!(
            "[[targets]]\nname = \"{name}\"\nprovider = \"{provider}\"\nurl = \"{url}\"\napi_key = \"k\"\n{more}\n"
        )
    };
    [
        target("anthropic", "anthropic", &mock.url(), "models = [\"claude-*\"]"),
        target("openai", "openai", &mock.url(), ""),
        target("hosted", "anthropic", &hosted.url(), "platform = \"azure\"\nmodels = [\"hosted\"]"),
        target("gone", "ollama", "http://127.0.0.1:9", ""),
    ]
    .concat()
}

fn message(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }] })
}

/// A call's path, key, headers and body.
type Call<'c> = (&'c str, &'c str, &'c [(&'c str, &'c str)], Value);

/// Calls of every kind to all nodes, until it is dropped.
struct Traffic(JoinHandle<()>);

impl Drop for Traffic {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Traffic {
    fn to(nodes: &[&Node], key: &str, limited: &str) -> Self {
        let http = reqwest::Client::new();
        let (urls, key, limited): (Vec<String>, _, _) =
            (nodes.iter().map(|node| node.url("")).collect(), key.to_owned(), limited.to_owned());
        Self(tokio::spawn(async move {
            let streamed = json!({ "model": "gpt-4o", "stream": true, "messages": [{ "role": "user", "content": "Hi" }] });
            let used = [("mock-cache-read", "50"), ("mock-cache-write", "20")];
            let calls: [Call<'_>; 6] = [
                ("v1/messages", &key, &used, message("claude-sonnet-4-5")),
                ("v1/chat/completions", &key, &[], streamed),
                ("v1/chat/completions", &key, &[], message("nobody-knows-it")),
                ("v1/chat/completions", &key, &[("mock-status", "429")], message("gpt-4.1")),
                ("v1/messages", &limited, &[], message("claude-sonnet-4-5")),
                (
                    "api/chat",
                    &key,
                    &[],
                    json!({ "model": "llama3", "messages": [{ "role": "user", "content": "Hi" }] }),
                ),
            ];
            let mut pace = interval(Duration::from_millis(100));
            loop {
                pace.tick().await;
                for url in &urls {
                    for (path, key, headers, body) in &calls {
                        let mut call =
                            http.post(format!("{url}/{path}")).header("x-api-key", *key).json(body);
                        for (name, value) in *headers {
                            call = call.header(*name, *value);
                        }
                        if let Ok(answer) = call.send().await {
                            let _ = answer.bytes().await;
                        }
                    }
                }
            }
        }))
    }
}

/// A leader and a follower under traffic in which everything occurs that is counted.
async fn nodes_under_traffic() -> (Node, Node, [Mock; 2], Traffic) {
    let (mock, hosted) = (Mock::start().await, Mock::start().await);
    let setup = || {
        let quick = Setup::with_targets(&targets(&mock, &hosted)).section("upstream", "max_wait = \"0s\"");
        quick.section("cluster", CLUSTER).section("log", "level = \"warn,sproxy=info\"")
    };
    let one = setup().section("backup", "every = \"1h\"").start().await;
    let leader = format!("leader = \"http://{}\"", one.grpc.expect("a leader serves gRPC"));
    let two = setup().section("cluster", &leader).section("node", "id = \"sp-2\"").start().await;
    let key = one.user_with_key("alice").await;
    one.post("/admin/v1/users", json!({ "name": "bob", "models": ["gpt-*"] })).await;
    let limited = one.key_of("bob").await;
    until("the follower knows the key", async || {
        let answer = two.ask(&key, "/v1/messages", &[], &message("claude-sonnet-4-5")).await;
        (answer.status == 200).then_some(())
    })
    .await;
    let refusal = "context_management: Extra inputs are not permitted";
    let refusal =
        json!({ "type": "error", "error": { "type": "invalid_request_error", "message": refusal } });
    hosted.script(&[json!({ "status": 400, "body": refusal })]).await;
    let mut tuned = message("hosted");
    tuned["context_management"] = json!({ "edits": [] });
    assert_eq!(one.ask(&key, "/v1/messages", &[], &tuned).await.status, 200);
    let traffic = Traffic::to(&[&one, &two], &key, &limited);
    (one, two, [mock, hosted], traffic)
}

/// Every query of the dashboard, by its panel's title and with its variables set.
fn dashboard_queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("grafana/sproxy.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let mut query = target["expr"].as_str().unwrap().to_owned();
            for (variable, value) in
                [("$__rate_interval", "10s"), ("$__range", "10s"), ("$job", "sproxy"), ("$instance", ".+")]
            {
                query = query.replace(variable, value);
            }
            assert!(!query.contains('$'), "a variable that is not known: {query}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    assert!(queries.len() > 30, "{queries:?}");
    queries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_shows_something_and_every_rule_is_about_metrics_that_nodes_have() {
    if !has("prometheus", &["--version"]) {
        return;
    }
    let (one, two, _mocks, _traffic) = nodes_under_traffic().await;
    let prometheus = Prometheus::watching(&[&one, &two]).await;

    let panels = dashboard_queries();
    let mut queries = Vec::new();
    for (title, query) in &panels {
        queries.push((title.clone(), prometheus.formatted(query).await));
    }
    let rules = prometheus.rules().await;
    for rule in &rules {
        let name = rule["name"].as_str().unwrap().to_owned();
        assert_eq!(rule["health"], "ok", "{name}: {}", rule["lastError"]);
        queries.push((name, rule["query"].as_str().unwrap().to_owned()));
    }
    assert_eq!(rules.len(), read("prometheus/rules.yml").matches("- alert: ").count());

    let asked: BTreeSet<(String, String)> = queries
        .iter()
        .flat_map(|(whose, query)| metrics(query).into_iter().map(|metric| (metric, whose.clone())))
        .collect();
    until("all nodes were scraped, and metrics that begin with what they count", async || {
        if prometheus.values("up == 1").await < 2 {
            return None;
        }
        let names = prometheus.names().await;
        LATE.iter().all(|late| names.contains(*late)).then_some(())
    })
    .await;
    let names = prometheus.names().await;
    let unknown: Vec<_> = asked.iter().filter(|(metric, _)| !names.contains(metric)).collect();
    assert!(unknown.is_empty(), "nodes have no such metrics: {unknown:?}");

    for (title, query) in &panels {
        until(&format!("the panel {title} shows something: {query}"), async || {
            (prometheus.values(query).await > 0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_wrong_with_the_metrics_of_nodes() {
    if !has("promtool", &["--version"]) {
        return;
    }
    let (one, two, _mocks, _traffic) = nodes_under_traffic().await;
    for node in [&one, &two] {
        let text = until("there was a call of each kind", async || {
            let text = node.http.get(node.url("/metrics")).send().await.ok()?.text().await.ok()?;
            let outcomes = ["ok", "upstream_error", "upstream_unreachable", "refused"];
            outcomes.iter().all(|outcome| text.contains(&format!("outcome=\"{outcome}\""))).then_some(text)
        })
        .await;
        let mut check = std::process::Command::new("promtool");
        check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut check = check.spawn().unwrap();
        check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let checked = check.wait_with_output().unwrap();
        assert!(checked.status.success(), "{}\n{text}", said(&checked));
    }
}
