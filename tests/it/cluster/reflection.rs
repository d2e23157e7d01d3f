//! A third party's gRPC client reads the cluster's totals with the reflection service alone: `grpcio`, where this
//! machine's Python has it (`SPROXY_PYTHON` names another interpreter).

use serde_json::{Value, json};
use tokio::process::Command;

use super::{ask, booked, follower, leader};
use crate::harness::{Mock, python_with, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcio_reads_global_stats_with_the_reflection_service_alone() {
    let Some(python) = python_with("grpc_reflection.v1alpha, google.protobuf").await else { return };
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let two = follower(&mock, &one, "sp-2").await;
    let key = one.user_with_key("alice").await;
    assert_eq!(ask(&one, &key).await.status, 200);
    until("the key holds", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    booked(&one, 2).await;

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/global_stats.py");
    let address = one.grpc.unwrap().to_string();
    let ran = Command::new(python).args([script, &address, &one.admin_token()]).output().await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said: Value = serde_json::from_slice(&ran.stdout).unwrap();
    for service in ["sproxy.v1.Cluster", "sproxy.v1.Stats", "grpc.health.v1.Health"] {
        assert!(said["services"].as_array().unwrap().contains(&json!(service)), "{said}");
    }
    // 64-bit numbers are strings in protobuf's JSON.
    let wanted =
        [("total_input", "140"), ("total_output", "60"), ("total_tokens", "200"), ("request_count", "2")];
    for (field, value) in wanted {
        assert_eq!(said["stats"][field], json!(value), "{said}");
    }
    assert!(said["stats"]["cost_nanousd"].as_str().unwrap().parse::<i64>().unwrap() > 0);
}
