//! Reading usage logs, page by page.

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use crate::domain::ids::RequestId;
use crate::domain::usage::{UsageFilter, UsageLog};
use crate::store::usage::{UsageRepo, row};
use crate::store::{Cursor, Error, Page, page};

impl UsageRepo<'_> {
    /// A page of usage logs, newest first, starting after `from`.
    ///
    /// Costs the page when filtered by nothing, time or user (an index each). A filter by group, model or node also
    /// passes over the logs that do not fit: give it a window.
    ///
    /// # Errors
    /// [`Error`] of the database.
    pub async fn query(
        &self,
        filter: &UsageFilter,
        limit: usize,
        from: Option<Cursor>,
    ) -> Result<Page<UsageLog>, Error> {
        let mut select = row::Entity::find();
        if let Some(user) = filter.user_id {
            select = select.filter(row::Column::UserId.eq(user.0));
        }
        if let Some(group) = filter.group_id {
            select = select.filter(row::Column::GroupId.eq(group.0));
        }
        if let Some(model) = &filter.model {
            select = select.filter(row::Column::Model.eq(model));
        }
        if let Some(node) = &filter.node {
            select = select.filter(row::Column::SourceNode.eq(node));
        }
        if let Some(from) = filter.from {
            select = select.filter(row::Column::CreatedAt.gte(from.as_micros()));
        }
        if let Some(to) = filter.to {
            select = select.filter(row::Column::CreatedAt.lt(to.as_micros()));
        }
        let order = (row::Column::CreatedAt, row::Column::RequestId);
        let rows = page::newest_first(select, order, limit, from).all(&self.0.reader).await?;
        let logs = rows.into_iter().map(UsageLog::try_from).collect::<Result<Vec<_>, _>>()?;
        let place = |log: &UsageLog| Cursor { at: log.record.created_at, id: log.record.request_id.0 };
        Ok(Page::cut(logs, limit, place))
    }

    /// The usage log of one request. Costs one look-up.
    ///
    /// # Errors
    /// [`Error`] of the database.
    pub async fn get(&self, id: RequestId) -> Result<Option<UsageLog>, Error> {
        row::Entity::find_by_id(id.0).one(&self.0.reader).await?.map(UsageLog::try_from).transpose()
    }
}
