//! Membership: nodes register, send heartbeats, leave, fall silent, are drained and forgotten.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;

use crate::cluster::leader::registry::{Error, HeartbeatReport, Registry};
use crate::cluster::leader::requests::{
    parse_key_uses, parse_offer, parse_registration, parse_sender, parse_session, parse_unnamed,
};
use crate::cluster::leader::{Leader, LeaderStore};
use crate::domain::failure::{Failure, Kind};
use crate::domain::fence::BatchesHeld;
use crate::domain::ids::NodeId;
use crate::domain::peer::Peer;
use crate::wire::malformed::parse_some;
use crate::wire::{moment, v1};

impl<B: LeaderStore> Leader<B> {
    /// `Register`. The peer is committed before the node is told. A node without a name is given one, and is no peer yet.
    ///
    /// # Errors
    /// As [`Registry::register`] and `NameReservations::check_room`; unavailable for a node that has heard of a higher term;
    /// invalid for what cannot be read; what the database says.
    pub async fn register(&self, request: v1::RegisterRequest) -> Result<v1::RegisterResponse, Failure> {
        self.check_term(request.highest_term)?;
        if let Some(node) = parse_unnamed(&request)? {
            return self.assign_name(&node, &request.advertise_url).await;
        }
        let offered = parse_offer(&request)?;
        let session = parse_session(&request, self.ledger)?;
        let (registration, now) = (parse_registration(request)?, self.clock.now());
        let id = registration.node_id.clone();
        let peer =
            self.change_peer(&id, move |registry, _| registry.register(registration.clone(), now)).await?;
        if !self.acknowledged.lock().contains_key(&peer.id) {
            // From this answer on totals wait for the node, so it must not be lost with the power of this machine.
            self.store.make_durable().await?;
        }
        let batches = match &session {
            Some((new, known)) => self.store.begin_session(&peer.id, *new, known).await?,
            None => self.store.batches_held(&peer.id).await?.taken,
        };
        // The node learns of this number and owes again what came after it, which no fence must then hold against it.
        self.last_acknowledged(&peer.id).store(batches, Ordering::Release);
        self.notify_watchers();
        let wanted = |offered| self.provenance.lock().adopts(&offered, self.age()).is_some();
        tracing::info!(peer = %peer.id, addr = %peer.addr, version = %peer.version, "a node registered");
        Ok(v1::RegisterResponse {
            state_wanted: offered.is_some_and(wanted),
            batches_taken: Some(batches),
            ..self.register_response(&peer.id)
        })
    }

    /// Whether a node that has heard of a leader of that term may register here.
    fn check_term(&self, highest: u64) -> Result<(), Failure> {
        let Some(standing) = self.standing.as_ref().filter(|standing| standing.hear_term(highest)) else {
            return Ok(());
        };
        let text = format!(
            "{} leads by term {}, and was superseded by a leader of term {highest}, which it has not heard from",
            self.id,
            standing.term()
        );
        Err(Failure::new(Kind::Unavailable, text))
    }

    /// `Heartbeat`.
    ///
    /// # Errors
    /// Not found: the node has to register. Invalid. [`Failure::behind`]: the database has fallen back.
    /// What the database says.
    pub async fn heartbeat(&self, request: &v1::HeartbeatRequest) -> Result<v1::HeartbeatResponse, Failure> {
        let (id, instance) = parse_sender(&request.node_id, &request.instance_id)?;
        self.check_ledger(&request.ledger_id)?;
        self.check_leader_instance(&request.leader_instance_id)?;
        self.registry.lock().note_alive(&id, instance, self.clock.now())?;
        self.check_batches(&id, request.last_batch, &request.session_id).await?;
        let report = HeartbeatReport {
            last_batch: request.last_batch,
            session: parse_some("session_id", &request.session_id)?,
            unsynced: request.unsynced,
            synced_through: request.synced_through.map(moment::from_wire),
            draining: request.draining,
        };
        let peer = self.registry.lock().heartbeat(&id, instance, report, self.clock.now())?;
        self.store.note_key_uses(&parse_key_uses(request));
        self.notify_watchers();
        Ok(v1::HeartbeatResponse { draining: peer.draining })
    }

    /// `Leave`.
    ///
    /// # Errors
    /// Not found for another run than the registered one; what the database says.
    pub async fn leave(&self, request: &v1::LeaveRequest) -> Result<v1::LeaveResponse, Failure> {
        let (id, instance) = parse_sender(&request.node_id, &request.instance_id)?;
        self.registry.lock().note_alive(&id, instance, self.clock.now())?;
        let owed = self.owed_by(&id, request).await;
        let (node, now, acknowledged) = (id.clone(), self.clock.now(), Arc::clone(&self.acknowledged));
        let last_batch = request.last_batch;
        let session = parse_some("session_id", &request.session_id)?;
        let rule = move |registry: &mut Registry, held: BatchesHeld| {
            let owed = owed.filter(|_| held.are_those_of(last_batch, session));
            let peer = registry.leave(&node, instance, owed, now)?;
            // Also when the answer to the commit gets lost.
            acknowledged.lock().remove(&node);
            Ok(peer)
        };
        self.change_peer(&id, rule).await?;
        self.notify_watchers();
        tracing::info!(peer = %id, "a node left");
        Ok(v1::LeaveResponse {})
    }

    /// What a node that leaves owes; none: it does not say, or says it of what this leader's database is not.
    async fn owed_by(&self, id: &NodeId, request: &v1::LeaveRequest) -> Option<u64> {
        let owed = request.unsynced?;
        self.check_ledger(&request.ledger_id).ok()?;
        self.check_leader_instance(&request.leader_instance_id).ok()?;
        self.check_batches(id, request.last_batch, &request.session_id).await.ok()?;
        Some(owed)
    }

    /// Writes down what was heard, marks silent peers inactive, and learns what other leaders on the same database have
    /// changed. To be called once per heartbeat.
    ///
    /// # Errors
    /// What the database says; the next call does it again.
    pub async fn sweep(&self) -> Result<(), Failure> {
        let _age_grows = self.age();
        let _refreshing = self.refreshing.lock().await;
        let (heard, silent) = {
            let mut registry = self.registry.lock();
            (registry.statuses(), registry.silent(self.clock.now()))
        };
        let rows = self.store.update_peers(heard.clone(), silent.clone()).await?;
        for peer in silent.iter().filter(|peer| rows.iter().any(|row| row.id == peer.id && !row.is_active)) {
            tracing::warn!(peer = %peer.id, last_seen = ?peer.last_seen.map(|at| at.to_string()), "a node is silent: inactive");
        }
        let is_news = {
            let mut registry = self.registry.lock();
            let before = registry.peers();
            registry.refresh_all(rows, &heard, self.clock.now());
            registry.peers() != before
        };
        if is_news {
            self.notify_watchers();
        }
        Ok(())
    }

    /// Drains a peer or takes that back.
    ///
    /// # Errors
    /// Not found; what the database says.
    pub async fn drain(&self, id: &NodeId, draining: bool) -> Result<Peer, Failure> {
        let node = id.clone();
        let peer = self.change_peer(id, move |registry, _| registry.drain(&node, draining)).await?;
        self.notify_watchers();
        Ok(peer)
    }

    /// Forgets a peer that does not live. What it has pushed stays.
    ///
    /// # Errors
    /// Not found, conflict for one that lives; what the database says.
    pub async fn forget(&self, id: &NodeId) -> Result<(), Failure> {
        let _refreshing = self.refreshing.lock().await;
        let (node, acknowledged) = (id.clone(), Arc::clone(&self.acknowledged));
        let rule = move |registry: &mut Registry, _| {
            registry.may_forget(&node)?;
            acknowledged.lock().remove(&node);
            Ok(None)
        };
        self.decide(id, rule).await?;
        self.registry.lock().forget(id);
        self.notify_watchers();
        Ok(())
    }

    /// Changes a peer by a rule of the registry. The answer is the peer as it is kept now.
    async fn change_peer(
        &self,
        id: &NodeId,
        rule: impl Fn(&mut Registry, BatchesHeld) -> Result<Peer, Error> + Send + Sync + 'static,
    ) -> Result<Peer, Failure> {
        let _refreshing = self.refreshing.lock().await;
        let kept = self.decide(id, move |registry, held| rule(registry, held).map(Some)).await?;
        kept.ok_or_else(|| Error::NoSuchPeer(id.clone()).into())
    }

    /// Asks a rule of the registry in the transaction that reads what the database holds of the peer, and of its usage, and
    /// writes the answer.
    /// Should the commit fail, the registry knows of it too early or wrongly until the next sweep.
    async fn decide(
        &self,
        id: &NodeId,
        rule: impl Fn(&mut Registry, BatchesHeld) -> Result<Option<Peer>, Error> + Send + Sync + 'static,
    ) -> Result<Option<Peer>, Failure> {
        let (registry, clock, node) = (Arc::clone(&self.registry), Arc::clone(&self.clock), id.clone());
        let rule = move |row, held| {
            let mut registry = registry.lock();
            registry.refresh(&node, row, Some(held), clock.now());
            rule(&mut registry, held)
        };
        // Boxed: as long a future as this is no longer seen to be `Send` by who calls it.
        let change: BoxFuture<'_, _> = Box::pin(self.store.change_peer(id.clone(), rule));
        change.await
    }
}
