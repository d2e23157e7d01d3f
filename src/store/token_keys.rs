//! Table `token_keys`: the public keys that verify access tokens, of every leader that signs some. One that nobody signs
//! with any more is retired, and stays until the last token that was signed with it has expired.

use std::collections::BTreeSet;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, QueryOrder as _, Statement, Value};

use crate::domain::clock::Timestamp;
use crate::domain::ids::NodeId;
use crate::store::{Error, Executor, Tx, columns};

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "token_keys")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub public: Vec<u8>,
        pub node: Option<String>,
        pub created_at: Option<i64>,
        pub retired_at: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A public key that verifies access tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKey {
    pub public: [u8; 32],
    /// The node that signs with it; `None` for a node of another database.
    pub node: Option<String>,
    pub created_at: Option<Timestamp>,
    /// Nobody has signed with it since. `None`: somebody does.
    pub retired_at: Option<Timestamp>,
}

impl TokenKey {
    /// A key of another database's leader.
    #[must_use]
    pub fn of_another(public: [u8; 32]) -> Self {
        Self { public, node: None, created_at: None, retired_at: None }
    }
}

/// Which keys are retired.
#[derive(Clone, Copy, Debug)]
pub enum Retire<'k> {
    /// Those of a node, but for the one that it signs with.
    Others(&'k NodeId, &'k [u8; 32]),
    /// Those of a node.
    AllOf(&'k str),
    /// Those of nodes of another database: what was its leader's is nobody's here.
    Ownerless,
}

/// Reads public keys; on a [`Tx`] also changes them. There are a few.
#[derive(Debug)]
pub struct TokenKeyRepo<'a, G>(&'a G);

impl<'a, G: Executor> TokenKeyRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    /// Every key that access tokens are accepted of, retired ones included.
    pub async fn all(&self) -> Result<Vec<TokenKey>, Error> {
        let rows = row::Entity::find().order_by_asc(row::Column::Public).all(&self.0.reads()).await?;
        rows.into_iter().map(from_row).collect()
    }

    /// The key, if access tokens of it are accepted.
    pub async fn get(&self, public: &[u8; 32]) -> Result<Option<TokenKey>, Error> {
        row::Entity::find_by_id(public.to_vec()).one(&self.0.reads()).await?.map(from_row).transpose()
    }
}

impl TokenKeyRepo<'_, Tx> {
    /// Adds a key that nobody here signs with any more.
    pub async fn add_of_another(&self, public: [u8; 32]) -> Result<(), Error> {
        add(self.0, &[TokenKey::of_another(public)]).await?;
        self.0.touches_sign_in();
        Ok(())
    }

    /// Adds a key of `node`, or notes that it is this node's. One that was retired stays so.
    pub async fn register(&self, public: &[u8; 32], node: &NodeId, now: Timestamp) -> Result<(), Error> {
        let sql = "INSERT INTO token_keys (public, node, created_at) VALUES ($1, $2, $3) \
                   ON CONFLICT (public) DO UPDATE SET node = excluded.node, retired_at = NULL, \
                   created_at = COALESCE(token_keys.created_at, excluded.created_at) WHERE token_keys.node IS NULL \
                   OR (token_keys.node <> excluded.node AND token_keys.retired_at IS NULL)";
        let values = [public.to_vec().into(), node.as_str().to_owned().into(), now.as_micros().into()];
        if self.run(sql, values).await? > 0 {
            self.0.touches_sign_in();
        }
        Ok(())
    }

    /// Retires keys that are not retired yet; how many.
    pub async fn retire(&self, which: Retire<'_>, now: Timestamp) -> Result<u64, Error> {
        let retire =
            |of: &str| format!("UPDATE token_keys SET retired_at = $1 WHERE retired_at IS NULL AND {of}");
        let now = now.as_micros().into();
        match which {
            Retire::Others(node, kept) => {
                let sql = retire("node = $2 AND public <> $3");
                self.run(&sql, [now, node.as_str().to_owned().into(), kept.to_vec().into()]).await
            }
            Retire::AllOf(node) => self.run(&retire("node = $2"), [now, node.to_owned().into()]).await,
            Retire::Ownerless => self.run(&retire("node IS NULL"), [now]).await,
        }
    }

    /// Removes keys that were retired before `before`, of `node` or, with none, of any: their tokens are refused from now
    /// on. The answer is how many.
    pub async fn remove_retired(&self, node: Option<&NodeId>, before: Timestamp) -> Result<u64, Error> {
        let mut sql = "DELETE FROM token_keys WHERE retired_at < $1".to_owned();
        let mut values: Vec<Value> = vec![before.as_micros().into()];
        if let Some(node) = node {
            sql.push_str(" AND node = $2");
            values.push(node.as_str().to_owned().into());
        }
        let removed = self.run(&sql, values).await?;
        if removed > 0 {
            self.0.touches_sign_in();
        }
        Ok(removed)
    }

    async fn run(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<u64, Error> {
        let connection = self.0.inner();
        let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        Ok(connection.execute_raw(statement).await?.rows_affected())
    }
}

/// Adds those of `keys` that are not there.
pub(super) async fn add(tx: &Tx, keys: &[TokenKey]) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let rows = keys.iter().map(|key| row::ActiveModel {
        public: Set(key.public.to_vec()),
        node: Set(key.node.clone()),
        created_at: Set(columns::micros(key.created_at)),
        retired_at: Set(columns::micros(key.retired_at)),
    });
    let keep = OnConflict::column(row::Column::Public).do_nothing().to_owned();
    row::Entity::insert_many(rows).on_conflict(keep).exec_without_returning(tx.inner()).await?;
    Ok(())
}

/// Makes `keys` all there are.
pub(super) async fn replace(tx: &Tx, keys: &[TokenKey]) -> Result<(), Error> {
    let wanted: BTreeSet<&[u8; 32]> = keys.iter().map(|key| &key.public).collect();
    for held in TokenKeyRepo::on(tx).all().await? {
        if !wanted.contains(&held.public) {
            row::Entity::delete_by_id(held.public.to_vec()).exec(tx.inner()).await?;
        }
    }
    add(tx, keys).await
}

fn from_row(row: row::Model) -> Result<TokenKey, Error> {
    Ok(TokenKey {
        public: columns::digest("token_keys.public", &row.public)?,
        node: row.node,
        created_at: columns::moment(row.created_at),
        retired_at: columns::moment(row.retired_at),
    })
}
