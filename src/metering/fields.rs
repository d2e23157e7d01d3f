//! What the meter looks for: the names that the dialects give to usage, model, content and endings, all of them at
//! once. Everything else in an answer is skipped unread.
//!
//! The dialects' tables become one index when the gateway is compiled: a hash table by the object that a field stands
//! in and by its name, so that most keys cost one look at a byte.

use crate::dialect::{Event, Field, StepKind, answer_names};
use crate::domain::provider::Provider;

/// The longest name that a dialect may give to a field; the longest there is has 32 bytes.
pub const NAME_MAX: usize = 32;
/// Places in the hash table: several for every name, so that what is no name mostly finds an empty one.
const SLOTS: usize = 1024;

#[derive(Clone, Copy)]
struct Entry {
    object: u8,
    field: Field,
    ends: (u64, u64),
    name: &'static [u8],
}

struct Index {
    /// The first entry is unused.
    entries: [Entry; NAMES + 1],
    len: usize,
    /// Indexes of `entries`; 0 is empty.
    slots: [u8; SLOTS],
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
    assert!(names < u8::MAX as usize, "an index of one byte has to do");
    names
};

impl Index {
    const fn new() -> Self {
        let none = Entry { object: 0, field: Field::Ignored, ends: (0, 0), name: &[] };
        let mut index = Self { entries: [none; NAMES + 1], len: 1, slots: [0; SLOTS] };
        let mut at = 0;
        while at < Provider::ALL.len() {
            let fields = answer_names(Provider::ALL[at]).fields;
            let mut group = 0;
            while group < fields.len() {
                let (within, names) = fields[group];
                let mut next = 0;
                while next < names.len() {
                    index.add(object(within), names[next].0.as_bytes(), names[next].1);
                    next += 1;
                }
                group += 1;
            }
            at += 1;
        }
        index
    }

    /// Adds a field, unless another dialect has added it.
    const fn add(&mut self, object: u8, name: &'static [u8], field: Field) {
        assert!(object > 0, "fields in what is no object");
        assert!(!name.is_empty() && name.len() <= NAME_MAX, "a field's name has to have 1 to NAME_MAX bytes");
        let mut slot = slot(object, name);
        while self.slots[slot] > 0 {
            let known = &self.entries[self.slots[slot] as usize];
            if known.object == object && is_same(known.name, name) {
                return;
            }
            slot = (slot + 1) % SLOTS;
        }
        #[allow(clippy::cast_possible_truncation, reason = "NAMES is held against it")]
        let at = self.len as u8;
        self.slots[slot] = at;
        self.entries[self.len] = Entry { object, field, ends: ends(name), name };
        self.len += 1;
    }

    #[inline]
    fn find(&self, object: u8, key: &[u8]) -> Field {
        let mut slot = slot(object, key);
        while let Some(entry) =
            self.slots.get(slot).filter(|at| **at > 0).and_then(|at| self.entries.get(usize::from(*at)))
        {
            // Up to twice eight bytes the ends are all of a name.
            if entry.object == object
                && entry.name.len() == key.len()
                && entry.ends == ends(key)
                && (key.len() <= 16 || entry.name == key)
            {
                return entry.field;
            }
            slot = (slot + 1) % SLOTS;
        }
        Field::Ignored
    }
}

/// Where the search for a name begins.
#[inline]
const fn slot(object: u8, name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
    (object as usize * 83 + name.len() * 29 + *first as usize * 7 + *last as usize * 191) % SLOTS
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The first and the last eight bytes of a name; of a short one, what there is.
#[inline]
const fn ends(name: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64);
    }
    match name {
        [first, middle, last] => (*first as u64, (*middle as u64) << 8 | *last as u64),
        [first, last] => (*first as u64, *last as u64),
        [only] => (*only as u64, 0),
        _ => (0, 0),
    }
}

/// The field that is the member `key` of an object at `within`.
#[inline]
pub fn member(within: Field, key: &[u8]) -> Field {
    match within {
        Field::Error => Field::Error,
        Field::UsageAtStart => match INDEX.find(object(within), key) {
            Field::Ignored => INDEX.find(object(Field::Usage), key),
            field => field,
        },
        _ => INDEX.find(object(within), key),
    }
}

/// The number of an object with fields; 0 for what has none.
const fn object(within: Field) -> u8 {
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

/// The meaning of an event of this kind; `None` if it is of no interest.
pub fn event(kind: &[u8]) -> Option<Event> {
    named(kind, |provider| answer_names(provider).events)
}

/// How a step of this kind relates to the answer's counts; `None` if only its counts can tell.
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
