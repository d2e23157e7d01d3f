//! Where a machine keeps AWS credentials, looked for in the order of AWS's own clients: variables, web identity, profile,
//! container, instance. <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>

use std::path::PathBuf;

use http::Uri;

use super::aws_credentials::{AwsCredentials, AwsSource, Container, ContainerToken, Instance, WebIdentity};
use super::machine::{BadCredentials, Machine};
use crate::domain::network::is_loopback;
use crate::domain::secret::Secret;

/// Agents of containers, which may be asked without TLS.
const CONTAINER_HOST: &str = "http://169.254.170.2";
const CONTAINER_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
/// Settings of profiles whose credentials come from elsewhere.
const OTHER_KINDS: [&str; 4] = ["role_arn", "credential_process", "sso_session", "sso_start_url"];
const INSTANCE: &str = "http://169.254.169.254";

/// A Bedrock API key, which is sent as it is, as a bearer token.
#[must_use]
pub fn bedrock_key(machine: Machine<'_>) -> Option<Secret> {
    machine.get("AWS_BEARER_TOKEN_BEDROCK").map(Secret::new)
}

/// The source that AWS's clients would use. `region` is where calls go; roles are asked for there.
///
/// # Errors
/// [`BadCredentials`]: something is set that cannot be used.
pub fn find(machine: Machine<'_>, region: &str) -> Result<AwsSource, BadCredentials> {
    if let Some(found) = of_variables(machine)? {
        return Ok(AwsSource::Static(found));
    }
    if let Some(found) = web_identity(machine, region)? {
        return Ok(AwsSource::WebIdentity(found));
    }
    if let Some(found) = of_profile(machine)? {
        return Ok(AwsSource::Static(found));
    }
    if let Some(found) = container(machine)? {
        return Ok(AwsSource::Container(found));
    }
    if machine.get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(BadCredentials::new("AWS credentials", "there are none on this machine"));
    }
    let endpoint = machine.get("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let endpoint = endpoint.as_deref().unwrap_or(INSTANCE).trim_end_matches('/').to_owned();
    url("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)?;
    Ok(AwsSource::Instance(Instance { endpoint }))
}

fn of_variables(machine: Machine<'_>) -> Result<Option<AwsCredentials>, BadCredentials> {
    let Some(access_key_id) = machine.get("AWS_ACCESS_KEY_ID") else { return Ok(None) };
    let secret = machine.get("AWS_SECRET_ACCESS_KEY").ok_or_else(|| {
        BadCredentials::new("AWS_SECRET_ACCESS_KEY", "has to be set beside AWS_ACCESS_KEY_ID")
    })?;
    Ok(Some(AwsCredentials {
        access_key_id,
        secret_access_key: Secret::new(secret),
        session_token: machine.first(&["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"]).map(Secret::new),
        expires_at: None,
    }))
}

fn web_identity(machine: Machine<'_>, region: &str) -> Result<Option<WebIdentity>, BadCredentials> {
    let Some(token_file) = machine.get("AWS_WEB_IDENTITY_TOKEN_FILE") else { return Ok(None) };
    let role_arn = machine.get("AWS_ROLE_ARN").ok_or_else(|| {
        BadCredentials::new("AWS_ROLE_ARN", "has to be set beside AWS_WEB_IDENTITY_TOKEN_FILE")
    })?;
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let endpoint = machine
        .first(&["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"])
        .unwrap_or_else(|| format!("https://sts.{region}.{domain}/"));
    Ok(Some(WebIdentity {
        role_arn,
        session_name: machine.get("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "sproxy".to_owned()),
        token_file: PathBuf::from(token_file),
        endpoint: url("AWS_ENDPOINT_URL_STS", &endpoint)?,
    }))
}

fn of_profile(machine: Machine<'_>) -> Result<Option<AwsCredentials>, BadCredentials> {
    let named = machine.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
    let profile = named.as_deref().unwrap_or("default");
    let path = machine.get("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let path = path.or_else(|| machine.in_home(".aws/credentials"));
    let text = path.as_ref().map(|path| machine.read_if_there(path)).transpose()?.flatten();
    let settings = text.as_ref().and_then(|text| section(text, profile));
    let origin = || format!("profile `{profile}` of AWS");
    let Some(settings) = settings else {
        return match named {
            // Going on to other credentials than those that were asked for would be a surprise.
            Some(_) => Err(BadCredentials::new(origin(), "is not in the file of credentials")),
            None => Ok(None),
        };
    };
    let get = |name: &str| {
        settings
            .iter()
            .rev()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| (*value).to_owned())
    };
    match (get("aws_access_key_id"), get("aws_secret_access_key")) {
        (Some(access_key_id), Some(secret)) => Ok(Some(AwsCredentials {
            access_key_id,
            secret_access_key: Secret::new(secret),
            session_token: get("aws_session_token").or_else(|| get("aws_security_token")).map(Secret::new),
            expires_at: None,
        })),
        // A profile that nobody asked for by name may be about other things, such as a region.
        (None, None) if named.is_none() && !OTHER_KINDS.iter().any(|kind| get(kind).is_some()) => Ok(None),
        _ => Err(BadCredentials::new(
            origin(),
            "has no aws_access_key_id with an aws_secret_access_key, the only kind of profile that is supported",
        )),
    }
}

fn container(machine: Machine<'_>) -> Result<Option<Container>, BadCredentials> {
    let relative = machine.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let (name, address) = match (relative, machine.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
        (Some(path), _) => ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", format!("{CONTAINER_HOST}{path}")),
        (None, Some(address)) => ("AWS_CONTAINER_CREDENTIALS_FULL_URI", address),
        (None, None) => return Ok(None),
    };
    let url = url(name, &address)?;
    if url.scheme_str() == Some("http") && !url.host().is_some_and(is_near) {
        return Err(BadCredentials::new(
            name,
            "has to be an https URL, or one of this machine or of its agent",
        ));
    }
    let token = match machine.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(path) => ContainerToken::File(PathBuf::from(path)),
        None => machine
            .get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
            .map_or(ContainerToken::None, |token| ContainerToken::Text(Secret::new(token))),
    };
    Ok(Some(Container { url, token }))
}

fn is_near(host: &str) -> bool {
    is_loopback(host) || CONTAINER_HOSTS.contains(&host)
}

fn url(origin: &str, text: &str) -> Result<Uri, BadCredentials> {
    let url = text.parse::<Uri>().ok().filter(|url| {
        let plain = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        matches!(url.scheme_str(), Some("http" | "https")) && plain
    });
    url.ok_or_else(|| BadCredentials::new(origin, "is no http or https URL"))
}

/// The settings of a section of an INI file; `None` if there is none of that name.
fn section<'t>(text: &'t str, name: &str) -> Option<Vec<(&'t str, &'t str)>> {
    let mut settings: Option<Vec<(&str, &str)>> = None;
    let mut is_in = false;
    for line in text.lines() {
        let is_indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            is_in = title.0.trim() == name;
            if is_in {
                settings.get_or_insert_default();
            }
        } else if is_in
            && !is_indented
            && let Some((key, value)) = line.split_once('=')
        {
            settings.get_or_insert_default().push((key.trim(), value.trim()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::on;
    use super::*;

    const KEYS: [(&str, &str); 3] =
        [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "hush"), ("AWS_SESSION_TOKEN", "hush-t")];
    const FILE: &str = "# mine\n[default]\naws_access_key_id = D\naws_secret_access_key=hush=\n\n[ other ]\n; x\nAWS_ACCESS_KEY_ID = O\naws_secret_access_key = hush\naws_session_token = hush-t\ns3 =\n  aws_access_key_id = nested\n[role]\nrole_arn = r\n";

    fn found(variables: &[(&str, &str)], files: &[(&str, &str)]) -> Result<AwsSource, BadCredentials> {
        on(variables, files, |machine| find(machine, "eu-west-1"))
    }

    fn key_id(variables: &[(&str, &str)]) -> String {
        match found(variables, &[("/h/.aws/credentials", FILE), ("/c", FILE)]) {
            Ok(AwsSource::Static(credentials)) => {
                let token = credentials.session_token.is_some();
                format!("{} {} {token}", credentials.access_key_id, credentials.secret_access_key.expose())
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn keys_come_from_variables_or_a_profile() {
        assert_eq!(key_id(&KEYS), "AKIA hush true");
        assert_eq!(key_id(&[("HOME", "/h")]), "D hush= false");
        assert_eq!(key_id(&[("HOME", "/h"), ("AWS_PROFILE", "other")]), "O hush true");
        assert_eq!(key_id(&[("AWS_SHARED_CREDENTIALS_FILE", "/c"), ("AWS_PROFILE", "other")]), "O hush true");
        for (variables, within) in [
            (vec![("HOME", "/h"), ("AWS_PROFILE", "role")], "the only kind of profile"),
            (vec![("HOME", "/h"), ("AWS_PROFILE", "none")], "is not in the file"),
            (vec![("AWS_ACCESS_KEY_ID", "A")], "AWS_SECRET_ACCESS_KEY"),
        ] {
            let text = key_id(&variables);
            assert!(text.contains(within) && !text.contains("hush"), "{text}");
        }
        for (default, is_passed_over) in
            [("region = x", true), ("role_arn = r", false), ("aws_secret_access_key = hush", false)]
        {
            let file = format!("[default]\n{default}\n");
            let found = found(&[("AWS_SHARED_CREDENTIALS_FILE", "/c")], &[("/c", &file)]);
            assert_eq!(matches!(found, Ok(AwsSource::Instance(_))), is_passed_over, "{default}");
        }
    }

    #[test]
    fn a_role_comes_from_a_web_identity_a_container_or_an_instance() {
        let web = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn")];
        let Ok(AwsSource::WebIdentity(identity)) = found(&web, &[]) else { panic!("a web identity") };
        assert_eq!(identity.endpoint, "https://sts.eu-west-1.amazonaws.com/");
        assert!(matches!(
            found(
                &[web, [("HOME", "/h"), ("AWS_PROFILE", "other")]].concat(),
                &[("/h/.aws/credentials", FILE)]
            ),
            Ok(AwsSource::WebIdentity(_))
        ));
        assert!(found(&web[..1], &[]).is_err());
        let agent = [
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hush"),
        ];
        let Ok(AwsSource::Container(container)) = found(&agent, &[]) else { panic!("a container") };
        assert_eq!(container.url, "http://169.254.170.2/v2/x");
        assert_eq!(container.token, ContainerToken::Text(Secret::new("hush")));
        for (address, is_good) in [
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1", true),
            ("http://[::1]:8/", true),
            ("http://localhost:8/", true),
            ("https://elsewhere.example/", true),
            ("http://elsewhere.example/", false),
            ("ftp://127.0.0.1/", false),
        ] {
            let found = found(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)], &[]);
            assert_eq!(found.is_ok(), is_good, "{address}: {found:?}");
        }
        let instance = |endpoint: &str| Ok(AwsSource::Instance(Instance { endpoint: endpoint.to_owned() }));
        assert_eq!(found(&[], &[]), instance("http://169.254.169.254"));
        let elsewhere = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:7/")];
        assert_eq!(found(&elsewhere, &[]), instance("http://127.0.0.1:7"));
        assert!(found(&[("AWS_EC2_METADATA_DISABLED", "true")], &[]).is_err());
        on(&[("AWS_BEARER_TOKEN_BEDROCK", "hush")], &[], |machine| {
            assert_eq!(bedrock_key(machine), Some(Secret::new("hush")));
        });
    }
}
