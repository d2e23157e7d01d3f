//! `platform` of a target, and what follows from it: where it is, and what its calls are made with.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;

use http::Uri;

use super::sections::{Auth, KeyConfig, MachineCredentials};
use super::table::{Table, text_of};
use super::target_keys;
use crate::cloud::aws_discovery;
use crate::cloud::credentials::CloudCredentials;
use crate::cloud::gcp::GcpCredentials;
use crate::cloud::hosting::Platform;
use crate::cloud::machine::Machine;
use crate::dialect;
use crate::domain::provider::Provider;
use crate::domain::secret::Secret;

/// Where a target is.
pub(super) struct Address {
    pub(super) platform: Platform,
    pub(super) region: String,
    pub(super) url: String,
}

pub(super) fn address(table: &Table<'_>, provider: Provider) -> Address {
    let platform = table.choice("platform", &Platform::ALL);
    let written = table.value("url").is_some_and(|value| text_of(value).is_none_or(|text| !text.is_empty()));
    let region = region(table, platform, &table.text("url"));
    let Some(hosted) = dialect::hosted_at(provider, platform, &region) else {
        table.wrong("platform", format!("`{}` has no models of {provider}", platform.as_str()));
        return Address { platform, region, url: String::new() };
    };
    let url = match hosted.url {
        Some(url) if !written => {
            if region.is_empty() {
                table.wrong("region", "has to be set, such as us-east-1, or url instead");
            }
            url
        }
        _ => with_path(url(table, platform), hosted.path),
    };
    Address { platform, region, url }
}

fn url(table: &Table<'_>, platform: Platform) -> String {
    let example = match platform {
        Platform::Azure => "https://NAME.openai.azure.com, or https://NAME.services.ai.azure.com",
        _ => "https://api.anthropic.com",
    };
    let url = table.required("url", &format!("has to be set, such as {example}"));
    let fits = url.parse::<Uri>().is_ok_and(|uri| {
        let plain = uri.query().is_none() && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("http" | "https")) && plain
    });
    if !fits && !url.is_empty() {
        table.wrong("url", "has to be an http or https URL, without credentials and without a query");
    }
    url
}

/// A URL that names only a host, with the path that the platform has the API at.
fn with_path(url: String, path: &str) -> String {
    let is_bare = url.parse::<Uri>().is_ok_and(|uri| uri.path() == "/");
    if is_bare { format!("{}{path}", url.trim_end_matches('/')) } else { url }
}

/// The region: as it is set, as the host's name says, or as AWS's own clients read it.
fn region(table: &Table<'_>, platform: Platform, url: &str) -> String {
    let set = table.text("region");
    if !set.is_empty() {
        let is_name = set.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name {
            table.wrong("region", "has to be a region's name, such as us-east-1");
            return String::new();
        }
        if matches!(platform, Platform::Provider | Platform::Azure) {
            table.wrong("region", "has a meaning only beside platform = \"bedrock\" or \"vertex\"");
        }
        return set;
    }
    if platform != Platform::Bedrock {
        return set;
    }
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    let mut labels = host.split('.').skip_while(|label| !label.starts_with("bedrock-"));
    let in_host = labels.nth(1).filter(|region| region.contains('-')).map(str::to_owned);
    let of_machine = || ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| table.variable(name));
    in_host.or_else(of_machine).unwrap_or_default()
}

/// What calls of a target are made with.
pub(super) struct Keys {
    pub(super) auth: Auth,
    pub(super) api_key: Option<Secret>,
    pub(super) several: Vec<KeyConfig>,
    pub(super) machine: Option<MachineCredentials>,
    pub(super) project: String,
}

pub(super) fn keys(table: &Table<'_>, reading: &super::table::Reading<'_>, address: &Address) -> Keys {
    let Address { platform, region, .. } = address;
    let has_keys = ["api_key", "api_key_env", "api_key_file"].iter().any(|way| table.optional(way).is_some())
        || table.value("keys").and_then(|keys| keys.as_array()).is_some_and(|keys| !keys.is_empty());
    let bedrock_key = || table.variable("AWS_BEARER_TOKEN_BEDROCK").filter(|key| !key.is_empty());
    let auth = match (table.choice("auth", &Auth::ALL), platform) {
        (Auth::OfDialect, Platform::Azure) => Auth::ApiKey,
        (Auth::OfDialect, Platform::Bedrock) if has_keys || bedrock_key().is_some() => Auth::Bearer,
        (Auth::OfDialect, Platform::Bedrock) => Auth::SigV4,
        (Auth::OfDialect, Platform::Vertex) => Auth::Gcp,
        (auth, _) => auth,
    };
    let mut api_key = target_keys::api_key(table, auth).ok().flatten();
    let several = target_keys::read(table, reading, auth);
    if auth == Auth::Bearer && *platform == Platform::Bedrock && !has_keys {
        api_key = bedrock_key().map(Secret::new);
    }
    let machine = if has_keys { None } else { machine(table, auth, region) };
    if auth == Auth::SigV4 && region.is_empty() {
        table.wrong("region", "has to be set for signatures, such as us-east-1");
    }
    let project = project(table, *platform, api_key.as_ref(), machine.as_ref());
    Keys { auth, api_key, several, machine, project }
}

/// What AWS's or Google's own clients would find on this machine.
fn machine(table: &Table<'_>, auth: Auth, region: &str) -> Option<MachineCredentials> {
    let seen = RefCell::new(foldhash::quality::FixedState::with_seed(0).build_hasher());
    let variable = |name: &str| {
        let value = table.variable(name);
        let mut seen = seen.borrow_mut();
        seen.write(name.as_bytes());
        seen.write(value.as_deref().unwrap_or_default().as_bytes());
        value
    };
    let file = |path: &Path| {
        let read = std::fs::read_to_string(path);
        if let Ok(text) = &read {
            table.uses_file(path);
            seen.borrow_mut().write(text.as_bytes());
        }
        read
    };
    let machine = Machine { variable: &variable, file: &file };
    let found = match auth {
        Auth::SigV4 => aws_discovery::find(machine, region).map(CloudCredentials::Aws),
        Auth::Gcp => GcpCredentials::find(machine).map(|found| CloudCredentials::Gcp(found.into())),
        _ => return None,
    };
    match found {
        Ok(credentials) => Some(MachineCredentials { credentials, fingerprint: seen.into_inner().finish() }),
        Err(error) => {
            table.wrong("auth", error.to_string());
            None
        }
    }
}

/// The project of Google's cloud: as it is set, or as the credentials say.
fn project(
    table: &Table<'_>,
    platform: Platform,
    api_key: Option<&Secret>,
    machine: Option<&MachineCredentials>,
) -> String {
    let set = table.text("project");
    if platform != Platform::Vertex {
        if !set.is_empty() {
            table.wrong("project", "has a meaning only beside platform = \"vertex\"");
        }
        return set;
    }
    let given = api_key.and_then(|text| CloudCredentials::of_gcp_file(text.expose()).ok());
    let credentials = given.as_ref().or(machine.map(|machine| &machine.credentials));
    let named = || credentials.and_then(CloudCredentials::project).map(str::to_owned);
    let of_machine = || {
        ["GOOGLE_CLOUD_PROJECT", "ANTHROPIC_VERTEX_PROJECT_ID"].iter().find_map(|name| table.variable(name))
    };
    let project = Some(set).filter(|set| !set.is_empty()).or_else(named).or_else(of_machine);
    project.unwrap_or_else(|| {
        table.wrong("project", "has to be set: the project of Google's cloud that calls are made in");
        String::new()
    })
}
