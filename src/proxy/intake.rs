//! Taking in a request's body: whole, since the model stands somewhere in it and a failed target must not cost the
//! call, but bounded per request and over all requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::domain::failure::{Failure, Kind};

/// How long a caller may pause while sending a body.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// The memory that request bodies may take together.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
    body_max: usize,
}

/// A share of the budget; giving it back is its drop.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

impl Held {
    fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let took = self
            .budget
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        took.map_err(|_| {
            Failure::new(
                Kind::Unavailable,
                "the gateway is holding as many request bodies as it may; try again",
            )
            .retry_after(Duration::from_secs(1))
        })?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Budget {
    /// A budget of `total` bytes, of which one body may take `body_max`.
    #[must_use]
    pub fn new(total: usize, body_max: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(total), body_max })
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    /// `TooLarge` above the limit of one body, `Unavailable` when all of them together are too large, `Invalid` when
    /// the caller breaks off or pauses too long.
    pub async fn take_in<B>(self: &Arc<Self>, mut body: B) -> Result<(Bytes, Held), Failure>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut held = Held { budget: Arc::clone(self), bytes: 0 };
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.body_max {
            return Err(self.too_large());
        }
        held.grow(announced)?;
        let mut first = None;
        let mut whole = BytesMut::new();
        let mut taken = 0;
        while let Some(frame) = next(&mut body).await? {
            taken += frame.len();
            if taken > self.body_max {
                return Err(self.too_large());
            }
            held.grow(taken.saturating_sub(held.bytes))?;
            if first.is_none() && whole.is_empty() {
                first = Some(frame);
                continue;
            }
            if let Some(first) = first.take() {
                whole.reserve(announced.max(taken));
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&frame);
        }
        Ok((first.unwrap_or_else(|| whole.freeze()), held))
    }

    fn too_large(&self) -> Failure {
        let message = format!(
            "the request body is larger than {} bytes; the operator can raise http.max_body_bytes",
            self.body_max
        );
        Failure::new(Kind::TooLarge, message)
    }
}

/// The next bytes; most are there already, and then no timer is set up.
async fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Result<Option<Bytes>, Failure> {
    loop {
        let frame = timeout(PAUSE_MAX, body.frame())
            .await
            .map_err(|_| Failure::new(Kind::Invalid, "the request body did not arrive in time"))?;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(Failure::new(Kind::Invalid, "the request body broke off")),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn in_pieces(pieces: &[&'static str]) -> impl Body<Data = Bytes> + Unpin {
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| {
                Ok::<_, std::convert::Infallible>(http_body::Frame::data(Bytes::from_static(
                    piece.as_bytes(),
                )))
            })
            .collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_is_put_together_and_its_memory_given_back() {
        let budget = Budget::new(10, 10);
        let (body, held) = budget.take_in(in_pieces(&["ab", "", "cde"])).await.unwrap();
        assert_eq!(&body[..], b"abcde");
        assert_eq!(budget.left.load(Ordering::Relaxed), 5);
        drop(held);
        assert_eq!(budget.left.load(Ordering::Relaxed), 10);
    }

    #[tokio::test]
    async fn one_body_and_all_bodies_have_limits_of_their_own() {
        let budget = Budget::new(10, 6);
        let kind = |result: Result<(Bytes, Held), Failure>| result.unwrap_err().kind;
        assert_eq!(kind(budget.take_in(Full::new(Bytes::from_static(b"1234567"))).await), Kind::TooLarge);
        assert_eq!(kind(budget.take_in(in_pieces(&["1234", "567"])).await), Kind::TooLarge);
        let _held = budget.take_in(in_pieces(&["123456"])).await.unwrap();
        assert_eq!(kind(budget.take_in(in_pieces(&["12", "345"])).await), Kind::Unavailable);
        assert_eq!(budget.left.load(Ordering::Relaxed), 4, "a refused body gives back what it took");
    }
}
