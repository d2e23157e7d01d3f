//! Tells the calls of a stream apart, which servers number and name in ways of their own; and where the arguments of one
//! are over, which Chat does not say.

use crate::dialect::convert::chat_events::CallDelta;

/// What a stream has said of its calls, in their order.
#[derive(Debug, Default)]
pub(super) struct Calls {
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    index: Option<u64>,
    /// As the server says it.
    id: Option<String>,
    name: Option<String>,
    end: JsonEnd,
}

impl Calls {
    /// The number of the call that a chunk's entry belongs to, which may be one more than there were.
    ///
    /// `OpenAI` numbers them and says id and name once. Others say these in every chunk; number all of them 0, or none; or
    /// have no ids. So another id is another call, whatever its number; without an id, another name is, and so is a name
    /// behind arguments that are over.
    pub(super) fn of(&mut self, delta: &CallDelta, arguments: &str) -> usize {
        let name = delta.function.as_ref().and_then(|function| function.name.clone());
        let name = name.filter(|name| !name.is_empty());
        let at = self.find(delta, name.as_deref(), arguments).unwrap_or_else(|| {
            self.known.push(Known { index: delta.index, id: None, name: None, end: JsonEnd::default() });
            self.known.len() - 1
        });
        if let Some(call) = self.known.get_mut(at) {
            if call.id.is_none() {
                call.id.clone_from(&delta.id);
            }
            if call.name.is_none() {
                call.name = name;
            }
            call.end.push(arguments);
        }
        at
    }

    fn find(&self, delta: &CallDelta, name: Option<&str>, arguments: &str) -> Option<usize> {
        let by_id = || {
            let id = delta.id.as_ref()?;
            self.known.iter().rposition(|call| call.id.as_ref() == Some(id))
        };
        let last = match delta.index {
            Some(index) => self.known.iter().rposition(|call| call.index == Some(index)),
            None => self.known.len().checked_sub(1),
        };
        let Some((at, call)) = last.and_then(|at| Some((at, self.known.get(at)?))) else {
            // A number that is new: its id is known only where the number is wrong, and then the name is not said again.
            return if name.is_none() { by_id() } else { None };
        };
        match (&delta.id, &call.id) {
            (Some(id), Some(own)) if id != own => by_id(),
            (Some(_), Some(_)) => Some(at),
            _ => {
                let is_another = name.is_some_and(|name| {
                    call.name.as_deref().is_some_and(|own| own != name)
                        || (call.end.is_over() && !arguments.trim_start().is_empty())
                });
                (!is_another).then_some(at)
            }
        }
    }

    /// Whether the arguments of a call are a whole object.
    pub(super) fn is_over(&self, at: usize) -> bool {
        self.known.get(at).is_some_and(|call| call.end.is_over())
    }
}

/// Finds the end of an object that comes in parts.
#[derive(Debug, Default)]
struct JsonEnd {
    depth: usize,
    has_begun: bool,
    in_text: bool,
    is_escaped: bool,
}

impl JsonEnd {
    fn push(&mut self, part: &str) {
        for byte in part.bytes() {
            if self.in_text {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => {
                    self.depth += 1;
                    self.has_begun = true;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_over(&self) -> bool {
        self.has_begun && self.depth == 0 && !self.in_text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::convert::chat_events::FunctionDelta;

    /// The arguments of each call, in order.
    fn sorted(deltas: &[Value]) -> Vec<String> {
        let mut calls = Calls::default();
        let mut sorted: Vec<String> = Vec::new();
        for delta in deltas {
            let delta: CallDelta = serde_json::from_value(delta.clone()).unwrap();
            let arguments = delta.function.as_ref().map(FunctionDelta::arguments).unwrap_or_default();
            let at = calls.of(&delta, &arguments);
            if at == sorted.len() {
                sorted.push(String::new());
            }
            sorted[at].push_str(&arguments);
        }
        sorted
    }

    fn delta(index: Option<u64>, id: &str, name: &str, arguments: &str) -> Value {
        json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}})
    }

    #[test]
    fn calls_are_told_apart_however_a_server_numbers_and_names_them() {
        let expected = [r#"{"a":1}"#, r#"{"b":"}"}"#];
        let d = delta;
        let ways = [
            // As OpenAI says it.
            vec![
                d(Some(0), "x", "f", ""),
                d(Some(0), "", "", r#"{"a""#),
                d(Some(0), "", "", ":1}"),
                d(Some(1), "y", "g", ""),
                d(Some(1), "", "", r#"{"b":"}"}"#),
            ],
            // In turns.
            vec![
                d(Some(0), "x", "f", ""),
                d(Some(1), "y", "g", r#"{"b":"#),
                d(Some(0), "", "", r#"{"a":1}"#),
                d(Some(1), "", "", r#""}"}"#),
            ],
            // All of one number, told apart by their ids, once or always.
            vec![
                d(Some(0), "x", "f", r#"{"a""#),
                d(Some(0), "", "", ":1}"),
                d(Some(0), "y", "g", ""),
                d(Some(0), "", "", r#"{"b":"}"}"#),
            ],
            vec![
                d(Some(0), "x", "f", r#"{"a""#),
                d(Some(0), "y", "f", r#"{"b":"#),
                d(Some(0), "x", "f", ":1}"),
                d(Some(0), "y", "f", r#""}"}"#),
            ],
            // Without numbers.
            vec![d(None, "x", "f", r#"{"a""#), d(None, "", "", ":1}"), d(None, "y", "g", r#"{"b":"}"}"#)],
            // Whole, and without ids: by another name, and by the same.
            vec![d(Some(0), "", "f", r#"{"a":1}"#), d(Some(0), "", "g", r#"{"b":"}"}"#)],
            vec![d(None, "", "f", r#"{"a":1}"#), d(None, "", "f", r#"{"b":"}"}"#)],
            // The same id for both.
            vec![d(Some(0), "x", "f", r#"{"a":1}"#), d(Some(1), "x", "g", r#"{"b":"}"}"#)],
        ];
        for way in ways {
            assert_eq!(sorted(&way), expected, "{way:?}");
        }
        // Whatever is said again of a call without arguments is the same call.
        assert_eq!(
            sorted(&[d(Some(0), "x", "f", ""), d(Some(0), "x", "f", "{}"), d(Some(0), "x", "f", "")]),
            ["{}"]
        );
        // An object in place of its text.
        let whole = json!({"id": "x", "function": {"name": "f", "arguments": {"a": 1}}});
        assert_eq!(sorted(&[whole]), [r#"{"a":1}"#]);
    }
}
