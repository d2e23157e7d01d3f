//! The official SDKs work against a node as against their provider, and what they used is booked. Runs for the SDKs
//! that this machine's Python has (`SPROXY_PYTHON` names another interpreter).

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

use crate::harness::{Mock, Node, Setup, python_with, run_script, until};

async fn works_with(sdk: &str, module: &str) {
    let Some(python) = python_with(module).await else { return };
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    let key = node.user_with_key("developer").await;
    let expected = run_script(&python, "check.py", &[sdk, &node.url(""), &key]).await;
    assert_booked(&node, &expected).await;
}

async fn assert_booked(node: &Node, expected: &Value) {
    until("what the SDK used is booked", async || {
        let rows = node.usage().await;
        let ok: Vec<_> = rows.iter().filter(|row| row["outcome"] == "ok").collect();
        let sum = |field: &str| ok.iter().map(|row| row[field].as_u64().unwrap()).sum::<u64>();
        let booked = (ok.len() as u64, sum("input_tokens"), sum("output_tokens"));
        let wanted = |field: &str| expected[field].as_u64().unwrap();
        (booked == (wanted("requests"), wanted("input"), wanted("output"))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_anthropic_sdk_works() {
    works_with("anthropic", "anthropic").await;
}

#[tokio::test]
async fn the_openai_sdk_works() {
    works_with("openai", "openai").await;
}

#[tokio::test]
async fn the_openai_sdk_works_over_websockets() {
    let Some(python) = python_with("openai, websockets").await else { return };
    let mock = Mock::start().await;
    let target = format!(
        "[[targets]]\nname = \"openai\"\nprovider = \"openai\"\nurl = \"{}\"\napi_key = \"k\"\nwebsocket = true\n",
        mock.url()
    );
    let node = Setup::with_targets(&target).start().await;
    let key = node.user_with_key("developer").await;
    let expected = run_script(&python, "websockets_openai.py", &[&node.url(""), &key]).await;
    assert_eq!(expected["requests"], 5);
    assert_booked(&node, &expected).await;
}

#[tokio::test]
async fn the_gemini_sdk_works() {
    works_with("gemini", "google.genai").await;
}

#[tokio::test]
async fn the_ollama_sdk_works() {
    works_with("ollama", "ollama").await;
}

/// What others generate from the `OpenAPI` document.
#[tokio::test]
async fn the_openapi_document_is_valid_and_a_client_generated_from_it_works() {
    let Some(python) = python_with("openapi_spec_validator, openapi_python_client").await else { return };
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    let key = node.user_with_key("developer").await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/openapi.py");
    let mut check = Command::new(&python);
    check.args([script, &node.url(""), &node.admin_token(), &key]).current_dir(node.directory());
    let ran = check.output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}{err}");
}

/// What conversions send, and what callers get of them, by the types of the providers' own SDKs.
#[tokio::test]
async fn the_golden_files_of_conversions_are_what_the_sdks_know() {
    let Some(python) = python_with("anthropic, openai, google.genai").await else { return };
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dialect/convert");
    let older = older_sdks();
    let majors = std::iter::once(None).chain(older.iter().map(|path| path.to_str()));
    for major in majors {
        let arguments: Vec<&str> = std::iter::once(directory).chain(major).collect();
        let read = run_script(&python, "golden_convert.py", &arguments).await;
        let read = read["read"].as_array().unwrap();
        for file in ["codex.messages.json", "request.gemini.json", "stream.chat.sse"] {
            assert!(read.iter().any(|one| one == file), "{major:?}: {read:?}");
        }
    }
}

/// Where `.ci/run` puts the older majors of Anthropic's SDK (`tests/sdk/older.txt`), each in a directory of its own.
fn older_sdks() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/older-sdks");
    let entries = std::fs::read_dir(&directory).into_iter().flatten();
    let found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let wanted = include_str!("../../sdk/older.txt").lines().filter(|line| !line.starts_with('#')).count();
    let is_required = std::env::var_os("SPROXY_REQUIRE_SDKS").is_some();
    assert!(!is_required || found.len() == wanted, "{}: {found:?}", directory.display());
    found
}
