//! The addresses of leaders that a follower knows: those of its configuration, and those that a leader told it. In which
//! order they are asked, and when another is asked than the present one. Pure: the caller brings the time, counted from
//! any moment that stays the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cluster::follower::leader_client::LeaderError;
use crate::cluster::follower::leaders::Call;
use crate::domain::ids::{LedgerId, NodeId};
use crate::domain::leader_url::LeaderUrl;
use crate::domain::leadership::Leadership;

/// The most addresses that are learned.
pub const LEARNED_MAX: usize = 16;

/// A leader that is silent for so long is given up for another, the first time within [`SILENCES_COUNT_FOR`]; each time
/// doubles it, so that a network or a machine that is only slow is not fled from for ever.
const PATIENCE: Duration = Duration::from_millis(1_200);
/// As long as any call may take.
const PATIENCE_MAX: Duration = Duration::from_secs(10);
const SILENCES_COUNT_FOR: Duration = Duration::from_mins(1);

/// For so long a leader may say that it cannot do a thing now: its database may be back in a moment, and is the others',
/// too.
const UNAVAILABLE_MAX: Duration = Duration::from_secs(2);

/// A connection that broke is opened again to the same leader, unless it broke within this time.
const BRIEF: Duration = Duration::from_secs(5);

/// For so long after its last answer a leader keeps the node from following one with another ledger.
pub const LEDGER_HOLDS_FOR: Duration = Duration::from_mins(10);
/// A leader with another ledger is not asked again before.
const REST: Duration = Duration::from_secs(30);

/// A leader has another ledger than the one that has this node's usage, and which answered lately elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherLedger {
    /// Where that ledger is.
    pub at: LeaderUrl,
    /// How long ago it answered there.
    pub silent_for: Duration,
}

/// What the term of a leader says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// It was promoted, and nobody is known to have been after it.
    Promoted,
    /// It was not.
    Superseded(Leadership),
    /// Nothing: nobody was ever promoted.
    Unknown,
}

/// What an earlier process knew.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// What it was configured with.
    pub configured: Vec<LeaderUrl>,
    pub learned: Vec<LeaderUrl>,
    /// Whom it followed last, that leader's ledger, and how long ago it heard of it.
    pub followed: Option<(LeaderUrl, LedgerId, Duration)>,
}

#[derive(Clone, Debug)]
pub struct Addresses {
    configured: Vec<LeaderUrl>,
    /// None of them configured.
    learned: Vec<LeaderUrl>,
    /// Asked first; none: the first of all.
    first: Option<LeaderUrl>,
    /// Followed now, or last.
    followed: Option<LeaderUrl>,
    followed_since: Duration,
    /// Who answers at an address, by its own word or another leader's.
    names: BTreeMap<LeaderUrl, NodeId>,
    /// With which ledger an address last answered, and when.
    heard: BTreeMap<LeaderUrl, (LedgerId, Duration)>,
    /// Not asked before, if others can be.
    resting_until: BTreeMap<LeaderUrl, Duration>,
    /// Since when the leader says of a call that it cannot do it now.
    unavailable_since: BTreeMap<Call, Duration>,
    /// The promoted leader of the highest term that was heard of: whoever leads by a lower one is not followed.
    promoted: Option<Leadership>,
    /// The leader that was given up for its silence: where else it is reached comes last.
    silent: Option<NodeId>,
    /// When leaders were silent.
    silences: Vec<Duration>,
}

impl Addresses {
    #[must_use]
    pub fn new(configured: Vec<LeaderUrl>) -> Self {
        Self {
            configured,
            learned: Vec::new(),
            first: None,
            followed: None,
            followed_since: Duration::ZERO,
            names: BTreeMap::new(),
            heard: BTreeMap::new(),
            resting_until: BTreeMap::new(),
            unavailable_since: BTreeMap::new(),
            promoted: None,
            silent: None,
            silences: Vec::new(),
        }
    }

    #[must_use]
    pub fn configured(&self) -> &[LeaderUrl] {
        &self.configured
    }

    #[must_use]
    pub fn learned(&self) -> &[LeaderUrl] {
        &self.learned
    }

    #[must_use]
    pub fn followed(&self) -> Option<&LeaderUrl> {
        self.followed.as_ref()
    }

    /// Who answers at an address, by the last word of it.
    #[must_use]
    pub fn name_at(&self, url: &LeaderUrl) -> Option<&NodeId> {
        self.names.get(url)
    }

    /// Each once: those of the configuration, those that were learned, and, although they are none of these any more, the
    /// one that is followed and the one that was promoted.
    #[must_use]
    pub fn all(&self) -> Vec<LeaderUrl> {
        let promoted =
            self.promoted.iter().map(|promoted| &promoted.leads_at).filter(|url| self.may_be_used(url));
        let mut all: Vec<LeaderUrl> = Vec::new();
        for url in self.configured.iter().chain(&self.learned).chain(&self.followed).chain(promoted) {
            if !all.contains(url) {
                all.push(url.clone());
            }
        }
        all
    }

    #[must_use]
    pub fn promoted(&self) -> Option<&Leadership> {
        self.promoted.as_ref()
    }

    /// A leader was promoted: it is asked first.
    pub fn prefer(&mut self, promoted: Leadership) {
        self.names.insert(promoted.leads_at.clone(), promoted.node.clone());
        self.resting_until.remove(&promoted.leads_at);
        self.first = Some(promoted.leads_at.clone());
        self.promoted = Some(promoted);
        self.prune();
    }

    /// Whether a leader that leads by promotion, or that was superseded by one, is to be followed: by its term.
    pub fn check_term(&mut self, url: &LeaderUrl, term: u64, ledger: LedgerId, now: Duration) -> Term {
        let leads = match &self.promoted {
            None => term > 0,
            Some(known) if (term, ledger) == (known.term, known.ledger) => true,
            Some(known) if (term, ledger) > (known.term, known.ledger) => true,
            // One of those that share its database, since that was moved to PostgreSQL: they have no term.
            Some(known) if ledger == known.ledger => false,
            // It has lost its disk.
            Some(known) if known.leads_at == *url => false,
            Some(known) => {
                let by = known.clone();
                self.resting_until.insert(url.clone(), now + REST);
                return Term::Superseded(by);
            }
        };
        if leads { Term::Promoted } else { Term::Unknown }
    }

    #[must_use]
    pub fn are_several(&self) -> bool {
        self.all().len() > 1
    }

    /// How long a leader may be silent.
    #[must_use]
    pub fn patience(&self, now: Duration) -> Duration {
        let silences =
            self.silences.iter().filter(|at| now.saturating_sub(**at) < SILENCES_COUNT_FOR).count();
        let doubled =
            u32::try_from(silences).ok().and_then(|times| 1_u32.checked_shl(times)).unwrap_or(u32::MAX);
        PATIENCE.saturating_mul(doubled).min(PATIENCE_MAX)
    }

    /// Whom to ask, one after the other.
    #[must_use]
    pub fn in_turn(&self, now: Duration) -> Vec<LeaderUrl> {
        let mut all = self.all();
        let first = self.first.as_ref().and_then(|first| all.iter().position(|url| url == first));
        all.rotate_left(first.unwrap_or(0));
        let rests = |url: &LeaderUrl| self.resting_until.get(url).is_some_and(|until| now < *until);
        if !all.iter().all(rests) {
            all.retain(|url| !rests(url));
        }
        all.sort_by_key(|url| self.silent.is_some() && self.names.get(url) == self.silent.as_ref());
        all
    }

    /// A leader answered a registration: with which ledger. `seen` is the one that has this node's usage.
    ///
    /// # Errors
    /// [`OtherLedger`]: it must not be followed. A leader alone that has lost its disk is, and so is one that was promoted,
    /// or whose ledger has not been heard of for [`LEDGER_HOLDS_FOR`] elsewhere.
    pub fn check(
        &mut self,
        url: &LeaderUrl,
        (leader, ledger): (NodeId, LedgerId),
        seen: Option<LedgerId>,
        now: Duration,
    ) -> Result<(), OtherLedger> {
        self.names.insert(url.clone(), leader);
        self.heard.insert(url.clone(), (ledger, now));
        let is_promoted = self.promoted.as_ref().is_some_and(|promoted| promoted.ledger == ledger);
        let Some(seen) = seen.filter(|seen| *seen != ledger && !is_promoted) else { return Ok(()) };
        let all = self.all();
        let elsewhere = self
            .heard
            .iter()
            .filter(|(other, (held, _))| *other != url && *held == seen && all.contains(other));
        let latest = elsewhere.map(|(other, (_, at))| (now.saturating_sub(*at), other)).min();
        match latest.filter(|(silent_for, _)| *silent_for < LEDGER_HOLDS_FOR) {
            None => Ok(()),
            Some((silent_for, at)) => {
                self.resting_until.insert(url.clone(), now + REST);
                Err(OtherLedger { at: at.clone(), silent_for })
            }
        }
    }

    /// The node follows the leader there from now on.
    pub fn follow(&mut self, url: &LeaderUrl, now: Duration) {
        self.first = Some(url.clone());
        self.followed = Some(url.clone());
        self.followed_since = now;
        self.unavailable_since.clear();
        self.silent = None;
        self.resting_until.remove(url);
        self.prune();
    }

    /// The leader there was heard of; it did what it was asked for, if `call` says so.
    pub fn note_answer(&mut self, url: &LeaderUrl, call: Call, now: Duration) {
        if let Some((_, at)) = self.heard.get_mut(url) {
            *at = now;
        }
        if self.followed.as_ref() == Some(url) {
            self.unavailable_since.remove(&call);
        }
    }

    /// A registration was not answered in time.
    pub fn note_silence(&mut self, now: Duration) {
        self.silences.retain(|at| now.saturating_sub(*at) < SILENCES_COUNT_FOR);
        // More would only wait for longer than the longest.
        if self.silences.len() < 8 {
            self.silences.push(now);
        }
    }

    /// The leader there failed a session. Whether the session is over.
    pub fn note_failure(&mut self, url: &LeaderUrl, call: Call, error: &LeaderError, now: Duration) -> bool {
        if !self.are_several() {
            return false;
        }
        let goes_on = match error {
            LeaderError::Unreachable(_) => now.saturating_sub(self.followed_since) < BRIEF,
            LeaderError::Silent(_) => {
                self.note_silence(now);
                self.silent = self.names.get(url).cloned();
                true
            }
            LeaderError::Unavailable(_) => {
                let since = *self.unavailable_since.entry(call).or_insert(now);
                if now.saturating_sub(since) < UNAVAILABLE_MAX {
                    return false;
                }
                true
            }
            LeaderError::Unknown(_)
            | LeaderError::Behind(_)
            | LeaderError::Taken(_)
            | LeaderError::Refused(_)
            | LeaderError::OtherLedger(_)
            | LeaderError::Superseded(_)
            | LeaderError::Nobody(_)
            | LeaderError::Protocol(_) => return false,
        };
        if goes_on {
            self.first = self.after(url);
        }
        true
    }

    /// Takes over who leads now, by the word of a leader. Whether that changed any address.
    pub fn learn(&mut self, leaders: impl IntoIterator<Item = (NodeId, LeaderUrl)>) -> bool {
        let mut urls = Vec::new();
        for (name, url) in leaders {
            // What was answered there is known better.
            self.names.entry(url.clone()).or_insert(name);
            urls.push(url);
        }
        let is_news = self.take_over(urls);
        self.prune();
        is_news
    }

    /// Takes over what an earlier process knew. Nothing, if it was configured to follow none of the same: the node may
    /// have been moved to another cluster on purpose.
    pub fn restore(&mut self, before: Before, now: Duration) {
        if !before.configured.iter().any(|url| self.configured.contains(url)) {
            return;
        }
        self.take_over(before.learned);
        let all = self.all();
        let Some((url, ledger, silent_for)) = before.followed.filter(|(url, ..)| all.contains(url)) else {
            return;
        };
        if let Some(at) = now.checked_sub(silent_for) {
            self.heard.insert(url.clone(), (ledger, at));
        }
        // Another order in the configuration is meant.
        if before.configured == self.configured {
            self.first = Some(url);
        }
    }

    /// Never one without TLS beside a configuration with it: `cluster.secret` would travel in clear. Nor one that means this
    /// very machine here, and another where it comes from.
    fn may_be_used(&self, url: &LeaderUrl) -> bool {
        let is_tls = self.configured.iter().any(LeaderUrl::is_tls);
        let is_near = self.configured.iter().any(LeaderUrl::is_loopback);
        (url.is_tls() || !is_tls) && (is_near || !url.is_loopback()) && !url.is_unspecified()
    }

    fn take_over(&mut self, learned: Vec<LeaderUrl>) -> bool {
        let mut known: BTreeSet<LeaderUrl> = self.configured.iter().cloned().collect();
        let mut learned: Vec<_> =
            learned.into_iter().filter(|url| self.may_be_used(url) && known.insert(url.clone())).collect();
        learned.truncate(LEARNED_MAX);
        let is_news = learned != self.learned;
        self.learned = learned;
        is_news
    }

    fn after(&self, url: &LeaderUrl) -> Option<LeaderUrl> {
        let all = self.all();
        let at = all.iter().position(|known| known == url)?;
        all.get((at + 1) % all.len()).cloned()
    }

    /// Forgets what was known of addresses that are none any more.
    fn prune(&mut self) {
        let all = self.all();
        self.names.retain(|url, _| all.contains(url));
        self.heard.retain(|url, _| all.contains(url));
        self.resting_until.retain(|url, _| all.contains(url));
    }
}

#[cfg(test)]
mod tests;
