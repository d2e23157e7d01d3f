//! The blocks of an answer of Chat Completions, in order and one at a time, as the other APIs have them: Chat says text,
//! reasoning and calls in whatever order they come, and does not say where one is over.

use serde_json::Value;

use super::calls::Calls;
use super::reasoning::{add_details, readable};
use crate::dialect::convert::chat_events::{CallDelta, Content, Delta, FunctionDelta, Part};

/// A block, as far as it has come.
#[derive(Debug)]
pub struct Block {
    pub kind: Kind,
    /// All of its text or arguments.
    pub text: String,
    /// How much of it was said.
    said: usize,
    has_begun: bool,
}

#[derive(Debug)]
pub enum Kind {
    Reasoning {
        /// The member that it came in.
        field: Option<&'static str>,
        /// `reasoning_details`.
        details: Vec<Value>,
    },
    Text,
    /// Why the model does not answer.
    Refusal,
    Call {
        id: Option<String>,
        name: String,
    },
}

/// What can be said of the blocks, in order.
#[derive(Debug)]
pub enum Step<'b> {
    Begin(&'b Block),
    More(&'b Block, &'b str),
    End(&'b Block),
}

/// The blocks of one answer.
#[derive(Debug, Default)]
pub struct Blocks {
    all: Vec<Block>,
    /// The one that is being said.
    at: usize,
    calls: Calls,
    /// The place of each call among the blocks.
    places: Vec<usize>,
}

impl Blocks {
    /// Takes what a chunk adds, or a whole message.
    pub fn take(&mut self, mut delta: Delta) {
        let added = delta.reasoning_details.take().unwrap_or_default();
        if let Some((field, text)) = delta.reasoning() {
            self.reason(Some(field), text);
        } else {
            self.reason(None, &readable(&added));
        }
        if !added.is_empty() {
            self.add_details(added);
        }
        match delta.content.take() {
            Some(Content::Plain(text)) => self.say(Kind::Text, &text),
            Some(Content::Parts(parts)) => parts.into_iter().for_each(|part| self.take_part(part)),
            Some(Content::Other(_)) | None => {}
        }
        if let Some(refusal) = delta.refusal.filter(|refusal| !refusal.is_empty()) {
            self.say(Kind::Refusal, &refusal);
        }
        let old = delta
            .function_call
            .map(|function| CallDelta { function: Some(function), ..CallDelta::default() });
        for call in delta.tool_calls.into_iter().flatten().chain(old) {
            self.call(call);
        }
    }

    fn take_part(&mut self, part: Part) {
        let thinking = part.thinking.into_iter().flatten().filter_map(|part| part.text);
        self.reason(None, &thinking.collect::<String>());
        self.say(Kind::Text, &part.text.unwrap_or_default());
    }

    fn reason(&mut self, named: Option<&'static str>, text: &str) {
        if text.is_empty() {
            return;
        }
        if !matches!(self.all.last(), Some(Block { kind: Kind::Reasoning { .. }, .. })) {
            self.push(Kind::Reasoning { field: named, details: Vec::new() });
        }
        if let Some(Block { kind: Kind::Reasoning { field, .. }, text: known, .. }) = self.all.last_mut() {
            *field = field.or(named);
            known.push_str(text);
        }
    }

    fn add_details(&mut self, added: Vec<Value>) {
        if !matches!(self.all.last(), Some(Block { kind: Kind::Reasoning { .. }, .. })) {
            self.push(Kind::Reasoning { field: None, details: Vec::new() });
        }
        if let Some(Block { kind: Kind::Reasoning { details, .. }, .. }) = self.all.last_mut() {
            add_details(details, added);
        }
    }

    fn say(&mut self, kind: Kind, text: &str) {
        if text.is_empty() {
            return;
        }
        let goes_on = |last: &Block| std::mem::discriminant(&last.kind) == std::mem::discriminant(&kind);
        if !self.all.last().is_some_and(goes_on) {
            self.push(kind);
        }
        if let Some(block) = self.all.last_mut() {
            block.text.push_str(text);
        }
    }

    fn call(&mut self, delta: CallDelta) {
        let arguments = delta.function.as_ref().map(FunctionDelta::arguments).unwrap_or_default();
        let at = self.calls.of(&delta, &arguments);
        if at == self.places.len() {
            self.places.push(self.all.len());
            self.push(Kind::Call { id: None, name: String::new() });
        }
        let Some(block) = self.places.get(at).and_then(|place| self.all.get_mut(*place)) else { return };
        if let Kind::Call { id, name } = &mut block.kind {
            if id.is_none() {
                *id = delta.id;
            }
            if name.is_empty() {
                *name = delta.function.and_then(|function| function.name).unwrap_or_default();
            }
            block.text.push_str(&arguments);
        }
    }

    fn push(&mut self, kind: Kind) {
        self.all.push(Block { kind, text: String::new(), said: 0, has_begun: false });
    }

    /// Says what can be said by now. A block is said until it is over and another follows; what comes for the others
    /// waits.
    pub fn steps(&mut self, mut each: impl FnMut(Step<'_>)) {
        while self.at < self.all.len() {
            self.say_block(false, &mut each);
            if self.at + 1 == self.all.len() || !self.is_over() {
                return;
            }
            self.end_block(&mut each);
        }
    }

    /// Says the rest: the answer is over.
    pub fn finish(&mut self, mut each: impl FnMut(Step<'_>)) {
        while self.at < self.all.len() {
            self.say_block(true, &mut each);
            self.end_block(&mut each);
        }
    }

    /// A call that has begun to come is over with its arguments; everything else is when something else comes.
    fn is_over(&self) -> bool {
        match self.places.iter().position(|place| *place == self.at) {
            Some(call) => self.calls.is_over(call),
            None => true,
        }
    }

    fn say_block(&mut self, is_last: bool, each: &mut impl FnMut(Step<'_>)) {
        let is_over = is_last || (self.at + 1 < self.all.len() && self.is_over());
        let Some(block) = self.all.get_mut(self.at) else { return };
        if !block.has_begun {
            let has_words = !block.text.trim().is_empty();
            let can_begin = match &block.kind {
                // Blocks of nothing but space are refused when they are sent back.
                Kind::Text | Kind::Refusal => has_words,
                Kind::Reasoning { details, .. } => has_words || (is_over && !details.is_empty()),
                // Without a name there is nothing to call.
                Kind::Call { name, .. } => !name.is_empty(),
            };
            if !can_begin {
                return;
            }
            block.has_begun = true;
            each(Step::Begin(block));
        }
        let said = block.said;
        block.said = block.text.len();
        match block.text.get(said..) {
            Some(more) if !more.is_empty() => each(Step::More(block, more)),
            _ => {}
        }
    }

    fn end_block(&mut self, each: &mut impl FnMut(Step<'_>)) {
        if let Some(block) = self.all.get(self.at).filter(|block| block.has_begun) {
            each(Step::End(block));
        }
        self.at += 1;
    }

    /// Whether there is a call.
    #[must_use]
    pub fn has_calls(&self) -> bool {
        self.all.iter().any(|block| matches!(&block.kind, Kind::Call { name, .. } if !name.is_empty()))
    }

    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.all.iter().any(|block| matches!(block.kind, Kind::Refusal) && !block.text.trim().is_empty())
    }

    /// How many bytes the model has said.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.all.iter().map(|block| block.text.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(deltas: &[Value]) -> String {
        let (mut blocks, mut said) = (Blocks::default(), String::new());
        let mut each = |step: Step<'_>| match step {
            Step::Begin(block) => said.push_str(match &block.kind {
                Kind::Reasoning { .. } => "<think:",
                Kind::Text => "<text:",
                Kind::Refusal => "<refusal:",
                Kind::Call { name, .. } => name,
            }),
            Step::More(_, text) => said.push_str(text),
            Step::End(_) => said.push('>'),
        };
        for delta in deltas {
            blocks.take(serde_json::from_value(delta.clone()).unwrap());
            blocks.steps(&mut each);
        }
        blocks.finish(&mut each);
        said
    }

    fn call(index: u64, id: &str, name: &str, arguments: &str) -> Value {
        json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]})
    }

    #[test]
    fn blocks_are_said_one_at_a_time_whatever_order_they_come_in() {
        for (deltas, expected) in [
            (
                vec![
                    json!({"role": "assistant", "content": ""}),
                    json!({"reasoning_content": "hm"}),
                    json!({"reasoning_content": "m", "reasoning": "m"}),
                    json!({"content": "\n\n"}),
                    json!({"content": "Hi"}),
                    call(0, "x", "F", ""),
                    call(1, "y", "G", "{\"b\""),
                    call(0, "", "", "{}"),
                    call(1, "", "", ":1}"),
                    json!({"content": "!"}),
                ],
                "<think:hmm><text:\n\nHi>F{}>G{\"b\":1}><text:!>",
            ),
            // Space alone opens nothing, and a call without arguments holds the next one back until the end.
            (vec![json!({"content": " \n"}), call(0, "x", "F", ""), call(1, "y", "G", "{}")], "F>G{}>"),
            // Parts, as Mistral has them; the call of old; what nobody named.
            (
                vec![
                    json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]}),
                    json!({"content": [{"type": "text", "text": "b"}]}),
                    json!({"function_call": {"name": "F", "arguments": "{"}}),
                    json!({"function_call": {"arguments": "}"}}),
                ],
                "<think:a><text:b>F{}>",
            ),
            (vec![call(0, "x", "", "{}")], ""),
            // What only its provider can read makes a block behind the text.
            (
                vec![
                    json!({"reasoning": null, "content": "a"}),
                    json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}),
                ],
                "<text:a><think:>",
            ),
            (
                vec![
                    json!({"reasoning_details": [{"type": "reasoning.text", "text": "a"}], "refusal": "no"}),
                ],
                "<think:a><refusal:no>",
            ),
        ] {
            assert_eq!(said(&deltas), expected);
        }
    }
}
