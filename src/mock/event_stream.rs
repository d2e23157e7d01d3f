//! Writes frames of `application/vnd.amazon.eventstream`, in which AWS streams answers.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html>
//!
//! It shares nothing with the decoder of the gateway, so that a mistake in one does not hide in the other.

/// The type of a header's value that is a text.
const TEXT: u8 = 7;
/// Lengths, checksums: what a frame has besides headers and payload.
const OVERHEAD: usize = 16;

/// One frame with these headers, all of them texts shorter than 64 KiB.
pub fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        head.extend_from_slice(name.as_bytes());
        head.push(TEXT);
        head.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let length = OVERHEAD + head.len() + payload.len();
    let mut frame = Vec::with_capacity(length);
    for length in [length, head.len()] {
        frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&head);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}
