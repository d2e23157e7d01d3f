//! Taking in a request's body: whole, since the model stands somewhere in it and a failed target must not cost the
//! call, but bounded per request and over all requests.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::UserId;
use crate::domain::share::{NoRoom, Rule, Shares};
use crate::telemetry::scrape::gauge;

/// How slowly a caller may send a body.
#[derive(Clone, Copy, Debug)]
struct ReadPolicy {
    /// How long it may pause; and how long the whole may take, beside what its size accounts for.
    pause: Duration,
    /// Bytes per second that the whole has to come with.
    rate: u32,
}

/// A mobile phone at its worst is faster.
const READ_POLICY: ReadPolicy = ReadPolicy { pause: Duration::from_mins(1), rate: 8 * 1024 };
/// Memory that is asked for at once, however much is announced; more follows as it is needed.
const STEP: usize = 256 * 1024;

/// The memory that request bodies may take together. Each user has a share: at most as much as stays free for others,
/// or one body. Where that is not enough for somebody who holds less than others, the slowest body of those is evicted.
#[derive(Debug)]
pub struct BodyMemory {
    shares: Shares<UserId>,
    body_max: usize,
    policy: ReadPolicy,
    in_flight: Mutex<HashMap<u64, Arc<InFlightBody>>>,
    numbers: AtomicU64,
}

/// How much of it is taken.
#[derive(Debug)]
pub(super) struct BodyMemoryMetrics(pub(super) Arc<BodyMemory>);

impl Collector for BodyMemoryMetrics {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let shares = &self.0.shares;
        let help = "Memory that request bodies hold.";
        gauge(&mut to, "sproxy_body_memory_bytes", help, shares.taken() as u64)?;
        let help = "Memory that request bodies may hold together.";
        gauge(&mut to, "sproxy_body_memory_max_bytes", help, shares.total() as u64)
    }
}

/// Memory that a body holds; dropping it gives the memory back.
#[derive(Debug)]
pub struct BodyPermit {
    memory: Arc<BodyMemory>,
    user: UserId,
    bytes: usize,
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        self.memory.shares.give_back(self.user, self.bytes);
    }
}

impl BodyPermit {
    /// The most bytes that one body may have.
    pub(super) fn body_max(&self) -> usize {
        self.memory.body_max
    }

    /// Takes room for another copy of the body, or tells that there is none.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        self.memory.take_beyond(self.user, bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Takes room for more of what is still coming, within the user's share.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) fn grow_within_share(&mut self, bytes: usize) -> Result<(), Failure> {
        self.memory.take(self.user, bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back all that it holds.
    pub(super) fn clear(&mut self) {
        self.memory.shares.give_back(self.user, std::mem::take(&mut self.bytes));
    }
}

/// A body of which a part is still to come.
#[derive(Debug)]
struct InFlightBody {
    user: UserId,
    begun: Instant,
    /// What it holds; `None` once it was evicted.
    bytes: Mutex<Option<usize>>,
    evicted: CancellationToken,
}

/// Takes a body from those in flight, and gives back what it holds, when dropped.
struct InFlightGuard {
    memory: Arc<BodyMemory>,
    number: u64,
    body: Arc<InFlightBody>,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.memory.in_flight.lock().remove(&self.number);
        if let Some(bytes) = self.body.bytes.lock().take() {
            self.memory.shares.give_back(self.body.user, bytes);
        }
    }
}

impl InFlightGuard {
    fn grow(&self, bytes: usize) -> Result<(), Failure> {
        self.memory.take(self.body.user, bytes)?;
        if let Some(held) = self.body.bytes.lock().as_mut() {
            *held += bytes;
            return Ok(());
        }
        self.memory.shares.give_back(self.body.user, bytes);
        Err(eviction())
    }

    /// It is there as a whole, and is not evicted any more.
    fn finish(self) -> Result<BodyPermit, Failure> {
        let bytes = self.body.bytes.lock().replace(0).ok_or_else(eviction)?;
        Ok(BodyPermit { memory: Arc::clone(&self.memory), user: self.body.user, bytes })
    }
}

impl BodyMemory {
    /// `total` bytes for all, of which one body may take `body_max`.
    #[must_use]
    pub fn new(total: usize, body_max: usize) -> Arc<Self> {
        Self::with_policy(total, body_max, READ_POLICY)
    }

    /// A permit of `user` that holds nothing yet.
    pub(super) fn empty_permit(self: &Arc<Self>, user: UserId) -> BodyPermit {
        BodyPermit { memory: Arc::clone(self), user, bytes: 0 }
    }

    fn with_policy(total: usize, body_max: usize, policy: ReadPolicy) -> Arc<Self> {
        let shares = Shares::new(total, Rule { times_free: 1, least: body_max });
        Arc::new(Self { shares, body_max, policy, in_flight: Mutex::default(), numbers: AtomicU64::new(0) })
    }

    /// Reads a body of `user` to its end. What has arrived counts, not what is announced, and nothing waits for room:
    /// bodies that are half there cannot wait for each other.
    ///
    /// # Errors
    /// `TooLarge` above the limit of one body, `Unavailable` when the user's or all of them together are too large or
    /// when it was evicted, `Invalid` when the caller breaks off, pauses too long or is too slow.
    pub async fn read<B>(self: &Arc<Self>, mut body: B, user: UserId) -> Result<(Bytes, BodyPermit), Failure>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.body_max {
            return Err(self.too_large());
        }
        let begun = Instant::now();
        let mut held = BodyPermit { memory: Arc::clone(self), user, bytes: 0 };
        let Some(first) = next(&mut body, self.policy.left(begun, 0)).await? else {
            return Ok((Bytes::new(), held));
        };
        if first.len() > self.body_max {
            return Err(self.too_large());
        }
        if first.len() == announced || body.is_end_stream() {
            self.take(user, first.len())?;
            held.bytes = first.len();
            return Ok((first, held));
        }
        let in_flight = self.register(user, begun);
        let evicted = in_flight.body.evicted.clone();
        let rest = evicted.run_until_cancelled(self.rest(body, first, &in_flight, announced));
        let whole = rest.await.unwrap_or_else(|| Err(eviction()))?;
        Ok((whole, in_flight.finish()?))
    }

    async fn rest<B>(
        &self,
        mut body: B,
        first: Bytes,
        in_flight: &InFlightGuard,
        announced: usize,
    ) -> Result<Bytes, Failure>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        in_flight.grow(first.len())?;
        let mut taken = first.len();
        let mut first = Some(first);
        let mut whole = BytesMut::new();
        while let Some(frame) = next(&mut body, self.policy.left(in_flight.body.begun, taken)).await? {
            taken += frame.len();
            if taken > self.body_max {
                return Err(self.too_large());
            }
            in_flight.grow(frame.len())?;
            if let Some(first) = first.take() {
                whole.reserve(announced.min(STEP).max(taken));
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&frame);
        }
        Ok(first.unwrap_or_else(|| whole.freeze()))
    }

    fn register(self: &Arc<Self>, user: UserId, begun: Instant) -> InFlightGuard {
        let bytes = Mutex::new(Some(0));
        let body = Arc::new(InFlightBody { user, begun, bytes, evicted: CancellationToken::new() });
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.in_flight.lock().insert(number, Arc::clone(&body));
        InFlightGuard { memory: Arc::clone(self), number, body }
    }

    /// Takes memory within the user's share; if there is too little, slow bodies of those who hold more are evicted.
    fn take(&self, user: UserId, bytes: usize) -> Result<(), Failure> {
        loop {
            let Err(none) = self.shares.take(user, bytes) else { return Ok(()) };
            if !self.make_room(user, bytes) {
                return Err(self.no_room(none));
            }
        }
    }

    /// Takes memory even beyond the user's share: what is there as a whole is better finished than sent once more.
    fn take_beyond(&self, user: UserId, bytes: usize) -> Result<(), Failure> {
        loop {
            let Err(none) = self.shares.take_beyond(user, bytes) else { return Ok(()) };
            if !self.make_room(user, bytes) {
                return Err(self.no_room(none));
            }
        }
    }

    /// Evicts the slowest body among those whose user would hold more than `user` even then.
    fn make_room(&self, user: UserId, bytes: usize) -> bool {
        let has = self.shares.held_by(&user).saturating_add(bytes);
        let in_flight = self.in_flight.lock();
        let candidates =
            in_flight.values().filter(|one| one.user != user && self.shares.held_by(&one.user) > has);
        let slowest =
            candidates.filter_map(|one| Some((one.rate()?, one))).min_by(|a, b| a.0.total_cmp(&b.0));
        let Some((_, one)) = slowest else { return false };
        let Some(freed) = one.bytes.lock().take() else { return false };
        one.evicted.cancel();
        self.shares.give_back(one.user, freed);
        true
    }

    fn no_room(&self, none: NoRoom) -> Failure {
        let total = self.shares.total();
        let message = match none {
            NoRoom::Exhausted => format!(
                "the gateway is holding as many request bodies as it may ({total} bytes, http.max_buffered_bytes); try again"
            ),
            NoRoom::Share(held) => format!(
                "your other request bodies hold {held} of the {total} bytes that all may take \
                 (http.max_buffered_bytes); the rest is for other users: let some of your calls end first"
            ),
        };
        Failure::new(Kind::Unavailable, message).retry_after(Duration::from_secs(1))
    }

    fn too_large(&self) -> Failure {
        let message = format!(
            "the request body is larger than {} bytes; the operator can raise http.max_body_bytes",
            self.body_max
        );
        Failure::new(Kind::TooLarge, message)
    }
}

impl InFlightBody {
    /// Bytes per second; none if it holds nothing.
    #[allow(clippy::cast_precision_loss, reason = "which is the slowest is all that matters")]
    fn rate(&self) -> Option<f64> {
        let bytes = self.bytes.lock().filter(|bytes| *bytes > 0)?;
        Some(bytes as f64 / self.begun.elapsed().as_secs_f64().max(0.001))
    }
}

fn eviction() -> Failure {
    let message = "the request body came so slowly that it gave way to those of other users; try again";
    Failure::new(Kind::Unavailable, message).retry_after(Duration::from_secs(1))
}

impl ReadPolicy {
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
        let memory = BodyMemory::new(10, 10);
        let (body, held) = memory.read(in_pieces(&["ab", "", "cde"]), UserId::new()).await.unwrap();
        assert_eq!(&body[..], b"abcde");
        assert_eq!(memory.shares.taken(), 5);
        drop(held);
        assert_eq!(memory.shares.taken(), 0);
    }

    #[tokio::test]
    async fn one_body_and_all_bodies_have_limits_of_their_own() {
        let memory = BodyMemory::new(10, 6);
        let kind = |result: Result<(Bytes, BodyPermit), Failure>| result.unwrap_err().kind;
        assert_eq!(
            kind(memory.read(Full::new(Bytes::from_static(b"1234567")), UserId::new()).await),
            Kind::TooLarge
        );
        assert_eq!(kind(memory.read(in_pieces(&["1234", "567"]), UserId::new()).await), Kind::TooLarge);
        let _held = memory.read(in_pieces(&["123456"]), UserId::new()).await.unwrap();
        assert_eq!(kind(memory.read(in_pieces(&["12", "345"]), UserId::new()).await), Kind::Unavailable);
        assert_eq!(memory.shares.taken(), 6, "a refused body gives back what it took");
    }

    #[tokio::test]
    async fn what_is_announced_takes_no_memory_before_it_comes() {
        let memory = BodyMemory::new(10, 10);
        let announcing = Announcing { len: 10, frames: vec![Bytes::from_static(b"ab")] };
        let taking = memory.read(announcing, UserId::new());
        tokio::pin!(taking);
        assert!(futures_util::poll!(&mut taking).is_pending());
        assert_eq!(memory.shares.taken(), 2);
        let (_, held) = memory.read(in_pieces(&["12345678"]), UserId::new()).await.unwrap();
        drop(held);
    }

    #[tokio::test]
    async fn a_body_has_to_come_in_reasonable_time_even_if_it_never_pauses() {
        let policy = ReadPolicy { pause: Duration::from_millis(200), rate: 1_000 };
        let memory = BodyMemory::with_policy(1 << 20, 1 << 20, policy);
        let drops =
            futures_util::stream::unfold(tokio::time::interval(Duration::from_millis(5)), |mut tick| async {
                tick.tick().await;
                let frame = http_body::Frame::data(Bytes::from_static(b"x"));
                Some((Ok::<_, std::convert::Infallible>(frame), tick))
            });
        let refused = memory.read(StreamBody::new(Box::pin(drops)), UserId::new()).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Invalid);
        assert_eq!(memory.shares.taken(), 0);
    }

    #[tokio::test]
    async fn a_user_has_a_share_and_the_slowest_body_of_who_holds_most_is_evicted() {
        let memory = BodyMemory::new(64, 32);
        let (greedy, other, third) = (UserId::new(), UserId::new(), UserId::new());
        let slow = |len| Announcing { len: 30, frames: vec![Bytes::from(vec![b'x'; len])] };
        let (first, second) = (memory.read(slow(22), greedy), memory.read(slow(10), greedy));
        tokio::pin!(first, second);
        assert!(
            futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut second).is_pending()
        );
        let refused = memory.read(slow(9), greedy).await.unwrap_err();
        assert!(refused.message.contains("32 of the 64 bytes"), "{refused}");
        let large = |len: usize| Full::new(Bytes::from(vec![b'y'; len]));
        let _kept = memory.read(large(30), other).await.unwrap();
        let _also = memory.read(large(20), third).await.unwrap();
        let gone = [futures_util::poll!(&mut first), futures_util::poll!(&mut second)];
        let gave_way = gone.iter().filter(|one| matches!(one, Poll::Ready(Err(_)))).count();
        assert!(gave_way > 0 && memory.shares.taken() <= 64);
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
