//! Calls over WebSockets. A connection carries many of them, and each is a call like any other: it proves itself, is
//! admitted, metered and booked, and the last event of its answer waits for its record.
//!
//! In Responses, a message asks for a response. It is made a call, goes the way of one, and its events are sent back as
//! messages. Where its target has WebSockets, the call goes over one, which stays open for those that follow; elsewhere
//! it is posted, converted if it has to be. In Realtime, the connection is a conversation with one model: what passes is
//! passed on as it is, and each response in it is booked.

mod booking;
mod budget;
mod continuation;
mod exchange;
mod frame;
mod limits;
mod open;
mod proof;
mod realtime;
mod session;
mod sockets;
mod upstream_socket;

pub(super) use proof::Proof;
