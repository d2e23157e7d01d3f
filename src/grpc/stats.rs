//! The service `Stats`: what the cluster has used, for programs.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use crate::cluster::leader::service::LeaderService;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::summary::{GlobalStats, StatsBy};
use crate::domain::usage::UsageFilter;
use crate::grpc::access::Access;
use crate::grpc::status::status;
use crate::store::{Cursor, GroupRepo, StatsCursor, Store, UsageRepo, UserRepo};
use crate::wire::summary::{global_to_wire, peer_to_wire, user_row_to_wire};
use crate::wire::usage::log_to_wire;
use crate::wire::v1::stats_server::Stats;
use crate::wire::{moment, v1};

/// Default length of a list of users.
const USERS_DEFAULT: u32 = 100;
const USERS_MAX: u32 = 10_000;
/// Usage logs per page of a stream.
const PAGE: usize = 500;

/// The service on the leader's ledger.
pub struct StatsService {
    lead: LeaderService,
    store: Store,
    access: Access,
    clock: Arc<dyn Clock>,
}

impl StatsService {
    /// Answers from `store`, which is the leader's.
    #[must_use]
    pub fn new(lead: LeaderService, store: Store, access: Access, clock: Arc<dyn Clock>) -> Self {
        Self { lead, store, access, clock }
    }

    async fn filter(&self, asked: &v1::UsageFilter) -> Result<UsageFilter, Failure> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(UsageFilter {
            user_id: match some(&asked.user) {
                Some(user) => Some(self.user(&user).await?),
                None => None,
            },
            group_id: match some(&asked.group) {
                Some(group) => Some(self.group(&group).await?),
                None => None,
            },
            within: None,
            model: some(&asked.model),
            node: some(&asked.node),
            errors: false,
            from: asked.from.map(moment::from_wire),
            to: asked.to.map(moment::from_wire),
        })
    }

    /// Removed users have logs, too: an id need not be known.
    async fn user(&self, name: &str) -> Result<UserId, Failure> {
        match (name.parse(), UserRepo::on(&self.store).get_by_name(name).await?) {
            (_, Some(user)) => Ok(user.id),
            (Ok(id), None) => Ok(id),
            (Err(_), None) => Err(Failure::new(Kind::NotFound, format!("there is no user {name}"))),
        }
    }

    async fn group(&self, name: &str) -> Result<GroupId, Failure> {
        match (name.parse(), GroupRepo::on(&self.store).get_by_name(name).await?) {
            (_, Some(group)) => Ok(group.id),
            (Ok(id), None) => Ok(id),
            (Err(_), None) => Err(Failure::new(Kind::NotFound, format!("there is no group {name}"))),
        }
    }
}

#[tonic::async_trait]
impl Stats for StatsService {
    async fn get_global_stats(
        &self,
        request: Request<v1::GetGlobalStatsRequest>,
    ) -> Result<Response<v1::GlobalStats>, Status> {
        self.access.reader(request.metadata())?;
        let (from, to) = window(request.get_ref().from, request.get_ref().to);
        // First how far the sums can be trusted, then the sums: what comes in between makes them no less complete.
        let (complete_through, incomplete) = (self.lead.complete_through(), self.lead.incomplete());
        let totals = UsageRepo::on(&self.store).global_sum_tokens(from, to).await.map_err(status)?;
        Ok(Response::new(global_to_wire(&GlobalStats { totals, complete_through, incomplete })))
    }

    async fn list_user_stats(
        &self,
        request: Request<v1::ListUserStatsRequest>,
    ) -> Result<Response<v1::ListUserStatsResponse>, Status> {
        self.access.reader(request.metadata())?;
        let asked = request.into_inner();
        let window = window(asked.from, asked.to);
        let limit = if asked.limit == 0 { USERS_DEFAULT } else { asked.limit.min(USERS_MAX) } as usize;
        let after = Some(asked.cursor.as_str()).filter(|cursor| !cursor.is_empty());
        let after = after.map(|cursor| StatsCursor::read(StatsBy::User, cursor)).transpose();
        let after = after.map_err(|error| status(Failure::new(Kind::Invalid, error.to_string())))?;
        let (usage, now) = (UsageRepo::on(&self.store), self.clock.now());
        let page = usage.stats_page(StatsBy::User, None, window, limit, after.as_ref(), now).await;
        let page = page.map_err(status)?;
        let next_cursor = page.next.map_or_else(String::new, |cursor| cursor.to_string());
        let items = page.items.iter().map(user_row_to_wire).collect();
        Ok(Response::new(v1::ListUserStatsResponse { items, next_cursor }))
    }

    async fn list_peers(
        &self,
        request: Request<v1::ListPeersRequest>,
    ) -> Result<Response<v1::ListPeersResponse>, Status> {
        self.access.reader(request.metadata())?;
        let peers = self.lead.peers().iter().map(peer_to_wire).collect();
        Ok(Response::new(v1::ListPeersResponse { peers }))
    }

    type QueryUsageStream = Pin<Box<dyn Stream<Item = Result<v1::UsageLog, Status>> + Send>>;

    async fn query_usage(
        &self,
        request: Request<v1::UsageFilter>,
    ) -> Result<Response<Self::QueryUsageStream>, Status> {
        self.access.reader(request.metadata())?;
        let asked = request.into_inner();
        let filter = self.filter(&asked).await.map_err(status)?;
        let left = if asked.limit == 0 { u64::MAX } else { asked.limit };
        let pages = Pages {
            store: self.store.clone(),
            filter,
            left,
            next: Next::First,
            logs: Vec::new().into_iter(),
        };
        Ok(Response::new(Box::pin(stream::unfold(pages, Pages::next))))
    }
}

/// Usage logs, read page by page as the caller takes them.
struct Pages {
    store: Store,
    filter: UsageFilter,
    left: u64,
    next: Next,
    logs: std::vec::IntoIter<v1::UsageLog>,
}

enum Next {
    First,
    From(Cursor),
    End,
}

impl Pages {
    async fn next(mut self) -> Option<(Result<v1::UsageLog, Status>, Self)> {
        if self.left == 0 {
            return None;
        }
        loop {
            if let Some(log) = self.logs.next() {
                self.left -= 1;
                return Some((Ok(log), self));
            }
            let cursor = match std::mem::replace(&mut self.next, Next::End) {
                Next::First => None,
                Next::From(cursor) => Some(cursor),
                Next::End => return None,
            };
            match UsageRepo::on(&self.store).query(&self.filter, PAGE, cursor).await {
                Ok(page) => {
                    self.next = page.next.map_or(Next::End, Next::From);
                    self.logs = page.items.iter().map(log_to_wire).collect::<Vec<_>>().into_iter();
                }
                Err(error) => return Some((Err(status(error)), self)),
            }
        }
    }
}

fn window(
    from: Option<prost_types::Timestamp>,
    to: Option<prost_types::Timestamp>,
) -> (Timestamp, Timestamp) {
    (from.map_or(Timestamp::MIN, moment::from_wire), to.map_or(Timestamp::MAX, moment::from_wire))
}
