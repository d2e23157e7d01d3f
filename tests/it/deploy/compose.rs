//! The compose file is what Docker's own tool takes it for, and everything that it mounts is there.

use std::process::Command;

use super::{SECRET, deploy, has, read, said, succeeds};

const ON_ALL: [&str; 7] = ["sp-1", "sp-2", "sp-3", "mock", "postgres", "prometheus", "grafana"];

fn compose(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker-compose");
    command.arg("-f").arg(deploy("compose.yaml")).args(arguments).env_remove("SPROXY_CLUSTER_SECRET");
    command
}

#[test]
fn compose_takes_the_file_and_asks_for_the_one_secret_that_it_needs() {
    if !has("docker-compose", &["version"]) {
        return;
    }
    let refused = compose(&["config", "--quiet"]).output().unwrap();
    assert!(
        !refused.status.success() && said(&refused).contains("32 or more characters"),
        "{}",
        said(&refused)
    );
    let services = succeeds(compose(&["config", "--services"]).env("SPROXY_CLUSTER_SECRET", SECRET));
    let mut services: Vec<&str> = services.lines().collect();
    services.sort_unstable();
    let mut expected = ON_ALL;
    expected.sort_unstable();
    assert_eq!(services, expected);
}

#[test]
fn the_compose_file_mounts_what_is_there() {
    let text = read("compose.yaml");
    let mounts = text.split(['"', ' ']).filter_map(|word| word.strip_prefix("./")?.split_once(':'));
    let mounts: Vec<&str> = mounts.map(|(file, _)| file).collect();
    for file in &mounts {
        assert!(deploy(file).exists(), "{file}");
    }
    assert_eq!(mounts.len(), 7, "{mounts:?}");
}

#[test]
fn prometheus_scrapes_every_node_of_the_compose_file() {
    let (compose, prometheus) = (read("compose.yaml"), read("prometheus/prometheus.yml"));
    for node in ["sp-1", "sp-2", "sp-3"] {
        assert!(compose.contains(&format!("\n  {node}:\n")), "{node}");
        assert!(prometheus.contains(&format!("\"{node}:9000\"")), "{node} in {prometheus}");
    }
}
