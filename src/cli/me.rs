//! `sproxy me`: who somebody is at the gateway, what they have used this month, and what is left of their limits.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, Query};
use super::error::Error;
use super::http_client;
use super::logins::Login;
use super::output::{Output, grouped, to_the_second, usd_with};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::secret::Secret;

/// Characters of a bar.
const BAR: usize = 20;

/// Who you are at the gateway, what you have used this month, and what is left of your limits
#[derive(Debug, Args)]
pub struct MeArgs {
    #[command(flatten)]
    access: Access,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// As whom a person asks about themselves.
#[derive(Debug, Args)]
pub struct Access {
    /// The gateway [default: that of the last login]
    #[arg(long, env = "SPROXY_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// An API key or access token [default: the login]
    #[arg(long, env = "SPROXY_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
}

/// A limit, what is used of it, and when it turns.
pub struct LimitUse {
    /// Whose, and of what: `daily tokens of group devs`.
    pub name: String,
    pub used: f64,
    pub limit: f64,
    /// As it is shown: `1,200 of 5,000`.
    pub shown: String,
    pub resets_at: Option<String>,
}

impl Access {
    /// Whether something else than the login is to be used.
    pub fn has_token(&self) -> bool {
        self.token.as_deref().is_some_and(|token| !token.is_empty())
    }

    /// # Errors
    /// Without a token that nobody has signed in, with what to do.
    pub fn client(&self) -> Result<Client, Error> {
        let server = self.server.as_deref().filter(|server| !server.is_empty());
        match self.token.as_deref().filter(|token| !token.is_empty()) {
            None => Client::of_login(Login::required(server)?),
            Some(token) => {
                let server = match server {
                    Some(server) => server.to_owned(),
                    None => Login::required(None)?.server().to_owned(),
                };
                http_client::parse(&server)?;
                Client::new(&server, Secret::new(token))
            }
        }
    }
}

impl LimitUse {
    /// Every limit of `/me/quota` that is set.
    pub fn all(quota: &Value) -> Vec<Self> {
        let mut all = Vec::new();
        for whose in ["user", "group"] {
            let Some(of) = quota.get(whose).filter(|of| of.is_object()) else { continue };
            let name = of.get("name").and_then(Value::as_str).unwrap_or("?");
            let owner = if whose == "user" { "yours".to_owned() } else { format!("group {name}") };
            let number = |part: &str, field: &str| of.get(part)?.get(field)?.as_f64();
            for (field, title, resets) in [
                ("daily_tokens", "tokens today", Some("day_resets_at")),
                ("monthly_tokens", "tokens this month", Some("month_resets_at")),
                ("monthly_usd", "USD this month", Some("month_resets_at")),
                ("rpm", "requests per minute", None),
                ("concurrent", "calls at once", None),
            ] {
                let (Some(limit), used) = (number("limits", field), number("used", field)) else { continue };
                let used = used.unwrap_or(0.0);
                let decimals = if field == "monthly_usd" { 2 } else { 0 };
                let text = |value: f64| match format!("{value:.decimals$}").split_once('.') {
                    Some((whole, rest)) => format!("${}.{rest}", grouped(whole)),
                    None => grouped(&format!("{value:.0}")),
                };
                all.push(Self {
                    name: format!("{title} ({owner})"),
                    used,
                    limit,
                    shown: format!("{} of {}", text(used), text(limit)),
                    resets_at: resets.and_then(|field| of.get(field)?.as_str()).map(to_the_second),
                });
            }
        }
        all
    }

    /// The part that is used, from 0 on.
    pub fn part(&self) -> f64 {
        if self.limit > 0.0 { self.used / self.limit } else { 1.0 }
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the bar's length"
    )]
    fn bar(&self) -> String {
        let full = (self.part().clamp(0.0, 1.0) * 20.0).round() as usize;
        format!("[{}{}]", "#".repeat(full.min(BAR)), "-".repeat(BAR - full.min(BAR)))
    }
}

pub async fn run(args: MeArgs) -> Result<(), Error> {
    let client = args.access.client()?;
    let none = Query::new();
    let month = SystemClock.now().month_start().to_string();
    let me = client.get(&["me"], &none).await?;
    let quota = client.get(&["me", "quota"], &none).await?;
    let usage = client.get(&["me", "usage"], &vec![("from", month), ("limit", "1".to_owned())]).await?;
    let totals = usage.get("totals").cloned().unwrap_or_default();
    let text = text(client.server(), &me, &quota, &totals);
    Output::new(args.json).done(&json!({ "me": me, "quota": quota, "month": totals }), &text)
}

fn text(server: &str, me: &Value, quota: &Value, totals: &Value) -> String {
    let word = |field: &str| me.get(field).and_then(Value::as_str);
    let count = |field: &str| totals.get(field).and_then(Value::as_i64).unwrap_or(0);
    let shown = |field: &str| grouped(&count(field).to_string());
    let mut text = format!("{} at {server}: {}", word("name").unwrap_or("?"), word("role").unwrap_or("?"));
    match word("group") {
        Some(group) => {
            let _ = writeln!(text, " in group {group}");
        }
        None => text.push_str(", in no group\n"),
    }
    let _ = writeln!(
        text,
        "this month: {} requests, {} tokens ({} in, {} out), {}",
        shown("request_count"),
        shown("total_tokens"),
        shown("total_input"),
        shown("total_output"),
        usd_with(count("cost_nanousd"), 2)
    );
    let limits = LimitUse::all(quota);
    if limits.is_empty() {
        text.push_str("no limits");
    }
    let width =
        |text: &dyn Fn(&LimitUse) -> &str| limits.iter().map(|limit| text(limit).len()).max().unwrap_or(0);
    let (name_width, shown_width) = (width(&|limit| &limit.name), width(&|limit| &limit.shown));
    for limit in &limits {
        let resets = limit.resets_at.as_deref().map_or(String::new(), |at| format!("  resets {at}"));
        let _ = writeln!(
            text,
            "{:name_width$}  {} {:>3.0} %  {:shown_width$}{resets}",
            limit.name,
            limit.bar(),
            limit.part() * 100.0,
            limit.shown
        );
    }
    text.trim_end().to_owned()
}
