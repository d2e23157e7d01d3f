//! Identifiers. Each kind is a type of its own, so that one cannot be passed for another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new one: UUIDv7, so that ids sort by the time they were made.
            #[must_use]
            #[allow(clippy::new_without_default, reason = "a default id would be a surprise")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id! {
    /// One registration of a node with a leader, named by the node.
    SessionId
}

uuid_id! {
    /// One request through a node; minted by that node, never taken from a caller.
    RequestId
}
uuid_id! {
    UserId
}
uuid_id! {
    GroupId
}
uuid_id! {
    /// An API key (not the key itself).
    KeyId
}
uuid_id! {
    /// One refresh token (the `jti` of RFC 7519).
    Jti
}
uuid_id! {
    /// A leader's database. A leader that lost its disk comes back with another one.
    LedgerId
}
uuid_id! {
    /// One run of a node's process.
    InstanceId
}

/// A node's name, such as `sp-1`: 1 to 64 of `a-z A-Z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(Arc<str>);

/// The text cannot name a node.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` cannot name a node: use 1 to 64 letters, digits, dots, dashes or underscores")]
pub struct NotANodeId(pub String);

impl NodeId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl FromStr for NodeId {
    type Err = NotANodeId;

    fn from_str(text: &str) -> Result<Self, NotANodeId> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if fits { Ok(Self(text.into())) } else { Err(NotANodeId(text.to_owned())) }
    }
}

impl TryFrom<String> for NodeId {
    type Error = NotANodeId;

    fn try_from(text: String) -> Result<Self, NotANodeId> {
        text.parse()
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
