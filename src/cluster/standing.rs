//! Whether a node leads, where that is not for its configuration to say: a follower that was promoted leads, and a leader
//! that was superseded follows. Kept in the node's own database, written before anything is done by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use uuid::Uuid;

use crate::crypto::mac;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::{InstanceId, LedgerId, NodeId};
use crate::domain::leader_url::LeaderUrl;
use crate::domain::leadership::{Leadership, term_of};
use crate::domain::peer::Peer;
use crate::store::{MetaKey, MetaRepo, PeerRepo, Store};

/// The header with the signature of a message about leadership.
pub const SIGNATURE: http::HeaderName = http::HeaderName::from_static("x-sproxy-signature");

/// The metric of [`Standing::term`].
pub(in crate::cluster) const TERM: &str = "sproxy_cluster_term";
pub(in crate::cluster) const TERM_HELP: &str =
    "How often leadership was taken over by promotion, as far as this node has heard.";

/// What a node knows of who leads by promotion. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Standing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    known: watch::Sender<Known>,
    /// What is written is what is known, whoever writes at the same time.
    writing: tokio::sync::Mutex<()>,
    /// The highest term that followers have spoken of.
    heard_term: AtomicU64,
}

#[derive(Clone, Debug)]
struct Known {
    /// This database's id as a ledger.
    own: LedgerId,
    /// The highest that was heard of.
    leadership: Option<Leadership>,
}

impl Known {
    fn leads(&self, by_configuration: bool) -> bool {
        self.leadership.as_ref().map_or(by_configuration, |known| known.ledger == self.own)
    }
}

impl Standing {
    /// Reads what the node's own database knows.
    ///
    /// # Errors
    /// What the database says, or a note that cannot be read.
    pub async fn open(store: &Store) -> Result<Self, Failure> {
        let meta = MetaRepo::on(store);
        let own = meta.ledger_id().await?;
        let noted = meta.get(MetaKey::Leadership).await?;
        let leadership = noted.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| {
            Failure::new(Kind::Internal, format!("meta.leadership cannot be read: {error}"))
        })?;
        let known = watch::Sender::new(Known { own, leadership });
        Ok(Self(Arc::new(Inner {
            store: store.clone(),
            known,
            writing: tokio::sync::Mutex::default(),
            heard_term: AtomicU64::new(0),
        })))
    }

    /// The promoted leader of the highest term that this node has heard of, be it itself. None: nobody was ever promoted.
    #[must_use]
    pub fn known(&self) -> Option<Leadership> {
        self.0.known.borrow().leadership.clone()
    }

    #[must_use]
    pub fn term(&self) -> u64 {
        term_of(self.0.known.borrow().leadership.as_ref())
    }

    /// A follower has heard of a leader of that term. Whether this node leads by a lower one, so that it was superseded by
    /// a leader that it may not have heard from.
    #[must_use]
    pub fn hear_term(&self, term: u64) -> bool {
        self.0.heard_term.fetch_max(term, Ordering::Relaxed);
        term > self.term()
    }

    /// Whether followers have spoken of a leader of a higher term than any that this node has heard from.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.0.heard_term.load(Ordering::Relaxed) > self.term()
    }

    /// Whether this node leads; `by_configuration` is what holds where nobody was ever promoted.
    #[must_use]
    pub fn leads(&self, by_configuration: bool) -> bool {
        self.0.known.borrow().leads(by_configuration)
    }

    /// The promoted leader of the highest term, if that is another node's ledger.
    #[must_use]
    pub fn superseded_by(&self) -> Option<Leadership> {
        let known = self.0.known.borrow();
        known.leadership.clone().filter(|leadership| leadership.ledger != known.own)
    }

    /// Its own leadership, if this node was promoted and was not superseded since.
    #[must_use]
    pub fn own(&self) -> Option<Leadership> {
        let known = self.0.known.borrow();
        known.leadership.clone().filter(|leadership| leadership.ledger == known.own)
    }

    /// Takes note of a leader that was promoted, unless one that supersedes it is known. The answer is the one that leads
    /// by all that this node knows.
    ///
    /// # Errors
    /// What the database says; then nothing has changed.
    pub async fn learn(&self, heard: Leadership) -> Result<Leadership, Failure> {
        let _exclusive = self.0.writing.lock().await;
        if let Some(known) = self.known().filter(|known| !heard.supersedes(known)) {
            return Ok(known);
        }
        MetaRepo::on(&self.0.store).set(MetaKey::Leadership, &text(&heard)?).await?;
        self.0.store.make_durable().await?;
        self.0.known.send_modify(|known| known.leadership = Some(heard.clone()));
        Ok(heard)
    }

    /// Makes this database that of the leader: of a higher term than any that was heard of, and of a ledger that nobody has
    /// pushed to yet. `peers` are the nodes that its totals have to wait for, as far as this one knows them.
    ///
    /// # Errors
    /// What the database says; then nothing has changed.
    pub async fn promote(
        &self,
        node: NodeId,
        leads_at: LeaderUrl,
        peers: Vec<Peer>,
    ) -> Result<Leadership, Failure> {
        let _exclusive = self.0.writing.lock().await;
        let before = self.0.known.borrow().own;
        let term = self.term().max(self.0.heard_term.load(Ordering::Relaxed)) + 1;
        let leadership = Leadership { term, ledger: LedgerId::new(), node: node.clone(), leads_at };
        let tx = self.0.store.begin().await?;
        let (meta, registry) = (MetaRepo::on(&tx), PeerRepo::on(&tx));
        // The state that is held goes back to the ledger that was followed; to its own, if the node has led and followed
        // nobody since.
        meta.get_or_set(MetaKey::StateLedgerId, &before.to_string()).await?;
        meta.set(MetaKey::LedgerId, &leadership.ledger.to_string()).await?;
        meta.set(MetaKey::Leadership, &text(&leadership)?).await?;
        for mut held in registry.list().await? {
            held.is_active = false;
            held.distrust_departure();
            registry.upsert(&held).await?;
        }
        for peer in peers.into_iter().filter(|peer| peer.id != node) {
            registry.insert(&unheard(peer)).await?;
        }
        tx.commit().await?;
        self.0.store.make_durable().await?;
        self.0.known.send_replace(Known { own: leadership.ledger, leadership: Some(leadership.clone()) });
        Ok(leadership)
    }

    /// Waits until another leader is known than `before`.
    pub async fn changed(&self, before: Option<&Leadership>) {
        let mut known = self.0.known.subscribe();
        // The sender lives as long as this.
        let _never_closed = known.wait_for(|known| known.leadership.as_ref() != before).await;
    }

    /// Waits until the node is to lead, if it does not now, or to follow, if it leads now, or to lead another ledger.
    pub async fn role_changed(&self, leads_now: bool) {
        let mut known = self.0.known.subscribe();
        let own = known.borrow().own;
        let _never_closed =
            known.wait_for(|known| known.leads(leads_now) != leads_now || known.own != own).await;
    }
}

/// A peer of the leader before, of which this one has nothing yet.
fn unheard(peer: Peer) -> Peer {
    Peer {
        is_active: false,
        unsynced: 0,
        synced_through: None,
        leads_at: None,
        // Of a run that nobody knows: totals wait for it.
        instance_id: Some(InstanceId(Uuid::nil())),
        ..peer
    }
}

fn text(leadership: &Leadership) -> Result<String, Failure> {
    serde_json::to_string(leadership).map_err(|error| Failure::new(Kind::Internal, error.to_string()))
}

/// What shows that a message about leadership comes from a node of this cluster.
#[must_use]
pub fn sign(secret: &str, message: &[u8]) -> String {
    mac::sign(secret.as_bytes(), &signed(message))
}

/// Whether `signature` is that of `message` by this cluster's secret.
#[must_use]
pub fn is_signed(secret: &str, message: &[u8], signature: &str) -> bool {
    mac::is_right(secret.as_bytes(), &signed(message), signature)
}

fn signed(message: &[u8]) -> Vec<u8> {
    [b"sproxy leadership ".as_slice(), message].concat()
}
