//! Prices on the command line: which list is in effect here, where each entry comes from, and what a call would cost.

use serde_json::json;

use crate::cli::plain;

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
