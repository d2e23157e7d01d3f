//! `sproxy connect`: what it writes into clients' settings, and that it can be taken back.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use super::node_and_mock;
use super::person::Person;
use crate::harness::{Mock, Node, Setup};

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

/// A node with models of two makers, of which neither is asked for a list.
async fn node_with_models() -> (Node, Mock) {
    let mock = Mock::start().await;
    let target = |provider: &str, models: &str| {
        format!(
            "[[targets]]\nname = \"{provider}\"\nprovider = \"{provider}\"\nurl = \"{}\"\napi_key = \"k\"\nmodels = {models}\n",
            mock.url()
        )
    };
    let targets = target("anthropic", "[\"claude-sonnet-4-6\", \"claude-secret\"]")
        + &target("openai", "[\"gpt-5.5\", \"text-embedding-3-small\"]");
    (Setup::with_targets(&targets).start().await, mock)
}

/// Somebody with a program that is called `codex`, and does what `script` says.
async fn somebody_with_codex(node: &Node, script: Option<&str>) -> Person {
    let mut alice = Person::signed_in(node, "alice").await;
    let programs = alice.home().join("bin");
    std::fs::create_dir(&programs).expect("made");
    if let Some(script) = script {
        let codex = programs.join("codex");
        std::fs::write(&codex, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&codex, std::fs::Permissions::from_mode(0o755)).expect("set");
    }
    alice.set("PATH", &format!("{}:/usr/bin:/bin", programs.display()));
    alice
}

/// Knows two models, and reads a catalogue that it is given.
const READS: &str = r#"case "$*" in
*model_catalog_json*) file=${2#model_catalog_json=\"}; cat "${file%\"}" ;;
*) echo '{"models":[{"slug":"gpt-5.5","visibility":"list","own":1},{"slug":"gpt-9","visibility":"list"}]}' ;;
esac"#;

fn slugs(catalogue: &Value) -> Vec<&str> {
    let entries = catalogue["models"].as_array().expect("entries");
    entries.iter().map(|entry| entry["slug"].as_str().expect("a slug")).collect()
}

#[tokio::test]
async fn codex_gets_a_catalogue_of_the_models_that_may_be_used_which_goes_again() {
    let (node, _mock) = node_with_models().await;
    let alice = somebody_with_codex(&node, Some(READS)).await;
    node.call(
        Method::PATCH,
        "/admin/v1/users/alice",
        Some(json!({ "models": ["claude-sonnet-*", "gpt-*", "text-*"] })),
    )
    .await;
    let (settings, list) =
        (alice.home().join(".codex/config.toml"), alice.home().join(".codex/sproxy-models.json"));
    write(&settings, "model = \"claude-sonnet-4-6\"\n");
    let shown = alice.run(&["connect", "codex", "--dry-run"]).await.done();
    assert!(
        shown.contains("sproxy-models.json") && shown.contains("model_catalog_json") && !list.exists(),
        "{shown}"
    );
    let connected = alice.run(&["connect", "codex"]).await;
    assert_eq!(connected.err, "");
    connected.done();
    assert!(
        read(&settings).contains(&format!("model_catalog_json = \"{}\"", list.display())),
        "{}",
        read(&settings)
    );
    assert_eq!(std::fs::metadata(&list).expect("there").permissions().mode() & 0o777, 0o600);
    let catalogue: Value = serde_json::from_str(&read(&list)).expect("JSON");
    assert_eq!(slugs(&catalogue), ["gpt-5.5", "gpt-9", "claude-sonnet-4-6"]);
    let [known, not_here, other] = [0, 1, 2].map(|at| &catalogue["models"][at]);
    assert_eq!(
        *known,
        json!({ "slug": "gpt-5.5", "visibility": "list", "own": 1 }),
        "what Codex knows stays"
    );
    assert_eq!(not_here["visibility"], "hide");
    assert_eq!(
        (&other["context_window"], &other["max_context_window"]),
        (&json!(872_000), &json!(1_000_000))
    );

    // Again, with what is new.
    node.call(Method::PATCH, "/admin/v1/users/alice", Some(json!({ "models": null }))).await;
    let written = read(&settings);
    alice.run(&["connect", "codex"]).await.done();
    assert_eq!(read(&settings), written);
    let catalogue: Value = serde_json::from_str(&read(&list)).expect("JSON");
    assert_eq!(slugs(&catalogue), ["gpt-5.5", "gpt-9", "claude-secret", "claude-sonnet-4-6"]);
    let healthy = alice.run(&["doctor"]).await;
    assert!(!healthy.out.contains("changed"), "{}", healthy.out);
    alice.run(&["connect", "codex", "--undo"]).await.done();
    assert_eq!(read(&settings), "model = \"claude-sonnet-4-6\"\n");
    assert!(!list.exists());
    let left = std::fs::read_dir(alice.home().join(".config/sproxy")).expect("there");
    let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("codex-")), "{left:?}");
}

#[tokio::test]
async fn codex_is_connected_without_a_catalogue_where_it_might_not_read_one() {
    let (node, _mock) = node_with_models().await;
    let refuses = READS.replace("file=", "echo 'Error: missing field `new`' >&2; exit 1; file=");
    for (script, key, said) in [
        (Some("echo 'error: unrecognized subcommand' >&2; exit 2"), None, "unrecognized subcommand"),
        (Some("echo '{}'"), None, "prints no catalogue"),
        (Some(refuses.as_str()), None, "missing field `new`"),
        (Some(READS), Some("sk-sp-nobody"), "no catalogue of models"),
    ] {
        let alice = somebody_with_codex(&node, script).await;
        let key = key.map_or(vec![], |key| vec!["--key", key]);
        let connected = alice.run(&[&["connect", "codex"], &key[..]].concat()).await;
        assert!(connected.err.contains(said) && connected.err.contains("without one"), "{}", connected.err);
        connected.done();
        let settings = read(&alice.home().join(".codex/config.toml"));
        assert!(settings.contains("wire_api") && !settings.contains("model_catalog_json"), "{settings}");
        assert!(!alice.home().join(".codex/sproxy-models.json").exists());
        node.call(Method::DELETE, "/admin/v1/users/alice", None).await;
    }
}

#[tokio::test]
async fn codex_is_connected_without_a_catalogue_where_there_is_no_place_for_one() {
    let (node, _mock) = node_with_models().await;
    let alice = somebody_with_codex(&node, Some(READS)).await;
    let list = alice.home().join(".codex/sproxy-models.json");
    std::fs::create_dir_all(&list).expect("made");
    let connected = alice.run(&["connect", "codex"]).await;
    assert!(
        connected.err.contains("sproxy-models.json") && connected.err.contains("without"),
        "{}",
        connected.err
    );
    connected.done();
    let settings = read(&alice.home().join(".codex/config.toml"));
    assert!(settings.contains("wire_api") && !settings.contains("model_catalog_json"), "{settings}");
    alice.run(&["connect", "codex", "--undo"]).await.done();
    assert!(list.is_dir() && !alice.home().join(".codex/config.toml").exists());
}

#[tokio::test]
async fn a_catalogue_stays_while_the_gateway_is_away_and_goes_with_the_last_model() {
    let (mut node, _mock) = node_with_models().await;
    let alice = somebody_with_codex(&node, Some(READS)).await;
    let list = alice.home().join(".codex/sproxy-models.json");
    let key = node.key_of("alice").await;
    let connect = ["connect", "codex", "--key", &key];
    alice.run(&connect).await.done();
    let written = read(&list);
    node.kill().await;
    let connected = alice.run(&connect).await;
    assert!(connected.err.contains("the one from before is kept"), "{}", connected.err);
    connected.done();
    assert!(
        read(&list) == written
            && read(&alice.home().join(".codex/config.toml")).contains("model_catalog_json")
    );
    node.restart().await;
    node.call(Method::PATCH, "/admin/v1/users/alice", Some(json!({ "models": ["text-*"] }))).await;
    alice.run(&connect).await.done();
    assert!(!list.exists() && !read(&alice.home().join(".codex/config.toml")).contains("model_catalog_json"));
}

#[tokio::test]
async fn without_codex_at_hand_its_catalogue_is_what_the_gateway_knows_and_one_of_ones_own_stays() {
    let (node, _mock) = node_with_models().await;
    let alice = somebody_with_codex(&node, None).await;
    let (settings, list) =
        (alice.home().join(".codex/config.toml"), alice.home().join(".codex/sproxy-models.json"));
    let connected = alice.run(&["connect", "codex"]).await;
    assert!(connected.err.contains("connect again where it is"), "{}", connected.err);
    connected.done();
    let catalogue: Value = serde_json::from_str(&read(&list)).expect("JSON");
    assert_eq!(slugs(&catalogue), ["claude-secret", "claude-sonnet-4-6", "gpt-5.5"]);
    alice.run(&["connect", "codex", "--undo"]).await.done();

    let own = "model_catalog_json = '/mine.json'\n";
    write(&settings, own);
    for _ in 0..2 {
        let connected = alice.run(&["connect", "codex"]).await;
        assert!(connected.err.contains("/mine.json"), "{}", connected.err);
        connected.done();
        assert!(read(&settings).contains(own) && !list.exists());
    }
    alice.run(&["connect", "codex", "--undo"]).await.done();
    assert_eq!(read(&settings), own);
}
