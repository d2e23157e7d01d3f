//! Reading usage logs, page by page.

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use crate::domain::ids::RequestId;
use crate::domain::usage::{UsageFilter, UsageLog};
use crate::store::usage::{UsageRepo, row};
use crate::store::{Cursor, Error, Page, columns};

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
        if let Some(Cursor { at, id }) = from {
            let at = at.as_micros();
            // The first condition is implied by the second; it is the one that the index understands.
            select = select
                .filter(row::Column::CreatedAt.lte(at))
                .filter(row::Column::CreatedAt.lt(at).or(row::Column::RequestId.lt(id)));
        }
        let newest_first = select.order_by_desc(row::Column::CreatedAt).order_by_desc(row::Column::RequestId);
        let rows = newest_first.limit(columns::page_rows(limit)).all(&self.0.reader).await?;
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
