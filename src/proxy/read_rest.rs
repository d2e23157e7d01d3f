//! What is left of a short body, such as a refusal's, read before anything is passed on.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use crate::transport::{BodyError, ResponseBody};

/// Of the body of a failed attempt so much is read, so that its connection can be used again.
const REST_MAX: usize = 64 * 1024;
const REST_TIME_MAX: Duration = Duration::from_millis(500);

/// Reads what is left of a short body, and what broke it off.
pub(super) async fn read_rest(body: &mut ResponseBody) -> (Bytes, Option<BodyError>) {
    let mut text = BytesMut::new();
    let mut error = None;
    let reading = async {
        while let Some(piece) = poll_fn(|cx| body.poll_piece(cx)).await {
            match piece {
                Ok(piece) => text.extend_from_slice(&piece),
                Err(broken) => {
                    error = Some(broken);
                    break;
                }
            }
            if text.len() > REST_MAX {
                break;
            }
        }
    };
    let _in_time = timeout(REST_TIME_MAX, reading).await;
    (text.freeze(), error)
}
