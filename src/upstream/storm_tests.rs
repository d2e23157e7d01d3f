//! Three targets under storms: a seeded simulation of many calls over virtual time. No socket is opened.
//!
//! `SPROXY_STORM_SEEDS` says how many histories are played, `SPROXY_STORM_SEED` which one alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tests::{clock, config, named};
use super::*;
use crate::config::{KeyConfig, Secret};

const TARGETS: usize = 3;
/// Storms last so long; then it is calm.
const STORMY: Duration = Duration::from_mins(5);
/// The longest backoff, and a call that tries.
const CALM_AFTER: Duration = Duration::from_secs(75);

/// What a target does with a call at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Calm,
    /// With how many seconds of `retry-after`, if any.
    RateLimited(Option<u64>),
    Overloaded,
    ErrorEvent,
    /// The provider may have worked.
    Broken,
    Cut,
    Unreachable,
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn weather(&mut self) -> Weather {
        match self.below(12) {
            0..=4 => Weather::Calm,
            5 => Weather::RateLimited(Some(1 + self.below(20))),
            6 => Weather::RateLimited(None),
            7 | 8 => Weather::Overloaded,
            9 => Weather::ErrorEvent,
            10 => [Weather::Broken, Weather::Cut][usize::try_from(self.below(2)).unwrap()],
            _ => Weather::Unreachable,
        }
    }
}

/// What became of a call.
#[derive(Debug, Default)]
struct Outcome {
    /// Attempts in its record: those that failed before.
    attempts: usize,
    /// Calls that a provider saw.
    begun: usize,
    /// Calls that a provider may bill.
    billed: usize,
    answered_by: Option<String>,
}

struct Storm {
    upstream: Arc<Upstream>,
    dice: Dice,
    weather: [Weather; TARGETS],
    retry_uncertain: bool,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let retry_uncertain = dice.below(4) == 0;
        let key = |name: &str| KeyConfig { name: name.to_owned(), api_key: Secret::new(name), weight: 1 };
        let mut targets: Vec<_> = ["t0", "t1", "t2"].map(|name| config(name, 100, &["*"])).into();
        if dice.below(2) == 0 {
            targets[0].api_key = None;
            targets[0].keys = vec![key("a"), key("b")];
        }
        if dice.below(2) == 0 {
            targets[2].tier = 1;
        }
        let settings = UpstreamConfig { retry_uncertain, ..UpstreamConfig::default() };
        let configs =
            Configs { targets: &targets, models: &[], upstream: &settings, capabilities: &Arc::default() };
        let upstream = Arc::new(Upstream::new(configs, &clock()).unwrap());
        Self { upstream, dice, weather: [Weather::Calm; TARGETS], retry_uncertain }
    }

    /// Plays one call that begins at `now`; calls take no time, waits do.
    fn call(&mut self, affinity: Option<u64>, now: Instant) -> Outcome {
        let query = TargetQuery { affinity, ..named("m") };
        let mut outcome = Outcome::default();
        self.upstream.shared.budget.call(now);
        let mut waited = now;
        let mut plan = loop {
            match self.upstream.plan_at(&query, now, waited).expect("they serve everything") {
                Planned::Now(plan) => break plan,
                Planned::After(pause) => waited += pause,
            }
            assert!(waited <= now + Duration::from_secs(6), "nobody waits longer than max_wait");
        };
        let now = waited;
        if self.dice.below(50) == 0 {
            // Refused by a limit, or its caller has left.
            return outcome;
        }
        loop {
            let name = plan.current().target().name().to_owned();
            let index: usize = name[1..].parse().unwrap();
            let reason = match self.weather[index] {
                Weather::Calm => {
                    plan.answered(now);
                    outcome.begun += 1;
                    outcome.billed += 1;
                    outcome.answered_by = Some(format!("{name}/{}", plan.current().key_name()));
                    return outcome;
                }
                Weather::RateLimited(_) => FailureReason::RateLimited,
                Weather::Overloaded => FailureReason::Overloaded,
                Weather::ErrorEvent => FailureReason::ErrorEvent,
                Weather::Broken => FailureReason::ServerError,
                Weather::Cut => FailureReason::Cut,
                Weather::Unreachable => FailureReason::Connect,
            };
            outcome.begun += 1;
            outcome.billed += usize::from(!reason.is_safe_to_retry());
            let retry_after = match self.weather[index] {
                Weather::RateLimited(seconds) => seconds.map(Duration::from_secs),
                _ => None,
            };
            if plan.failed(AttemptFailure { reason, retry_after }, now) == Next::Stop {
                return outcome;
            }
            outcome.attempts += 1;
        }
    }
}

fn play(seed: u64) {
    let start = Instant::now();
    let mut storm = Storm::new(seed);
    let mut now = start;
    let mut seconds: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    while now < start + STORMY {
        now += Duration::from_millis(storm.dice.below(60));
        if storm.dice.below(40) == 0 {
            let index = usize::try_from(storm.dice.below(TARGETS as u64)).unwrap();
            storm.weather[index] = storm.dice.weather();
        }
        let affinity = Some(storm.dice.below(40)).filter(|session| *session < 20);
        let outcome = storm.call(affinity, now);
        let what = format!("seed {seed}, {:?} in, {:?}: {outcome:?}", now - start, storm.weather);
        let was_sent = outcome.begun > 0;
        assert_eq!(outcome.begun, usize::from(was_sent) + outcome.attempts, "{what}");
        assert!(outcome.begun <= 3, "max_attempts: {what}");
        assert!(outcome.billed <= 1 || storm.retry_uncertain, "billed twice: {what}");
        let second = seconds.entry((now - start).as_secs()).or_default();
        second.0 += 1;
        second.1 += outcome.attempts as u64;
    }
    let sum = seconds.values().fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
    assert!(sum.1 <= sum.0 / 10 + 3 * (STORMY.as_secs() + 10), "seed {seed}: a storm of retries: {sum:?}");

    // Once all is calm, nothing is left of it.
    storm.weather = [Weather::Calm; TARGETS];
    let mut now = now + CALM_AFTER;
    let mut places: BTreeMap<u64, String> = BTreeMap::new();
    for turn in 0..400 {
        now += Duration::from_millis(50);
        let outcome = storm.call(Some(turn % 20), now);
        let Some(place) = outcome.answered_by else {
            assert_eq!(outcome.begun, 0, "seed {seed}: not answered although all is calm: {outcome:?}");
            continue;
        };
        assert_eq!(outcome.attempts, 0, "seed {seed}: {place}");
        // The first turns may be those that try what was left alone.
        if turn >= 100 {
            let stays = places.entry(turn % 20).or_insert_with(|| place.clone());
            assert_eq!(*stays, place, "seed {seed}: a session moves although all is calm");
        }
    }
    for target in storm.upstream.targets() {
        let view = target.view();
        assert!(view.tier == 0 || view.attempts == 0, "nothing is really sent: {view:?}");
    }
}

#[test]
fn storms_bill_nobody_twice_and_are_not_multiplied_and_leave_nothing_behind() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SPROXY_STORM_SEED") {
        Some(seed) => play(seed),
        None => (0..number("SPROXY_STORM_SEEDS").unwrap_or(30)).for_each(play),
    }
}
