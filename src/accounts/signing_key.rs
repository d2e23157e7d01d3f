//! The key that this node signs access tokens with: a file in the data directory of each leader, readable by its owner
//! alone. What verifies them, the public halves of the keys of all leaders, is in the database and goes to every node.
//!
//! A key is in force once its public half is committed, and for `access_token_ttl` after it was retired, so that what was
//! signed with it stays good. Retired is a key that its node replaced or lost, that of a node that was forgotten, and that
//! of the leader of another database (one that is gone, and whose state a follower has handed on). A node whose key was
//! retired makes another one: at its start, or within a minute.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::time::sleep;

use crate::accounts::audit::Actor;
use crate::accounts::authenticate::Authenticator;
use crate::accounts::error::Error;
use crate::accounts::{Accounts, Change, KeyPlace, detached, private_file};
use crate::crypto::token::{self, PublicKey, Signer};
use crate::domain::clock::{SKEW_MAX, Timestamp};
use crate::domain::ids::NodeId;
use crate::store::{
    EndedSession, EndedSessionRepo, MetaKey, MetaRepo, PeerRepo, RefreshTokenRepo, Retire, TokenKey,
    TokenKeyRepo, Tx, retried,
};

/// The file of the signing key, in the data directory.
pub const SIGNING_KEY_FILE: &str = "signing.key";
/// A key of a node that is no peer is retired when it is older: one that starts signs before it is a peer.
const STRANGER_AFTER: Duration = Duration::from_hours(24);

/// A key that access tokens are accepted of.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// Its name in tokens, `kid`.
    pub id: String,
    pub fingerprint: String,
    /// The node that signs with it, or did.
    pub node: Option<String>,
    pub created_at: Option<Timestamp>,
    /// Nobody has signed with it since.
    pub retired_at: Option<Timestamp>,
}

impl From<TokenKey> for SigningKey {
    fn from(key: TokenKey) -> Self {
        let public = PublicKey(key.public);
        Self {
            id: public.kid(),
            fingerprint: public.fingerprint(),
            node: key.node,
            created_at: key.created_at,
            retired_at: key.retired_at,
        }
    }
}

impl Accounts {
    /// Opens the key that `node` signs with: the one in `data_dir`, or that of a database that an older sproxy kept it in,
    /// which is moved here, or a new one. Its public half is in force when this returns.
    ///
    /// # Errors
    /// [`Error::SigningKeyFile`] when what is there is no key, [`Error::File`] when it can neither be read nor written, and
    /// the database's.
    pub async fn open_signing_key(&self, data_dir: &Path, node: &NodeId) -> Result<(), Error> {
        retried(|| self.open_signing_key_once(data_dir, node)).await
    }

    async fn open_signing_key_once(&self, data_dir: &Path, node: &NodeId) -> Result<(), Error> {
        let place = KeyPlace { path: data_dir.join(SIGNING_KEY_FILE), node: node.clone() };
        let mut signing = self.inner.signing.lock().await;
        let _changing = self.hold().await;
        let mut key = read(&place.path)?;
        let (tx, _) = self.inner.store.begin_locked().await?;
        let of_database = key_of_database(&tx).await?;
        if key.is_none()
            && let Some(moved) = &of_database
        {
            key = Some(write(&place.path, moved)?);
        }
        let signer = match key {
            Some(signer) => signer,
            None => write(&place.path, &token::new_private_key()?)?,
        };
        let signer = put_in_force(&tx, &place, signer, self.now()).await?;
        if let Some(old) = of_database {
            // In the file by now, or of a node that has another one: tokens that were signed with it stay good.
            TokenKeyRepo::on(&tx).add_of_another(Signer::new(&old)?.public().0).await?;
            self.keep_ended(&tx).await?;
        }
        // What is in the file is there for good: only now may the database forget it.
        MetaRepo::on(&tx).unset(MetaKey::SigningKey).await?;
        tx.commit().await?;
        self.load_news().await?;
        self.inner.signer.store(Some(Arc::new(signer)));
        *signing = Some(place);
        Ok(())
    }

    /// Notes the sessions that an older sproxy has ended: it did not.
    async fn keep_ended(&self, tx: &Tx) -> Result<(), Error> {
        let (now, ttl) = (self.now(), self.inner.settings.access_token_ttl);
        for (session, user) in RefreshTokenRepo::on(tx).ended_families(now.minus(ttl)).await? {
            EndedSessionRepo::on(tx).add(EndedSession { session, until: now.plus(ttl) }, user).await?;
        }
        Ok(())
    }

    /// Every key that access tokens are accepted of, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKey>, Error> {
        let mut keys = TokenKeyRepo::on(&self.inner.store).all().await?;
        keys.sort_by_key(|key| std::cmp::Reverse(key.created_at));
        Ok(keys.into_iter().map(SigningKey::from).collect())
    }

    /// Replaces the key that this node signs with. All nodes know the new one before it signs; tokens of the old one stay
    /// good until they expire. With `at_once`, for a key that somebody has got hold of, tokens that this node has signed
    /// so far are refused from now on: whoever has a refresh token gets new ones.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::File`], and the database's; then the old key goes on signing.
    pub async fn rotate_signing_key(&self, actor: &Actor, at_once: bool) -> Result<SigningKey, Error> {
        let (accounts, actor) = (self.clone(), actor.clone());
        detached(async move { accounts.rotate(&actor, at_once).await }).await
    }

    async fn rotate(&self, actor: &Actor, at_once: bool) -> Result<SigningKey, Error> {
        let signing = self.inner.signing.lock().await;
        let place = signing.as_ref().ok_or(Error::NotLeader)?;
        let old = self.inner.signer.load_full().ok_or(Error::NotLeader)?;
        let private = token::new_private_key()?;
        let new = Signer::new(&private)?;
        let (public, node) = (new.public(), &place.node);

        let detail = |key: PublicKey| json!({"id": key.kid(), "fingerprint": key.fingerprint()});
        let action = if at_once { "signing_key.replace" } else { "signing_key.rotate" };
        let (before, after) = (detail(old.public()), detail(public));
        retried(|| async {
            let change = self.change().await?;
            change.demand_admin(actor, "replacing a signing key").await?;
            TokenKeyRepo::on(&change.tx).register(&public.0, node, change.now).await?;
            let subject = format!("signing key of {node}");
            change.audit(actor, action, subject, before.clone(), after.clone()).await?;
            change.commit_keys(Some(public)).await
        })
        .await?;
        if !at_once {
            sleep(self.inner.settings.key_announcement).await;
        }
        if let Err(error) = write(&place.path, &private) {
            let retire = || async {
                let change = self.change().await?;
                let others = Retire::Others(node, &old.public().0);
                TokenKeyRepo::on(&change.tx).retire(others, change.now).await?;
                change.commit_keys(None).await
            };
            retried(retire).await?;
            return Err(error);
        }
        self.inner.signer.store(Some(Arc::new(new)));

        let retire = || async {
            let change = self.change().await?;
            let (keys, now) = (TokenKeyRepo::on(&change.tx), change.now);
            keys.retire(Retire::Others(node, &public.0), now).await?;
            if at_once {
                keys.remove_retired(Some(node), now.plus(Duration::from_micros(1))).await?;
            }
            change.commit_keys(None).await?;
            Ok::<_, Error>(now)
        };
        let now = retried(retire).await?;
        tracing::info!(key = public.kid(), "access tokens are signed with another key from now on");
        Ok(TokenKey {
            public: public.0,
            node: Some(node.to_string()),
            created_at: Some(now),
            retired_at: None,
        }
        .into())
    }

    /// Retires the keys of a node that will not come back.
    ///
    /// # Errors
    /// [`Error::NotLeader`], and the database's.
    pub async fn retire_signing_keys_of(&self, node: &NodeId) -> Result<(), Error> {
        retried(|| async {
            let change = self.change().await?;
            TokenKeyRepo::on(&change.tx).retire(Retire::AllOf(node.as_str()), change.now).await?;
            change.commit_keys(None).await
        })
        .await
    }

    /// Puts this node's key in force again where it is not, retires what nobody signs with, and removes what was retired
    /// long enough ago.
    pub(super) async fn maintain_signing_keys(&self) -> Result<(), Error> {
        // Not while it is being replaced.
        let Ok(signing) = self.inner.signing.try_lock() else { return Ok(()) };
        let (Some(place), Some(signer)) = (signing.as_ref(), self.inner.signer.load_full()) else {
            return Ok(());
        };
        let (own, node) = (signer.public().0, &place.node);
        let keys = TokenKeyRepo::on(&self.inner.store).all().await?;
        let now = self.now();
        let expired = now.minus(self.inner.settings.access_token_ttl);
        let strangers = self.strangers(&keys, node).await?;
        let is_own = |key: &TokenKey| key.node.as_deref() == Some(node.as_str());
        let in_force = keys.iter().find(|key| key.public == own);
        let is_right = |key: &TokenKey| match key.retired_at {
            Some(at) => expired <= if is_own(key) { at } else { at.plus(SKEW_MAX) },
            None => {
                if is_own(key) {
                    key.public == own
                } else {
                    key.node.is_some()
                }
            }
        };
        if in_force.is_some_and(|key| is_own(key) && key.retired_at.is_none())
            && strangers.is_empty()
            && keys.iter().all(is_right)
        {
            return Ok(());
        }
        let change = self.change().await?;
        let repo = TokenKeyRepo::on(&change.tx);
        repo.register(&own, node, now).await?;
        repo.retire(Retire::Others(node, &own), now).await?;
        repo.retire(Retire::Ownerless, now).await?;
        for stranger in strangers {
            repo.retire(Retire::AllOf(stranger), now).await?;
        }
        repo.remove_retired(Some(node), expired).await?;
        repo.remove_retired(None, expired.minus(SKEW_MAX)).await?;
        change.commit_keys(None).await?;
        if in_force.is_some_and(|key| key.retired_at.is_some()) {
            tracing::warn!("the key that this node signs with was retired: it makes another one");
            drop(signing);
            self.rotate_signing_key(&Actor::system(), false).await?;
        }
        Ok(())
    }

    /// Nodes that sign by what the table says, and are no peers of this cluster.
    async fn strangers<'k>(&self, keys: &'k [TokenKey], own: &NodeId) -> Result<Vec<&'k str>, Error> {
        let old = self.now().minus(STRANGER_AFTER);
        let in_use = keys.iter().filter(|key| key.retired_at.is_none() && key.created_at < Some(old));
        let mut nodes: Vec<&str> = in_use.filter_map(|key| key.node.as_deref()).collect();
        nodes.retain(|node| *node != own.as_str());
        if nodes.is_empty() {
            return Ok(nodes);
        }
        let peers = PeerRepo::on(&self.inner.store).list().await?;
        nodes.retain(|node| !peers.iter().any(|peer| peer.id.as_str() == *node));
        Ok(nodes)
    }
}

impl Change {
    /// Commits a change of public keys, and takes it over; `new` is in force here whatever else can be read.
    async fn commit_keys(self, new: Option<PublicKey>) -> Result<(), Error> {
        let add = |authenticator: &Authenticator| {
            let keys = authenticator.public_keys();
            if let Some(new) = new.filter(|new| !keys.contains(new)) {
                authenticator.set_public_keys(&[keys, vec![new]].concat());
            }
        };
        // All keys are read again.
        Self { is_up_to_date: false, ..self }.settle(add).await
    }
}

/// The signer of `place`, once its public half is in force; another one if that was retired. What else this node signed
/// with is retired: it has lost it, or was about to replace its key by it.
async fn put_in_force(tx: &Tx, place: &KeyPlace, signer: Signer, now: Timestamp) -> Result<Signer, Error> {
    let keys = TokenKeyRepo::on(tx);
    keys.register(&signer.public().0, &place.node, now).await?;
    let held = keys.get(&signer.public().0).await?;
    let signer = if held.is_some_and(|key| key.retired_at.is_some()) {
        tracing::warn!("the key that this node signed with was retired: it makes another one");
        let signer = write(&place.path, &token::new_private_key()?)?;
        keys.register(&signer.public().0, &place.node, now).await?;
        signer
    } else {
        signer
    };
    keys.retire(Retire::Others(&place.node, &signer.public().0), now).await?;
    Ok(signer)
}

/// The key that an older sproxy kept in the database.
async fn key_of_database(tx: &Tx) -> Result<Option<Vec<u8>>, Error> {
    let Some(kept) = MetaRepo::on(tx).get(MetaKey::SigningKey).await? else { return Ok(None) };
    let key = STANDARD.decode(kept).ok().filter(|key| Signer::new(key).is_ok());
    if key.is_none() {
        tracing::warn!("the signing key in the database is none: tokens that were signed before are refused");
    }
    Ok(key)
}

fn read(path: &Path) -> Result<Option<Signer>, Error> {
    let failed = |reason| Error::File { path: path.display().to_string(), reason };
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(reason) => return Err(failed(reason)),
    };
    if private_file::make_private(path).map_err(failed)? {
        tracing::warn!(
            path = %path.display(),
            "others could read the signing key: it is its owner's alone now; if they are not to be trusted, replace it \
             with `sproxy signing-key rotate --at-once`"
        );
    }
    let signer = token::from_pem(&text).and_then(|key| Signer::new(&key).ok());
    signer.map(Some).ok_or_else(|| Error::SigningKeyFile(path.display().to_string()))
}

fn write(path: &Path, key: &[u8]) -> Result<Signer, Error> {
    let signer = Signer::new(key)?;
    let written = private_file::write(path, &token::to_pem(key));
    written.map_err(|reason| Error::File { path: path.display().to_string(), reason })?;
    Ok(signer)
}
