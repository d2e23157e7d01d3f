//! Where routes of the control plane are answered: by the node that is asked, or by the leader.

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;

use crate::domain::failure::{Failure, Kind};
use crate::http::problem::ApiError;
use crate::http::state::ControlState;

/// Marks an answer that covers this node only, not the cluster.
const SCOPE: HeaderName = HeaderName::from_static("x-sproxy-scope");

/// A route, and where each of its methods is answered. There is no other way into [`Routes`].
#[derive(Default)]
pub struct Located {
    here: Option<MethodRouter<ControlState>>,
    leader: Option<MethodRouter<ControlState>>,
}

/// Answered by the node that is asked, with what it knows.
#[must_use]
pub fn here(methods: MethodRouter<ControlState>) -> Located {
    Located { here: Some(methods), ..Located::default() }
}

/// Answered by the leader, whichever node is asked: logins, what is about the whole cluster, and changes to it.
#[must_use]
pub fn leader(methods: MethodRouter<ControlState>) -> Located {
    Located { leader: Some(methods), ..Located::default() }
}

impl Located {
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let both = |one: Option<MethodRouter<ControlState>>, other| match (one, other) {
            (Some(one), Some(other)) => Some(one.merge(other)),
            (one, other) => one.or(other),
        };
        Self { here: both(self.here, other.here), leader: both(self.leader, other.leader) }
    }
}

/// The routes so far.
pub struct Routes {
    state: ControlState,
    router: Router<ControlState>,
}

impl Routes {
    #[must_use]
    pub fn new(state: ControlState) -> Self {
        Self { state, router: Router::new() }
    }

    #[must_use]
    pub fn route(mut self, path: &str, located: Located) -> Self {
        let here = located
            .here
            .map(|methods| methods.route_layer(from_fn_with_state(self.state.clone(), answer_here)));
        let leader = located
            .leader
            .map(|methods| methods.route_layer(from_fn_with_state(self.state.clone(), answer_by_leader)));
        for methods in here.into_iter().chain(leader) {
            self.router = self.router.route(path, methods);
        }
        self
    }

    /// These routes, and what answers where there is none.
    pub fn with_fallback<T: 'static>(self, unknown: impl Handler<T, ControlState>) -> Router {
        let router = self.router.fallback(unknown);
        Self { router, ..self }.without_fallback()
    }

    /// These routes alone, to be merged with others.
    pub fn without_fallback(self) -> Router {
        self.router
            .method_not_allowed_fallback(async || ApiError::method_not_allowed())
            .with_state(self.state)
    }
}

/// Answers locally; a follower marks the answer as its local view.
async fn answer_here(State(state): State<ControlState>, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    if state.relay.is_none() {
        return answer;
    }
    let not_yet = (answer.status() == StatusCode::UNAUTHORIZED).then(|| state.cluster.no_accounts_yet());
    local(match not_yet.flatten() {
        Some(reason) => ApiError::from(Failure::not_yet(reason)).into_response(),
        None => answer,
    })
}

/// Answers on the leader; a follower relays the call.
pub async fn answer_by_leader(State(state): State<ControlState>, request: Request, next: Next) -> Response {
    let changes = !request.method().is_safe();
    match &state.relay {
        Some(relay) => relay(request).await,
        None => match state.promotion.superseded().filter(|_| changes) {
            Some(reason) => ApiError::from(Failure::new(Kind::Unavailable, reason)).into_response(),
            None => next.run(request).await,
        },
    }
}

/// Marks an answer as this node's own.
pub fn local(mut answer: Response) -> Response {
    answer.headers_mut().insert(SCOPE, HeaderValue::from_static("local"));
    answer
}
