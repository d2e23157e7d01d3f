//! The leader's part in replication: it adopts the state of followers, and publishes its own to them.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::leader::registry::MISSED_MAX;
use crate::cluster::leader::{Leader, LeaderStore};
use crate::cluster::replication::adoption::{Adoption, Provenance, adopted};
use crate::cluster::replication::state::{State, StateVersion};
use crate::cluster::replication::state_log::Update;
use crate::domain::clock::SKEW_MAX;
use crate::domain::failure::Failure;
use crate::domain::ids::LedgerId;
use crate::store::SignInNews;
use crate::wire::v1;

impl<B: LeaderStore> Leader<B> {
    /// `OfferState`, once all pieces have come.
    ///
    /// # Errors
    /// [`Invalid`](crate::domain::failure::Kind::Invalid) for pieces that make no whole; what the database says.
    pub async fn offer_state(
        self: &Arc<Self>,
        origin: StateVersion,
        state: State,
    ) -> Result<v1::OfferStateResponse, Failure> {
        // What the database has taken over the node has to take over as well, even if the follower goes meanwhile.
        self.run_detached(|leader| async move { leader.adopt(origin, state).await }).await
    }

    /// How old this leader's ledger is. To be asked at least once per heartbeat.
    pub(super) fn age(&self) -> Duration {
        self.age.lock().update(self.clock.now(), self.heartbeat * MISSED_MAX)
    }

    async fn adopt(&self, origin: StateVersion, state: State) -> Result<v1::OfferStateResponse, Failure> {
        let _exclusive = self.adopting.lock().await;
        // What is added to has to be what the database holds: an admin is not to change it meanwhile, and an adoption whose
        // commit was never heard of may have changed it.
        self.reload_state().await?;
        let accounts_held = self.store.hold_accounts().await;
        let (provenance, own) = self.store.load_state().await?;
        let Some(how) = provenance.adopts(&origin, self.age()) else {
            return Ok(v1::OfferStateResponse { adopted: false });
        };
        tracing::warn!(
            ledger = %origin.ledger, version = origin.version, users = state.users.len(), ?how,
            "this leader takes the state that a follower holds: its ledger is a new one, or never knew the end of that state"
        );
        let read_at = provenance.origin.version;
        let version = read_at.max(origin.version) + 1;
        let provenance = Provenance {
            pristine_version: if how == Adoption::Replace { version } else { 0 },
            adopted: Some((origin.ledger, origin.version)),
            origin: StateVersion {
                ledger: self.ledger,
                version,
                lineage: provenance.origin.lineage_with(&origin),
                pristine: false,
            },
        };
        self.store.adopt(read_at, provenance, adopted(&own, state, how)).await?;
        drop(accounts_held);
        self.reload_state().await?;
        Ok(v1::OfferStateResponse { adopted: true })
    }

    /// A follower that holds a later version of this very ledger's state was told it before this database was restored
    /// from an older backup, and would take all that comes now for old. So the leader goes on above that version, and
    /// what it holds is news.
    pub async fn advance_version_past(&self, known: Option<(LedgerId, u64)>) -> Result<(), Failure> {
        let Some((_, version)) = known.filter(|(ledger, _)| *ledger == self.ledger) else { return Ok(()) };
        let _exclusive = self.adopting.lock().await;
        let own = self.provenance.lock().origin.version;
        // A version that no number of changes explains is nonsense, and must not use the numbers up.
        if version <= own || version - own > 1 << 32 {
            return Ok(());
        }
        tracing::warn!(
            own,
            version,
            "a follower knows later accounts than this database, which is an older backup's"
        );
        self.store.raise_version(version + 1).await?;
        self.reload_state().await
    }

    /// Publishes what the database holds now. To be called after every change to users, groups, keys or limits; calling
    /// it without one costs a read of everything.
    pub async fn state_changed(&self) -> Result<(), Failure> {
        let _exclusive = self.adopting.lock().await;
        self.reload_state().await
    }

    async fn reload_state(&self) -> Result<(), Failure> {
        let known = self.state_log.lock().origin().version;
        if let Some(news) = self.store.sign_in_news(known).await?
            && news.version > known
            && !self.has_seen_version_above(news.version)
        {
            self.publish_sign_in(news);
            return Ok(());
        }
        let (mut provenance, mut state) = self.store.load_state().await?;
        if self.has_seen_version_above(provenance.origin.version) {
            (provenance, state) = self.recover().await?;
        }
        self.state_log.lock().publish(provenance.origin.clone(), state);
        *self.provenance.lock() = provenance;
        self.notify_watchers();
        Ok(())
    }

    /// Publishes that sessions ended or public keys changed: as often as people sign out, so it costs that alone.
    fn publish_sign_in(&self, news: SignInNews) {
        let mut provenance = self.provenance.lock();
        if provenance.pristine_version == provenance.origin.version {
            provenance.pristine_version = news.version;
        }
        provenance.origin.version = news.version;
        drop(provenance);
        let ended = news.ended_sessions.into_iter().map(|ended| (ended.session, ended.until)).collect();
        let token_keys = news.token_keys.into_iter().collect();
        self.state_log.lock().publish_sign_in(
            news.version,
            token_keys,
            ended,
            self.clock.now().minus(SKEW_MAX),
        );
        self.notify_watchers();
    }

    /// Whether the database, whose state was at `version`, may have fallen back behind what this process knows of it.
    #[must_use]
    pub fn has_seen_version_above(&self, version: u64) -> bool {
        self.known_version() > version
    }

    fn known_version(&self) -> u64 {
        self.state_log.lock().origin().version.max(self.store.version_written())
    }

    /// What the database holds, after it was given back what it lost if it has fallen back under this process, to a
    /// standby that lagged behind. Nothing was changed there since (accounts refuse that), so what was published last is
    /// what holds; only a change that was not published yet, made in the last moments before, is gone.
    async fn recover(&self) -> Result<(Provenance, State), Failure> {
        let _accounts_held = self.store.hold_accounts().await;
        let (provenance, state) = self.store.load_state().await?;
        let reached = self.known_version();
        if provenance.origin.version >= reached {
            return Ok((provenance, state)); // A change was under way.
        }
        let read_at = provenance.origin.version;
        let known = self.state_log.lock().state();
        let mut provenance = self.provenance.lock().clone();
        tracing::error!(
            version = provenance.origin.version,
            users = known.users.len(),
            "the database has fallen back behind accounts that were changed: they are written to it again"
        );
        provenance.origin.version = reached + 1;
        self.store.adopt(read_at, provenance, State::clone(&known)).await?;
        self.store.load_state().await
    }

    /// What a node that holds `known` has to be told, and where it is then.
    #[must_use]
    pub fn update_for(&self, known: Option<(LedgerId, u64)>) -> (StateVersion, Update) {
        let state_log = self.state_log.lock();
        (state_log.origin(), state_log.update_for(known))
    }
}
