//! Prices on the command line: which list is in effect here, where each entry comes from, and what a call would cost.

use serde_json::{Value, json};

use crate::cli::{node_and_mock, on, plain};

/// A configuration file of its own, and its path.
fn file(text: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    let path = file.path().to_str().expect("a path").to_owned();
    (file, path)
}

const OWN: &str = "[prices]\n\"claude-sonnet-4*\" = { input = 7.0, output = 8.0 }\n\
                   \"house/*\" = { input = 0.0375, output = 0.5, flex = 0.5 }\n";

#[tokio::test]
async fn the_defaults_have_every_price_and_change_nothing_as_a_file() {
    let defaults = plain(&["config", "defaults"]).await.done();
    let line = "# \"claude-opus-4*\" = { input = 15.0, output = 75.0, ";
    assert!(defaults.contains("\n# [prices]\n") && defaults.contains(line), "{defaults}");
    let (_file, path) = file(&defaults);
    let as_file = plain(&["config", "show", "--config", &path]).await.done();
    assert_eq!(as_file, plain(&["config", "show"]).await.done());

    let mine = defaults.replace("# [prices]", "[prices]").replace(line, &line[2..]);
    let (_file, path) = file(&mine);
    let shown = plain(&["config", "show", "--json", "--config", &path]).await.json();
    let sources = ["claude-opus-4*", "claude-haiku-4*"].map(|glob| shown["prices"][glob]["source"].clone());
    assert_eq!(sources, ["file", "built-in"]);
}

#[tokio::test]
async fn the_prices_in_effect_are_shown_with_where_each_was_written() {
    let (_file, path) = file(OWN);
    let text = plain(&["config", "show", "--config", &path]).await.done();
    // What models can take stands behind, by globs of the same names.
    let (text, _) = text.split_once("[capabilities]").expect("the catalogue behind the prices");
    let line = |glob: &str| -> Vec<&str> { text.lines().filter(|line| line.starts_with(glob)).collect() };
    for (glob, source) in
        [("\"claude-sonnet-4*\" ", "file"), ("\"gpt-5.5*\" ", "built-in"), ("default ", "built-in")]
    {
        let lines = line(glob);
        assert!(lines.len() == 1 && lines[0].ends_with(&format!("# {source}")), "{lines:?}");
    }
    let shown = plain(&["config", "show", "--json", "--config", &path]).await.json();
    let own = &shown["prices"]["house/*"];
    let fields = ["input", "output", "flex", "source"].map(|field| own[field].clone());
    assert_eq!(fields, [json!(0.0375), json!(0.5), json!(0.5), json!("file")], "{own}");
    assert!(shown["prices"].as_object().is_some_and(|prices| prices.len() > 50));
}

#[tokio::test]
async fn the_price_list_and_the_price_of_a_call_are_those_of_the_configuration_here() {
    let (_file, path) = file(OWN);
    let priced = async |arguments: &[&str]| plain(&[arguments, &["--config", &path]].concat()).await;
    let list = priced(&["price", "list", "--json"]).await.json();
    let rows = list.as_array().expect("a list");
    let entry = |glob: &str| rows.iter().find(|row| row["glob"] == glob).expect("an entry");
    assert_eq!(
        (&entry("house/*")["source"], &entry("house/*")["multipliers"]["flex"]),
        (&json!("file"), &json!(0.5))
    );
    let sonnet = entry("claude-sonnet-4-6*");
    let rates = ["input", "output", "cache_read", "cache_write", "source"].map(|field| sonnet[field].clone());
    assert_eq!(rates, [json!(3.0), json!(15.0), json!(0.3), json!(3.75), json!("built-in")]);
    assert_eq!((rows.last().map(|row| &row["glob"]), rows.len() > 50), (Some(&json!("default")), true));
    let table = priced(&["price", "list"]).await.done();
    for part in ["cache read", "claude-sonnet-4-6*", "house/*", "built-in", "flex × 0.5", "above 200000"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let one = priced(&["price", "list", "--model", "anthropic/claude-sonnet-4.6", "--json"]).await.json();
    assert_eq!(one, json!([sonnet]));

    // 600 at $3, 300 read at $0.30, 100 written at $3.75, 50 out at $15 per million.
    let call = [
        "--input",
        "1_000",
        "--output",
        "50",
        "--cache-read",
        "300",
        "--cache-write",
        "100",
        "--reasoning",
        "20",
    ];
    let cost = async |model: &str| {
        let answer = priced(&[&["price", "test", model, "--json"], &call[..]].concat()).await.json();
        ["glob", "source", "price_default", "cost_usd", "cost_nanousd"].map(|field| answer[field].clone())
    };
    assert_eq!(
        cost("claude-sonnet-4-6").await,
        [json!("claude-sonnet-4-6*"), json!("built-in"), json!(false), json!("0.003015"), json!(3_015_000)]
    );
    let default = json!("default");
    assert_eq!(
        cost("nobody-knows").await,
        [default, json!("built-in"), json!(true), json!("0.00375"), json!(3_750_000)]
    );
    assert_eq!(cost("house/m").await[..3], [json!("house/*"), json!("file"), json!(false)]);
    let long = ["price", "test", "gemini-2.5-pro", "--input", "200001", "--output", "0"];
    let shown = priced(&long).await.done();
    for part in ["gemini-2.5-pro*", "$0.5000025", "500,002,500"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    for wrong in [
        &["--input", "10", "--cache-read", "11", "--output", "0"][..],
        &["--input", "1", "--output", "1", "--reasoning", "2"],
        &["--input", "-1", "--output", "1"],
    ] {
        priced(&[&["price", "test", "m"], wrong].concat()).await.refused(64);
    }
}

#[tokio::test]
async fn an_export_has_exact_money_and_the_names_that_statistics_have() {
    let (node, _mock) = node_and_mock().await;
    on(&node, &["group", "add", "devs"]).await.done();
    let key = node.user_with_key("alice").await;
    on(&node, &["user", "set", "alice", "--group", "devs"]).await.done();
    let body = json!({ "model": "gpt-4o-mini", "messages": [{ "role": "user", "content": "hi" }] });
    let steering = [("mock-input", "1"), ("mock-output", "2")];
    let answer = node.ask(&key, "/v1/chat/completions", &steering, &body).await;
    node.usage_of(&answer).await;
    let names = async || {
        let csv = on(&node, &["usage", "--format", "csv"]).await.done();
        let mut lines = csv::Reader::from_reader(csv.as_bytes());
        let heads = lines.headers().expect("names").clone();
        let row = lines.records().next().expect("a row").expect("readable");
        let field =
            |name: &str| row[heads.iter().position(|head| head == name).expect("a column")].to_owned();
        // $0.15 and $0.60 per million.
        assert_eq!((field("cost_nanousd"), field("cost_usd")), ("1350".to_owned(), "0.00000135".to_owned()));
        let listed = on(&node, &["usage", "--json"]).await.json();
        let lines = on(&node, &["usage", "--format", "jsonl"]).await.done();
        let line: Value = serde_json::from_str(&lines).expect("JSON");
        let own = reqwest::Client::new().get(node.url("/me/usage")).bearer_auth(&key).send().await;
        let own: Value = own.expect("an answer").json().await.expect("JSON");
        let own = own["items"][0].clone();
        for row in [&listed[0], &line, &own] {
            assert_eq!((&row["user"], &row["group"]), (&json!(field("user")), &json!(field("group"))));
            assert_eq!(row["cost_usd"], "0.00000135");
        }
        let users = on(&node, &["stats", "--by", "user", "--json"]).await.json();
        let groups = on(&node, &["stats", "--by", "group", "--json"]).await.json();
        assert_eq!((&users[0]["user"], &groups[0]["group"]), (&json!(field("user")), &json!(field("group"))));
        (field("user"), field("group"))
    };
    assert_eq!(names().await, ("alice".to_owned(), "devs".to_owned()));
    on(&node, &["group", "set", "devs", "--rename", "makers"]).await.done();
    on(&node, &["user", "set", "alice", "--rename", "alison"]).await.done();
    assert_eq!(names().await, ("alison".to_owned(), "makers".to_owned()));
    on(&node, &["group", "remove", "makers", "--force"]).await.done();
    let listed = on(&node, &["usage", "--json"]).await.json();
    assert_eq!(listed[0]["group"], "devs", "of a group that is gone, the name that it had");
}

const PUBLISHED: &str = r#"{
    "sample_spec": { "input_cost_per_token": 0 },
    "claude-sonnet-4-6": { "litellm_provider": "anthropic", "input_cost_per_token": 4e-06, "output_cost_per_token": 1.5e-05,
        "cache_read_input_token_cost": 3e-07, "cache_creation_input_token_cost": 3.75e-06, "output_cost_per_image": 0.1 },
    "claude-haiku-4-5": { "input_cost_per_token": 1e-06, "output_cost_per_token": 5e-06,
        "cache_read_input_token_cost": 1e-07, "cache_creation_input_token_cost": 1.25e-06 },
    "house/new": { "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
        "input_cost_per_token_batches": 5e-07, "output_cost_per_token_batches": 1e-06 }
}"#;

#[tokio::test]
async fn a_published_list_is_compared_and_taken_over_when_somebody_says_so() {
    let (_list, list) = file(PUBLISHED);
    let before = "# mine\n[http]\nlisten = \"127.0.0.1:0\"\n\n[prices] # of ours\n\"mine\" = { input = 1.0, output = 1.0 }\n";
    let (_file, path) = file(before);
    let import = async |more: &[&str]| {
        let base = ["price", "import", &list, "--models", "claude-*", "house/*", "--config", &path];
        plain(&[&base[..], more].concat()).await
    };
    let rows = import(&["--json"]).await.json();
    let rows = rows.as_array().expect("a list");
    let seen: Vec<[&Value; 3]> =
        rows.iter().map(|row| [&row["model"], &row["list"], &row["input"]]).collect();
    let expected = [
        [json!("claude-sonnet-4-6"), json!("here"), json!(3.0)],
        [json!("claude-sonnet-4-6"), json!("there"), json!(4.0)],
        [json!("house/new"), json!("unknown here"), Value::Null],
        [json!("house/new"), json!("there"), json!(1.0)],
    ];
    assert_eq!(seen, expected.each_ref().map(<[Value; 3]>::each_ref), "haiku costs the same: {rows:?}");
    assert_eq!(rows[1]["not_taken"], json!(["output_cost_per_image"]));
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), before, "nothing is written unasked");
    let unasked = import(&["--write"]).await.refused(64);
    assert!(unasked.contains("--yes"), "nobody can be asked: {unasked}");

    import(&["--write", "--yes"]).await.done();
    let after = std::fs::read_to_string(&path).expect("the file");
    assert!(after.starts_with(before), "the rest stays as it was: {after}");
    let test = |model: &'static str| {
        let path = path.clone();
        async move {
            plain(&["price", "test", model, "--input", "1m", "--output", "0", "--json", "--config", &path])
                .await
                .json()
        }
    };
    let (sonnet, new) = (test("claude-sonnet-4-6").await, test("house/new").await);
    assert_eq!((&sonnet["cost_usd"], &sonnet["source"]), (&json!("4"), &json!("file")));
    assert_eq!((&new["cost_usd"], &new["price_default"]), (&json!("1"), &json!(false)));
    let again = import(&["--json"]).await;
    assert!(again.json().as_array().is_some_and(Vec::is_empty), "there is nothing left to take");
}

#[tokio::test]
async fn a_list_that_is_none_and_a_file_that_no_node_starts_with_are_left_alone() {
    let (_file, path) = file("[prices]\n\"mine\" = { input = 1.0 }\n");
    let (_list, list) = file(PUBLISHED);
    for (list, globs, said) in [
        ("/nowhere.json", "*", "/nowhere.json"),
        (&*path, "*", "no list of prices"),
        (&*list, "nobody-*", "nobody-*"),
        (&*list, "[", "--models ["),
    ] {
        let refused = plain(&["price", "import", list, "--models", globs, "--config", &path]).await;
        assert!(refused.code.is_some_and(|code| code != 0), "{said}");
        assert!(refused.err.contains(said), "{said}: {}", refused.err);
    }
}
