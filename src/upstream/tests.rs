//! The choice of targets as a table: no socket is opened.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use super::health::EJECTION;
use super::*;
use crate::cloud::hosting::Platform;
use crate::config::{Auth, HangUp, Http2, Secret};
use crate::domain::clock::SystemClock;

const MODEL: &str = "gpt-5";

pub(super) fn config(name: &str, weight: u32, models: &[&str]) -> TargetConfig {
    TargetConfig {
        name: name.to_owned(),
        provider: Provider::Openai,
        platform: Platform::Provider,
        region: String::new(),
        project: String::new(),
        url: format!("http://{name}.invalid/v1"),
        speaks: vec![Provider::Openai],
        api_key: Some(Secret::new("k")),
        keys: Vec::new(),
        machine: None,
        auth: Auth::OfDialect,
        tier: 0,
        rename: BTreeMap::new(),
        weight,
        models: models.iter().map(|&glob| glob.to_owned()).collect(),
        health_path: None,
        include_usage: true,
        responses: true,
        websocket: false,
        allow_admin_paths: false,
        on_hangup: HangUp::Cancel,
        connect_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_mins(10),
        idle_timeout: Duration::from_mins(5),
        total_timeout: Duration::from_hours(6),
        max_connections: 16,
        http2: Http2::No,
        http2_connections: 1,
        queue_timeout: Duration::from_secs(10),
        proxy: None,
        ca_file: None,
    }
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn configs_of(targets: &[TargetConfig]) -> Configs<'_> {
    static SETTINGS: LazyLock<UpstreamConfig> = LazyLock::new(UpstreamConfig::default);
    static CAPABILITIES: LazyLock<Arc<Catalogue>> = LazyLock::new(Arc::default);
    Configs { targets, models: &[], upstream: &SETTINGS, capabilities: &CAPABILITIES }
}

fn upstream(configs: &[TargetConfig]) -> Upstream {
    Upstream::new(configs_of(configs), &clock()).unwrap()
}

fn query(model: ModelQuery) -> TargetQuery {
    TargetQuery {
        api: None,
        provider: Provider::Openai,
        model,
        is_admin: false,
        affinity: None,
        counts_for_health: true,
    }
}

pub(super) fn named(model: &str) -> TargetQuery {
    query(ModelQuery::Named(model.into()))
}

fn choose(upstream: &Upstream, query: &TargetQuery, now: Instant) -> Result<String, SendError> {
    let candidates = upstream.balancer().candidates(query)?;
    match upstream.balancer().choose(&candidates, &[], query.affinity, true, now) {
        Some(
            balance::Chosen::Ready { candidate: chosen, .. } | balance::Chosen::Cooling { first: chosen, .. },
        ) => Ok(chosen.target().name().to_owned()),
        None => Err(SendError::NoneHealthy { provider: query.provider, model: None }),
    }
}

/// How often each target is chosen in so many calls.
fn counts(upstream: &Upstream, query: &TargetQuery, calls: usize) -> BTreeMap<String, usize> {
    let now = Instant::now();
    let mut counts = BTreeMap::new();
    for _ in 0..calls {
        *counts.entry(choose(upstream, query, now).unwrap()).or_default() += 1;
    }
    counts
}

/// Name, weight, models.
type Written<'t> = &'t [(&'t str, u32, &'t [&'t str])];
/// How many of 1,000 calls each gets.
type Chosen<'t> = &'t [(&'t str, usize)];

#[test]
fn calls_go_by_weight_among_those_that_serve_the_model() {
    let all = &["*"][..];
    let cases: [(Written<'_>, Chosen<'_>); 5] = [
        (&[("a", 1, all), ("b", 1, all)], &[("a", 500), ("b", 500)]),
        (&[("a", 3, all), ("b", 1, all)], &[("a", 750), ("b", 250)]),
        (&[("a", 1, all), ("b", 0, all)], &[("a", 1_000)]),
        (&[("a", 1, &["gpt-*"]), ("b", 9, &["o1"])], &[("a", 1_000)]),
        (&[("a", 1, &["gpt-5", "o1"]), ("b", 1, &["gpt-?"]), ("c", 7, &["gpt"])], &[("a", 500), ("b", 500)]),
    ];
    for (targets, expected) in cases {
        let configs: Vec<_> =
            targets.iter().map(|(name, weight, models)| config(name, *weight, models)).collect();
        let counts = counts(&upstream(&configs), &named(MODEL), 1_000);
        let names: Vec<_> = counts.keys().map(String::as_str).collect();
        assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, share) in expected {
            assert!(counts[*name].abs_diff(*share) <= 2, "{targets:?}: {counts:?}");
        }
    }
}

#[test]
fn a_call_that_names_no_model_goes_to_who_serves_everything_or_to_the_only_one() {
    let (everything, some, other) =
        (config("all", 1, &["*"]), config("a", 1, &["gpt-*"]), config("b", 1, &["o1"]));
    let nameless = |has_body| query(ModelQuery::Nameless { has_body });
    let unread = || query(ModelQuery::Unread);
    let cases: [(&[&TargetConfig], TargetQuery, &str); 8] = [
        (&[&everything, &some], nameless(true), "all"),
        (&[&everything, &some], nameless(false), "all"),
        (&[&some], nameless(true), "a"),
        (&[&some, &other], nameless(true), "Nameless"),
        (&[&everything], unread(), "all"),
        (&[&everything, &some], unread(), "Unread"),
        (&[&some], named("o1"), "NoTarget"),
        (&[], unread(), "NoTarget"),
    ];
    for (targets, query, expected) in cases {
        let configs: Vec<_> = targets.iter().copied().cloned().collect();
        let chosen = match choose(&upstream(&configs), &query, Instant::now()) {
            Ok(name) => name,
            Err(error) => format!("{error:?}").split(' ').next().unwrap().to_owned(),
        };
        assert_eq!(chosen, expected, "{query:?}");
    }
}

#[test]
fn a_session_stays_with_its_target_and_only_the_sessions_of_one_that_is_gone_move() {
    let upstream = upstream(&[config("a", 1, &["*"]), config("b", 2, &["*"]), config("c", 1, &["*"])]);
    let session = |key| TargetQuery { affinity: Some(key), ..named(MODEL) };
    let now = Instant::now();
    let all = |upstream: &Upstream| -> Vec<String> {
        (0..1_000).map(|key| choose(upstream, &session(key), now).unwrap()).collect()
    };
    let before = all(&upstream);
    assert_eq!(before, all(&upstream));
    let of_b = before.iter().filter(|name| *name == "b").count();
    assert!(of_b.abs_diff(500) < 75, "half of the weight: {of_b}");
    upstream.find("c").unwrap().set_draining(true);
    for (before, after) in before.iter().zip(all(&upstream)) {
        assert!(*before == after || before == "c", "{before} moved to {after}");
        assert_ne!(after, "c");
    }
}

#[test]
fn a_target_that_fails_is_left_alone_then_tried_by_one_call_and_used_if_there_is_no_other() {
    let pair = upstream(&[config("a", 1, &["*"]), config("b", 1, &["*"])]);
    let now = Instant::now();
    let fail = |upstream: &Upstream| {
        for _ in 0..3 {
            upstream.find("a").unwrap().state.health.failed(now);
        }
    };
    fail(&pair);
    let early: Vec<_> = (0..20).map(|_| choose(&pair, &named(MODEL), now).unwrap()).collect();
    assert!(early.iter().all(|name| name == "b"), "{early:?}");
    let later = now + EJECTION;
    let tries = (0..20).filter(|_| choose(&pair, &named(MODEL), later).unwrap() == "a").count();
    assert_eq!(tries, 1, "one call tries it");
    pair.find("a").unwrap().state.health.answered();
    let after: Vec<_> = (0..20).map(|_| choose(&pair, &named(MODEL), later).unwrap()).collect();
    assert!(after.iter().any(|name| name == "a"), "{after:?}");

    let alone = upstream(&[config("a", 1, &["*"])]);
    fail(&alone);
    assert_eq!(choose(&alone, &named(MODEL), now).unwrap(), "a", "trying is better than refusing");
    alone.find("a").unwrap().state.health.checked(false);
    assert!(matches!(choose(&alone, &named(MODEL), now), Err(SendError::NoneHealthy { .. })));
}

#[test]
fn another_configuration_keeps_what_a_target_has_of_its_own_unless_it_goes_elsewhere() {
    let before = upstream(&[config("a", 1, &["*"]), config("b", 1, &["*"]), config("c", 1, &["*"])]);
    for target in before.targets() {
        target.state.attempts.inc();
        target.set_draining(true);
    }
    let moved = TargetConfig { url: "http://elsewhere.invalid".to_owned(), ..config("b", 1, &["*"]) };
    let after = before
        .replaced_by(configs_of(&[moved, config("a", 7, &["o1"]), config("d", 1, &["*"])]), &clock())
        .unwrap();
    let kept: Vec<_> = after
        .targets()
        .iter()
        .map(|target| target.view())
        .map(|view| (view.name, view.weight, view.attempts, view.draining))
        .collect();
    let expected = [("b", 1, 0, false), ("a", 7, 1, true), ("d", 1, 0, false)];
    assert_eq!(
        kept,
        expected.map(|(name, weight, attempts, draining)| (name.to_owned(), weight, attempts, draining))
    );
    let bad = TargetConfig { url: "no URL".to_owned(), ..config("x", 1, &["*"]) };
    assert!(before.replaced_by(configs_of(&[bad]), &clock()).is_err_and(|error| error.name == "x"));
}
