//! The table `device_logins`: programs that wait for somebody at a browser to let them in (RFC 8628).

use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, QuerySelect as _, QueryTrait as _};

use crate::domain::clock::Timestamp;
use crate::domain::ids::UserId;
use crate::store::{Error, Executor, columns};

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "device_logins")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub digest: Vec<u8>,
        pub user_code: String,
        pub client: String,
        pub address: String,
        pub created_at: i64,
        pub expires_at: i64,
        pub polled_at: Option<i64>,
        pub decided_at: Option<i64>,
        pub user_id: Option<Uuid>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A program that waits, as it is kept: the digest of its code, never the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceLogin {
    /// SHA-256 of the device code.
    pub digest: [u8; 32],
    /// What a person types, without the dash.
    pub user_code: String,
    /// What the program says it is.
    pub client: String,
    /// Where it asked from.
    pub address: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// When it asked last.
    pub polled_at: Option<Timestamp>,
    /// When somebody said yes or no.
    pub decided_at: Option<Timestamp>,
    /// Who said yes.
    pub user_id: Option<UserId>,
}

/// Reads and changes logins of devices, on a store or a transaction. Every call costs look-ups in an index, and what it
/// changes.
#[derive(Debug)]
pub struct DeviceLoginRepo<'a, G>(&'a G);

impl<'a, G: Executor> DeviceLoginRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`Error::Conflict`] when one of its codes is taken.
    pub async fn create(&self, login: &DeviceLogin) -> Result<(), Error> {
        let row = row::Model {
            digest: login.digest.to_vec(),
            user_code: login.user_code.clone(),
            client: login.client.clone(),
            address: login.address.clone(),
            created_at: login.created_at.as_micros(),
            expires_at: login.expires_at.as_micros(),
            polled_at: columns::micros(login.polled_at),
            decided_at: columns::micros(login.decided_at),
            user_id: login.user_id.map(|id| id.0),
        };
        row::Entity::insert(row.into_active_model()).exec_without_returning(&*self.0.writes().await?).await?;
        Ok(())
    }

    /// How many have not expired at `now`: of this address, and of all.
    pub async fn count(&self, address: &str, now: Timestamp) -> Result<(u64, u64), Error> {
        let waiting = row::Entity::find().filter(row::Column::ExpiresAt.gt(now.as_micros()));
        let of_address = waiting.clone().filter(row::Column::Address.eq(address));
        let connection = self.0.reads();
        Ok((of_address.count(&connection).await?, waiting.count(&connection).await?))
    }

    /// The one whose device code has this digest, expired ones included: the caller checks.
    pub async fn get_by_digest(&self, digest: &[u8; 32]) -> Result<Option<DeviceLogin>, Error> {
        let found = row::Entity::find_by_id(digest.to_vec()).one(&self.0.reads()).await?;
        found.as_ref().map(from_row).transpose()
    }

    /// The one with this user code, expired ones included: the caller checks.
    pub async fn get_by_user_code(&self, code: &str) -> Result<Option<DeviceLogin>, Error> {
        let found = row::Entity::find().filter(row::Column::UserCode.eq(code)).one(&self.0.reads()).await?;
        found.as_ref().map(from_row).transpose()
    }

    /// Notes that the program has asked.
    pub async fn polled(&self, digest: &[u8; 32], at: Timestamp) -> Result<(), Error> {
        let set = row::Entity::update_many().col_expr(row::Column::PolledAt, Expr::value(at.as_micros()));
        set.filter(row::Column::Digest.eq(digest.to_vec())).exec(&*self.0.writes().await?).await?;
        Ok(())
    }

    /// Decides one that nobody has decided; `user` lets it in, `None` refuses it. False: somebody was quicker.
    pub async fn decide(
        &self,
        digest: &[u8; 32],
        user: Option<UserId>,
        at: Timestamp,
    ) -> Result<bool, Error> {
        let set = row::Entity::update_many()
            .col_expr(row::Column::DecidedAt, Expr::value(at.as_micros()))
            .col_expr(row::Column::UserId, Expr::value(user.map(|id| id.0)))
            .filter(row::Column::Digest.eq(digest.to_vec()))
            .filter(row::Column::DecidedAt.is_null());
        Ok(set.exec(&*self.0.writes().await?).await?.rows_affected > 0)
    }

    /// Removes one. False: it was not there any more, so somebody else has its fruit.
    pub async fn delete(&self, digest: &[u8; 32]) -> Result<bool, Error> {
        let it = row::Entity::delete_by_id(digest.to_vec());
        Ok(it.exec(&*self.0.writes().await?).await?.rows_affected > 0)
    }

    /// Removes at most `most` that expired by `now`; returns how many.
    pub async fn delete_expired(&self, now: Timestamp, most: u64) -> Result<u64, Error> {
        let expired = row::Entity::find()
            .select_only()
            .column(row::Column::Digest)
            .filter(row::Column::ExpiresAt.lte(now.as_micros()))
            .limit(most)
            .into_query();
        let delete = row::Entity::delete_many().filter(row::Column::Digest.in_subquery(expired));
        Ok(delete.exec(&*self.0.writes().await?).await?.rows_affected)
    }
}

fn from_row(row: &row::Model) -> Result<DeviceLogin, Error> {
    Ok(DeviceLogin {
        digest: columns::digest("device_logins.digest", &row.digest)?,
        user_code: row.user_code.clone(),
        client: row.client.clone(),
        address: row.address.clone(),
        created_at: Timestamp::from_micros(row.created_at),
        expires_at: Timestamp::from_micros(row.expires_at),
        polled_at: columns::moment(row.polled_at),
        decided_at: columns::moment(row.decided_at),
        user_id: row.user_id.map(UserId),
    })
}
