//! What is to happen to the next calls, whoever makes them: for clients that cannot say so themselves.
//!
//! A script is JSON: a list of steps, or `{"seed": 7, "steps": [...]}`. A call gets the first step that is for it and is
//! not used up; without one it is answered well. A step has any of these members:
//!
//! | member | means |
//! |---|---|
//! | `match` | which calls it is for, all of: `model` and `path` (globs), `key` (its credential: the key, the token, or the id of an AWS key), `beta` and `field` (one or a list; in a request that asks for the beta, or has the field: `"tools.*.strict"`). Without `path`, calls that cost nothing are left alone |
//! | `times` | how many calls it is for; 1, or with `percent`, `beta` or `field` all |
//! | `percent` | its share of them, drawn by the script's seed |
//! | `skip` | how many it lets pass before |
//! | `status`, `name`, `message` | an error, and what it says; `name` is the API's word for it. With `beta` or `field` that is the refusal of these, if nothing else is said |
//! | `body` | the error's body as it is; of an error event, all of its text |
//! | `headers` | headers of the answer; null leaves one out. `now+30s` stands for a moment, written as the header wants it |
//! | `fail`, `after` | how it fails (`mock-fail`), and behind how many events of a stream; `close-unread`: the connection closes before the request is read, whatever it is |
//! | others | steering, by its names without `mock-`: `delay_ms`, `output`, … |

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::mock::step::{Action, CallView, Step};

/// The seed of a script that names none.
const SEED_DEFAULT: u64 = 1;

/// The steps of a mock.
#[derive(Debug, Default)]
pub struct Script {
    steps: Mutex<Steps>,
    has_steps: AtomicBool,
}

#[derive(Debug, Default)]
struct Steps {
    steps: Vec<Step>,
    random: u64,
}

/// Steps that have been read.
#[derive(Debug, Default)]
pub struct ReadScript(Steps);

impl ReadScript {
    /// Reads a script.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let script: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let (seed, steps) = match script {
            Value::Array(steps) => (SEED_DEFAULT, steps),
            Value::Object(mut script) => {
                let steps = script.remove("steps").unwrap_or_default();
                let Value::Array(steps) = steps else { return Err("`steps` has to be a list".to_owned()) };
                let seed = script.remove("seed").map_or(Some(SEED_DEFAULT), |seed| seed.as_u64());
                let seed = seed.ok_or("`seed` has to be a number")?;
                if let Some(other) = script.keys().next() {
                    return Err(format!("a script has `seed` and `steps`, not `{other}`"));
                }
                (seed, steps)
            }
            _ => return Err("a script is a list of steps, or an object with `steps`".to_owned()),
        };
        let steps = steps.into_iter().enumerate();
        let steps = steps.map(|(at, step)| Step::read(step).map_err(|error| format!("step {at}: {error}")));
        Ok(Self(Steps { steps: steps.collect::<Result<_, _>>()?, random: seed }))
    }

    /// Refuses every call with one of these betas or fields, before any other step.
    ///
    /// # Errors
    /// What is wrong with a name.
    pub fn refuse(&mut self, betas: &[String], fields: &[String]) -> Result<(), String> {
        let betas = betas.iter().map(|beta| json!({ "match": { "beta": beta, "path": "*" } }));
        let fields = fields.iter().map(|field| json!({ "match": { "field": field, "path": "*" } }));
        let steps = betas.chain(fields).map(Step::read).collect::<Result<Vec<_>, _>>()?;
        self.0.steps.splice(0..0, steps);
        Ok(())
    }
}

impl Script {
    pub fn new(script: ReadScript) -> Self {
        let has_steps = AtomicBool::new(!script.0.steps.is_empty());
        Self { steps: Mutex::new(script.0), has_steps }
    }

    /// Begins another script.
    pub fn replace(&self, script: ReadScript) {
        let mut steps = self.steps.lock();
        *steps = script.0;
        self.has_steps.store(!steps.steps.is_empty(), Ordering::Release);
    }

    /// Nothing happens to anybody; cheap.
    pub fn is_empty(&self) -> bool {
        !self.has_steps.load(Ordering::Acquire)
    }

    /// What happens to this call.
    pub fn play(&self, call: &CallView<'_>) -> Option<Action> {
        let Steps { steps, random } = &mut *self.steps.lock();
        steps.iter_mut().find_map(|step| step.play(call, || next(random)))
    }

    /// Whether the connection closes on a request that is about to be read.
    pub fn takes_unread(&self) -> bool {
        let Steps { steps, random } = &mut *self.steps.lock();
        steps.iter_mut().map_while(|step| step.play_unread(|| next(random))).any(|is_taken| is_taken)
    }

    /// How often each step was played.
    pub fn played(&self) -> Value {
        self.steps.lock().steps.iter().map(|step| json!({ "played": step.played })).collect()
    }
}

/// A number from 0 to 1 (`SplitMix64`).
fn next(random: &mut u64) -> f64 {
    *random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *random;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let [.., high, low] = (mixed ^ (mixed >> 31)).to_be_bytes();
    f64::from(u16::from_be_bytes([high, low])) / 65_536.0
}
