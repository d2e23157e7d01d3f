//! Prometheus' own checker takes the rules, and each alert fires when it should and not before.

use std::collections::BTreeSet;
use std::process::Command;

use super::{deploy, has, read, succeeds};

fn promtool(arguments: &[&str], file: &str) {
    succeeds(Command::new("promtool").args(arguments).arg(deploy(file)));
}

#[test]
fn promtool_takes_the_rules_and_the_configuration() {
    if has("promtool", &["--version"]) {
        promtool(&["check", "rules", "--lint-fatal"], "prometheus/rules.yml");
        promtool(&["check", "config", "--lint-fatal"], "prometheus/prometheus.yml");
    }
}

#[test]
fn alerts_fire_when_they_should_and_not_before() {
    if has("promtool", &["--version"]) {
        promtool(&["test", "rules"], "prometheus/rules.test.yml");
    }
}

#[test]
fn every_alert_is_seen_to_fire_and_says_what_to_do() {
    let (rules, tests) = (read("prometheus/rules.yml"), read("prometheus/rules.test.yml"));
    let fired = tests.split("labels: '{alertname=\"").skip(1);
    let fired: BTreeSet<&str> = fired.filter_map(|rest| rest.split('"').next()).collect();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert.lines().next().unwrap()).collect();
    assert!(names.len() == alerts.len() && names.len() > 20, "{names:?}");
    assert_eq!(fired, names);
    for alert in alerts {
        for part in ["labels: { severity: ", "summary: \"", "description: \""] {
            assert!(alert.contains(part), "{part} of {alert}");
        }
    }
}
