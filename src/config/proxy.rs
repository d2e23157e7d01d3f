//! The way out through a company's proxy: `[upstream] proxy`, a target's own, or what the environment says, as other
//! programs read it.

use std::net::IpAddr;
use std::time::Duration;

use http::Uri;

use super::environment::Environment;
use super::sections::{OnLoss, UpstreamConfig};
use super::table::{Reading, Table};
use crate::domain::network::is_loopback;
use crate::domain::secret::Secret;

/// The value by which a target opts out of the global proxy.
pub(super) const NONE: &str = "none";

pub(super) fn upstream(table: &Table<'_>, environment: &Environment) -> UpstreamConfig {
    let own = table.optional("no_proxy");
    let given = own.or_else(|| either(environment, "NO_PROXY").map(str::to_owned));
    UpstreamConfig {
        proxy: secret(table),
        no_proxy: given.unwrap_or_default(),
        max_attempts: table.size("max_attempts", 1, 16),
        retry_ratio: table.ratio("retry_ratio", 10.0),
        retry_uncertain: table.flag("retry_uncertain"),
        on_loss: table.choice("on_loss", &[("warn", OnLoss::Warn), ("refuse", OnLoss::Refuse)]),
        max_wait: table.duration("max_wait", Duration::ZERO),
    }
}

/// The proxy for a target's `url`; `None` if it is reached directly.
pub(super) fn of_target(
    table: &Table<'_>,
    reading: &Reading<'_>,
    upstream: &UpstreamConfig,
    url: &str,
) -> Option<Secret> {
    if let Some(own) = secret(table) {
        return Some(own).filter(|own| own.expose() != NONE);
    }
    let uri: Uri = url.parse().ok()?;
    let is_tls = uri.scheme_str() == Some("https");
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    if is_loopback(host) || is_exempt(&upstream.no_proxy, host, port) {
        return None;
    }
    upstream.proxy.clone().or_else(|| {
        let name = if is_tls { "HTTPS_PROXY" } else { "HTTP_PROXY" };
        let text = either(reading.environment, name)?;
        // Others take a name without a scheme for an HTTP proxy.
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        if let Err(reason) = check(&text) {
            table.wrong("proxy", format!("{name} of the environment {reason}"));
            return None;
        }
        Some(Secret::new(text))
    })
}

fn either<'e>(environment: &'e Environment, name: &str) -> Option<&'e str> {
    environment.get(name).or_else(|| environment.get(&name.to_ascii_lowercase()))
}

fn secret(table: &Table<'_>) -> Option<Secret> {
    let given = table.secret("proxy").ok().flatten()?;
    if given.secret.expose() != NONE
        && let Err(reason) = check(given.secret.expose())
    {
        table.wrong(&given.key, reason);
        return None;
    }
    Some(given.secret)
}

fn check(text: &str) -> Result<(), String> {
    let fits = text
        .parse::<Uri>()
        .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty()));
    if fits { Ok(()) } else { Err("has to be such as http://user:password@proxy:3128".to_owned()) }
}

/// The proxy's address without credentials.
pub(super) fn shown(proxy: Option<&Secret>) -> String {
    let text = proxy.map_or("", Secret::expose);
    match text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}://***@{host}"),
        None => text.to_owned(),
    }
}

/// Whether `list` names the host: `*`, a name and what lies below it, an address, a network such as `10.0.0.0/8`, each
/// with or without a port.
fn is_exempt(list: &str, host: &str, port: u16) -> bool {
    let host = host.to_ascii_lowercase();
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let (name, only) = split_port(entry);
        let name = name.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
        let is_named = entry == "*"
            || host == name
            || host.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.') && !name.is_empty())
            || is_in_network(&name, &host);
        is_named && only.is_none_or(|only| only == port)
    })
}

fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((host, port)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, port.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port.parse().ok()),
        _ => (entry, None),
    }
}

fn is_in_network(network: &str, host: &str) -> bool {
    let Ok(host) = host.parse::<IpAddr>() else { return false };
    let (address, bits) = network.split_once('/').unwrap_or((network, "128"));
    let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    // Both as 128 bits; the mask of a shorter address leaves out what lies behind it.
    let (one, other, width) = match (address, host) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    let ignored = width - bits.min(width);
    one.checked_shr(ignored).unwrap_or(0) == other.checked_shr(ignored).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_domains_networks_and_ports() {
        for (list, host, port, exempt) in [
            ("", "api.openai.com", 443, false),
            ("*", "api.openai.com", 443, true),
            ("openai.com", "api.openai.com", 443, true),
            (".openai.com", "api.openai.com", 443, true),
            ("*.openai.com", "API.openai.com", 443, true),
            ("openai.com", "openai.com", 443, true),
            ("openai.com", "notopenai.com", 443, false),
            ("a, b.corp ,c", "x.b.corp", 80, true),
            ("llm.corp:8080", "llm.corp", 8080, true),
            ("llm.corp:8080", "llm.corp", 443, false),
            ("10.0.0.0/8", "10.1.2.3", 80, true),
            ("10.0.0.0/8", "11.1.2.3", 80, false),
            ("10.1.2.3", "10.1.2.3", 80, true),
            ("10.1.2.3:81", "10.1.2.3", 80, false),
            ("fd00::/8", "fd12::1", 80, true),
            ("[fd12::1]:80", "fd12::1", 80, true),
            ("fd00::/8", "10.1.2.3", 80, false),
            ("0.0.0.0/0", "10.1.2.3", 80, true),
        ] {
            assert_eq!(is_exempt(list, host, port), exempt, "`{list}` {host}:{port}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let shown = |text: &str| shown(Some(&Secret::new(text)));
        assert_eq!(shown("http://alice:s3cret@proxy:3128"), "http://***@proxy:3128");
        assert_eq!(shown("http://proxy:3128"), "http://proxy:3128");
    }
}
