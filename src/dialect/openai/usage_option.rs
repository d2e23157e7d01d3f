//! `stream_options.include_usage`: where a request could ask for the usage of its stream. Asking is one insertion (or
//! one exchanged value) in an otherwise untouched copy of the body.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::json::object::{Start, boolean, members};

/// Whether a body sets the option, and how to set it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageOption {
    is_set: bool,
    edit: Option<Edit>,
}

/// Replaces these bytes by that text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edit {
    at: Range<usize>,
    text: &'static str,
}

impl Edit {
    fn insertion(start: &Start, text: &'static str) -> Self {
        Self { at: start.behind_bracket..start.behind_bracket, text }
    }
}

impl UsageOption {
    /// Of a body without `stream_options`, whose object begins at `start`.
    pub(in crate::dialect) fn absent(start: &Start) -> Self {
        let text = if start.is_empty {
            r#""stream_options":{"include_usage":true}"#
        } else {
            r#""stream_options":{"include_usage":true},"#
        };
        Self { is_set: false, edit: Some(Edit::insertion(start, text)) }
    }

    /// Of a body whose `stream_options` stand at `options`.
    pub(in crate::dialect) fn within(body: &[u8], options: Range<usize>) -> Self {
        let mut value = None;
        let start = body.get(..options.end).and_then(|before_end| {
            members(before_end, options.start, |key, at| {
                if key == b"include_usage" {
                    value = Some(at);
                }
            })
        });
        let is_set = value.as_ref().and_then(|at| body.get(at.clone())).and_then(boolean) == Some(true);
        let edit = match (start, value) {
            (_, Some(at)) => Edit { at, text: "true" },
            (Some(start), None) if start.is_empty => Edit::insertion(&start, r#""include_usage":true"#),
            (Some(start), None) => Edit::insertion(&start, r#""include_usage":true,"#),
            (None, None) => Edit { at: options, text: r#"{"include_usage":true}"# },
        };
        Self { is_set, edit: Some(edit) }
    }

    /// The request asks for usage by itself.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.is_set
    }

    /// The request could ask for usage, and does not.
    #[must_use]
    pub fn can_be_set(&self) -> bool {
        !self.is_set && self.edit.is_some()
    }

    /// `body` with usage asked for; `None` if there is nothing to change.
    #[must_use]
    pub fn set_in(&self, body: &[u8]) -> Option<Bytes> {
        let edit = self.edit.as_ref().filter(|_| !self.is_set)?;
        let (before, behind) = (body.get(..edit.at.start)?, body.get(edit.at.end..)?);
        let mut changed = BytesMut::with_capacity(body.len() + edit.text.len());
        changed.extend_from_slice(before);
        changed.extend_from_slice(edit.text.as_bytes());
        changed.extend_from_slice(behind);
        Some(changed.freeze())
    }
}
