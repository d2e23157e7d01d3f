//! Every example configuration is right as it stands, with no more secrets than one provider's key.

use super::{SECRET, config, deploy, said};

#[test]
fn every_example_configuration_is_right_with_the_key_of_one_provider_alone() {
    let mut examples: Vec<_> =
        std::fs::read_dir(deploy("config")).unwrap().map(|e| e.unwrap().path()).collect();
    examples.sort();
    assert!(examples.len() >= 5, "{examples:?}");
    for example in examples {
        let name = example.file_name().unwrap().to_string_lossy();
        for provider in ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"] {
            let database = ("SPROXY_DATABASE_URL", "postgres://sproxy:secret@db.internal/sproxy");
            let mut environment = vec![(provider, "sk-1"), database];
            // What compose.yaml says for all of its nodes, and the units' secrets.env.
            let secret =
                if name.starts_with("compose") { "SPROXY_CLUSTER__SECRET" } else { "SPROXY_CLUSTER_SECRET" };
            environment.push((secret, SECRET));
            let checked = config("check", &example, &environment);
            assert!(checked.status.success(), "{name} with {provider}:\n{}", said(&checked));
            let shown = said(&config("show", &example, &environment));
            let target =
                if name.starts_with("compose") { "mock-anthropic" } else { &provider.to_lowercase()[..6] };
            assert!(
                shown.contains(&format!("name = \"{target}")),
                "{name} with {provider} goes to it:\n{shown}"
            );
        }
    }
}
