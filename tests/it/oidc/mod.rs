//! Sign-in at an identity provider: real ones from npm, a browser as far as a server can tell, and a node.

mod faults;
mod people;
mod renewal;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Method, Response, Url};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::harness::{Mock, Node, Setup};

/// The oldest Node.js that the providers run on.
const NODE_MIN: u32 = 20;
/// What the gateway proves itself with at the provider.
const SECRET: &str = "the-gateways-own-secret";

/// A provider's process.
struct Provider {
    /// Ends with the test.
    process: Child,
    /// It says more, and ends when nobody listens.
    _said: Lines<BufReader<ChildStdout>>,
    issuer: String,
    control: String,
}

impl Provider {
    /// None, with a note, on a machine that has no providers (`SPROXY_REQUIRE_OIDC`: then the test fails).
    async fn start(script: &str, lines: usize) -> Option<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc");
        let version = Command::new("node").args(["-p", "process.versions.node"]).output().await;
        let version = version.ok().and_then(|said| String::from_utf8(said.stdout).ok()).unwrap_or_default();
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        let has_providers = directory.join("node_modules/oidc-provider").exists();
        if !has_providers || major.is_none_or(|major| major < NODE_MIN) {
            let missing = format!("Node.js {NODE_MIN} with what `npm ci --prefix tests/oidc` brings");
            assert!(std::env::var_os("SPROXY_REQUIRE_OIDC").is_none(), "this machine lacks {missing}");
            println!("left out: this machine lacks {missing}");
            return None;
        }
        let mut node = Command::new("node");
        node.args([script, SECRET]).current_dir(directory).stdin(Stdio::null());
        let mut process =
            node.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().expect("Node.js");
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut urls = Vec::new();
        while urls.len() < lines {
            urls.push(said.next_line().await.unwrap().expect("a provider that says where it is"));
        }
        let (issuer, control) = (urls[0].clone(), urls[lines - 1].clone());
        Some(Self { process, _said: said, issuer, control })
    }

    async fn tell(&self, path: &str, what: Value) {
        let url = format!("{}{path}", self.control);
        let answer = reqwest::Client::new().post(url).json(&what).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// A node on which people sign in here.
    async fn node(&self, mock: &Mock, more: &str) -> Node {
        self.setup(mock, more).start().await
    }

    fn setup(&self, mock: &Mock, more: &str) -> Setup {
        let lines = format!(
            "issuer = \"{}\"\nclient_id = \"sproxy\"\nclient_secret = \"{SECRET}\"\nname = \"Example login\"\n{more}",
            self.issuer
        );
        Setup::with_targets_at(&mock.url()).section("auth.oidc", &lines)
    }
}

/// A browser that keeps cookies for each origin, and goes where it is sent only when it is told to.
struct Browser {
    client: reqwest::Client,
    cookies: BTreeMap<(String, String), String>,
}

impl Browser {
    fn new() -> Self {
        let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        Self { client, cookies: BTreeMap::new() }
    }

    async fn send(&mut self, method: Method, url: &str, form: Option<&[(&str, &str)]>) -> Response {
        let origin = Url::parse(url).unwrap().origin().ascii_serialization();
        let mine = self.cookies.iter().filter(|((at, _), _)| *at == origin);
        let cookies: Vec<String> = mine.map(|((_, name), value)| format!("{name}={value}")).collect();
        let mut request = self.client.request(method, url).header(COOKIE, cookies.join("; "));
        if let Some(form) = form {
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .header("sec-fetch-site", "same-origin")
                .body(body);
        }
        let answer = request.send().await.unwrap();
        for set in answer.headers().get_all(SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let place = (origin.clone(), name.to_owned());
            match value {
                "" => self.cookies.remove(&place),
                value => self.cookies.insert(place, value.to_owned()),
            };
        }
        answer
    }

    async fn get(&mut self, url: &str) -> Response {
        self.send(Method::GET, url, None).await
    }

    /// Goes where it is sent until it is at a page; the page, and where it is.
    async fn follow(&mut self, url: &str) -> (Response, String) {
        let mut at = url.to_owned();
        for _ in 0..20 {
            let answer = self.get(&at).await;
            match answer.headers().get(LOCATION) {
                Some(location) => at = joined(&at, location.to_str().unwrap()),
                None => return (answer, at),
            }
        }
        panic!("it goes round in circles at {at}");
    }

    /// Goes to the provider's form and fills it in; where that leads to, which was not gone to yet.
    async fn log_in_at_provider(&mut self, base: &str, name: &str) -> String {
        let (form, at) = self.follow(&format!("{base}/auth/oidc/login")).await;
        assert_eq!(form.status(), 200, "{}", form.text().await.unwrap());
        let mut answer = self.send(Method::POST, &at, Some(&[("name", name)])).await;
        let mut at = at;
        loop {
            let location = answer.headers().get(LOCATION).expect("a way on").to_str().unwrap();
            at = joined(&at, location);
            if at.starts_with(&format!("{base}/")) {
                return at;
            }
            answer = self.get(&at).await;
        }
    }

    /// Signs in as somebody; the page at which that ends, its status, and its text.
    async fn sign_in(&mut self, base: &str, name: &str) -> (u16, String) {
        let back = self.log_in_at_provider(base, name).await;
        let (page, _) = self.follow(&back).await;
        (page.status().as_u16(), page.text().await.unwrap())
    }

    /// Whether somebody is signed in at the node.
    async fn is_in(&mut self, base: &str) -> bool {
        match self.get(&format!("{base}/ui/usage")).await.status().as_u16() {
            200 => true,
            303 => false,
            other => panic!("{other}"),
        }
    }
}

fn joined(at: &str, location: &str) -> String {
    Url::parse(at).unwrap().join(location).unwrap().to_string()
}
