//! Messages as a stream's events, the form that the meter and everything behind it know.

use bytes::{BufMut, Bytes, BytesMut};

/// A message as an event of a stream.
pub(super) fn framed(text: &str, is_error: bool) -> Bytes {
    let mut event = BytesMut::with_capacity(text.len() + 32);
    if is_error {
        event.put_slice(b"event: error\n");
    }
    for line in text.split(['\n', '\r']) {
        event.put_slice(b"data: ");
        event.put_slice(line.as_bytes());
        event.put_u8(b'\n');
    }
    event.put_u8(b'\n');
    event.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Billing;
    use crate::dialect::convert::EventReader;
    use crate::domain::tokens::Estimate;
    use crate::metering::{self, AnswerHead, End};

    #[test]
    fn a_message_is_found_in_its_frame_again() {
        for message in [r#"{"type":"x"}"#, "{\n  \"type\": \"x\"\n}", ""] {
            let mut found = Vec::new();
            let frame = framed(message, true);
            EventReader::default().read(&frame, |event| found.push(event.data.to_owned())).unwrap();
            assert_eq!(found, [message]);
        }
    }

    #[test]
    fn the_meter_reads_a_message_however_it_is_written() {
        let usage = serde_json::json!({ "input_tokens": 7, "output_tokens": 3, "total_tokens": 10 });
        let done = serde_json::json!({ "type": "response.done", "response": { "id": "r", "usage": usage } });
        for message in [done.to_string(), serde_json::to_string_pretty(&done).unwrap()] {
            let mut meter = metering::open(&AnswerHead {
                billing: Billing::Inference,
                status: 200,
                content_type: Some("text/event-stream"),
                content_encoding: None,
                estimate: Estimate::default(),
            });
            meter.feed(&framed(&message, false));
            let tokens = meter.result(End::Body).tokens;
            assert_eq!((tokens.input, tokens.output), (7, 3), "{message}");
        }
    }
}
