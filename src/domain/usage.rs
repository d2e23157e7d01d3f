//! Usage: what one request used, as a record on its way to the database and as a row in it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::clock::Timestamp;
use crate::domain::ids::{GroupId, NodeId, RequestId, UserId};
use crate::domain::price::Price;
use crate::domain::provider::Provider;

pub use crate::domain::attempt::Attempt;
pub use crate::domain::part::Part;
pub use crate::domain::tokens::Tokens;

/// Declares an enum whose values have one text each, used in the API, the database and on the wire.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text used in the API, the database and on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text { $($text => Ok(Self::$variant),)+ _ => Err(UnknownName(text.to_owned())) }
            }
        }
    };
}

/// The text names no value of the expected kind.
#[derive(Debug, thiserror::Error)]
#[error("unknown value `{0}`")]
pub struct UnknownName(pub String);

named! {
    /// Where token counts come from.
    TokenSource {
        /// The provider reported them.
        Reported = "reported",
        /// At least one class was estimated from the content that passed.
        Estimated = "estimated",
        /// Nothing is known, or there is nothing to count.
        None = "none",
    }
}

named! {
    /// How a request ended.
    Outcome {
        /// The answer was complete and a success.
        Ok = "ok",
        /// The upstream answered with an error status, or with an error event inside a 200 stream.
        UpstreamError = "upstream_error",
        /// The upstream's answer broke off.
        UpstreamCut = "upstream_cut",
        /// No upstream could be reached, or none answered.
        UpstreamUnreachable = "upstream_unreachable",
        /// The upstream took longer than the target's time limit.
        UpstreamTimeout = "upstream_timeout",
        /// The caller hung up before the answer was complete.
        ClientGone = "client_gone",
        /// The gateway itself refused the call.
        Refused = "refused",
    }
}

/// The usage record of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageRecord {
    /// Minted by the node; the key on which inserts are idempotent.
    pub request_id: RequestId,
    pub user_id: UserId,
    /// The caller's name at the time.
    pub user: Arc<str>,
    /// The caller's group at the time.
    pub group_id: Option<GroupId>,
    /// The group's name at the time.
    pub group: Option<Arc<str>>,
    /// The model that was asked for; empty when the call names none.
    pub model: Arc<str>,
    /// The model that answered, where the answer says so; else as asked.
    pub actual_model: Arc<str>,
    /// The dialect in which the target was called.
    pub provider: Provider,
    /// The API that the caller spoke, where the call was converted into another: `anthropic-messages`,
    /// `openai-responses`, `openai-chat`.
    pub converted_from: Option<String>,
    /// The target's name; empty when none was reached.
    pub target: Arc<str>,
    /// The target's base URL, without credentials or query.
    pub upstream_url: Arc<str>,
    pub tokens: Tokens,
    pub token_source: TokenSource,
    pub outcome: Outcome,
    /// True when the answer was a stream of events.
    pub is_streaming: bool,
    /// The HTTP status of the answer; 499 when the caller left before there was one. If the record is not committed in
    /// time, what is written here is the provider's status, although the caller is told 500 instead.
    pub status_code: u16,
    /// From the request's acceptance to the answer's end, milliseconds.
    pub duration_ms: u64,
    /// From the request's acceptance to the first byte of the answer's body, milliseconds.
    pub ttfb_ms: Option<u64>,
    /// The price that was used, so that the record can be priced again.
    pub price: Arc<Price>,
    /// The steps that the provider bills separately, where there is more than one; `tokens` and `cost_nanousd` are
    /// their sums.
    pub parts: Vec<Part>,
    /// Attempts that failed before; what they cost is part of `cost_nanousd`, their tokens are not part of `tokens`.
    pub attempts: Vec<Attempt>,
    /// Cost in nano-USD.
    pub cost_nanousd: i64,
    /// `x-claude-code-session-id`, a hint.
    pub session_id: Option<String>,
    /// `x-claude-code-agent-id`, a hint.
    pub agent_id: Option<String>,
    /// The caller's own `x-request-id`, a hint and never a key.
    pub client_request_id: Option<String>,
    /// The node that served the request.
    pub source_node: NodeId,
    /// When the answer ended.
    pub created_at: Timestamp,
}

impl UsageRecord {
    /// Whether any of it was priced by the default of the price list, for want of a price of its own.
    #[must_use]
    pub fn is_default_priced(&self) -> bool {
        let in_parts = || self.parts.iter().any(|part| part.price.is_default());
        self.tokens.total() > 0 && (self.price.is_default() || in_parts())
    }

    /// Whether statistics count this record as an error: anything but a complete, successful answer.
    /// A caller that hung up is no error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        !matches!(self.outcome, Outcome::Ok | Outcome::ClientGone)
    }
}

/// A usage record as the database holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageLog {
    pub record: UsageRecord,
    /// True once the leader has acknowledged it; on the leader always.
    pub synced: bool,
    /// The leader refused it and an admin gave it up: nobody is owed it, and no sum counts it.
    pub dismissed: bool,
}

/// `None` does not restrict; the window is half-open `[from, to)`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageFilter {
    pub user_id: Option<UserId>,
    pub group_id: Option<GroupId>,
    /// Only calls of members of one of these groups, as of the time of the call.
    pub within: Option<Vec<GroupId>>,
    /// Only calls that asked for exactly this model.
    pub model: Option<String>,
    pub node: Option<String>,
    /// Only calls that ended in an error.
    pub errors: bool,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}
