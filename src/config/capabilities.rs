//! `[capabilities]`: what models can take and give. The catalogue that comes with the binary is overridden entry by
//! entry.

use figment::value::{Dict, Tag, Value};

use super::keys::no_such;
use super::table::{Reading, text_of};
use crate::domain::catalogue::Catalogue;
use crate::domain::model_traits::{Effort, ModelTraits, Reasoning};

/// The catalogue that comes with the binary.
const BUILT_IN: &str = include_str!("capabilities.toml");
const NUMBERS: [&str; 2] = ["context", "output"];
const FLAGS: [&str; 6] = ["tools", "images", "documents", "always_thinks", "sampling", "cache_breakpoints"];
const REASONING: &str = "reasoning";

/// The catalogue that comes with the binary, as comments.
#[must_use]
pub(super) fn built_in_as_comments() -> String {
    let (head, list) = BUILT_IN.split_once("[capabilities]\n").unwrap_or((BUILT_IN, ""));
    let mut text = format!("{head}# [capabilities]\n");
    for line in list.lines() {
        text.push_str(if line.is_empty() { "#" } else { "# " });
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The built-in catalogue, then the configured entries.
pub(super) fn read(reading: &Reading<'_>, written: Option<&Value>) -> Catalogue {
    let mut built_in: Dict = toml::from_str(BUILT_IN).unwrap_or_default();
    let built_in = built_in.remove("capabilities").and_then(Value::into_dict).unwrap_or_default();
    let empty = Dict::new();
    let written = match written {
        Some(Value::Dict(_, entries)) => entries,
        Some(other) => {
            reading.wrong("capabilities", other.tag(), "has to be a table of globs");
            &empty
        }
        None => &empty,
    };
    let mut entries = Vec::new();
    for (glob, value) in built_in.iter().chain(written) {
        let key = format!("capabilities.\"{glob}\"");
        if globset::Glob::new(glob).is_err() {
            reading.wrong(&key, value.tag(), "is no glob");
        } else if let Value::Dict(_, fields) = value {
            entries.push((glob.clone(), traits(reading, &key, fields)));
        } else {
            reading.wrong(
                &key,
                value.tag(),
                "has to be a table such as { context = 128000, images = false }",
            );
        }
    }
    Catalogue::new(entries).unwrap_or_else(|error| {
        reading.wrong("capabilities", Tag::Default, error.to_string());
        Catalogue::default()
    })
}

fn traits(reading: &Reading<'_>, key: &str, fields: &Dict) -> ModelTraits {
    let known = NUMBERS.into_iter().chain(FLAGS).chain([REASONING]);
    let wrong = |field: &str, value: &Value, reason: String| {
        reading.wrong(&format!("{key}.{field}"), value.tag(), reason);
    };
    let mut traits = ModelTraits::default();
    for (field, value) in fields {
        let number = || text_of(value).and_then(|text| text.parse::<u64>().ok()).filter(|number| *number > 0);
        let flag = || text_of(value).and_then(|text| text.parse::<bool>().ok());
        let set = match field.as_str() {
            "context" => number().map(|tokens| traits.context_tokens = Some(tokens)),
            "output" => number().map(|tokens| traits.max_output_tokens = Some(tokens)),
            "tools" => flag().map(|flag| traits.tools = flag),
            "images" => flag().map(|flag| traits.images = flag),
            "documents" => flag().map(|flag| traits.documents = flag),
            "always_thinks" => flag().map(|flag| traits.always_thinks = flag),
            "sampling" => flag().map(|flag| traits.sampling = flag),
            "cache_breakpoints" => flag().map(|flag| traits.cache_breakpoints = flag),
            REASONING => reasoning(value).map(|reasoning| traits.reasoning = reasoning),
            _ => {
                wrong(field, value, no_such(field, known.clone()));
                continue;
            }
        };
        if set.is_none() {
            wrong(field, value, should_be(field));
        }
    }
    traits
}

fn should_be(field: &str) -> String {
    if NUMBERS.contains(&field) {
        "has to be a number of tokens".to_owned()
    } else if field == REASONING {
        let efforts = Effort::ALL.map(Effort::as_str).join(", ");
        format!("has to be \"none\", \"budget\", or a list of: {efforts}")
    } else {
        "has to be true or false".to_owned()
    }
}

fn reasoning(value: &Value) -> Option<Reasoning> {
    match value {
        Value::String(_, word) if word == "none" => Some(Reasoning::None),
        Value::String(_, word) if word == "budget" => Some(Reasoning::Budget),
        Value::Array(_, words) => {
            let efforts: Option<Vec<Effort>> =
                words.iter().map(|word| Effort::parse(&text_of(word)?)).collect();
            efforts.filter(|efforts| !efforts.is_empty()).map(Reasoning::Effort)
        }
        _ => None,
    }
}

/// An entry as a line of TOML that `[capabilities]` takes.
#[must_use]
pub(super) fn toml_line(glob: &str, traits: &ModelTraits) -> String {
    let usual = ModelTraits::default();
    let mut fields = Vec::new();
    fields.extend(traits.context_tokens.map(|tokens| format!("context = {tokens}")));
    fields.extend(traits.max_output_tokens.map(|tokens| format!("output = {tokens}")));
    match &traits.reasoning {
        Reasoning::Unknown => {}
        Reasoning::None => fields.push("reasoning = \"none\"".to_owned()),
        Reasoning::Budget => fields.push("reasoning = \"budget\"".to_owned()),
        Reasoning::Effort(efforts) => {
            let efforts: Vec<_> = efforts.iter().map(|effort| format!("\"{}\"", effort.as_str())).collect();
            fields.push(format!("reasoning = [{}]", efforts.join(", ")));
        }
    }
    let flags = [
        ("tools", traits.tools, usual.tools),
        ("images", traits.images, usual.images),
        ("documents", traits.documents, usual.documents),
        ("always_thinks", traits.always_thinks, usual.always_thinks),
        ("sampling", traits.sampling, usual.sampling),
        ("cache_breakpoints", traits.cache_breakpoints, usual.cache_breakpoints),
    ];
    fields.extend(
        flags.iter().filter(|(_, is, usually)| is != usually).map(|(name, is, _)| format!("{name} = {is}")),
    );
    format!("{} = {{ {} }}", toml::Value::String(glob.to_owned()), fields.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Sources, load_from};
    use super::*;

    fn loaded(text: &str) -> Result<Catalogue, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        let sources = Sources { file: Some(file.path().into()), flags: Vec::new() };
        let config = load_from(&sources, &Environment::default()).map_err(|error| error.to_string())?;
        Ok((*config.capabilities).clone())
    }

    #[test]
    fn an_entry_that_is_shown_reads_back_as_it_was() {
        let list = loaded("").expect("right");
        let lines: Vec<_> = list.entries().map(|(glob, traits)| toml_line(glob, traits)).collect();
        let again = loaded(&format!("[capabilities]\n{}\n", lines.join("\n"))).expect("right");
        assert_eq!(again.entries().collect::<Vec<_>>(), list.entries().collect::<Vec<_>>());
        assert!(list.entries().count() > 30);
    }

    #[test]
    fn an_own_entry_holds_and_the_most_specific_one_decides() {
        let list = loaded("[capabilities]\n\"gpt-4o*\" = { output = 7, images = false }\n").expect("right");
        assert_eq!(list.find("gpt-4o-mini").max_output_tokens, Some(7));
        assert!(!list.find("openai/gpt-4o").images);
        assert_eq!(list.find("claude-opus-4-6").max_output_tokens, Some(128_000));
        assert_eq!(list.find("us.anthropic.claude-3-5-sonnet-v1:0").max_output_tokens, Some(8_192));
        assert_eq!(**list.find("no-such-model"), ModelTraits::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_what_it_should_be() {
        for (entry, named) in [
            ("\"m\" = { contxt = 1 }", "contxt"),
            ("\"m\" = { context = 0 }", "number of tokens"),
            ("\"m\" = { images = 2 }", "true or false"),
            ("\"m\" = { reasoning = [\"much\"] }", "xhigh"),
            ("\"m\" = 1", "has to be a table"),
            ("\"[\" = {}", "is no glob"),
        ] {
            let error = loaded(&format!("[capabilities]\n{entry}\n")).expect_err(entry);
            assert!(error.contains(named), "{error}");
        }
    }
}
