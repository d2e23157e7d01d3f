//! One step of a script: which calls it is for, how many of them, and what it does to them.

use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher};
use http::HeaderName;
use serde::Deserialize;
use serde_json::Value;

use crate::mock::errors::{ASKED, ErrorSpec};
use crate::mock::extras;
use crate::mock::kind::Kind;
use crate::mock::steering::{Fail, Steering};

/// A call as a step looks at it.
#[derive(Debug)]
pub struct CallView<'a> {
    pub kind: Kind,
    pub path: &'a str,
    pub model: &'a str,
    /// What it proves itself with.
    pub keys: Vec<&'a str>,
    /// Names of betas, from its header or body.
    pub betas: Vec<String>,
    pub body: &'a [u8],
}

/// As it is written.
#[derive(Debug, Deserialize)]
struct Written {
    #[serde(default, rename = "match")]
    matching: WrittenMatch,
    times: Option<u64>,
    percent: Option<f64>,
    #[serde(default)]
    skip: u64,
    name: Option<String>,
    message: Option<String>,
    body: Option<Value>,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    /// Steering, by its names without `mock-`.
    #[serde(flatten)]
    steering: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMatch {
    model: Option<String>,
    path: Option<String>,
    key: Option<String>,
    #[serde(default)]
    beta: OneOrMore,
    #[serde(default)]
    field: OneOrMore,
}

#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    #[default]
    None,
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::One(one) => vec![one],
            Self::More(more) => more,
        }
    }
}

/// Which calls a step is for: those that all of it is true of.
#[derive(Debug)]
struct Matching {
    model: Option<GlobMatcher>,
    path: Option<GlobMatcher>,
    key: Option<String>,
    /// One of these betas is asked for.
    betas: Vec<GlobMatcher>,
    /// One of these is in the body: names joined by dots, `*` for any.
    fields: Vec<String>,
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub struct Action {
    /// The call's own steering, changed.
    pub steering: Vec<(String, String)>,
    /// The error that the call, or its error event, gets; `None` for the usual one.
    pub error: Option<ErrorSpec>,
    /// Headers that are added; `None`: that is left out.
    pub headers: Vec<(HeaderName, Option<String>)>,
}

impl Action {
    pub fn steered(&self, steering: Steering) -> Steering {
        self.steering.iter().fold(steering, |mut steering, (name, value)| {
            steering.set(name, value);
            steering
        })
    }
}

/// A step of a script.
#[derive(Debug)]
pub struct Step {
    matching: Matching,
    /// How many calls it is for; `None`: without end.
    times: Option<u64>,
    /// The share of calls that it is for.
    chance: Option<f64>,
    /// Calls that it lets pass before.
    skip: u64,
    action: Action,
    closes_unread: bool,
    pub played: u64,
}

impl Step {
    /// Reads one step.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn read(step: Value) -> Result<Self, String> {
        let written: Written = serde_json::from_value(step).map_err(|error| error.to_string())?;
        let mut steering = Steering::default();
        let mut changes = Vec::new();
        for (name, value) in written.steering {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let long = format!("mock-{}", name.replace('_', "-"));
            if !steering.set(&long, &text) {
                return Err(format!("`{name}` is nothing that a step can have, or cannot be {value}"));
            }
            changes.push((long, text));
        }
        if written.percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            return Err("`percent` has to be from 0 to 100".to_owned());
        }
        let matching = Matching::read(written.matching)?;
        let refuses = !matching.betas.is_empty() || !matching.fields.is_empty();
        let closes_unread = steering.fail == Some(Fail::CloseUnread);
        if closes_unread && !matching.is_for_all() {
            return Err("nothing of an unread request can be matched".to_owned());
        }
        let body = written.body.map(|body| match body {
            Value::String(text) => text,
            other => other.to_string(),
        });
        let says_more = written.name.is_some() || written.message.is_some() || body.is_some();
        let has_error = steering.status.is_some() || says_more;
        let error = has_error.then(|| ErrorSpec {
            status: steering.status.unwrap_or(400),
            name: written.name.map(Into::into),
            message: written.message.as_deref().unwrap_or(ASKED).into(),
            body: body.map(Into::into),
        });
        let headers = written.headers.into_iter().map(|(name, value)| {
            let name = name.parse().map_err(|_| format!("`{name}` is no header's name"))?;
            Ok((name, value))
        });
        let headers = headers.collect::<Result<Vec<_>, String>>()?;
        Ok(Self {
            matching,
            times: written.times.or((written.percent.is_none() && !refuses).then_some(1)),
            chance: written.percent.map(|percent| percent / 100.0),
            skip: written.skip,
            action: Action { steering: changes, error, headers },
            closes_unread,
            played: 0,
        })
    }

    /// What it does to this call, if it is for it. `dice` gives a number from 0 to 1.
    pub fn play(&mut self, call: &CallView<'_>, dice: impl FnOnce() -> f64) -> Option<Action> {
        if self.closes_unread || !self.has_times_left() {
            return None;
        }
        let refusal = self.matching.holds_for(call)?;
        if !self.is_due(dice) {
            return None;
        }
        let mut action = self.action.clone();
        if action.error.is_none() && self.action.steering.iter().all(|(name, _)| name != "mock-fail") {
            action.error = refusal;
        }
        Some(action)
    }

    /// Whether it closes the connection on a request that is not read; `None`: it is for something else, and next.
    pub fn play_unread(&mut self, dice: impl FnOnce() -> f64) -> Option<bool> {
        if !self.has_times_left() {
            return Some(false);
        }
        match self.closes_unread {
            true => Some(self.is_due(dice)),
            false if self.matching.is_for_all() && self.chance.is_none() && self.skip == 0 => None,
            false => Some(false),
        }
    }

    fn has_times_left(&self) -> bool {
        self.times.is_none_or(|times| self.played < times)
    }

    fn is_due(&mut self, dice: impl FnOnce() -> f64) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let is_due = self.chance.is_none_or(|chance| dice() < chance);
        self.played += u64::from(is_due);
        is_due
    }
}

impl Matching {
    fn read(written: WrittenMatch) -> Result<Self, String> {
        let glob = |pattern: &str| {
            Glob::new(pattern).map(|glob| glob.compile_matcher()).map_err(|error| error.to_string())
        };
        Ok(Self {
            model: written.model.as_deref().map(glob).transpose()?,
            path: written.path.as_deref().map(glob).transpose()?,
            key: written.key,
            betas: written.beta.into_vec().iter().map(|beta| glob(beta)).collect::<Result<_, _>>()?,
            fields: written.field.into_vec(),
        })
    }

    fn is_for_all(&self) -> bool {
        self.model.is_none()
            && self.path.is_none()
            && self.key.is_none()
            && self.betas.is_empty()
            && self.fields.is_empty()
    }

    /// Whether it is true of a call; within, the refusal of what it has found in there.
    #[allow(clippy::option_option, reason = "for this call or not, and then with a refusal or not")]
    fn holds_for(&self, call: &CallView<'_>) -> Option<Option<ErrorSpec>> {
        // What costs nothing is asked in passing; a script is about the others, unless it names a path.
        let is_right = match &self.path {
            Some(path) => path.is_match(call.path),
            None => call.kind.is_inference(),
        };
        let is_right = is_right
            && self.model.as_ref().is_none_or(|model| model.is_match(call.model))
            && self.key.as_deref().is_none_or(|key| call.keys.contains(&key));
        if !is_right {
            return None;
        }
        let is_refused = |beta: &&String| self.betas.iter().any(|refused| refused.is_match(beta));
        let betas: Vec<&str> = call.betas.iter().filter(is_refused).map(String::as_str).collect();
        if !betas.is_empty() {
            return Some(Some(extras::beta_refusal(call.kind.api(), &betas)));
        }
        if !self.fields.is_empty() {
            let body: Value = serde_json::from_slice(call.body).unwrap_or_default();
            let found = self.fields.iter().find_map(|field| extras::find(&body, field))?;
            return Some(Some(extras::field_refusal(call.kind.api(), &found)));
        }
        self.betas.is_empty().then_some(None)
    }
}
