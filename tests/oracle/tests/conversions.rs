//! Every pair, held against that of others: nothing may differ but what `differences.toml` says.

use std::fmt::Write;

use serde_json::Value;
use sproxy_foundation::dialect::convert::{Api, CONVERSIONS, Conversion};
use sproxy_oracle::difference::{Difference, between};
use sproxy_oracle::pairs::{What, comparison};
use sproxy_oracle::pins::{self, Pin};
use sproxy_oracle::{cases, normal, ours, theirs};

/// How many cases of an unknown difference are shown.
const SHOWN: usize = 3;

/// Names a case that is to be shown whole: `messages to chat, stream: generated 17`.
const SHOW: &str = "ORACLE_SHOW";

/// Differences, each with the case in which it is.
fn differences(conversion: Conversion, what: What) -> Vec<(String, Difference)> {
    let mut found = Vec::new();
    let shown = std::env::var(SHOW).unwrap_or_default();
    let mut note = |name: &str, ours: &Result<Value, String>, theirs: &Result<Value, String>| {
        if shown == format!("{}: {name}", comparison(conversion, what)) {
            for (whose, made) in [("ours", ours), ("theirs", theirs)] {
                match made {
                    Ok(made) => eprintln!("{whose}: {made:#}"),
                    Err(reason) => eprintln!("{whose}: {reason}"),
                }
            }
        }
        found.extend(between(ours, theirs).into_iter().map(|difference| (name.to_owned(), difference)));
    };
    match what {
        What::Request => {
            for case in cases::requests(conversion) {
                let normal = |made| normal::request(conversion.to, made);
                let ours = ours::request(conversion, &case.request).map(normal);
                let theirs = theirs::request(conversion, &case.request).map(normal);
                note(&case.name, &ours, &theirs);
            }
        }
        What::Answer => {
            for case in cases::answers(conversion) {
                let normal = |made| normal::answer(conversion, made);
                let ours = ours::answer(conversion, &case.request, &case.input).map(normal);
                let theirs = theirs::answer(conversion, &case.request, &case.input).map(normal);
                note(&case.name, &ours, &theirs);
            }
        }
        What::Stream => {
            for case in cases::streams(conversion) {
                let events: String = case.input.iter().fold(String::new(), |mut events, data| {
                    _ = write!(events, "data: {data}\n\n");
                    events
                });
                let normal = |made| normal::answer(conversion, made);
                let ours = ours::stream(conversion, &case.request, &events).map(normal);
                let theirs = theirs::stream(conversion, &case.request, &case.input).map(normal);
                note(&case.name, &ours, &theirs);
            }
        }
        What::Fields => {
            for case in cases::requests(conversion) {
                let Ok(made) = ours::request(conversion, &case.request) else { continue };
                let declared = theirs::declared(conversion.to, &made);
                note(&case.name, &Ok(made), &declared);
            }
        }
    }
    found
}

/// Nothing differs that is not known, and everything that is known still does.
fn hold(from: Api, to: Api, what: What) {
    let conversion = Conversion { from, to };
    let comparison = comparison(conversion, what);
    let pins: Vec<Pin> = pins::all().into_iter().filter(|pin| pin.of.contains(&comparison)).collect();
    let mut occurs = vec![false; pins.len()];
    let mut unknown: Vec<(String, Difference)> = Vec::new();
    for (case, difference) in differences(conversion, what) {
        let mut is_known = false;
        for (pin, occurs) in pins.iter().zip(&mut occurs).filter(|(pin, _)| pin.is(&case, &difference)) {
            _ = pin;
            (is_known, *occurs) = (true, true);
        }
        if !is_known {
            unknown.push((case, difference));
        }
    }
    let mut report = String::new();
    while let Some((_, Difference { path, .. })) = unknown.first().cloned() {
        let (alike, rest): (Vec<_>, Vec<_>) =
            unknown.into_iter().partition(|(_, difference)| difference.path == path);
        unknown = rest;
        _ = writeln!(report, "{comparison}: {path} differs {} times:", alike.len());
        let mut shown: Vec<(Option<Value>, Option<Value>)> = Vec::new();
        for (case, Difference { ours, theirs, .. }) in alike {
            let values = (ours, theirs);
            if shown.len() < SHOWN && !shown.contains(&values) {
                let written = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
                _ = writeln!(
                    report,
                    "    {case}\n        ours:   {}\n        theirs: {}",
                    written(&values.0),
                    written(&values.1)
                );
                shown.push(values);
            }
        }
    }
    for (pin, _) in pins.iter().zip(occurs).filter(|(_, occurs)| !occurs) {
        _ = writeln!(
            report,
            "{comparison}: {} (ours {}, theirs {}) does not differ any more",
            pin.path, pin.ours, pin.theirs
        );
    }
    assert!(report.is_empty(), "\n{report}");
}

macro_rules! pairs {
    ($($name:ident: $from:ident to $to:ident;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn requests() {
                hold(Api::$from, Api::$to, What::Request);
            }

            #[test]
            fn answers() {
                hold(Api::$from, Api::$to, What::Answer);
            }

            #[test]
            fn streams() {
                hold(Api::$from, Api::$to, What::Stream);
            }

            #[test]
            fn requests_have_only_fields_that_their_api_has() {
                hold(Api::$from, Api::$to, What::Fields);
            }
        })*

        const COMPARED: &[Conversion] = &[$(Conversion { from: Api::$from, to: Api::$to }),*];
    };
}

pairs! {
    messages_to_responses: Messages to Responses;
    messages_to_chat: Messages to Chat;
    messages_to_gemini: Messages to Gemini;
    responses_to_messages: Responses to Messages;
    responses_to_chat: Responses to Chat;
    chat_to_messages: Chat to Messages;
    chat_to_gemini: Chat to Gemini;
}

#[test]
fn every_conversion_is_compared() {
    for conversion in CONVERSIONS {
        assert!(COMPARED.contains(&conversion), "{conversion:?}");
    }
}

#[test]
fn what_is_known_is_of_comparisons_that_there_are() {
    let all: Vec<String> =
        COMPARED.iter().flat_map(|conversion| What::ALL.map(|what| comparison(*conversion, what))).collect();
    for pin in pins::all() {
        for of in &pin.of {
            assert!(all.contains(of), "{of}: {}", pin.path);
        }
        assert!(!pin.of.is_empty(), "{}", pin.path);
    }
}
