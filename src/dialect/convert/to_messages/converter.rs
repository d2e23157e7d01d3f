//! Answers of Messages in whatever API a [`Writer`] writes.

use super::super::contract::{AnswerConverter, NotReadable};
use super::super::events::{Event, EventWriter};
use super::super::upstream_error::UpstreamError;
use super::document;
use super::stream::Stream;
use super::writer::Writer;

pub struct Converter<W> {
    stream: Stream<W>,
}

impl<W: Writer> Converter<W> {
    #[must_use]
    pub fn new(writer: W) -> Self {
        Self { stream: Stream::new(writer) }
    }
}

impl<W: Writer + Send> AnswerConverter for Converter<W> {
    fn document(&mut self, answer: &[u8]) -> Result<Vec<u8>, NotReadable> {
        let made = document::convert(serde_json::from_slice(answer)?, &mut self.stream.writer);
        Ok(serde_json::to_vec(&made)?)
    }

    fn event(&mut self, event: &Event<'_>, made: &mut EventWriter) {
        self.stream.event(event);
        self.stream.writer.write(made);
    }

    fn end(&mut self, _made: &mut EventWriter) {}

    fn is_over(&self) -> bool {
        self.stream.writer.is_over()
    }

    fn fail(&mut self, error: &UpstreamError, made: &mut EventWriter) {
        self.stream.fail(error);
        self.stream.writer.write(made);
    }
}
