//! The frame around every page: what it is called, who is signed in, and where else to go.

use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::domain::principal::Principal;
use crate::ui::permit::{self, Area};
use crate::ui::{assets, notice};

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
        document(title, body).into_response()
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
