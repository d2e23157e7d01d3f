//! Claude Code and Codex, as they are, on models of other makers: a scripted agent's whole task, against a provider that
//! takes nothing but what the vendors' published types allow (`tests/sdk/strict_provider.py`). The task: a file is written
//! and read, a picture is looked at, and two tools are called at once.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::harness::{Mock, Node, Setup, python_with, until};

/// 8 × 8 red pixels.
const PICTURE: &[u8] = include_bytes!("../../fixtures/red.png");
/// Far more than any of these takes.
const PATIENCE: Duration = Duration::from_mins(3);

/// The program of an agent; none, with a note, where `npm ci --prefix tests/agents` has not brought it.
fn installed(program: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agents/node_modules").join(program);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("SPROXY_REQUIRE_AGENTS").is_none(), "{} is not there", path.display());
    eprintln!("left out: {} is not there", path.display());
    None
}

fn claude() -> Option<PathBuf> {
    installed("@anthropic-ai/claude-code/bin/claude.exe")
}

fn codex() -> Option<PathBuf> {
    installed("@openai/codex/bin/codex.js")
}

/// A provider that plays the model's part, a node in front of it, and a place to work in.
struct Bench {
    _provider: Child,
    faults: PathBuf,
    node: Node,
    key: String,
    directory: tempfile::TempDir,
}

impl Bench {
    /// None, with a note, where Python lacks the SDKs. `target`: lines of the target's.
    async fn start(target: &str) -> Option<Self> {
        let python = python_with("anthropic, openai, google.genai, pydantic, typing_extensions").await?;
        let directory = tempfile::tempdir().unwrap();
        for made in ["place", "home/.codex"] {
            std::fs::create_dir_all(directory.path().join(made)).unwrap();
        }
        std::fs::write(directory.path().join("place/pic.png"), PICTURE).unwrap();
        let (port, faults) = (directory.path().join("port"), directory.path().join("faults"));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/strict_provider.py");
        let provider =
            Command::new(python).arg(script).args([&port, &faults]).kill_on_drop(true).spawn().unwrap();
        let port = until("the provider listens", async || std::fs::read_to_string(&port).ok()).await;
        let target = format!(
            "[[targets]]\nname = \"other\"\nurl = \"http://127.0.0.1:{}\"\napi_key = \"k\"\n{target}\n",
            port.trim()
        );
        let node = Setup::with_targets(&target).start().await;
        let key = node.user_with_key("developer").await;
        Some(Self { _provider: provider, faults, node, key, directory })
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join("place").canonicalize().unwrap()
    }

    fn task(&self) -> String {
        format!("Do the task. PLACE={} ", self.place().display())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.place())
            .env("HOME", self.directory.path().join("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    fn claude(&self, program: &Path, model: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(program);
        command
            .env("ANTHROPIC_BASE_URL", self.node.url(""))
            .env("ANTHROPIC_API_KEY", &self.key)
            .env("ANTHROPIC_MODEL", model)
            .env("ANTHROPIC_SMALL_FAST_MODEL", model)
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .args(["--allowedTools", "Write,Read,Bash", "--permission-mode", "acceptEdits"])
            .args(arguments);
        command
    }

    fn codex(&self, program: &Path, model: &str) -> Command {
        self.codex_with(program, model, "")
    }

    /// `more`: lines of its provider's settings.
    fn codex_with(&self, program: &Path, model: &str, more: &str) -> Command {
        let settings = format!(
            "model = \"{model}\"\nmodel_provider = \"sproxy\"\n[model_providers.sproxy]\nname = \"sproxy\"\n\
             base_url = \"{}\"\nenv_key = \"SPROXY_KEY\"\nwire_api = \"responses\"\n{more}\n",
            self.node.url("/v1")
        );
        std::fs::write(self.directory.path().join("home/.codex/config.toml"), settings).unwrap();
        let mut command = self.connected_codex(program, model);
        command.env("SPROXY_KEY", &self.key);
        command
    }

    /// Codex with the settings that it has.
    fn connected_codex(&self, program: &Path, model: &str) -> Command {
        let mut command = self.command(program);
        command.env("CODEX_HOME", self.directory.path().join("home/.codex"));
        command.args([
            "exec",
            "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox",
            "-m",
            model,
        ]);
        command.arg(self.task());
        command
    }

    /// Connects Codex by sproxy's own command, on a machine where Codex is installed and has no settings yet.
    async fn connect_codex(&self) {
        std::fs::remove_file(self.directory.path().join("home/.codex/config.toml")).unwrap();
        let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agents/node_modules/.bin");
        let path = format!("{installed}:{}", std::env::var("PATH").unwrap_or_default());
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_sproxy")));
        command.env("PATH", path).env("CODEX_HOME", self.directory.path().join("home/.codex"));
        command.args(["connect", "codex", "--server", &self.node.url(""), "--key", &self.key]);
        let ran = timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
        assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    }

    /// What an agent says when it is done.
    async fn said(&self, command: Command) -> String {
        self.printed(command).await.0
    }

    /// What an agent prints, and what it prints beside, once it is done.
    async fn printed(&self, mut command: Command) -> (String, String) {
        let ran = timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        let faults = std::fs::read_to_string(&self.faults).unwrap_or_default();
        assert!(ran.status.success(), "{out}\n{err}\n{faults}\n{}", self.node.log());
        assert_eq!(faults, "", "the provider takes every request");
        (out.into_owned(), err.into_owned())
    }

    /// Every call is booked as its provider counted it, and as what it was.
    async fn assert_books(&self, provider: &str, converted_from: &str, calls: usize) {
        let rows = until("the calls are booked", async || {
            let rows = self.node.usage().await;
            (rows.len() >= calls).then_some(rows)
        })
        .await;
        for row in &rows {
            assert_eq!(
                (&row["outcome"], &row["token_source"]),
                (&Value::from("ok"), &"reported".into()),
                "{row}"
            );
            assert_eq!(row["provider"], provider);
            assert_eq!(row["converted_from"], converted_from);
            assert!(row["input_tokens"].as_u64().is_some_and(|tokens| tokens >= 1_000), "{row}");
            assert_eq!(
                (&row["cache_read_tokens"], &row["output_tokens"]),
                (&Value::from(900), &50.into()),
                "{row}"
            );
        }
    }
}

async fn claude_code_works_on(target: &str, provider: &str, model: &str) {
    let Some(program) = claude() else { return };
    let Some(bench) = Bench::start(target).await else { return };
    let said = bench.said(bench.claude(&program, model, &["-p", &bench.task()])).await;
    assert!(said.contains("DONE after 5 outputs: é"), "{said}");
    assert_eq!(std::fs::read_to_string(bench.place().join("a.txt")).unwrap(), "hello é\n");
    bench.assert_books(provider, "anthropic-messages", 5).await;
}

async fn codex_works_on(target: &str, provider: &str, model: &str) {
    let Some(program) = codex() else { return };
    let Some(bench) = Bench::start(target).await else { return };
    let said = bench.said(bench.codex(&program, model)).await;
    assert!(said.contains("DONE after 5 outputs: é"), "{said}");
    assert!(std::fs::read_to_string(bench.place().join("a.txt")).unwrap().starts_with("hello"));
    bench.assert_books(provider, "openai-responses", 5).await;
}

#[tokio::test]
async fn claude_code_works_on_openais_models() {
    claude_code_works_on("provider = \"openai\"", "openai", "gpt-5.6").await;
}

#[tokio::test]
async fn claude_code_works_on_models_behind_chat_completions() {
    claude_code_works_on("provider = \"openai\"\nresponses = false", "openai", "qwen3-coder").await;
}

#[tokio::test]
async fn claude_code_works_on_gemini() {
    claude_code_works_on("provider = \"gemini\"", "gemini", "gemini-3-pro").await;
}

#[tokio::test]
async fn codex_works_on_anthropics_models() {
    codex_works_on("provider = \"anthropic\"", "anthropic", "claude-sonnet-5").await;
}

#[tokio::test]
async fn codex_works_on_models_behind_chat_completions() {
    codex_works_on("provider = \"openai\"\nresponses = false", "openai", "qwen3-coder").await;
}

/// Over one connection, on which it sends only what is new: the gateway makes calls of it.
#[tokio::test]
async fn codex_works_over_a_websocket_on_anthropics_models() {
    let Some(program) = codex() else { return };
    let mock = Mock::start().await;
    let targets = format!(
        "provider = \"anthropic\"\nmodels = [\"claude-*\"]\n[[targets]]\nname = \"openai\"\n\
         provider = \"openai\"\nurl = \"{}\"\napi_key = \"k\"\nmodels = [\"gpt-*\"]\nwebsocket = true",
        mock.url()
    );
    let Some(bench) = Bench::start(&targets).await else { return };
    let said = bench.said(bench.codex_with(&program, "claude-sonnet-5", "supports_websockets = true")).await;
    assert!(said.contains("DONE after 5 outputs: é"), "{said}");
    bench.assert_books("anthropic", "openai-responses", 5).await;
}

/// The same on OpenAI itself, which keeps what was said: with a result of a tool nothing else goes there.
#[tokio::test]
async fn codex_works_over_a_websocket_that_is_passed_through() {
    let Some(program) = codex() else { return };
    let mock = Mock::start().await;
    let target = format!(
        "provider = \"openai\"\nmodels = [\"o-*\"]\n[[targets]]\nname = \"openai\"\nprovider = \"openai\"\n\
         url = \"{}\"\napi_key = \"k\"\nmodels = [\"gpt-*\"]\nwebsocket = true",
        mock.url()
    );
    let Some(bench) = Bench::start(&target).await else { return };
    // The first only makes ready.
    mock.script(&[json!({ "skip": 1, "times": 1, "tool": "exec_command" })]).await;
    let said = bench.said(bench.codex_with(&program, "gpt-5.6", "supports_websockets = true")).await;
    assert!(said.contains("mock provider"), "{said}");
    let last: Value =
        reqwest::get(format!("{}/mock/last/body", mock.url())).await.unwrap().json().await.unwrap();
    assert_eq!(last["type"], "response.create");
    assert!(last["previous_response_id"].is_string(), "{last}");
    let kinds: Vec<&Value> = last["input"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["function_call_output"], "{last}");
    let rows = bench.node.usage().await;
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows.iter().all(|row| row["outcome"] == "ok" && row["target"] == "openai"), "{rows:?}");
}

/// Of a model that it does not know Codex learns from the catalogue that `sproxy connect` gives it: it does not warn, and
/// its work is as good as without.
#[tokio::test]
async fn codex_knows_the_gateways_models_once_it_is_connected() {
    for (target, provider, model) in [
        ("provider = \"anthropic\"\nmodels = [\"claude-sonnet-5\"]", "anthropic", "claude-sonnet-5"),
        ("provider = \"openai\"\nresponses = false\nmodels = [\"qwen3-coder\"]", "openai", "qwen3-coder"),
    ] {
        let Some(program) = codex() else { return };
        let Some(bench) = Bench::start(target).await else { return };
        let warning = format!("Model metadata for `{model}` not found");
        let (_, without) = bench.printed(bench.codex(&program, model)).await;
        assert!(without.contains(&warning), "{without}");
        std::fs::remove_dir_all(bench.place()).unwrap();
        std::fs::create_dir(bench.directory.path().join("place")).unwrap();
        std::fs::write(bench.place().join("pic.png"), PICTURE).unwrap();
        bench.connect_codex().await;
        let (said, with) = bench.printed(bench.connected_codex(&program, model)).await;
        assert!(said.contains("DONE after 5 outputs: é"), "{said}");
        assert!(!with.contains("metadata") && !said.contains("metadata"), "{with}{said}");
        bench.assert_books(provider, "openai-responses", 10).await;
    }
}

/// Where Codex is not at hand its catalogue is made without it, and is one that it starts with.
#[tokio::test]
async fn codex_reads_a_catalogue_that_was_made_without_it() {
    let Some(program) = codex() else { return };
    let target = "[[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"http://127.0.0.1:1\"\napi_key = \"k\"\n\
                  models = [\"claude-sonnet-5\"]\n";
    let node = Setup::with_targets(target).start().await;
    let key = node.user_with_key("developer").await;
    let home = tempfile::tempdir().unwrap();
    let run = async |program: &str, arguments: &[&str], path: &str| {
        let mut command = Command::new(program);
        command.args(arguments).env("HOME", home.path()).env("CODEX_HOME", home.path()).env("PATH", path);
        let ran = timeout(PATIENCE, command.stdin(Stdio::null()).output()).await.expect("it ends").unwrap();
        assert!(ran.status.success(), "{ran:?}");
        ran.stdout
    };
    let nowhere = home.path().to_str().unwrap();
    let connect = ["connect", "codex", "--server", &node.url(""), "--key", &key];
    run(env!("CARGO_BIN_EXE_sproxy"), &connect, nowhere).await;
    let path = std::env::var("PATH").unwrap();
    let printed = run(program.to_str().unwrap(), &["debug", "models"], &path).await;
    let models: Value = serde_json::from_slice(&printed).unwrap();
    assert_eq!(models["models"].as_array().map(Vec::len), Some(1), "{models}");
    let model = &models["models"][0];
    assert_eq!((&model["slug"], &model["context_window"]), (&"claude-sonnet-5".into(), &872_000.into()));
}

/// A call without a result in the middle, and a history that the client has made shorter.
#[tokio::test]
async fn a_task_of_claude_code_goes_on_after_it_was_killed_in_a_tool_and_after_it_was_made_shorter() {
    let Some(program) = claude() else { return };
    let Some(bench) = Bench::start("provider = \"openai\"").await else { return };
    let task = format!("INTERRUPTED {}", bench.task());
    let mut command = bench.claude(&program, "gpt-5.6", &["-p", &task]);
    let mut running = command.spawn().unwrap();
    let started = bench.place().join("started");
    until("the tool runs", async || started.exists().then_some(())).await;
    let group = format!("-{}", running.id().expect("it runs"));
    assert!(Command::new("kill").args(["-KILL", "--", &group]).status().await.unwrap().success());
    running.wait().await.unwrap();
    let go_on = format!("go on {}", bench.task());
    let said = bench.said(bench.claude(&program, "gpt-5.6", &["--continue", "-p", &go_on])).await;
    assert!(said.contains("DONE after"), "{said}");
    assert_eq!(std::fs::read_to_string(bench.place().join("a.txt")).unwrap(), "hello é\n");
    bench.said(bench.claude(&program, "gpt-5.6", &["--continue", "-p", "/compact"])).await;
    let said = bench.said(bench.claude(&program, "gpt-5.6", &["--continue", "-p", &go_on])).await;
    assert!(said.contains("DONE after"), "{said}");
}
