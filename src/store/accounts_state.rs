//! Users, groups and keys as a whole: what followers replicate.

use std::collections::{BTreeSet, HashMap};

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    DatabaseTransaction, IntoActiveModel, IsolationLevel, Iterable, TransactionOptions, TransactionTrait,
};

use crate::domain::group::Group;
use crate::domain::ids::{GroupId, KeyId, UserId};
use crate::domain::user::{ApiKey, User};
use crate::store::{
    ApiKeyRepo, EndedSession, EndedSessionRepo, Error, GroupRepo, MetaKey, MetaRepo, Store, TokenKey,
    TokenKeyRepo, Tx, UserRepo, api_keys, ended_sessions, groups, managers, removed, retried, token_keys,
    users,
};

/// Rows per statement when many are written or removed at once.
const CHUNK: usize = 200;

/// Every user, group and key, and the version of the whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountsState {
    /// Raised by every change.
    pub version: u64,
    pub users: Vec<User>,
    pub groups: Vec<Group>,
    /// Newest first.
    pub keys: Vec<ApiKey>,
    /// What verifies access tokens.
    pub token_keys: Vec<TokenKey>,
    /// Sessions whose access tokens are refused.
    pub ended_sessions: Vec<EndedSession>,
    /// Ids of users, groups and keys that were removed.
    pub removed: BTreeSet<Uuid>,
}

/// The difference between two versions of users, groups and keys. "New" includes changed ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountsChange {
    pub version: u64,
    pub users: Vec<User>,
    pub groups: Vec<Group>,
    pub keys: Vec<ApiKey>,
    /// Every public key that verifies access tokens, changed or not.
    pub token_keys: Vec<[u8; 32]>,
    pub ended_sessions: Vec<EndedSession>,
    pub removed_users: Vec<UserId>,
    pub removed_groups: Vec<GroupId>,
    pub removed_keys: Vec<KeyId>,
}

/// Changes that are about sign-in alone.
#[derive(Clone, Debug, PartialEq)]
pub struct SignInNews {
    pub version: u64,
    /// Every public key that verifies access tokens.
    pub token_keys: Vec<[u8; 32]>,
    /// Those that are new.
    pub ended_sessions: Vec<EndedSession>,
}

impl Store {
    /// Users, groups, keys and version as of one moment. Grows with their number.
    pub async fn accounts_state(&self) -> Result<AccountsState, Error> {
        let tx = self.view().await?;
        let state = AccountsState {
            version: MetaRepo::on(&tx).state_version().await?,
            users: UserRepo::on(&tx).all().await?,
            groups: GroupRepo::on(&tx).all().await?,
            keys: ApiKeyRepo::on(&tx).all().await?,
            token_keys: TokenKeyRepo::on(&tx).all().await?,
            ended_sessions: EndedSessionRepo::on(&tx).all().await?,
            removed: removed::all(&tx).await?,
        };
        tx.rollback().await?;
        Ok(state)
    }

    /// What has changed since the state was at `version`, if that is about sign-in alone: then it costs what is new, and
    /// users, groups and keys need not be read. `None`: they have changed too, or the database is behind `version`.
    pub async fn sign_in_news(&self, version: u64) -> Result<Option<SignInNews>, Error> {
        let tx = self.view().await?;
        let meta = MetaRepo::on(&tx);
        let reached = meta.state_version().await?;
        let news = if reached < version || meta.accounts_version().await? > version {
            None
        } else {
            let ended_sessions = EndedSessionRepo::on(&tx).since(version).await?;
            let token_keys = TokenKeyRepo::on(&tx).all().await?.iter().map(|key| key.public).collect();
            Some(SignInNews { version: reached, token_keys, ended_sessions })
        };
        tx.rollback().await?;
        Ok(news)
    }

    /// A view of several tables as of one moment.
    async fn view(&self) -> Result<Tx, Error> {
        let options = if self.is_embedded() {
            TransactionOptions::default()
        } else {
            TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                ..TransactionOptions::default()
            }
        };
        Ok(Tx::reading(self.reader.begin_with_options(options).await?))
    }

    /// Raises the state version to at least `version`.
    pub async fn reach_state_version(&self, version: u64) -> Result<(), Error> {
        retried(|| async {
            let (tx, held) = self.begin_locked().await?;
            if held < version { tx.commit_at(version).await } else { tx.rollback().await }
        })
        .await
    }

    /// Makes users, groups, keys and version what a leader's `state` says, in one transaction with `notes` about where it
    /// comes from. Writes only what differs, so that one changed user among 100,000 costs one row; reading and comparing
    /// grows with their number.
    ///
    /// # Errors
    /// [`Error::Conflict`] when `state` contradicts itself (two users of one name); then nothing is changed.
    pub async fn replace_accounts(
        &self,
        state: &AccountsState,
        notes: &[(MetaKey, String)],
    ) -> Result<(), Error> {
        retried(|| async {
            let (tx, _) = self.begin_locked().await?;
            token_keys::replace(&tx, &state.token_keys).await?;
            replace(tx, state, notes).await
        })
        .await
    }

    /// As [`Store::replace_accounts`], for a leader, as long as users, groups and keys are at `version` still. Public keys
    /// are added and none is removed: leaders of this database sign with them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when they are not, and as there; then nothing is changed.
    pub async fn replace_accounts_at(
        &self,
        version: u64,
        state: &AccountsState,
        notes: &[(MetaKey, String)],
    ) -> Result<(), Error> {
        retried(|| async {
            let (tx, held) = self.begin_locked().await?;
            if held != version {
                return Err(Error::Unavailable("users, groups or keys have changed meanwhile".to_owned()));
            }
            token_keys::add(&tx, &state.token_keys).await?;
            replace(tx, state, notes).await
        })
        .await
    }

    /// Applies `change` to the version before `change.version`, in one transaction with `notes`. Costs what changes,
    /// whatever else there is.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the change does not fit what is stored; then nothing is changed.
    pub async fn change_accounts(
        &self,
        change: &AccountsChange,
        notes: &[(MetaKey, String)],
    ) -> Result<(), Error> {
        retried(|| self.change_accounts_once(change, notes)).await
    }

    async fn change_accounts_once(
        &self,
        change: &AccountsChange,
        notes: &[(MetaKey, String)],
    ) -> Result<(), Error> {
        let tx = self.begin().await?;
        for (key, value) in notes {
            MetaRepo::on(&tx).set(*key, value).await?;
        }
        let gone = change.removed_groups.iter().map(|id| id.0);
        let gone = gone.chain(change.removed_users.iter().map(|id| id.0));
        let gone: Vec<Uuid> = gone.chain(change.removed_keys.iter().map(|id| id.0)).collect();
        removed::note_all(&tx, &gone, change.version).await?;
        let keys: Vec<_> = change.token_keys.iter().copied().map(TokenKey::of_another).collect();
        token_keys::replace(&tx, &keys).await?;
        ended_sessions::add_all(&tx, &change.ended_sessions).await?;
        let rows = change.groups.iter().map(groups::to_row).collect::<Result<Vec<_>, _>>()?;
        let removed: Vec<Uuid> = change.removed_groups.iter().map(|id| id.0).collect();
        managers::remove_groups(&tx, &removed).await?;
        let parked = |id: &Uuid| (groups::row::Column::Name, parking_name(id));
        let step = Change::step(rows, removed, |row| row.id);
        step.apply(tx.inner(), groups::row::Column::Id, parked).await?;

        let rows = change.users.iter().map(users::to_row).collect::<Result<Vec<_>, _>>()?;
        let removed: Vec<Uuid> = change.removed_users.iter().map(|id| id.0).collect();
        managers::remove_users(&tx, &removed).await?;
        let parked = |id: &Uuid| (users::row::Column::Name, parking_name(id));
        let step = Change::step(rows, removed, |row| row.id);
        step.apply(tx.inner(), users::row::Column::Id, parked).await?;
        managers::write(&tx, &change.users).await?;

        let rows = change.keys.iter().map(api_keys::to_row).collect();
        let removed = change.removed_keys.iter().map(|id| id.0).collect();
        let parked = |id: &Uuid| (api_keys::row::Column::Digest, Expr::value(id.as_bytes().to_vec()));
        let step = Change::step(rows, removed, |row| row.id);
        step.apply(tx.inner(), api_keys::row::Column::Id, parked).await?;
        tx.commit_at(change.version).await
    }
}

async fn replace(tx: Tx, state: &AccountsState, notes: &[(MetaKey, String)]) -> Result<(), Error> {
    for (key, value) in notes {
        MetaRepo::on(&tx).set(*key, value).await?;
    }
    let wanted = state.groups.iter().map(groups::to_row).collect::<Result<Vec<_>, _>>()?;
    let change = Change::between(wanted, groups::row::Entity::find().all(tx.inner()).await?, |row| row.id);
    let parked = |id: &Uuid| (groups::row::Column::Name, parking_name(id));
    change.apply(tx.inner(), groups::row::Column::Id, parked).await?;

    let wanted = state.users.iter().map(users::to_row).collect::<Result<Vec<_>, _>>()?;
    let change = Change::between(wanted, users::row::Entity::find().all(tx.inner()).await?, |row| row.id);
    let parked = |id: &Uuid| (users::row::Column::Name, parking_name(id));
    change.apply(tx.inner(), users::row::Column::Id, parked).await?;
    managers::replace(&tx, &state.users).await?;

    let wanted = state.keys.iter().map(api_keys::to_row).collect();
    let change = Change::between(wanted, api_keys::row::Entity::find().all(tx.inner()).await?, |row| row.id);
    let parked = |id: &Uuid| (api_keys::row::Column::Digest, Expr::value(id.as_bytes().to_vec()));
    change.apply(tx.inner(), api_keys::row::Column::Id, parked).await?;
    removed::replace(&tx, &state.removed, state.version).await?;
    ended_sessions::add_all(&tx, &state.ended_sessions).await?;
    tx.commit_at(state.version).await
}

/// A name that no one can have, for the moment in which two users swap theirs.
fn parking_name(id: &Uuid) -> Expr {
    Expr::value(format!("\u{1}{id}"))
}

/// The rows of a table that have to be written, and the ids of those that have to go.
struct Change<M> {
    write: Vec<M>,
    rewritten: Vec<Uuid>,
    remove: Vec<Uuid>,
}

impl<M: PartialEq> Change<M> {
    fn between(wanted: Vec<M>, present: Vec<M>, id: impl Fn(&M) -> Uuid) -> Self {
        let mut present: HashMap<Uuid, M> = present.into_iter().map(|row| (id(&row), row)).collect();
        let (mut write, mut rewritten) = (Vec::new(), Vec::new());
        for row in wanted {
            match present.remove(&id(&row)) {
                Some(same) if same == row => {}
                Some(other) => {
                    rewritten.push(id(&other));
                    write.push(row);
                }
                None => write.push(row),
            }
        }
        Self { write, rewritten, remove: present.into_keys().collect() }
    }
}

impl<M> Change<M> {
    /// Writes and removals as given, not compared with what is stored.
    fn step(write: Vec<M>, remove: Vec<Uuid>, id: impl Fn(&M) -> Uuid) -> Self {
        Self { rewritten: write.iter().map(id).collect(), write, remove }
    }

    /// Removes, then moves what will be rewritten out of the way of unique columns, then writes.
    async fn apply<E, C>(
        self,
        tx: &DatabaseTransaction,
        id: C,
        parked: impl Fn(&Uuid) -> (C, Expr),
    ) -> Result<(), Error>
    where
        E: EntityTrait<Model = M, Column = C>,
        C: ColumnTrait + Iterable,
        M: ModelTrait<Entity = E> + IntoActiveModel<E::ActiveModel>,
        E::ActiveModel: ActiveModelTrait<Entity = E> + Send,
    {
        for ids in self.remove.chunks(CHUNK) {
            E::delete_many().filter(id.is_in(ids.iter().copied())).exec(tx).await?;
        }
        for row in &self.rewritten {
            let (column, value) = parked(row);
            E::update_many().col_expr(column, value).filter(id.eq(*row)).exec(tx).await?;
        }
        let mut rows = self.write.into_iter();
        loop {
            let chunk: Vec<E::ActiveModel> = rows.by_ref().take(CHUNK).map(M::into_active_model).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            let all = C::iter().collect::<Vec<_>>();
            let overwrite = OnConflict::column(id).update_columns(all).to_owned();
            E::insert_many(chunk).on_conflict(overwrite).exec_without_returning(tx).await?;
        }
    }
}
