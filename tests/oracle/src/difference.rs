//! What differs between two JSON values, by where it is.

use serde_json::Value;

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Such as `messages[user].content[tool_result].is_error`: an element of a list is named by its type, its role or
    /// its only member.
    pub path: String,
    pub ours: Option<Value>,
    pub theirs: Option<Value>,
}

/// Where nothing is made at all.
pub const REFUSED: &str = "(refused)";

/// What differs between what both made, or between the reasons why they did not.
#[must_use]
pub fn between(ours: &Result<Value, String>, theirs: &Result<Value, String>) -> Vec<Difference> {
    let mut found = Vec::new();
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => values("", ours, theirs, &mut found),
        // Both refuse it, each in its own words.
        (Err(_), Err(_)) => {}
        (ours, theirs) => {
            let reason =
                |made: &Result<Value, String>| made.as_ref().err().map(|reason| reason.clone().into());
            found.push(Difference { path: REFUSED.to_owned(), ours: reason(ours), theirs: reason(theirs) });
        }
    }
    found
}

fn values(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<Difference>) {
    match (ours, theirs) {
        (Value::Object(our), Value::Object(their)) => {
            for (name, ours) in our {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match their.get(name) {
                    Some(theirs) => values(&path, ours, theirs, found),
                    None => found.push(Difference { path, ours: Some(ours.clone()), theirs: None }),
                }
            }
            for (name, theirs) in their.iter().filter(|(name, _)| !our.contains_key(*name)) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                found.push(Difference { path, ours: None, theirs: Some(theirs.clone()) });
            }
        }
        (Value::Array(our), Value::Array(their)) if our.iter().chain(their).all(Value::is_object) => {
            elements(path, our, their, found);
        }
        (ours, theirs) if is_same(ours, theirs) => {}
        (ours, theirs) => found.push(Difference {
            path: path.to_owned(),
            ours: Some(ours.clone()),
            theirs: Some(theirs.clone()),
        }),
    }
}

/// 1 and 1.0 are the same.
fn is_same(ours: &Value, theirs: &Value) -> bool {
    ours == theirs
        || matches!((ours.as_f64(), theirs.as_f64()), (Some(ours), Some(theirs)) if ours.to_bits() == theirs.to_bits())
}

/// Elements that are the same go together, then those that are called the same, in their order.
fn elements(path: &str, our: &[Value], their: &[Value], found: &mut Vec<Difference>) {
    let width = their.len() + 1;
    // The best that can be had of what follows, from the end.
    let mut best = vec![0_usize; (our.len() + 1) * width];
    for i in (0..our.len()).rev() {
        for j in (0..their.len()).rev() {
            let apart = best[(i + 1) * width + j].max(best[i * width + j + 1]);
            let together =
                likeness(&our[i], &their[j]).map(|likeness| likeness + best[(i + 1) * width + j + 1]);
            best[i * width + j] = together.map_or(apart, |together| together.max(apart));
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < our.len() || j < their.len() {
        let here = best[i * width + j];
        let likeness = our.get(i).zip(their.get(j)).and_then(|(ours, theirs)| likeness(ours, theirs));
        if likeness.is_some_and(|likeness| here == likeness + best[(i + 1) * width + j + 1]) {
            values(&format!("{path}[{}]", label(&our[i])), &our[i], &their[j], found);
            (i, j) = (i + 1, j + 1);
        } else if i < our.len() && (j == their.len() || here == best[(i + 1) * width + j]) {
            let path = format!("{path}[{}]", label(&our[i]));
            found.push(Difference { path, ours: Some(our[i].clone()), theirs: None });
            i += 1;
        } else {
            let path = format!("{path}[{}]", label(&their[j]));
            found.push(Difference { path, ours: None, theirs: Some(their[j].clone()) });
            j += 1;
        }
    }
}

/// How much two elements are alike; none if they are of different kinds.
fn likeness(ours: &Value, theirs: &Value) -> Option<usize> {
    if ours == theirs {
        return Some(100);
    }
    let (Some(our), Some(their)) = (ours.as_object(), theirs.as_object()) else { return None };
    (label(ours) == label(theirs))
        .then(|| 10 + our.iter().filter(|(name, value)| their.get(*name) == Some(value)).count().min(80))
}

/// What an element is called.
fn label(element: &Value) -> String {
    let kind = element["type"].as_str().filter(|kind| *kind != "message");
    let named =
        kind.or_else(|| element["role"].as_str()).or_else(|| element["name"].as_str().map(|_| "named"));
    if let Some(named) = named {
        return named.to_owned();
    }
    if element["thought"] == true {
        return "thought".to_owned();
    }
    if element["message"].is_object() {
        return "choice".to_owned();
    }
    // A part of Gemini's.
    let mut members = element.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    members.find(|name| *name != "thoughtSignature").unwrap_or_default().to_owned()
}
