//! WebSockets (RFC 6455): the headers by which a connection leaves HTTP, and the messages that it carries then.

mod handshake;
mod receive_budget;
mod socket;

pub use handshake::{Ask, NotOffered, Offer, drop_handshake, is_wanted};
pub use receive_budget::{NoRoom, ReceiveBudget, Unlimited};
pub use socket::{Closing, Message, Text, WebSocket};
