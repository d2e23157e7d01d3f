//! What the meter looks for: the names that the dialects give to usage, model, content and endings, all of them at once.
//! Everything else in an answer is skipped unread.
//!
//! The dialects' tables become one index when the gateway is compiled: by the object that a field stands in, then by the
//! length of its name, so that a key is compared with next to none.

use crate::dialect::{Event, Field, StepKind, answer_names};
use crate::domain::provider::Provider;

/// The longest name that a dialect may give to a field; the longest there is has 32 bytes.
pub const NAME_MAX: usize = 32;
/// Objects with fields of interest, and one for those without.
const OBJECTS: usize = 21;

#[derive(Clone, Copy)]
struct Entry {
    name: &'static [u8],
    field: Field,
}

struct Index {
    entries: [Entry; NAMES],
    /// Where the names of an object's fields of a length lie in `entries`.
    ranges: [[(u8, u8); NAME_MAX + 1]; OBJECTS],
}

static INDEX: Index = Index::new();

/// Names in all dialects' tables, those counted twice that two of them have.
const NAMES: usize = {
    let (mut names, mut at) = (0, 0);
    while at < Provider::ALL.len() {
        let fields = answer_names(Provider::ALL[at]).fields;
        let mut object = 0;
        while object < fields.len() {
            names += fields[object].1.len();
            object += 1;
        }
        at += 1;
    }
    assert!(names <= u8::MAX as usize, "an index of one byte has to do");
    names
};

impl Index {
    const fn new() -> Self {
        let nothing = Entry { name: &[], field: Field::Ignored };
        let mut index = Self { entries: [nothing; NAMES], ranges: [[(0, 0); NAME_MAX + 1]; OBJECTS] };
        let (mut end, mut object) = (0, 0);
        while object < OBJECTS {
            let mut length = 0;
            while length <= NAME_MAX {
                let start = end;
                end = index.add(object, length, start);
                #[allow(clippy::cast_possible_truncation, reason = "NAMES is held against it")]
                let range = (start as u8, end as u8);
                index.ranges[object][length] = range;
                length += 1;
            }
            object += 1;
        }
        index
    }

    /// Adds an object's names of a length behind `start`, and returns where they end.
    const fn add(&mut self, object: usize, length: usize, start: usize) -> usize {
        let (mut end, mut at) = (start, 0);
        while at < Provider::ALL.len() {
            let fields = answer_names(Provider::ALL[at]).fields;
            let mut group = 0;
            while group < fields.len() {
                let (within, names) = fields[group];
                let mut next = 0;
                while row(within) == object && next < names.len() {
                    let (name, field) = names[next];
                    let name = name.as_bytes();
                    assert!(name.len() <= NAME_MAX, "a field's name is longer than NAME_MAX");
                    assert!(object > 0, "fields in what is no object");
                    if name.len() == length && !self.has(name, start, end) {
                        self.entries[end] = Entry { name, field };
                        end += 1;
                    }
                    next += 1;
                }
                group += 1;
            }
            at += 1;
        }
        end
    }

    const fn has(&self, name: &[u8], mut start: usize, end: usize) -> bool {
        while start < end {
            let known = self.entries[start].name;
            let mut at = 0;
            while at < name.len() && known[at] == name[at] {
                at += 1;
            }
            if at == name.len() {
                return true;
            }
            start += 1;
        }
        false
    }

    #[inline]
    fn find(&self, object: usize, key: &[u8]) -> Field {
        let range = self.ranges.get(object).and_then(|lengths| lengths.get(key.len()));
        let Some(&(start, end)) = range else { return Field::Ignored };
        let entries = self.entries.get(usize::from(start)..usize::from(end)).unwrap_or_default();
        let found = entries.iter().find(|entry| entry.name.first() == key.first() && entry.name == key);
        found.map_or(Field::Ignored, |entry| entry.field)
    }
}

/// The field that is the member `key` of an object at `within`.
#[inline]
pub fn member(within: Field, key: &[u8]) -> Field {
    match within {
        Field::Error => Field::Error,
        Field::UsageAtStart => match INDEX.find(row(within), key) {
            Field::Ignored => INDEX.find(row(Field::Usage), key),
            field => field,
        },
        _ => INDEX.find(row(within), key),
    }
}

/// An object's place in the index; 0 for what has no fields.
const fn row(within: Field) -> usize {
    match within {
        Field::Ignored
        | Field::StepKind
        | Field::StepModel
        | Field::Term(_)
        | Field::Vector
        | Field::Content
        | Field::ContentJson
        | Field::Number(_)
        | Field::Model
        | Field::Kind
        | Field::StopReason
        | Field::Status
        | Field::Done
        | Field::Error => 0,
        Field::Root => 1,
        Field::Message => 2,
        Field::Response => 3,
        Field::Block => 4,
        Field::Delta => 5,
        Field::Choice => 6,
        Field::ToolCall => 7,
        Field::Function => 8,
        Field::Candidate => 9,
        Field::Part => 10,
        Field::Usage => 11,
        Field::UsageAtStart => 12,
        Field::CacheCreation => 13,
        Field::InputDetails => 14,
        Field::OutputDetails => 15,
        Field::Iteration | Field::StepBeside => 16,
        Field::StepCacheCreation => 17,
        Field::StepOutputDetails => 18,
        Field::UsageMetadata => 19,
        Field::Listed => 20,
    }
}

/// What an event of this kind says; none: nothing that matters.
pub fn event(kind: &[u8]) -> Option<Event> {
    named(kind, |provider| answer_names(provider).events)
}

/// How a step of this kind relates to the answer's counts; none: its counts have to tell.
pub fn step(kind: &[u8]) -> Option<StepKind> {
    named(kind, |provider| answer_names(provider).steps)
}

/// Whether work goes on after an answer with this status.
pub fn is_pending(status: &[u8]) -> bool {
    let pending = |provider: &Provider| answer_names(*provider).pending;
    Provider::ALL.iter().flat_map(pending).any(|name| name.as_bytes() == status)
}

#[inline]
fn named<T: Copy + 'static>(
    name: &[u8],
    names: impl Fn(Provider) -> &'static [(&'static str, T)],
) -> Option<T> {
    let all = Provider::ALL.into_iter().flat_map(names);
    all.into_iter().find(|(known, _)| known.as_bytes() == name).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_every_dialect_is_found_and_none_means_two_things() {
        for provider in Provider::ALL {
            for (within, names) in answer_names(provider).fields {
                for (name, field) in *names {
                    assert_eq!(member(*within, name.as_bytes()), *field, "{provider}: {name} in {within:?}");
                }
            }
            for (kind, said) in answer_names(provider).events {
                assert_eq!(event(kind.as_bytes()), Some(*said), "{provider}: {kind}");
            }
            for (kind, relation) in answer_names(provider).steps {
                assert_eq!(step(kind.as_bytes()), Some(*relation), "{provider}: {kind}");
            }
        }
    }

    #[test]
    fn what_no_dialect_names_is_ignored() {
        for name in ["", "x", "usages", "Usage", "usage_but_longer_than_any_name_of_any_dialect"] {
            assert_eq!(member(Field::Root, name.as_bytes()), Field::Ignored, "{name}");
        }
        assert_eq!(member(Field::Content, b"usage"), Field::Ignored);
        assert_eq!(member(Field::UsageAtStart, b"input_tokens"), member(Field::Usage, b"input_tokens"));
        assert_eq!(event(b"content_block_delta"), None);
        assert!(is_pending(b"queued") && !is_pending(b"completed"));
    }
}
