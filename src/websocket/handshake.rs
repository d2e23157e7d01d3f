//! The opening handshake (RFC 6455, section 4): what a client offers and a server accepts. Extensions, such as
//! compression, are neither offered nor accepted: messages are read here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use uuid::Uuid;

use crate::crypto::digest::sha1;

const VERSION: &str = "13";
const KEY_LEN: usize = 16;
/// What a server appends to the key (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a caller wants to speak WebSocket from here on.
#[must_use]
pub fn is_wanted(headers: &HeaderMap) -> bool {
    lists(headers, &UPGRADE, "websocket")
}

/// A client's offer that a server can accept.
#[derive(Debug)]
pub struct Offer {
    accept: HeaderValue,
}

/// Why an offer cannot be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOffered {
    #[error("a WebSocket is opened with GET")]
    Method,
    #[error("`connection: upgrade` is missing beside `upgrade: websocket`")]
    Connection,
    #[error("`sec-websocket-version` has to be 13")]
    Version,
    #[error("`sec-websocket-key` has to be 16 bytes in base64")]
    Key,
}

impl Offer {
    /// What a client offers that [wants](is_wanted) a WebSocket.
    ///
    /// # Errors
    /// [`NotOffered`].
    pub fn read(method: &Method, headers: &HeaderMap) -> Result<Self, NotOffered> {
        if *method != Method::GET {
            return Err(NotOffered::Method);
        }
        if !lists(headers, &CONNECTION, "upgrade") {
            return Err(NotOffered::Connection);
        }
        if !lists(headers, &SEC_WEBSOCKET_VERSION, VERSION) {
            return Err(NotOffered::Version);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
        let is_key = STANDARD.decode(key).is_ok_and(|decoded| decoded.len() == KEY_LEN);
        let accept = Some(key).filter(|_| is_key).and_then(accept);
        Ok(Self { accept: accept.ok_or(NotOffered::Key)? })
    }

    /// The headers of the answer, whose status is 101.
    pub fn accept(self, headers: &mut HeaderMap) {
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
    }
}

/// What a client has offered, and looks for in the answer.
#[derive(Debug)]
pub struct Ask {
    accept: Option<HeaderValue>,
}

impl Ask {
    /// Adds an offer to the headers of a request.
    #[must_use]
    pub fn offer(headers: &mut HeaderMap) -> Self {
        let key = STANDARD.encode(Uuid::new_v4().as_bytes());
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        if let Ok(value) = HeaderValue::from_str(&key) {
            headers.insert(SEC_WEBSOCKET_KEY, value);
        }
        Self { accept: accept(key.as_bytes()) }
    }

    /// Whether the headers of an answer with the status 101 accept this offer, and nothing else.
    #[must_use]
    pub fn is_accepted_by(&self, headers: &HeaderMap) -> bool {
        self.accept.is_some()
            && headers.get(SEC_WEBSOCKET_ACCEPT) == self.accept.as_ref()
            && lists(headers, &UPGRADE, "websocket")
            && !headers.contains_key(SEC_WEBSOCKET_EXTENSIONS)
    }
}

/// Takes away what is between the two ends of one connection. The subprotocol is for the other end.
pub fn drop_handshake(headers: &mut HeaderMap) {
    for name in [SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_ACCEPT] {
        headers.remove(name);
    }
}

fn accept(key: &[u8]) -> Option<HeaderValue> {
    let digest = sha1(&[key, GUID.as_bytes()].concat());
    HeaderValue::from_str(&STANDARD.encode(digest)).ok()
}

fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|entry| entry.trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static("h2c, WebSocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        headers
    }

    /// RFC 6455, section 1.3.
    #[test]
    fn the_example_of_the_standard_is_accepted() {
        let mut answer = HeaderMap::new();
        Offer::read(&Method::GET, &offered()).unwrap().accept(&mut answer);
        assert_eq!(answer[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_wrong_with_an_offer_is_named() {
        let wrong = |change: &dyn Fn(&mut HeaderMap)| {
            let mut headers = offered();
            change(&mut headers);
            Offer::read(&Method::GET, &headers).unwrap_err()
        };
        assert_eq!(Offer::read(&Method::POST, &offered()).unwrap_err(), NotOffered::Method);
        assert_eq!(wrong(&|headers| drop(headers.remove(CONNECTION))), NotOffered::Connection);
        assert_eq!(
            wrong(&|headers| drop(headers.insert(SEC_WEBSOCKET_VERSION, "8".parse().unwrap()))),
            NotOffered::Version
        );
        for key in ["", "dGhlIHNhbXBsZQ==", "dGhlIHNhbXBsZSBub25jZQ==, x", "no base64 at all !"] {
            let key: HeaderValue = key.parse().unwrap();
            assert_eq!(
                wrong(&|headers| drop(headers.insert(SEC_WEBSOCKET_KEY, key.clone()))),
                NotOffered::Key
            );
        }
    }

    #[test]
    fn an_answer_accepts_the_offer_that_was_made_and_no_other() {
        let (mut asked, mut other, mut answer) = (HeaderMap::new(), HeaderMap::new(), HeaderMap::new());
        let ask = Ask::offer(&mut asked);
        let another = Ask::offer(&mut other);
        Offer::read(&Method::GET, &asked).unwrap().accept(&mut answer);
        assert!(ask.is_accepted_by(&answer));
        assert!(!another.is_accepted_by(&answer));
        answer.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static("permessage-deflate"));
        assert!(!ask.is_accepted_by(&answer), "it was not offered");
    }
}
