//! `sproxy doctor`: what stands between a person and an answer of the gateway, check by check, each with what to do.

mod certificate;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use reqwest::header::DATE;
use serde_json::{Value, json};

use super::agent_key::AgentKey;
use super::client::Query;
use super::connect::{ClientName, Standing, connected_by_agent, standing};
use super::error::Error;
use super::http_client::{self, is_local};
use super::logins::{Login, server_name};
use super::me::{Access, LimitUse};
use super::output::{Output, print};
use crate::domain::clock::{Clock, SystemClock, Timestamp};

/// A clock that differs by more makes times in reports and limits surprising.
const SKEW_MAX: Duration = Duration::from_mins(1);
/// A certificate with less to live is spoken of.
const EXPIRES_SOON: Duration = Duration::from_hours(14 * 24);
/// A limit of which more is used is spoken of.
const NEARLY: f64 = 0.8;
/// How long a small call may take.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// Check what stands between you and the gateway: server, certificate, clock, login, limits, clients' settings
#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 if nothing failed, 1 otherwise.")]
pub struct DoctorArgs {
    #[command(flatten)]
    access: Access,
    /// Also make one small call to this model, which is booked like any other
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Warning,
    Failed,
}

struct Check {
    name: &'static str,
    verdict: Verdict,
    text: String,
    /// What to do.
    advice: Option<String>,
}

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Check>);

impl Findings {
    fn good(&mut self, name: &'static str, text: impl Into<String>) {
        self.0.push(Check { name, verdict: Verdict::Good, text: text.into(), advice: None });
    }

    fn warning(&mut self, name: &'static str, text: impl Into<String>, advice: impl Into<String>) {
        let advice = Some(advice.into());
        self.0.push(Check { name, verdict: Verdict::Warning, text: text.into(), advice });
    }

    fn failed(&mut self, name: &'static str, text: impl Into<String>, advice: impl Into<String>) {
        let advice = Some(advice.into());
        self.0.push(Check { name, verdict: Verdict::Failed, text: text.into(), advice });
    }

    fn have_failed(&self) -> bool {
        self.0.iter().any(|check| check.verdict == Verdict::Failed)
    }
}

pub async fn run(args: DoctorArgs) -> Result<(), Error> {
    let mut findings = Findings::default();
    look_at_environment(&mut findings);
    if let Some((server, ca_file)) = look_at_login(&args.access, &mut findings).await?
        && look_at_server(&server, ca_file, &mut findings).await
    {
        look_at_account(&args.access, &mut findings).await;
        if let Some(model) = &args.model {
            call(&args.access, model, &mut findings).await;
        }
    }
    look_at_clients(&mut findings)?;
    let has_failed = findings.have_failed();
    show(&findings, args.json)?;
    if has_failed { Err(Error::NotHealthy) } else { Ok(()) }
}

fn look_at_environment(findings: &mut Findings) {
    let names = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"];
    let set: Vec<_> =
        names.into_iter().filter(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty())).collect();
    if set.is_empty() {
        findings.good("proxy", "no proxy in the environment");
        return;
    }
    let exempt =
        ["NO_PROXY", "no_proxy"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    findings.good("proxy", format!("calls go through the proxy of {}, except to: {exempt}", set.join(", ")));
}

/// The server that is meant; none: nobody has signed in anywhere.
async fn look_at_login(
    access: &Access,
    findings: &mut Findings,
) -> Result<Option<(String, Option<PathBuf>)>, Error> {
    let server = access.server.as_deref().filter(|server| !server.is_empty());
    match Login::find(server) {
        Ok(Some(login)) => {
            let standing = login.standing()?;
            let (server, user) = (login.server().to_owned(), &standing.user);
            let until = standing.expires_at;
            findings.good(
                "login",
                format!("signed in to {server} as {user}; the token here is of use until {until}"),
            );
            match login.check().await {
                Ok(()) => {
                    findings.good("token", format!("the refresh token is kept in {}", standing.kept_in));
                }
                Err(reason) => findings.warning(
                    "token",
                    reason.to_string(),
                    "until then, nothing works here once the access token has expired",
                ),
            }
            Ok(Some((server, standing.ca_file)))
        }
        Ok(None) if access.has_token() => match server {
            Some(server) => Ok(Some((server_name(server)?, None))),
            None => Err(Error::Usage("a token is given, but no server: name it with --server".to_owned())),
        },
        Ok(None) => {
            let named = server.map(server_name).transpose()?;
            let example = named.as_deref().unwrap_or("URL");
            findings.failed("login", "nobody is signed in", format!("run `sproxy login --server {example}`"));
            Ok(named.map(|server| (server, None)))
        }
        Err(reason @ Error::Usage(_)) => Err(reason),
        Err(reason) => {
            findings.failed("login", reason.to_string(), "run `sproxy login` again");
            Ok(None)
        }
    }
}

/// Whether it answers.
async fn look_at_server(server: &str, ca_file: Option<PathBuf>, findings: &mut Findings) -> bool {
    let built = http_client::trusting(http_client::builder(server), ca_file.as_deref());
    let http = match built.map(|http| http.tls_info(true).build()) {
        Ok(Ok(http)) => http,
        Ok(Err(reason)) => {
            findings.failed("server", reason.to_string(), "sign in again with --ca-file");
            return false;
        }
        Err(reason) => {
            findings.failed("server", reason.to_string(), "sign in again with a --ca-file that can be read");
            return false;
        }
    };
    let (begin, now) = (Instant::now(), SystemClock.now());
    let answer = match http.get(format!("{server}/healthz")).send().await {
        Ok(answer) => answer,
        Err(reason) => {
            let Error::Unreachable { reason, .. } = http_client::unreachable(server, &reason) else {
                return false;
            };
            let is_tls = reason.contains("certificate");
            let advice = if is_tls {
                "the certificate is not trusted here: give your company's authorities with `sproxy login --ca-file FILE`"
            } else {
                "check the address, your network or VPN, and proxies; then ask whoever runs the gateway"
            };
            findings.failed("server", format!("{server} does not answer: {reason}"), advice);
            return false;
        }
    };
    let took = begin.elapsed().as_millis();
    if answer.status().is_success() {
        findings.good("server", format!("{server} answers ({took} ms)"));
    } else {
        let text = format!("{server} answers {} where a node says that it is alive", answer.status());
        findings.failed("server", text, "check that the address is the gateway's");
        return false;
    }
    look_at_tls(server, &answer, now, findings);
    let date =
        answer.headers().get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let date = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    if let Some(there) = date.map(|date| Timestamp::from_micros(i64::try_from(date.as_micros()).unwrap_or(0)))
    {
        // Its date has no fractions of a second.
        let skew = there.since(now).max(now.since(there)).saturating_sub(Duration::from_secs(1));
        if skew > SKEW_MAX {
            let text = format!(
                "the clocks here and there differ by {}",
                humantime::format_duration(whole_seconds(skew))
            );
            findings.warning("clock", text, "let this machine set its clock from the network");
        } else {
            findings.good("clock", "the clocks here and there agree");
        }
    }
    true
}

fn look_at_tls(server: &str, answer: &reqwest::Response, now: Timestamp, findings: &mut Findings) {
    if !server.starts_with("https://") {
        if is_local(server) {
            findings.good("tls", "not encrypted, and does not leave this machine");
        } else {
            let advice = "ask whoever runs the gateway for an https address: tokens and prompts can be read on the way";
            findings.warning("tls", format!("{server} is not encrypted"), advice);
        }
        return;
    }
    let info = answer.extensions().get::<reqwest::tls::TlsInfo>();
    let until = info.and_then(reqwest::tls::TlsInfo::peer_certificate).and_then(certificate::not_after);
    match until {
        Some(until) if until.since(now) < EXPIRES_SOON => {
            let text = format!("the certificate expires at {until}");
            findings.warning("tls", text, "tell whoever runs the gateway to replace it");
        }
        Some(until) => findings.good("tls", format!("the certificate is trusted, and valid until {until}")),
        None => findings.good("tls", "the certificate is trusted"),
    }
}

async fn look_at_account(access: &Access, findings: &mut Findings) {
    // What is wrong with it was said above.
    let Ok(client) = access.client() else { return };
    let none = Query::new();
    let me = match client.get(&["me"], &none).await {
        Ok(me) => me,
        Err(reason) => {
            findings.failed("credential", reason.to_string(), "run `sproxy login` again");
            return;
        }
    };
    let word = |field: &str| me.get(field).and_then(Value::as_str).unwrap_or("none").to_owned();
    let (name, role, group) = (word("name"), word("role"), word("group"));
    findings.good("credential", format!("the gateway knows you as {name} (role {role}, group {group})"));
    match client.get(&["me", "quota"], &none).await {
        Ok(quota) => look_at_limits(&quota, findings),
        Err(reason) => findings.warning("limits", reason.to_string(), "try again in a moment"),
    }
    if let Ok(nodes) = client.get(&["me", "nodes"], &none).await {
        let own = env!("CARGO_PKG_VERSION");
        let version = |node: &Value| node.get("version").and_then(Value::as_str).map(str::to_owned);
        let rows = nodes.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let others: Vec<_> =
            rows.iter().filter_map(version).filter(|version| !version.starts_with(own)).collect();
        match others.first() {
            None => findings
                .good("version", format!("{} nodes take calls, all of this version ({own})", rows.len())),
            Some(other) => {
                let text = format!("this is sproxy {own}, and the gateway runs {other}");
                findings.warning("version", text, "install the same version here");
            }
        }
    }
}

fn look_at_limits(quota: &Value, findings: &mut Findings) {
    let limits = LimitUse::all(quota);
    let (mut is_spent, mut is_near) = (false, false);
    for limit in &limits {
        let resets = limit.resets_at.as_deref().map_or(String::new(), |at| format!(", until {at}"));
        let text = format!("{}: {} used{resets}", limit.name, limit.shown);
        if limit.part() >= 1.0 {
            is_spent = true;
            findings.failed("limits", text, "wait until it resets, or ask an admin for more");
        } else if limit.part() >= NEARLY {
            is_near = true;
            findings.warning("limits", text, "little is left: `sproxy me` shows all limits");
        }
    }
    if !is_spent && !is_near {
        let text = if limits.is_empty() { "you have no limits" } else { "there is room in all your limits" };
        findings.good("limits", text);
    }
}

/// A dialect's smallest call: it is asked in the one that has the model.
async fn call(access: &Access, model: &str, findings: &mut Findings) {
    let Ok(client) = access.client() else { return };
    let chat =
        json!({ "model": model, "max_tokens": 16, "messages": [{ "role": "user", "content": "Say hi." }] });
    let content = json!({ "contents": [{ "role": "user", "parts": [{ "text": "Say hi." }] }] });
    let generate = format!("{model}:generateContent");
    let calls = [
        (&["v1", "messages"][..], &chat),
        (&["v1", "chat", "completions"], &chat),
        (&["v1beta", "models", generate.as_str()], &content),
    ];
    let begin = Instant::now();
    let mut refused = None;
    for (path, body) in calls {
        match tokio::time::timeout(CALL_TIMEOUT, client.call(path, body)).await {
            Ok(Ok(_)) => {
                findings.good("call", format!("{model} answers ({} ms)", begin.elapsed().as_millis()));
                return;
            }
            Ok(Err(reason)) => {
                refused.get_or_insert(reason.to_string());
            }
            Err(_) => {
                refused
                    .get_or_insert(format!("no answer within {}", humantime::format_duration(CALL_TIMEOUT)));
            }
        }
    }
    let text = format!("{model} gives no answer: {}", refused.unwrap_or_default());
    findings.failed("call", text, "check the model's name, and your limits with `sproxy me`");
}

fn look_at_clients(findings: &mut Findings) -> Result<(), Error> {
    let mut is_any_connected = false;
    for client in ClientName::ALL {
        let (title, word) = (client.title(), client.word());
        let again = format!("run `sproxy connect {word}` again");
        for (path, standing) in standing(client)? {
            match standing {
                Standing::Untouched => {}
                Standing::Connected(_) => {
                    is_any_connected = true;
                    findings.good("clients", format!("{title} is connected ({})", path.display()));
                }
                Standing::Changed(_, values) => {
                    let text = format!("{}: somebody has changed {}", path.display(), values.join(", "));
                    findings.warning("clients", text, again.clone());
                }
            }
        }
        let set = client.overriding_variables().iter().filter(|name| std::env::var_os(name).is_some());
        let set: Vec<_> = set.copied().collect();
        if is_any_connected && !set.is_empty() {
            let text = format!("{title} prefers {} of this shell to its settings", set.join(", "));
            findings.warning("clients", text, "unset it where the client runs");
        }
    }
    if !is_any_connected {
        findings.good("clients", "no client is connected by `sproxy connect` here");
    }
    if connected_by_agent()? {
        let agent = AgentKey::read().ok().map(|agent| agent.address);
        let answers = agent.is_some_and(|address| {
            std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        });
        match agent {
            Some(address) if answers => findings.good("agent", format!("the agent runs at {address}")),
            _ => findings.failed(
                "agent",
                "a client calls through the agent, which does not run",
                "start `sproxy agent`",
            ),
        }
    }
    Ok(())
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

fn show(findings: &Findings, json: bool) -> Result<(), Error> {
    let word = |verdict| match verdict {
        Verdict::Good => "ok",
        Verdict::Warning => "warning",
        Verdict::Failed => "failed",
    };
    if json {
        let row = |check: &Check| {
            let (name, verdict) = (check.name, word(check.verdict));
            json!({ "check": name, "verdict": verdict, "text": check.text, "advice": check.advice })
        };
        let rows: Vec<_> = findings.0.iter().map(row).collect();
        return Output::new(true).done(&json!({ "ok": !findings.have_failed(), "checks": rows }), "");
    }
    for check in &findings.0 {
        let advice =
            check.advice.as_deref().map_or(String::new(), |advice| format!("\n           -> {advice}"));
        print(&format!("{:7} {}{advice}", word(check.verdict), check.text))?;
    }
    Ok(())
}
