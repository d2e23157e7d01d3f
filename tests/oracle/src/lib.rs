//! sproxy's conversions between providers' APIs, held against those that somebody else has written: the crate
//! `gproxy-protocol` (MIT), of which no release of sproxy has a byte.
//!
//! Each of sproxy's seven pairs has its counterpart there, for requests, whole answers and streams. Both convert the same:
//! sproxy's golden files, and cases that a seeded generator makes ([`cases`]). What comes out is made comparable where it
//! is arbitrary ([`normal`]): ids that are made, times, the order of keys, and forms that a provider reads as the same,
//! such as a text and a list of one text. Streams are converted event by event, and compared as what a client has at
//! their end; it is collected by `gproxy-protocol` for both, so that our events also have to satisfy readers that we did
//! not write ([`theirs`]).
//!
//! What differs is in `differences.toml`, each with the reason why it is right or does not matter ([`pins`]). A test fails
//! on a difference that is not there, and on one that is there and does not occur any more. Where a difference shows that
//! sproxy is wrong, it is no difference to be written down.
//!
//! `gproxy-protocol` has all of sproxy's pairs. It is stricter where something is not said (an answer's length, a count of
//! tokens): such cases are refused there, are few, and are in the file, too.
//!
//! What both make of a case is shown by
//! `ORACLE_SHOW='messages to chat, stream: generated 17' cargo test messages_to_chat -- --nocapture`.
//!
//! Not compared: counting tokens, errors, and what is left out, which `gproxy-protocol` does not name in a caller's terms.

pub mod cases;
pub mod difference;
pub mod golden;
pub mod normal;
pub mod ours;
pub mod pairs;
pub mod pins;
pub mod random;
pub mod theirs;
