//! Several leaders of one ledger, by their addresses: a follower keeps to one and goes on to the next. A client of a leader
//! that is given up fails all that still waits for it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::cluster::follower::addresses::{Addresses, Before, LEDGER_HOLDS_FOR, Term};
use crate::cluster::follower::leader_client::{LeaderClient, LeaderError};
use crate::cluster::follower::leaders::{Call, Leaders};
use crate::cluster::follower::push::Session;
use crate::cluster::replication::snapshot::SnapshotWriter;
use crate::domain::ids::{LedgerId, NodeId};
use crate::domain::leader_url::LeaderUrl;
use crate::domain::leadership::{Leadership, term_of};
use crate::wire::v1;

/// A leader gives a sign of life so often, where others can be asked instead.
const SIGNS_EVERY: Duration = Duration::from_millis(400);
/// A registration may take longer than silence is borne: it is written to a database, and many nodes may come at once.
const REGISTRATION: u32 = 2;

/// Makes a client of the leader at an address.
pub type Connect<C> = Box<dyn Fn(&LeaderUrl) -> Result<C, String> + Send + Sync>;

/// A leader at one of its addresses, as long as it is not given up.
#[derive(Clone, Debug)]
pub struct LeaderAt<C> {
    url: LeaderUrl,
    client: C,
    /// How long it may take to give a session; none: there is nobody else to ask.
    patience: Option<Duration>,
    given_up: CancellationToken,
}

impl<C> LeaderAt<C> {
    #[must_use]
    pub fn url(&self) -> &LeaderUrl {
        &self.url
    }

    #[must_use]
    pub fn client(&self) -> &C {
        &self.client
    }

    /// `call`, unless the leader is given up before it ends.
    pub async fn unless_given_up<T>(
        &self,
        call: impl Future<Output = Result<T, LeaderError>>,
    ) -> Result<T, LeaderError> {
        let ended = self.given_up.run_until_cancelled(call).await;
        ended.unwrap_or_else(|| Err(LeaderError::Unreachable("it is given up for another".to_owned())))
    }
}

/// Futures of calls over a network are large, and not many at a time.
impl<C: LeaderClient> LeaderClient for LeaderAt<C> {
    async fn register(&self, request: v1::RegisterRequest) -> Result<v1::RegisterResponse, LeaderError> {
        match self.patience {
            Some(patience) => {
                self.unless_given_up(Box::pin(self.client.register_within(request, patience))).await
            }
            None => self.unless_given_up(Box::pin(self.client.register(request))).await,
        }
    }

    async fn heartbeat(&self, request: v1::HeartbeatRequest) -> Result<v1::HeartbeatResponse, LeaderError> {
        self.unless_given_up(Box::pin(self.client.heartbeat(request))).await
    }

    async fn leave(&self, request: v1::LeaveRequest) -> Result<v1::LeaveResponse, LeaderError> {
        self.unless_given_up(Box::pin(self.client.leave(request))).await
    }

    async fn push_usage(&self, request: v1::PushUsageRequest) -> Result<v1::PushUsageResponse, LeaderError> {
        self.unless_given_up(Box::pin(self.client.push_usage(request))).await
    }

    async fn offer_state(&self, pieces: SnapshotWriter) -> Result<v1::OfferStateResponse, LeaderError> {
        self.unless_given_up(Box::pin(self.client.offer_state(pieces))).await
    }
}

/// What a follower knows of its leaders.
pub struct LeaderSet<C> {
    connect: Connect<C>,
    begun: Instant,
    known: Mutex<Known<C>>,
}

struct Known<C> {
    addresses: Addresses,
    clients: BTreeMap<LeaderUrl, (C, CancellationToken)>,
    /// Other ledgers that were reported: once per address and ledger is enough.
    reported: BTreeMap<LeaderUrl, LedgerId>,
    /// What is written down.
    kept: String,
}

/// What is written down, as JSON.
#[derive(Serialize, Deserialize)]
struct Kept {
    configured: Vec<String>,
    learned: Vec<String>,
    followed: Option<String>,
}

impl<C: Clone> LeaderSet<C> {
    /// The leaders at these addresses, in this order.
    ///
    /// # Errors
    /// What `connect` says to one of them.
    pub fn new(configured: Vec<LeaderUrl>, connect: Connect<C>) -> Result<Self, String> {
        let mut clients = BTreeMap::new();
        for url in &configured {
            clients.insert(url.clone(), (connect(url)?, CancellationToken::new()));
        }
        let addresses = Addresses::new(configured);
        let known = Known { addresses, clients, reported: BTreeMap::new(), kept: String::new() };
        Ok(Self { connect, begun: Instant::now(), known: Mutex::new(known) })
    }

    /// Counted from a moment before the process began, so that times before that can be told.
    fn now(&self) -> Duration {
        LEDGER_HOLDS_FOR + self.begun.elapsed()
    }

    /// How long the leader of a session may be silent.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.known.lock().addresses.patience(self.now())
    }

    /// The leader that is followed, or was last, and where it is reached.
    #[must_use]
    pub fn followed(&self) -> Option<(NodeId, LeaderUrl)> {
        let known = self.known.lock();
        let url = known.addresses.followed()?;
        Some((known.addresses.name_at(url)?.clone(), url.clone()))
    }

    /// The promoted leader of the highest term that was heard of.
    #[must_use]
    pub fn promoted(&self) -> Option<Leadership> {
        self.known.lock().addresses.promoted().cloned()
    }

    /// A leader was promoted: it is asked first, and whoever leads by a lower term is not followed. What still waits for
    /// others fails.
    pub fn prefer(&self, promoted: Leadership) {
        let mut known = self.known.lock();
        known.clients.retain(|url, (_, given_up)| {
            let is_it = *url == promoted.leads_at;
            if !is_it {
                given_up.cancel();
            }
            is_it
        });
        known.addresses.prefer(promoted);
    }

    /// Takes over what an earlier process wrote down: `kept`, the ledger that it followed, and how long ago it heard of its
    /// leader.
    pub fn restore(&self, kept: &str, ledger: Option<LedgerId>, silent_for: Duration) {
        let Ok(read) = serde_json::from_str::<Kept>(kept) else { return };
        let urls = |texts: &[String]| texts.iter().filter_map(|text| text.parse().ok()).collect();
        let followed = read.followed.and_then(|url| Some((url.parse().ok()?, ledger?, silent_for)));
        let before = Before { configured: urls(&read.configured), learned: urls(&read.learned), followed };
        let now = self.now();
        self.known.lock().addresses.restore(before, now);
    }

    /// What is to be written down, if it has changed since that was last done.
    #[must_use]
    pub fn changes(&self) -> Option<String> {
        let known = self.known.lock();
        let texts = |urls: &[LeaderUrl]| urls.iter().map(LeaderUrl::to_string).collect();
        let kept = Kept {
            configured: texts(known.addresses.configured()),
            learned: texts(known.addresses.learned()),
            followed: known.addresses.followed().map(LeaderUrl::to_string),
        };
        serde_json::to_string(&kept).ok().filter(|text| *text != known.kept)
    }

    /// [`Self::changes`] are written down.
    pub fn note_kept(&self, kept: String) {
        self.known.lock().kept = kept;
    }

    /// Fails what still waits for the leader there, and the next call opens another connection.
    fn give_up(&self, leader: &LeaderAt<C>) {
        leader.given_up.cancel();
        let mut known = self.known.lock();
        if known.clients.get(&leader.url).is_some_and(|(_, given_up)| given_up.is_cancelled()) {
            known.clients.remove(&leader.url);
        }
    }
}

impl<C: LeaderClient + Clone> Leaders for LeaderSet<C> {
    type Client = LeaderAt<C>;

    fn in_turn(&self) -> Vec<LeaderAt<C>> {
        let now = self.now();
        let mut known = self.known.lock();
        let urls = known.addresses.in_turn(now);
        let patience = (urls.len() > 1).then(|| known.addresses.patience(now) * REGISTRATION);
        let mut leaders = Vec::with_capacity(urls.len());
        for url in urls {
            if !known.clients.contains_key(&url) {
                match (self.connect)(&url) {
                    Ok(client) => drop(known.clients.insert(url.clone(), (client, CancellationToken::new()))),
                    Err(reason) => {
                        tracing::warn!(leader = %url, reason, "the address of a leader cannot be used");
                        continue;
                    }
                }
            }
            if let Some((client, given_up)) = known.clients.get(&url).cloned() {
                leaders.push(LeaderAt { url, client, patience, given_up });
            }
        }
        leaders
    }

    fn name_of(&self, leader: &LeaderAt<C>) -> String {
        leader.url.to_string()
    }

    fn note_miss(&self, leader: &LeaderAt<C>, error: &LeaderError) {
        if leader.patience.is_some() && matches!(error, LeaderError::Silent(_)) {
            let now = self.now();
            self.known.lock().addresses.note_silence(now);
            self.give_up(leader);
        }
    }

    fn check(
        &self,
        leader: &LeaderAt<C>,
        session: &Session,
        seen: Option<LedgerId>,
    ) -> Result<(), LeaderError> {
        let now = self.now();
        let mut known = self.known.lock();
        match known.addresses.check_term(&leader.url, session.term, session.ledger, now) {
            Term::Superseded(by) => {
                return Err(LeaderError::Superseded(format!(
                    "it was superseded by {by}, and does not know yet"
                )));
            }
            Term::Promoted => known.addresses.prefer(Leadership {
                term: session.term,
                ledger: session.ledger,
                node: session.leader_id.clone(),
                leads_at: leader.url.clone(),
            }),
            Term::Unknown => {}
        }
        let answered = (session.leader_id.clone(), session.ledger);
        let Err(other) = known.addresses.check(&leader.url, answered, seen, now) else {
            known.reported.remove(&leader.url);
            return Ok(());
        };
        let (ledger, at, silent) = (session.ledger, &other.at, other.silent_for.as_secs());
        let said = format!(
            "it leads another ledger, {ledger}, than the one that has this node's usage and that {at} led {silent} s ago"
        );
        if known.reported.insert(leader.url.clone(), ledger) != Some(ledger) {
            tracing::error!(
                leader = %leader.url,
                "a leader is not followed: {said}. Take it out of cluster.leader if it is of another cluster; if the ledger \
                 of {at} is lost, it is followed {} minutes after that was last heard of",
                LEDGER_HOLDS_FOR.as_secs() / 60
            );
        }
        Err(LeaderError::OtherLedger(said))
    }

    fn highest_term(&self) -> u64 {
        term_of(self.known.lock().addresses.promoted())
    }

    fn follow(&self, leader: &LeaderAt<C>, session: &Session) {
        let now = self.now();
        let mut known = self.known.lock();
        let (before, to) = (known.addresses.followed().cloned(), &leader.url);
        known.addresses.follow(to, now);
        if let Some(from) = before.filter(|before| before != to) {
            tracing::info!(%from, %to, leader = %session.leader_id, "this node goes on to another leader");
        }
        known.drop_unknown();
    }

    fn learn(&self, ledger: LedgerId, leaders: &[v1::Leader]) {
        let ledger = ledger.to_string();
        // One of a part of the users does not take everything that this node owes.
        let ours = leaders.iter().filter(|leader| leader.ledger_id == ledger && leader.shard.is_empty());
        let named =
            |leader: &v1::Leader| Some((leader.id.parse::<NodeId>().ok()?, leader.address.parse().ok()?));
        let mut known = self.known.lock();
        if known.addresses.learn(ours.filter_map(named)) {
            let all = known.addresses.all();
            tracing::info!(leaders = %listed(&all), "the leaders that this node knows have changed");
            known.drop_unknown();
        }
    }

    fn note_answer(&self, leader: &LeaderAt<C>, call: Call) {
        let now = self.now();
        self.known.lock().addresses.note_answer(&leader.url, call, now);
    }

    fn note_failure(&self, leader: &LeaderAt<C>, call: Call, error: &LeaderError) -> bool {
        if leader.given_up.is_cancelled() {
            return true;
        }
        let now = self.now();
        let is_over = self.known.lock().addresses.note_failure(&leader.url, call, error, now);
        if is_over {
            self.give_up(leader);
        }
        is_over
    }

    fn signs_of_life(&self) -> Option<Duration> {
        self.known.lock().addresses.are_several().then_some(SIGNS_EVERY)
    }
}

impl<C> Known<C> {
    /// Connections to addresses that are none any more end with what they carry.
    fn drop_unknown(&mut self) {
        let all = self.addresses.all();
        self.clients.retain(|url, _| all.contains(url));
        self.reported.retain(|url, _| all.contains(url));
    }
}

/// The addresses, as logs and answers name them.
impl<C> fmt::Display for LeaderSet<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&listed(&self.known.lock().addresses.all()))
    }
}

impl<C> fmt::Debug for LeaderSet<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderSet").field("addresses", &self.known.lock().addresses).finish_non_exhaustive()
    }
}

fn listed(urls: &[LeaderUrl]) -> String {
    urls.iter().map(LeaderUrl::as_str).collect::<Vec<_>>().join(", ")
}
