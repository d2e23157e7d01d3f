//! `sproxy connect`: what it writes into clients' settings, and that it can be taken back.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::node_and_mock;
use super::person::Person;

const SPROXY: &str = env!("CARGO_BIN_EXE_sproxy");

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    std::fs::write(path, text).expect("written");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("there")
}

/// The settings of each client that is connected with a key, as somebody may have them.
fn settings(home: &Path) -> [(&'static str, PathBuf, &'static str); 4] {
    [
        (
            "claude",
            home.join(".claude/settings.json"),
            "{\n    \"env\": {\"FOO\": \"1\"},\n    \"model\": \"opus\"\n}",
        ),
        (
            "codex",
            home.join(".codex/config.toml"),
            "# mine\nmodel = \"gpt-5\"   # good\n\n[tui]\ntheme='x'\n",
        ),
        ("gemini", home.join(".gemini/.env"), "# mine\nGEMINI_API_KEY=mine\n"),
        (
            "opencode",
            home.join(".config/opencode/opencode.jsonc"),
            "{\n\t// mine\n\t\"theme\": \"x\", // dark\n\t\"provider\": {\"anthropic\": {\"options\": {}}},\n}\n",
        ),
    ]
}

#[tokio::test]
async fn what_was_written_is_taken_back_byte_for_byte() {
    let (node, _mock) = node_and_mock().await;
    let alice = Person::signed_in(&node, "alice").await;
    for (client, path, text) in settings(alice.home()) {
        let connect = ["connect", client, "--key", "sk-sp-1"];
        write(&path, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
        let shown = alice.run(&[&connect[..], &["--dry-run"]].concat()).await.done();
        assert!(shown.contains("+ ") && shown.contains("sk-sp-1"), "{shown}");
        assert_eq!(read(&path), text, "only shown");
        alice.run(&connect).await.done();
        let written = read(&path);
        assert!(written.contains("sk-sp-1") && written.contains(&node.url("")), "{written}");
        alice.run(&connect).await.done();
        assert_eq!(read(&path), written, "twice is once");
        // With another key, and the way back is the same.
        alice.run(&["connect", client, "--key", "sk-sp-2"]).await.done();
        assert_eq!(read(&path), written.replace("sk-sp-1", "sk-sp-2"));
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
        alice.run(&["connect", client, "--undo"]).await.done();
        assert_eq!(read(&path), text, "{client}");
        let refused = alice.run(&["connect", client, "--undo"]).await.refused(1);
        assert!(refused.contains("was not connected"), "{refused}");
        // Where there was no file there is none again.
        std::fs::remove_file(&path).expect("removed");
        alice.run(&connect).await.done();
        alice.run(&["connect", client, "--undo"]).await.done();
        assert!(!path.exists(), "{client}");
    }
    assert!(!alice.home().join(".gemini/settings.json").exists());
}

#[tokio::test]
async fn what_somebody_changed_since_stays_when_it_is_taken_back() {
    let (node, _mock) = node_and_mock().await;
    let alice = Person::signed_in(&node, "alice").await;
    let without_space = |text: &str| text.split_whitespace().collect::<String>();
    for (client, path, text) in settings(alice.home()) {
        write(&path, text);
        alice.run(&["connect", client, "--key", "sk-sp-1"]).await.done();
        let (from, to) = match client {
            "claude" => ("\"opus\"", "\"sonnet\""),
            "codex" => ("theme='x'", "theme='y'"),
            "gemini" => ("# mine", "# still mine"),
            _ => ("\"x\", // dark", "\"y\", // light"),
        };
        write(&path, &read(&path).replace(from, to));
        alice.run(&["connect", client, "--undo"]).await.done();
        assert_eq!(without_space(&read(&path)), without_space(&text.replace(from, to)), "{client}");
    }
}

#[tokio::test]
async fn clients_that_run_a_command_get_the_login() {
    let (node, _mock) = node_and_mock().await;
    let mut alice = Person::signed_in(&node, "alice").await;
    let server = node.url("");
    alice.run(&["connect", "claude"]).await.done();
    let claude: Value =
        serde_json::from_str(&read(&alice.home().join(".claude/settings.json"))).expect("JSON");
    assert_eq!(claude["env"], json!({ "ANTHROPIC_BASE_URL": server }));
    let helper = claude["apiKeyHelper"].as_str().expect("a command");
    assert_eq!(helper, format!("{SPROXY} token --server {server}"));
    let printed =
        tokio::process::Command::new("sh").args(["-c", helper]).env("HOME", alice.home()).output().await;
    assert_eq!(
        String::from_utf8(printed.expect("ended").stdout).expect("text"),
        alice.run(&["token"]).await.done()
    );

    let elsewhere = alice.home().join("elsewhere");
    alice.set("CODEX_HOME", elsewhere.to_str().expect("a path"));
    alice.run(&["connect", "codex"]).await.done();
    let codex = read(&elsewhere.join("config.toml"));
    for line in [
        "model_provider = \"sproxy\"".to_owned(),
        format!("base_url = \"{server}/v1\""),
        format!("command = \"{SPROXY}\""),
        format!("args = [\"token\", \"--server\", \"{server}\"]"),
    ] {
        assert!(codex.contains(&line), "{line}: {codex}");
    }
    for client in ["gemini", "opencode"] {
        let refused = alice.run(&["connect", client]).await.refused(64);
        assert!(refused.contains("sproxy agent") && refused.contains("--key"), "{refused}");
    }
}

#[tokio::test]
async fn what_cannot_be_edited_is_left_alone_with_the_lines_to_add() {
    let (node, _mock) = node_and_mock().await;
    let alice = Person::signed_in(&node, "alice").await;
    let path = alice.home().join(".claude/settings.json");
    for text in ["{\"env\": ", "[]", "{\"env\": 1}"] {
        write(&path, text);
        let refused = alice.run(&["connect", "claude"]).await.refused(1);
        assert!(refused.contains("by hand") && refused.contains("\"apiKeyHelper\": "), "{refused}");
        assert_eq!(read(&path), text);
    }
    let nobody = Person::new();
    assert!(nobody.run(&["connect", "claude"]).await.refused(1).contains("sproxy login"));
}
