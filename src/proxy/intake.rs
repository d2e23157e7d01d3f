//! Taking in a request's body: whole, since the model stands somewhere in it and a failed target must not cost the
//! call, but bounded per request and over all requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::domain::failure::{Failure, Kind};

/// How slowly a caller may send a body.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// How long it may pause; and how long the whole may take, beside what its size accounts for.
    pause: Duration,
    /// Bytes per second that the whole has to come with.
    rate: u32,
}

/// A mobile phone at its worst is faster.
const PATIENCE: Patience = Patience { pause: Duration::from_mins(1), rate: 8 * 1024 };
/// Memory that is asked for at once, however much is announced; more follows as it is needed.
const STEP: usize = 256 * 1024;

/// The memory that request bodies may take together.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
    body_max: usize,
    patience: Patience,
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
        Arc::new(Self { left: AtomicUsize::new(total), body_max, patience: PATIENCE })
    }

    /// Reads a body to its end. What has arrived counts, not what is announced, and nothing waits for room: bodies that
    /// are half there cannot wait for each other.
    ///
    /// # Errors
    /// `TooLarge` above the limit of one body, `Unavailable` when all of them together are too large, `Invalid` when
    /// the caller breaks off, pauses too long or is too slow.
    pub async fn take_in<B>(self: &Arc<Self>, mut body: B) -> Result<(Bytes, Held), Failure>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut held = Held { budget: Arc::clone(self), bytes: 0 };
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.body_max {
            return Err(self.too_large());
        }
        let begun = Instant::now();
        let mut first = None;
        let mut whole = BytesMut::new();
        let mut taken = 0;
        while let Some(frame) = next(&mut body, self.patience.left(begun, taken)).await? {
            taken += frame.len();
            if taken > self.body_max {
                return Err(self.too_large());
            }
            held.grow(frame.len())?;
            if first.is_none() && whole.is_empty() {
                first = Some(frame);
                continue;
            }
            if let Some(first) = first.take() {
                whole.reserve(announced.min(STEP).max(taken));
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

impl Patience {
    /// How long the next bytes may take.
    fn left(self, begun: Instant, taken: usize) -> Duration {
        if taken == 0 {
            return self.pause;
        }
        let whole = self.pause + Duration::from_secs(taken as u64) / self.rate;
        whole.saturating_sub(begun.elapsed()).min(self.pause)
    }
}

/// The next bytes, if they come within `wait`; most are there already, and then no timer is set up.
async fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B, wait: Duration) -> Result<Option<Bytes>, Failure> {
    loop {
        let frame = timeout(wait, body.frame())
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
    use std::pin::Pin;
    use std::task::{Context, Poll};

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

    #[tokio::test]
    async fn what_is_announced_takes_no_memory_before_it_comes() {
        let budget = Budget::new(10, 10);
        let announcing = Announcing { len: 10, frames: vec![Bytes::from_static(b"ab")] };
        let taking = budget.take_in(announcing);
        tokio::pin!(taking);
        assert!(futures_util::poll!(&mut taking).is_pending());
        assert_eq!(budget.left.load(Ordering::Relaxed), 8);
        let (_, held) = budget.take_in(in_pieces(&["12345678"])).await.unwrap();
        drop(held);
    }

    #[tokio::test]
    async fn a_body_has_to_come_in_reasonable_time_even_if_it_never_pauses() {
        let patience = Patience { pause: Duration::from_millis(200), rate: 1_000 };
        let budget = Arc::new(Budget { left: AtomicUsize::new(1 << 20), body_max: 1 << 20, patience });
        let drops =
            futures_util::stream::unfold(tokio::time::interval(Duration::from_millis(5)), |mut tick| async {
                tick.tick().await;
                let frame = http_body::Frame::data(Bytes::from_static(b"x"));
                Some((Ok::<_, std::convert::Infallible>(frame), tick))
            });
        let refused = budget.take_in(StreamBody::new(Box::pin(drops))).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Invalid);
        assert_eq!(budget.left.load(Ordering::Relaxed), 1 << 20);
    }

    /// A body that announces more than it has ready.
    struct Announcing {
        len: u64,
        frames: Vec<Bytes>,
    }

    impl Body for Announcing {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            self.frames
                .pop()
                .map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(http_body::Frame::data(bytes)))))
        }

        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(self.len)
        }
    }
}
