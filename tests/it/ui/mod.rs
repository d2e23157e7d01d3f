//! Pages as a browser gets them: over a socket, with a cookie, and nothing else.

mod browser;
mod device;
mod door;
mod pages;
mod sessions;

pub use browser::{is_here as browser_is_here, look};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use sproxy::domain::clock::Clock as _;

use crate::http::Plane;

/// A browser, as far as a server can tell.
pub struct Browser {
    base: String,
    client: reqwest::Client,
    /// `name=value`, once it was given one.
    pub cookie: Option<String>,
}

/// A page, or what came instead.
pub struct Shown {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Shown {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where it sends the browser.
    #[track_caller]
    pub fn redirect(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text);
        self.header("location")
    }

    /// The text of a page that has to have this status.
    #[track_caller]
    pub fn page(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "text/html; charset=utf-8", "{}", self.text);
        self.text
    }
}

impl Browser {
    pub fn at(base: &str) -> Self {
        let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        Self { base: base.to_owned(), client, cookie: None }
    }

    /// Signed in.
    pub async fn of(base: &str, name: &str, password: &str) -> Self {
        let mut browser = Self::at(base);
        let shown = browser.sign_in(name, password).await;
        assert_eq!(shown.redirect(), "/ui/");
        browser
    }

    pub async fn sign_in(&mut self, name: &str, password: &str) -> Shown {
        self.submit("/ui/login", &[("username", name), ("password", password)]).await
    }

    pub async fn get(&mut self, path: &str) -> Shown {
        let request = self.client.get(format!("{}{path}", self.base)).header("sec-fetch-site", "same-origin");
        self.send(request).await
    }

    /// Sends a form of one of our pages.
    pub async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Shown {
        self.submit_with(path, fields, &[("sec-fetch-site", "same-origin")]).await
    }

    pub async fn submit_with(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Shown {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let mut request = self.client.post(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body.finish());
        self.send(request).await
    }

    async fn send(&mut self, mut request: reqwest::RequestBuilder) -> Shown {
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        if let Some(set) = headers.get("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            self.cookie = Some(pair).filter(|pair| !pair.ends_with('='));
        }
        Shown { status, headers, text: answer.text().await.unwrap() }
    }

    /// Whether the browser is signed in.
    pub async fn is_in(&mut self) -> bool {
        match self.get("/ui/usage").await.status {
            200 => true,
            303 => false,
            other => panic!("{other}"),
        }
    }
}

/// A user with a password.
async fn user(plane: &Plane, name: &str, password: &str) {
    let body = serde_json::json!({"name": name, "password": password});
    plane.post("/admin/v1/users", body).await.expect(201);
}

/// Moves the clock on.
fn later(plane: &Plane, by: std::time::Duration) {
    plane.clock.set(plane.clock.now().plus(by));
}
