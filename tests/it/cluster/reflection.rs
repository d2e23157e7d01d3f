//! A third party's gRPC client reads the cluster's totals with the reflection service alone: `grpcio`, where this
//! machine's Python has it (`SPROXY_PYTHON` names another interpreter).

use serde_json::json;

use super::two_nodes_with_a_call_each;
use crate::harness::{Mock, python_with, run_script};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcio_reads_global_stats_with_the_reflection_service_alone() {
    let Some(python) = python_with("grpc_reflection.v1alpha, google.protobuf").await else { return };
    let mock = Mock::start().await;
    let (one, _two) = two_nodes_with_a_call_each(&mock).await;
    let address = one.grpc.unwrap().to_string();
    let said = run_script(&python, "global_stats.py", &[&address, &one.admin_token()]).await;
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
