//! An answer on its way into the caller's API: its bytes are taken as they come, as events, as a document, or as an
//! error.

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::api::Api;
use super::contract::{AnswerConverter, NotReadable};
use super::events::{EventReader, EventWriter};
use super::upstream_error::UpstreamError;

/// The largest document that is held until it is whole.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Makes of the bytes of one answer those that the caller gets.
pub struct ConvertedAnswer {
    converter: Box<dyn AnswerConverter>,
    /// The caller's.
    api: Api,
    form: Form,
    /// The end of a stream, until somebody takes it.
    ending: BytesMut,
}

enum Form {
    Events(EventReader),
    Document(Vec<u8>),
    Error(StatusCode, Vec<u8>),
    /// It is over: nothing more is said.
    Over,
}

impl ConvertedAnswer {
    /// `api`: the caller's. `is_stream`: the answer's head says so.
    #[must_use]
    pub fn new(converter: Box<dyn AnswerConverter>, api: Api, status: StatusCode, is_stream: bool) -> Self {
        let form = match (status.is_success(), is_stream) {
            (true, true) => Form::Events(EventReader::default()),
            (true, false) => Form::Document(Vec::new()),
            (false, _) => Form::Error(status, Vec::new()),
        };
        Self { converter, api, form, ending: BytesMut::new() }
    }

    /// Takes a piece of the provider's answer. What can be said of it already comes back, without the end that makes it
    /// a whole answer: the provider's own, at which it is booked, may come later.
    ///
    /// # Errors
    /// It is larger than anything that is read.
    pub fn push(&mut self, piece: &[u8]) -> Result<Bytes, NotReadable> {
        match &mut self.form {
            Form::Over => Ok(Bytes::new()),
            Form::Document(held) | Form::Error(_, held) => {
                if held.len() + piece.len() > DOCUMENT_BYTES_MAX {
                    return Err(NotReadable(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes")));
                }
                held.extend_from_slice(piece);
                Ok(Bytes::new())
            }
            Form::Events(reader) => {
                let mut made = BytesMut::new();
                let Self { converter, ending, .. } = self;
                let read = reader.read(piece, |event| {
                    if converter.is_over() {
                        return;
                    }
                    let before = made.len();
                    converter.event(event, &mut EventWriter::new(&mut made));
                    if converter.is_over() {
                        ending.extend_from_slice(&made.split_off(before));
                    }
                });
                if read.is_err() {
                    let error = UpstreamError::broken("an event of the provider's answer is too large");
                    self.converter.fail(&error, &mut EventWriter::new(&mut self.ending));
                    self.form = Form::Over;
                } else if self.converter.is_over() {
                    self.form = Form::Over;
                }
                Ok(made.freeze())
            }
        }
    }

    /// The end of a stream, as far as it has come, once the provider's own is there.
    pub fn take_ending(&mut self) -> Bytes {
        self.ending.split().freeze()
    }

    /// The provider's answer has ended: the rest of what the caller gets.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn finish(&mut self) -> Result<Bytes, NotReadable> {
        match std::mem::replace(&mut self.form, Form::Over) {
            Form::Over => Ok(self.take_ending()),
            Form::Document(held) => self.converter.document(&held).map(Bytes::from),
            Form::Error(status, held) => {
                let error = UpstreamError::read(Some(status), &held);
                Ok(error.document(self.api).to_string().into())
            }
            Form::Events(mut reader) => {
                let mut made = BytesMut::new();
                let converter = &mut self.converter;
                reader.finish(|event| {
                    if !converter.is_over() {
                        converter.event(event, &mut EventWriter::new(&mut made));
                    }
                });
                if !self.converter.is_over() {
                    self.converter.end(&mut EventWriter::new(&mut made));
                }
                Ok(made.freeze())
            }
        }
    }
}
