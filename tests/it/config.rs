//! Configuration as its writer meets it: which layer wins, what is refused, and where each problem is said to come from.

use std::io::Write;

use sproxy::config::{self, Config, Database, Environment, Http2, Problem, Problems, Sources};
use tempfile::NamedTempFile;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, Problems> {
    let file = file(text);
    let sources = Sources { file: Some(file.path().to_owned()), flags: Vec::new() };
    config::load_from(&sources, &environment.iter().copied().collect())
}

fn loaded(text: &str, environment: &[(&str, &str)]) -> Config {
    load(text, environment).expect("right")
}

/// The problems of a wrong configuration, with the file's path as `FILE`.
fn problems(text: &str, environment: &[(&str, &str)]) -> Vec<Problem> {
    let file = file(text);
    let path = file.path().display().to_string();
    let sources = Sources { file: Some(file.path().to_owned()), flags: Vec::new() };
    let found = config::load_from(&sources, &environment.iter().copied().collect()).expect_err("wrong");
    let named = |text: String| text.replace(&path, "FILE");
    let found = found.0.into_iter().map(|problem| Problem { origin: named(problem.origin), ..problem });
    found.collect()
}

/// The one problem: key, origin, reason.
fn problem(text: &str, environment: &[(&str, &str)]) -> (String, String, String) {
    let mut found = problems(text, environment);
    assert_eq!(found.len(), 1, "{found:#?}");
    let Problem { key, origin, reason } = found.remove(0);
    (key, origin, reason)
}

fn target(lines: &str) -> String {
    format!("[[targets]]\nname = \"t\"\nprovider = \"openai\"\nurl = \"http://127.0.0.1:1\"\n{lines}\n")
}

#[test]
fn the_defaults_are_right_and_what_is_shown_can_be_read_again() {
    let text = target("models = [\"gpt-*\"]\nhttp2_only = true");
    let config = loaded(&text, &[]);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9000");
    assert_eq!(config.targets[0].http2, Http2::Only);
    let shown = config::show(&config);
    // But for where prices were written: now they are in the file.
    assert_eq!(config::show(&loaded(&shown, &[])), shown.replace("# built-in", "# file"));
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let file = file("[http]\nlisten = \"127.0.0.1:1\"\nmax_connections = 5\nmax_body_bytes = 7\n");
    let environment: Environment =
        [("SPROXY_HTTP__LISTEN", "127.0.0.1:2"), ("SPROXY_HTTP__MAX_CONNECTIONS", "6")].into_iter().collect();
    let flags = vec![("http.listen", "127.0.0.1:3".to_owned())];
    let config = config::load_from(&Sources { file: Some(file.path().into()), flags }, &environment);
    let http = config.expect("right").http;
    assert_eq!((http.listen.port(), http.max_connections, http.max_body_bytes), (3, 6, 7));
}

#[test]
fn the_environment_holds_text_that_nobody_guesses_at() {
    let digits = "01234567890123456789012345678901";
    for secret in [digits, "[abcdefghijklmnopqrstuvwxyz012345", "\"quoted-0123456789-0123456789-0123\""] {
        let config = loaded("", &[("SPROXY_CLUSTER__SECRET", secret)]);
        assert_eq!(config.cluster.secret.expect("a secret").expose(), secret);
    }
    // Without the double underscore a name is no configuration.
    loaded("", &[("SPROXY_TOKEN", "x"), ("SPROXY_ADMIN_PASSWORD", "y")]);
}

#[test]
fn every_problem_is_told_at_once_with_its_key_and_origin() {
    let text = "[http]\nlisten = \"nowhere\"\n[usage]\nbatch = 0\n";
    let environment = [("SPROXY_USAGE__QUEUE", "many"), ("SPROXY_CLUSTER__LISTEN", "0.0.0.0:9001")];
    let mut found: Vec<_> = problems(text, &environment).into_iter().map(|p| (p.key, p.origin)).collect();
    found.sort();
    let expected = [
        ("cluster.secret", "defaults"),
        ("http.listen", "FILE"),
        ("usage.batch", "FILE"),
        ("usage.queue", "SPROXY_USAGE__QUEUE"),
    ];
    assert_eq!(found, expected.map(|(key, origin)| (key.to_owned(), origin.to_owned())));
}

#[test]
fn a_key_that_does_not_exist_is_refused_with_the_one_that_was_meant() {
    let (key, origin, reason) = problem("[http]\nlistn = \"127.0.0.1:1\"\n", &[]);
    assert_eq!((key.as_str(), origin.as_str()), ("http.listn", "FILE"));
    assert!(reason.contains("`http.listen`"), "{reason}");

    let (key, origin, _) = problem("", &[("SPROXY_CLUSTRE__SECRET", SECRET)]);
    assert_eq!((key.as_str(), origin.as_str()), ("clustre.secret", "SPROXY_CLUSTRE__SECRET"));

    let (key, _, reason) = problem("[htpt]\n", &[]);
    assert_eq!((key.as_str(), reason.as_str()), ("htpt", "there is no such section; did you mean `http`?"));

    let (key, _, reason) = problem(&target("wieght = 1"), &[]);
    assert_eq!(key, "targets[0].wieght");
    assert!(reason.contains("`weight`"), "{reason}");

    let (key, _, reason) = problem("http = 3\n", &[]);
    assert_eq!((key.as_str(), reason.as_str()), ("http", "has to be a section: write [http]"));
}

#[test]
fn a_hint_is_given_only_when_something_is_near() {
    assert_eq!(problem("[foo]\n", &[]).2, "there is no such section");
}

#[test]
fn a_written_price_replaces_the_built_in_one_and_a_wrong_one_is_named() {
    let text = "[prices]\n\"claude-sonnet-4*\" = { input = 7.0, output = 8.0 }\n";
    let rates = loaded(text, &[]).prices.find("claude-sonnet-4").price.base;
    assert_eq!((rates.input, rates.output, rates.cache_read), (7_000_000, 8_000_000, 7_000_000));
    for (entry, key) in [
        ("{ input = 7.0 }", ""),
        ("{ input = -1.0, output = 8.0 }", ".input"),
        ("{ input = 1.0, output = 8.0, cach_read = 1.0 }", ".cach_read"),
        ("7.0", ""),
    ] {
        let (found, origin, _) = problem(&format!("[prices]\n\"m*\" = {entry}\n"), &[]);
        assert_eq!((found, origin.as_str()), (format!("prices.\"m*\"{key}"), "FILE"), "{entry}");
    }
}

#[test]
fn a_file_that_cannot_be_read_does_not_hide_the_problems_of_other_layers() {
    let environment = [("SPROXY_HTTP__LISTEN", "nowhere"), ("SPROXY_CLUSTER__LISTEN", "0.0.0.0:9001")];
    let found = problems("[http]\nlisten = \"127.0.0.1:1\"\nsecret = \"hush\" oops\n", &environment);
    // The secret may well stand in the file: that it is missing is not said.
    let keys: Vec<_> = found.iter().map(|p| (p.key.as_str(), p.origin.as_str())).collect();
    assert_eq!(keys, [("line 3", "FILE"), ("http.listen", "SPROXY_HTTP__LISTEN")]);
    assert!(!format!("{found:?}").contains("hush"));

    let sources = Sources { file: Some("/nowhere/sproxy.toml".into()), flags: Vec::new() };
    let found = config::load_from(&sources, &Environment::default()).expect_err("no file").0;
    assert_eq!((found[0].key.as_str(), found[0].origin.as_str()), ("/nowhere/sproxy.toml", "--config"));
    assert_eq!(found.len(), 1);
}

#[test]
fn a_node_that_can_be_reached_from_elsewhere_needs_the_clusters_secret() {
    for lines in [
        "listen = \"0.0.0.0:9001\"",
        "leader = \"http://sp-1:9001\"",
        "listen = \"0.0.0.0:9001\"\nleader = \"http://127.0.0.1:9001\"",
        "leader = [\"http://127.0.0.1:9001\", \"http://sp-2:9001\"]",
    ] {
        let (key, ..) = problem(&format!("[cluster]\n{lines}\n"), &[]);
        assert_eq!(key, "cluster.secret", "{lines}");
        loaded(&format!("[cluster]\n{lines}\n"), &[("SPROXY_CLUSTER__SECRET", SECRET)]);
    }
    loaded("[cluster]\nlisten = \"[::1]:9001\"\nleader = \"http://localhost:9001\"\n", &[]);
}

#[test]
fn a_directory_that_provisions_people_has_a_token_that_nobody_guesses() {
    assert!(loaded("", &[]).auth.scim.is_none());
    let by_env = "[auth.scim]\ntoken_env = \"OURS\"\n";
    let config = loaded(by_env, &[("OURS", SECRET)]);
    assert_eq!(config.auth.scim.as_ref().expect("a section").token.expose(), SECRET);
    assert!(!format!("{config:?}{}", config::show(&config)).contains(SECRET));
    assert!(config::show(&config).contains("scim.token = \"***\""));
    let spaced = format!("{SECRET} x");
    for (lines, ours, expected) in [
        (by_env, "too-short", "auth.scim.token_env"),
        (by_env, spaced.as_str(), "auth.scim.token_env"),
        ("[auth.scim]\n", "", "auth.scim.token"),
        ("[auth]\nscim = true\n", "", "auth.scim"),
    ] {
        let (key, _, reason) = problem(lines, &[("OURS", ours)]);
        assert_eq!(key, expected);
        assert!(ours.is_empty() || !reason.contains(ours), "{reason}");
    }
    let misspelt = format!("[auth.scim]\ntoken = \"{SECRET}\"\ntokn = 5\n");
    assert_eq!(problem(&misspelt, &[]).0, "auth.scim.tokn");
}

fn leaders(lines: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let config = loaded(&format!("[cluster]\n{lines}\n"), environment);
    config.cluster.leader.iter().flat_map(|urls| urls.iter().map(ToString::to_string)).collect()
}

#[test]
fn a_follower_may_have_one_leader_or_several() {
    let two = ["http://localhost:9001", "http://127.0.0.1:9002"];
    for none in ["", "leader = \"\"", "leader = []"] {
        assert!(leaders(none, &[]).is_empty(), "{none}");
    }
    assert_eq!(leaders("leader = \"http://localhost:9001\"", &[]), two[..1]);
    assert_eq!(leaders(&format!("leader = {two:?}"), &[]), two);
    for text in [two.join(","), two.join(" , "), format!("{two:?}")] {
        assert_eq!(
            leaders("leader = \"http://localhost\"", &[("SPROXY_CLUSTER__LEADER", &text)]),
            two,
            "{text}"
        );
    }
    assert_eq!(leaders("", &[("SPROXY_CLUSTER__LEADER", "http://[::1]")]), ["http://[::1]"]);
    for lines in ["leader = []".to_owned(), format!("leader = {:?}", &two[..1]), format!("leader = {two:?}")]
    {
        let config = loaded(&format!("[cluster]\n{lines}\n"), &[]);
        let again = loaded(&config::show(&config), &[]);
        assert_eq!(again.cluster.leader, config.cluster.leader, "{lines}");
    }
    let shown = config::show(&loaded("[cluster]\nleader = [\"http://localhost:9001\"]\n", &[]));
    assert!(shown.contains("\nleader = \"http://localhost:9001\"\n"), "{shown}");
}

#[test]
fn of_several_leaders_the_wrong_one_is_named() {
    let found = |lines: &str| {
        let found = problems(&format!("[cluster]\nsecret = \"{SECRET}\"\n{lines}\n"), &[]);
        assert!(found.iter().all(|problem| problem.origin == "FILE"), "{found:?}");
        found.into_iter().map(|problem| (problem.key, problem.reason)).collect::<Vec<_>>()
    };
    let no_url = |text: &str| format!("`{text}` is no URL such as http://sp-1:9001");
    assert_eq!(found("leader = \"sp-1:9001\""), [("cluster.leader".to_owned(), no_url("sp-1:9001"))]);
    assert_eq!(
        found("leader = [\"http://sp-1:9001\", \"ftp://sp-2\", \"\"]"),
        [
            ("cluster.leader[1]".to_owned(), no_url("ftp://sp-2")),
            ("cluster.leader[2]".to_owned(), no_url(""))
        ]
    );
    let twice = found("leader = [\"http://sp-1:9001\", \"http://sp-2:9001\", \"HTTP://SP-1:9001/\"]");
    assert_eq!(twice, [("cluster.leader[2]".to_owned(), "`http://sp-1:9001` is there twice".to_owned())]);
    let mixed = found("leader = [\"https://sp-1:9001\", \"http://sp-2:9001\"]");
    assert_eq!(mixed.len(), 1);
    assert_eq!(mixed[0].0, "cluster.leader");
    assert!(mixed[0].1.contains("on the way to http://sp-2:9001 would read cluster.secret"), "{mixed:?}");
    let many: Vec<_> = (1..=17).map(|number| format!("http://sp-{number}:9001")).collect();
    let many = found(&format!("leader = {many:?}"));
    assert_eq!(many, [("cluster.leader".to_owned(), "has at most 16 addresses".to_owned())]);
    let (key, origin, _) = problem("", &[("SPROXY_CLUSTER__LEADER", "http://localhost:1,nowhere")]);
    assert_eq!((key.as_str(), origin.as_str()), ("cluster.leader[1]", "SPROXY_CLUSTER__LEADER"));
}

#[test]
fn a_secret_may_be_given_by_variable_or_file_and_its_problems_name_that_key() {
    let secret = file(&format!("{SECRET}\n"));
    let by_file = format!("[cluster]\nsecret_file = \"{}\"\n", secret.path().display());
    assert_eq!(loaded(&by_file, &[]).cluster.secret.expect("a secret").expose(), SECRET);

    let by_env = "[cluster]\nsecret_env = \"OURS\"\n";
    assert_eq!(loaded(by_env, &[("OURS", SECRET)]).cluster.secret.expect("a secret").expose(), SECRET);
    for environment in [&[][..], &[("OURS", "short")]] {
        let (key, origin, reason) = problem(by_env, environment);
        assert_eq!((key.as_str(), origin.as_str()), ("cluster.secret_env", "FILE"));
        assert!(!reason.contains("short"), "{reason}");
    }

    let (key, ..) = problem("[store]\nurl_env = \"DATABASE\"\n", &[("DATABASE", "mysql://somewhere")]);
    assert_eq!(key, "store.url_env");
    let config = loaded("[store]\nurl_env = \"DATABASE\"\n", &[("DATABASE", "postgres://u:hush@h/d")]);
    assert!(
        matches!(&config.store.database, Database::Postgres(url) if url.expose() == "postgres://u:hush@h/d")
    );
    assert!(!format!("{config:?}{}", config::show(&config)).contains("hush"));
    let config = loaded(&target("api_key = \"hush\""), &[]);
    assert!(!format!("{config:?}{}", config::show(&config)).contains("hush"), "nor in the file's text");
}

#[test]
fn a_target_that_is_reached_directly_is_shown_as_one() {
    let global = "[upstream]\nproxy = \"http://proxy:3128\"\n";
    for (lines, proxy) in [("proxy = \"none\"", "none"), ("", "http://proxy:3128")] {
        let text = format!("{global}{}", target(lines).replace("127.0.0.1", "provider"));
        let shown = config::show(&loaded(&text, &[]));
        let (_, of_target) = shown.split_once("[[targets]]").expect("a target");
        assert!(of_target.contains(&format!("\nproxy = \"{proxy}\"\n")), "{shown}");
        assert_eq!(config::show(&loaded(&shown, &[])), shown.replace("# built-in", "# file"));
    }
}

#[test]
fn a_higher_layers_secret_replaces_a_lower_one_but_two_in_one_layer_are_a_problem() {
    let by_env = "[cluster]\nsecret_env = \"OURS\"\n";
    let config = loaded(by_env, &[("SPROXY_CLUSTER__SECRET", SECRET)]);
    assert_eq!(config.cluster.secret.expect("a secret").expose(), SECRET);

    let both = target("api_key = \"a\"\napi_key_env = \"OURS\"");
    let (key, origin, reason) = problem(&both, &[("OURS", SECRET)]);
    assert_eq!((key.as_str(), origin.as_str()), ("targets[0].api_key_env", "FILE"));
    assert!(reason.contains("targets[0].api_key"), "{reason}");
    let environment = [("SPROXY_CLUSTER__SECRET", SECRET), ("SPROXY_CLUSTER__SECRET_FILE", "/nowhere")];
    assert_eq!(problem("", &environment).1, "SPROXY_CLUSTER__SECRET_FILE");
}

#[test]
fn a_log_level_is_checked_before_anything_runs() {
    for level in ["inof", "info,sproxy=loud", "", "info,,"] {
        let (key, ..) = problem(&format!("[log]\nlevel = \"{level}\"\n"), &[]);
        assert_eq!(key, "log.level", "{level}");
    }
    for level in ["info", "off", "INFO", "info,sproxy::cluster=debug", "warn,hyper=error"] {
        assert_eq!(loaded(&format!("[log]\nlevel = \"{level}\"\n"), &[]).log.level, level);
    }
}

#[test]
fn a_targets_values_have_bounds() {
    for (lines, key) in [
        ("max_connections = 0", "max_connections"),
        ("weight = -1", "weight"),
        ("weight = 1.5", "weight"),
        ("models = []", "models"),
        ("models = [\"[\"]", "models"),
        ("models = \"gpt\"", "models"),
        ("idle_timeout = \"0s\"", "idle_timeout"),
        ("idle_timeout = \"1000y\"", "idle_timeout"),
        ("on_hangup = \"wait\"", "on_hangup"),
        ("health_path = \"up\"", "health_path"),
        ("include_usage = \"perhaps\"", "include_usage"),
        ("api_key = \"a\\nb\"", "api_key"),
        ("ca_file = \"/nowhere\"", "ca_file"),
    ] {
        assert_eq!(problem(&target(lines), &[]).0, format!("targets[0].{key}"), "{lines}");
    }
    let twice = format!("{}{}", target(""), target(""));
    assert_eq!(problem(&twice, &[]).0, "targets[1].name");
    let keys: Vec<String> = problems("[[targets]]\n", &[]).into_iter().map(|p| p.key).collect();
    assert_eq!(keys, ["targets[0].name", "targets[0].provider", "targets[0].url"]);
}

/// What becomes of a target in a cloud: its URL, region, project and how its calls prove themselves.
#[test]
fn a_cloud_says_where_a_target_is_and_what_it_is_called_with() {
    let person = r#"{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r"}"#;
    let google = [("GOOGLE_APPLICATION_CREDENTIALS", "PERSON"), ("GOOGLE_CLOUD_PROJECT", "p-1")];
    let credentials = file(person);
    let path = credentials.path().display().to_string();
    for (lines, environment, expected) in [
        (
            "provider = 'anthropic'\nplatform = 'bedrock'\nregion = 'eu-west-1'\napi_key = 'k'",
            vec![],
            "https://bedrock-runtime.eu-west-1.amazonaws.com eu-west-1  bearer",
        ),
        (
            "provider = 'anthropic'\nplatform = 'bedrock'",
            vec![("AWS_REGION", "us-east-1"), ("AWS_BEARER_TOKEN_BEDROCK", "k")],
            "https://bedrock-runtime.us-east-1.amazonaws.com us-east-1  bearer",
        ),
        (
            "provider = 'anthropic'\nplatform = 'bedrock'\nurl = 'https://bedrock-mantle.eu-central-1.api.aws/anthropic'",
            vec![("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s")],
            "https://bedrock-mantle.eu-central-1.api.aws/anthropic eu-central-1  sigv4",
        ),
        (
            "provider = 'openai'\nplatform = 'bedrock'\nregion = 'us-west-2'\nauth = 'sigv4'\napi_key = 'AKIA:s'",
            vec![],
            "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1 us-west-2  sigv4",
        ),
        (
            "provider = 'openai'\nplatform = 'azure'\nurl = 'https://r.openai.azure.com/'\napi_key = 'k'",
            vec![],
            "https://r.openai.azure.com/openai/v1   api-key",
        ),
        (
            "provider = 'anthropic'\nplatform = 'azure'\nurl = 'https://r.services.ai.azure.com'\napi_key = 'k'",
            vec![],
            "https://r.services.ai.azure.com/anthropic   api-key",
        ),
        (
            "provider = 'openai'\nplatform = 'azure'\nurl = 'https://r.openai.azure.com/own/path'\napi_key = 'k'",
            vec![],
            "https://r.openai.azure.com/own/path   api-key",
        ),
        (
            "provider = 'gemini'\nplatform = 'vertex'\nregion = 'global'",
            google.to_vec(),
            "https://aiplatform.googleapis.com global p-1 gcp",
        ),
        (
            "provider = 'anthropic'\nplatform = 'vertex'\nregion = 'europe-west1'\nproject = 'own'",
            google.to_vec(),
            "https://europe-west1-aiplatform.googleapis.com europe-west1 own gcp",
        ),
    ] {
        let environment: Vec<(&str, &str)> = environment
            .into_iter()
            .map(|(name, value)| (name, if value == "PERSON" { &*path } else { value }))
            .collect();
        let config = loaded(&format!("[[targets]]\nname = 't'\n{lines}"), &environment);
        let target = &config.targets[0];
        let found = format!("{} {} {} {}", target.url, target.region, target.project, target.auth.as_str());
        assert_eq!(found, expected, "{lines}");
    }
    for (lines, key, reason) in [
        (
            "provider = 'ollama'\nplatform = 'bedrock'\nregion = 'eu-west-1'\napi_key = 'k'",
            "platform",
            "no models of ollama",
        ),
        ("provider = 'anthropic'\nplatform = 'bedrock'\napi_key = 'k'", "region", "such as us-east-1"),
        (
            "provider = 'anthropic'\nplatform = 'bedrock'\nregion = 'eu west'\nurl = 'http://x'\napi_key = 'k'",
            "region",
            "a region's name",
        ),
        (
            "provider = 'anthropic'\nplatform = 'bedrock'\nregion = 'eu-west-1'\nauth = 'sigv4'\napi_key = 'AKIA'",
            "api_key",
            "KEY_ID:SECRET",
        ),
        ("provider = 'anthropic'\nplatform = 'azure'\napi_key = 'k'", "url", "NAME.openai.azure.com"),
        ("provider = 'anthropic'\nurl = 'http://x'\nregion = 'eu-west-1'", "region", "beside platform"),
        ("provider = 'anthropic'\nurl = 'http://x'\nproject = 'p'", "project", "beside platform"),
        (
            "provider = 'gemini'\nplatform = 'vertex'\nregion = 'global'\napi_key = '{}'",
            "api_key",
            "Google's credentials",
        ),
    ] {
        let found = problems(&format!("[[targets]]\nname = 't'\n{lines}"), &[("GOOGLE_CLOUD_PROJECT", "p")]);
        let told = found
            .iter()
            .any(|found| found.key == format!("targets[0].{key}") && found.reason.contains(reason));
        assert!(told, "{lines}: {found:#?}");
    }
}

#[test]
fn a_wrong_choice_is_told_the_right_ones() {
    let text = "[[targets]]\nname = \"t\"\nprovider = \"antropic\"\nurl = \"http://h\"\n";
    let (_, _, reason) = problem(text, &[]);
    assert_eq!(reason, "`antropic` is no provider: use anthropic, openai, gemini or ollama");
    let (_, _, reason) = problem("[usage]\ndurability = \"maybe\"\n", &[]);
    assert_eq!(reason, "`maybe` is none of committed, buffered");
}

#[test]
fn without_a_target_the_providers_own_variables_make_the_obvious_ones() {
    let environment = [("ANTHROPIC_API_KEY", "sk-1"), ("OPENAI_API_KEY", " "), ("OLLAMA_HOST", "0.0.0.0")];
    let targets = loaded("", &environment).targets;
    let made: Vec<_> = targets.iter().map(|target| (target.name.as_str(), target.url.as_str())).collect();
    assert_eq!(made, [("anthropic", "https://api.anthropic.com"), ("ollama", "http://127.0.0.1:11434")]);
    assert_eq!(targets[0].api_key.as_ref().expect("a key").expose(), "sk-1");
    assert!(targets[1].api_key.is_none());

    assert_eq!(loaded(&target(""), &environment).targets.len(), 1);
    assert!(loaded("targets = []\n", &environment).targets.is_empty());
    let (key, origin, _) = problem("", &[("OLLAMA_HOST", "ftp://gpu.example")]);
    assert_eq!((key.as_str(), origin.as_str()), ("targets[0].url", "OLLAMA_HOST"));
}

#[test]
fn origins_of_browsers_are_written_as_browsers_send_them() {
    let origins = |text: &str| format!("[http]\ncors_origins = {text}\n");
    for (text, shown) in [
        ("[]", "[]"),
        ("\"*\"", "[\"*\"]"),
        ("[\"*\"]", "[\"*\"]"),
        ("[\"https://app.example\"]", "[\"https://app.example\"]"),
        (
            "[\"http://localhost:5173\", \"http://[::1]:8080\", \"https://xn--bcher-kva.example\"]",
            "[\"http://localhost:5173\", \"http://[::1]:8080\", \"https://xn--bcher-kva.example\"]",
        ),
        ("[\"app://obsidian.md\", \"tauri://localhost\"]", "[\"app://obsidian.md\", \"tauri://localhost\"]"),
    ] {
        let config = config::show(&loaded(&origins(text), &[]));
        assert!(config.contains(&format!("\ncors_origins = {shown}\n")), "{text}: {config}");
    }
    let from_environment =
        loaded("", &[("SPROXY_HTTP__CORS_ORIGINS", "https://a.example, https://b.example")]);
    assert!(config::show(&from_environment).contains("[\"https://a.example\", \"https://b.example\"]"));
    for (text, advice) in [
        ("[\"https://app.example/\"]", "write `https://app.example`"),
        ("[\"https://app.example/chat\"]", "write `https://app.example`"),
        ("[\"https://app.example?x\"]", "write `https://app.example`"),
        ("[\"https://App.example\"]", "write `https://app.example`"),
        ("[\"https://app.example:443\"]", "write `https://app.example`"),
        ("[\"https://bücher.example\"]", "write `https://xn--bcher-kva.example`"),
        ("[\"app://obsidian.md/\"]", "write `app://obsidian.md`"),
        ("[\"app.example\"]", "scheme://host"),
        ("[\"localhost:5173\"]", "scheme://host"),
        ("[\"https://\"]", "scheme://host"),
        ("[\"file:///x\"]", "scheme://host"),
        ("[\"https://app.example:99999\"]", "scheme://host"),
        ("[\"\"]", "scheme://host"),
        ("[\"null\"]", "\"*\""),
        ("[\"https://*.app.example\"]", "each origin"),
        ("[\"*\", \"https://app.example\"]", "leave the others out"),
        ("7", "list of texts"),
    ] {
        let (key, origin, reason) = problem(&origins(text), &[]);
        assert_eq!((key.as_str(), origin.as_str()), ("http.cors_origins", "FILE"), "{text}");
        assert!(reason.contains(advice), "{text}: {reason}");
    }
}
