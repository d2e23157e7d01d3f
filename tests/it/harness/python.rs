//! The Python of this machine, for clients that others have written.

use serde_json::Value;
use tokio::process::Command;

/// An interpreter that has these modules; none, with a note, where there is no such (`SPROXY_PYTHON` names another than
/// `python3`, and with `SPROXY_REQUIRE_SDKS` their absence fails the test).
pub async fn python_with(modules: &str) -> Option<String> {
    let python = std::env::var("SPROXY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", &format!("import {modules}")]).output().await;
    if probe.is_ok_and(|probe| probe.status.success()) {
        return Some(python);
    }
    assert!(std::env::var_os("SPROXY_REQUIRE_SDKS").is_none(), "{python} does not have {modules}");
    eprintln!("left out: {python} does not have {modules}");
    None
}

/// Runs a script of `tests/sdk`, which has to succeed; the JSON that it prints.
pub async fn run_script(python: &str, script: &str, arguments: &[&str]) -> Value {
    let script = format!("{}/tests/sdk/{script}", env!("CARGO_MANIFEST_DIR"));
    let ran = Command::new(python).arg(script).args(arguments).output().await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}
