//! Credentials of Google's cloud: where a machine keeps them, and how an access token is asked for with them.
//! <https://docs.cloud.google.com/docs/authentication/application-default-credentials>

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use serde::{Deserialize, Serialize};

use super::machine::{BadCredentials, Machine};
use super::percent::form;
use crate::crypto::assertion::AssertionKey;
use crate::domain::clock::Timestamp;
use crate::domain::secret::Secret;

/// Who gives tokens, and who assertions are addressed to wherever they are sent.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// What tokens are asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const ASSERTION_TTL: Duration = Duration::from_hours(1);
const METADATA_HOST: &str = "metadata.google.internal";
const METADATA_FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
const TOKEN_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// Something that tokens are given for.
#[derive(Debug)]
pub enum GcpCredentials {
    ServiceAccount(Box<ServiceAccount>),
    AuthorizedUser(AuthorizedUser),
    /// The machine itself, which asks a server that only it can reach.
    Metadata {
        token_uri: Uri,
    },
}

/// A service account with a key of its own.
#[derive(Debug)]
pub struct ServiceAccount {
    email: String,
    key: AssertionKey,
    token_uri: Uri,
    project: Option<String>,
}

/// A person who has logged in with `gcloud auth application-default login`.
#[derive(Debug)]
pub struct AuthorizedUser {
    client_id: String,
    client_secret: Secret,
    refresh_token: Secret,
    token_uri: Uri,
    quota_project: Option<String>,
}

/// What calls are made with, as a bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    pub text: Secret,
    pub expires_at: Timestamp,
}

/// A file of credentials.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "type")]
    kind: String,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    project_id: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
    quota_project_id: Option<String>,
    token_uri: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iat: i64,
    exp: i64,
    iss: &'a str,
    aud: &'static str,
    scope: &'static str,
}

impl GcpCredentials {
    /// The credentials that Google's own libraries would find: the file that `GOOGLE_APPLICATION_CREDENTIALS` names, else
    /// gcloud's, else the machine's own.
    ///
    /// # Errors
    /// [`BadCredentials`]: a file is there and cannot be used.
    pub fn find(machine: Machine<'_>) -> Result<Self, BadCredentials> {
        if let Some(path) = machine.get("GOOGLE_APPLICATION_CREDENTIALS") {
            return Self::from_json(&path, &machine.read(PathBuf::from(&path).as_ref())?);
        }
        let directory = machine.get("CLOUDSDK_CONFIG").map(PathBuf::from);
        let directory = directory
            .or_else(|| machine.get("APPDATA").map(|data| PathBuf::from(data).join("gcloud")))
            .or_else(|| machine.in_home(".config/gcloud"));
        if let Some(path) = directory.map(|directory| directory.join("application_default_credentials.json"))
            && let Some(text) = machine.read_if_there(&path)?
        {
            return Self::from_json(&path.display().to_string(), &text);
        }
        let host = machine.first(&["GCE_METADATA_HOST", "GCE_METADATA_ROOT"]);
        let host = host.as_deref().unwrap_or(METADATA_HOST);
        Ok(Self::Metadata { token_uri: uri("GCE_METADATA_HOST", &format!("http://{host}{TOKEN_PATH}"))? })
    }

    /// The credentials of a file's text; `origin` names the file in errors.
    ///
    /// # Errors
    /// [`BadCredentials`].
    pub fn from_json(origin: &str, text: &str) -> Result<Self, BadCredentials> {
        // Where it is wrong may be said, what stands there may not.
        let written: Written = serde_json::from_str(text).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            BadCredentials::new(origin, format!("is not a file of Google's credentials ({place})"))
        })?;
        let needed = |value: Option<String>, name: &str| {
            value.ok_or_else(|| BadCredentials::new(origin, format!("has no `{name}`")))
        };
        let token_uri = uri(origin, written.token_uri.as_deref().unwrap_or(TOKEN_URI))?;
        match written.kind.as_str() {
            "service_account" => {
                let pem = needed(written.private_key, "private_key")?;
                let key = AssertionKey::from_pem(&pem, written.private_key_id)
                    .map_err(|error| BadCredentials::new(origin, error.to_string()))?;
                let email = needed(written.client_email, "client_email")?;
                Ok(Self::ServiceAccount(Box::new(ServiceAccount {
                    email,
                    key,
                    token_uri,
                    project: written.project_id,
                })))
            }
            "authorized_user" => Ok(Self::AuthorizedUser(AuthorizedUser {
                client_id: needed(written.client_id, "client_id")?,
                client_secret: Secret::new(needed(written.client_secret, "client_secret")?),
                refresh_token: Secret::new(needed(written.refresh_token, "refresh_token")?),
                token_uri,
                quota_project: written.quota_project_id,
            })),
            _ => Err(BadCredentials::new(
                origin,
                "is of another type than `service_account` and `authorized_user`, which are the ones supported",
            )),
        }
    }

    /// The project that the credentials belong to, where they say so.
    #[must_use]
    pub fn project(&self) -> Option<&str> {
        match self {
            Self::ServiceAccount(account) => account.project.as_deref(),
            Self::AuthorizedUser(_) | Self::Metadata { .. } => None,
        }
    }

    /// The project that pays for a person's calls: the value of `x-goog-user-project`.
    #[must_use]
    pub fn quota_project(&self) -> Option<&str> {
        match self {
            Self::AuthorizedUser(user) => user.quota_project.as_deref(),
            Self::ServiceAccount(_) | Self::Metadata { .. } => None,
        }
    }

    /// The request that is answered with a token, with its whole URL. [`read_token`] reads the answer.
    ///
    /// # Errors
    /// [`BadCredentials`]: the key refuses to sign.
    pub fn token_request(&self, at: Timestamp) -> Result<Request<Bytes>, BadCredentials> {
        match self {
            Self::ServiceAccount(account) => {
                let assertion = account.assertion(at)?;
                Ok(post(
                    &account.token_uri,
                    &[
                        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                        ("assertion", &assertion),
                    ],
                ))
            }
            Self::AuthorizedUser(user) => Ok(post(
                &user.token_uri,
                &[
                    ("grant_type", "refresh_token"),
                    ("client_id", &user.client_id),
                    ("client_secret", user.client_secret.expose()),
                    ("refresh_token", user.refresh_token.expose()),
                ],
            )),
            Self::Metadata { token_uri } => {
                let mut request = Request::new(Bytes::new());
                *request.uri_mut() = token_uri.clone();
                request.headers_mut().insert(METADATA_FLAVOR, HeaderValue::from_static("Google"));
                Ok(request)
            }
        }
    }
}

impl ServiceAccount {
    /// What it proves itself with, once.
    ///
    /// # Errors
    /// [`BadCredentials`]: the key refuses to sign.
    pub fn assertion(&self, at: Timestamp) -> Result<String, BadCredentials> {
        let (iat, exp) = (at.as_secs(), at.plus(ASSERTION_TTL).as_secs());
        let claims = Claims { iat, exp, iss: &self.email, aud: TOKEN_URI, scope: SCOPE };
        self.key.sign(&claims).map_err(|error| BadCredentials::new(self.email.clone(), error.to_string()))
    }
}

/// The token of an answer that came at `at`.
///
/// # Errors
/// Why there is none, in the words of whoever answered; never with a token.
pub fn read_token(body: &[u8], at: Timestamp) -> Result<AccessToken, String> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: Option<String>,
        expires_in: Option<u64>,
        error: Option<String>,
        error_description: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "the answer is not a token".to_owned())?;
    match (answer.access_token.filter(|token| !token.is_empty()), answer.expires_in) {
        (Some(token), Some(seconds)) => {
            Ok(AccessToken { text: Secret::new(token), expires_at: at.plus(Duration::from_secs(seconds)) })
        }
        _ => Err(match (answer.error, answer.error_description) {
            (Some(error), Some(description)) => format!("{error}: {description}"),
            (Some(error), None) => error,
            (None, _) => "the answer has no token".to_owned(),
        }),
    }
}

fn uri(origin: &str, text: &str) -> Result<Uri, BadCredentials> {
    let uri = text.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|a| !a.as_str().contains('@'))
    });
    uri.ok_or_else(|| BadCredentials::new(origin, "names an address that is no http or https URL"))
}

fn post(uri: &Uri, fields: &[(&str, &str)]) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from(form(fields)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.clone();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form);
    request
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::on;
    use super::*;

    const USER: &str = r#"{"type":"authorized_user","client_id":"c&d","client_secret":"hush-1","refresh_token":"hush-2","quota_project_id":"q"}"#;

    fn now() -> Timestamp {
        "2026-11-28T21:00:00Z".parse().expect("a time")
    }

    #[test]
    fn credentials_are_found_where_googles_libraries_find_them() {
        let named = [("GOOGLE_APPLICATION_CREDENTIALS", "/named.json"), ("HOME", "/h")];
        let gcloud = "/h/.config/gcloud/application_default_credentials.json";
        on(&named, &[("/named.json", USER), (gcloud, "broken")], |machine| {
            let found = GcpCredentials::find(machine).expect("credentials");
            assert_eq!((found.quota_project(), found.project()), (Some("q"), None));
        });
        on(&named, &[(gcloud, USER)], |machine| {
            assert_eq!(GcpCredentials::find(machine).expect_err("no file").origin, "/named.json");
        });
        on(&[("HOME", "/h")], &[(gcloud, USER)], |machine| {
            assert!(matches!(GcpCredentials::find(machine), Ok(GcpCredentials::AuthorizedUser(_))));
        });
        on(&[("HOME", "/h"), ("CLOUDSDK_CONFIG", "/c")], &[(gcloud, USER)], |machine| {
            let request = GcpCredentials::find(machine)
                .expect("the machine's")
                .token_request(now())
                .expect("a request");
            assert_eq!(
                request.uri(),
                "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
            );
            assert_eq!(request.headers()["metadata-flavor"], "Google");
        });
        on(&[("GCE_METADATA_HOST", "127.0.0.1:7")], &[], |machine| {
            let request = GcpCredentials::find(machine)
                .expect("the machine's")
                .token_request(now())
                .expect("a request");
            assert_eq!(request.uri().authority().map(http::uri::Authority::as_str), Some("127.0.0.1:7"));
        });
    }

    #[test]
    fn a_person_asks_with_a_refresh_token_and_no_secret_shows() {
        let user = GcpCredentials::from_json("f", USER).expect("credentials");
        let request = user.token_request(now()).expect("a request");
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::POST, TOKEN_URI));
        assert_eq!(
            request.body(),
            "grant_type=refresh_token&client_id=c%26d&client_secret=hush-1&refresh_token=hush-2"
        );
        assert!(!format!("{user:?}").contains("hush"), "{user:?}");
        for text in [
            r#"{"type":"authorized_user","client_secret":"hush","refresh_token":"hush"}"#,
            r#"{"type":"service_account","client_email":"e","private_key":"hush"}"#,
            r#"{"type":"service_account","private_key":"-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----"}"#,
            r#"{"type":"external_account","client_secret":"hush"}"#,
            r#"{"type":"authorized_user","client_secret":hush"#,
            r#"{"type":7,"client_secret":"hush"}"#,
            r#"{"type":"authorized_user","client_secret":["hush"]}"#,
        ] {
            let error = GcpCredentials::from_json("f.json", text).expect_err(text).to_string();
            assert!(error.starts_with("f.json: ") && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_token_is_read_with_its_end_and_a_refusal_with_its_reason() {
        let token = read_token(br#"{"access_token":"hush","expires_in":3599,"token_type":"Bearer"}"#, now());
        let token = token.expect("a token");
        assert_eq!(token.text.expose(), "hush");
        assert_eq!(token.expires_at, now().plus(Duration::from_secs(3_599)));
        assert!(!format!("{token:?}").contains("hush"));
        for (body, expected) in [
            (r#"{"error":"invalid_grant","error_description":"Bad Request"}"#, "invalid_grant: Bad Request"),
            (r#"{"access_token":"hush"}"#, "the answer has no token"),
            (r#"{"access_token":["hush"]}"#, "the answer is not a token"),
            ("<html>", "the answer is not a token"),
        ] {
            assert_eq!(read_token(body.as_bytes(), now()), Err(expected.to_owned()), "{body}");
        }
    }
}
