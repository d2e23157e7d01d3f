//! The frame around every page: what it is called, who is signed in, and where else to go.

use std::convert::Infallible;
use std::future::ready;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::domain::principal::Principal;
use crate::http::problem::{ApiError, ApiResult};
use crate::ui::permit::{self, Area};
use crate::ui::{assets, notice};

/// Where the rest of a page goes. Nothing that is escaped holds it.
const REST: &str = "<!--rest-->";
const MARK: &str = r#"<svg viewBox="0 0 20 20" aria-hidden="true" focusable="false"><path d="M2 4h16v3H2zM2 8.5h10v3H2zM2 13h16v3H2z"/></svg>"#;

/// A page that somebody can go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub path: &'static str,
    pub name: &'static str,
    pub area: Area,
}

macro_rules! places {
    ($($name:ident = $path:literal, $label:literal, $area:ident;)+) => {
        $(pub const $name: Place = Place { path: $path, name: $label, area: Area::$area };)+
        const PLACES: &[Place] = &[$($name),+];
    };
}

places! {
    MY_USAGE = "/ui/usage", "Usage", Own;
    MY_KEYS = "/ui/keys", "Keys", Own;
    MY_LIMITS = "/ui/limits", "Limits", Own;
    CONNECT = "/ui/connect", "Connect", Own;
    OVERVIEW = "/ui/overview", "Overview", People;
    ALL_USAGE = "/ui/all-usage", "Usage", People;
    USERS = "/ui/users", "Users", People;
    GROUPS = "/ui/groups", "Groups", People;
    ALL_KEYS = "/ui/all-keys", "Keys", People;
    MODELS = "/ui/models", "Models and prices", Cluster;
    TARGETS = "/ui/targets", "Targets", Cluster;
    PEERS = "/ui/peers", "Nodes", Cluster;
    ALERTS = "/ui/alerts", "Alerts", Cluster;
    AUDIT = "/ui/audit", "Audit", Cluster;
}

/// A page in the frame.
pub struct Page<'a> {
    pub place: Place,
    pub title: &'a str,
    pub content: Markup,
}

impl Page<'_> {
    /// The whole document, for `me`.
    #[must_use]
    pub fn answer(self, me: &Principal) -> Response {
        self.document(me).into_response()
    }

    /// The document in two parts: what is known is sent, and painted, at once, and below it `rest` when it is found. Sums of
    /// many calls take longer than anybody wants to look at nothing.
    #[must_use]
    pub fn answer_in_parts(
        mut self,
        me: &Principal,
        rest: impl Future<Output = ApiResult<Markup>> + Send + 'static,
    ) -> Response {
        self.content = html! { (self.content) (PreEscaped(REST)) };
        let Html(whole) = self.document(me);
        let (first, last) = whole.split_once(REST).unwrap_or((&whole, ""));
        let (first, last) = (Bytes::from(first.to_owned()), last.to_owned());
        let rest = async move {
            let rest = rest.await.unwrap_or_else(untold);
            Bytes::from(rest.into_string() + &last)
        };
        let parts = stream::once(ready(first)).chain(stream::once(rest)).map(Ok::<_, Infallible>);
        let mut answer = Body::from_stream(parts).into_response();
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        answer
    }

    fn document(self, me: &Principal) -> Html<String> {
        let Self { place, title, content } = self;
        let body = html! {
            a.skip href="#page" { "Skip to the page" }
            header.bar {
                a.brand href="/ui/" { (PreEscaped(MARK)) "sproxy" }
                button.menu type="button" aria-expanded="false" aria-controls="places" { "Menu" }
                div.who {
                    span { (me.user) }
                    form method="post" action="/ui/logout" { button.quiet type="submit" { "Sign out" } }
                }
            }
            div.frame {
                nav.places id="places" aria-label="Pages" { (links(me, place)) }
                main id="page" tabindex="-1" { (content) }
            }
        };
        document(title, body)
    }
}

fn links(me: &Principal, here: Place) -> Markup {
    html! {
        @for (area, heading) in [(Area::Own, "You"), (Area::People, "People"), (Area::Cluster, "Gateway")] {
            @if permit::may_see(me, area) {
                h2 { (heading) }
                ul {
                    @for place in PLACES.iter().filter(|place| place.area == area) {
                        li { a href=(place.path) aria-current=[(*place == here).then_some("page")] { (place.name) } }
                    }
                }
            }
        }
    }
}

/// What stands where something could not be found out.
fn untold(error: ApiError) -> Markup {
    let problem = error.into_problem();
    html! { div.notice.bad role="alert" { p { strong { "The rest of this page could not be read: " } (problem.detail) "." }
    p { "Load the page again in a moment." } } }
}

/// A page for whoever is not signed in, or for what went wrong.
pub fn bare(title: &str, content: Markup) -> Html<String> {
    document(title, html! { div.door { main id="page" { div.card { (brand()) (content) } } } })
}

fn brand() -> Markup {
    html! { a.brand href="/ui/" { (PreEscaped(MARK)) "sproxy" } }
}

fn document(title: &str, body: Markup) -> Html<String> {
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · sproxy" }
                link rel="icon" href=(assets::icon()) type="image/svg+xml";
                link rel="stylesheet" href=(assets::style());
                script src=(assets::script()) defer {}
            }
            body { (body) }
        }
    };
    Html(whole.into_string())
}

/// The heading of a page, what it is about, and what can be done.
#[must_use]
pub fn heading(title: &str, about: Markup, actions: Markup) -> Markup {
    html! {
        div.head {
            div { h1 { (title) } p { (about) } }
            @if !actions.0.is_empty() { div.actions { (actions) } }
        }
    }
}

/// What was just done, by its code in the address; none of a code that is not known.
#[must_use]
pub fn done(code: Option<&str>) -> Markup {
    html! {
        @if let Some(text) = code.and_then(notice::text) {
            div.notice.good role="status" { p { (text) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;
    use crate::domain::failure::{Failure, Kind};
    use crate::domain::ids::{KeyId, UserId};
    use crate::domain::principal::Credential;
    use crate::domain::quota::Allowance;
    use crate::domain::user::Role;

    fn me() -> Principal {
        Principal {
            user_id: UserId::new(),
            user: "alice".into(),
            group: None,
            allowance: Allowance::default().into(),
            group_allowance: None,
            role: Role::User,
            manages: Arc::new([]),
            credential: Credential::ApiKey(KeyId::new()),
        }
    }

    async fn next(
        parts: &mut (impl futures_util::Stream<Item = Result<Bytes, axum::Error>> + Unpin),
    ) -> String {
        let part = parts.next().await.expect("a part").expect("no error");
        String::from_utf8(part.to_vec()).expect("UTF-8")
    }

    #[tokio::test]
    async fn what_is_known_is_sent_before_what_is_not() {
        let (found, rest) = oneshot::channel::<ApiResult<Markup>>();
        let page = Page { place: MY_USAGE, title: "Usage", content: html! { p { "<known>" } } };
        let answer = page.answer_in_parts(&me(), async { rest.await.expect("found") });
        let mut parts = answer.into_body().into_data_stream();
        let first = next(&mut parts).await;
        assert!(first.starts_with("<!DOCTYPE html>") && first.ends_with("<p>&lt;known&gt;</p>"), "{first}");
        assert!(parts.next().now_or_never().is_none(), "nothing is made up");
        found.send(Ok(html! { p { "the rest" } })).expect("somebody waits");
        let last = next(&mut parts).await;
        assert!(last.starts_with("<p>the rest</p>") && last.ends_with("</html>"), "{last}");
        assert!(parts.next().await.is_none());
    }

    #[tokio::test]
    async fn what_cannot_be_found_is_told_where_it_would_have_been() {
        for (kind, said) in [(Kind::Unavailable, "the database is away"), (Kind::Internal, "the node's log")]
        {
            let page = Page { place: MY_USAGE, title: "Usage", content: html! {} };
            let failed = async move { Err(Failure::new(kind, "the database is away").into()) };
            let mut parts = page.answer_in_parts(&me(), failed).into_body().into_data_stream();
            next(&mut parts).await;
            let last = next(&mut parts).await;
            assert!(
                last.contains("role=\"alert\"") && last.contains(said) && last.ends_with("</html>"),
                "{last}"
            );
            assert_eq!(last.contains("the database is away"), kind != Kind::Internal);
        }
    }
}
