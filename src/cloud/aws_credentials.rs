//! AWS credentials: what they are, and how those who issue them are asked.

use std::path::PathBuf;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use serde::Deserialize;

use super::machine::BadCredentials;
use super::percent::{encode, form};
use crate::domain::clock::Timestamp;
use crate::domain::secret::Secret;

const IMDS_TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const IMDS_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// What a request to AWS is signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsCredentials {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    /// Comes with temporary ones.
    pub session_token: Option<Secret>,
    /// `None`: they do not expire.
    pub expires_at: Option<Timestamp>,
}

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsSource {
    /// They are there.
    Static(AwsCredentials),
    WebIdentity(WebIdentity),
    Container(Container),
    Instance(Instance),
}

/// A role that is given to who has a token of an identity provider, such as a service account of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebIdentity {
    pub role_arn: String,
    pub session_name: String,
    /// Where the token is; it is exchanged from time to time.
    pub token_file: PathBuf,
    /// AWS's Security Token Service.
    pub endpoint: Uri,
}

/// The endpoint of the agent of ECS or EKS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub url: Uri,
    pub token: ContainerToken,
}

/// What a container proves itself with to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerToken {
    None,
    Text(Secret),
    /// Its content is exchanged from time to time.
    File(PathBuf),
}

/// The metadata service of an EC2 instance, version 2: first a token, then the role's name, then its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Without a slash at its end.
    pub endpoint: String,
}

impl WebIdentity {
    /// The request that [`read_sts`] reads the answer of.
    #[must_use]
    pub fn request(&self, token: &str) -> Request<Bytes> {
        let body = form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", &self.role_arn),
            ("RoleSessionName", &self.session_name),
            ("WebIdentityToken", token.trim()),
        ]);
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form);
        request
    }
}

impl Container {
    /// The request that [`read_json`] reads the answer of.
    ///
    /// # Errors
    /// [`BadCredentials`]: the token cannot be sent.
    pub fn request(&self, token: Option<&str>) -> Result<Request<Bytes>, BadCredentials> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.url.clone();
        if let Some(token) = token {
            request
                .headers_mut()
                .insert(AUTHORIZATION, secret_header(token.trim(), "the container's token")?);
        }
        Ok(request)
    }
}

impl Instance {
    /// The request that is answered with a token.
    ///
    /// # Errors
    /// [`BadCredentials`]: the endpoint is no URL.
    pub fn token_request(&self) -> Result<Request<Bytes>, BadCredentials> {
        let mut request = self.at("/latest/api/token")?;
        *request.method_mut() = Method::PUT;
        request.headers_mut().insert(IMDS_TTL, HeaderValue::from_static("300"));
        Ok(request)
    }

    /// The request that is answered with the name of the instance's role.
    ///
    /// # Errors
    /// [`BadCredentials`]: the token cannot be sent.
    pub fn role_request(&self, token: &str) -> Result<Request<Bytes>, BadCredentials> {
        self.with_token("/latest/meta-data/iam/security-credentials/", token)
    }

    /// The request that [`read_json`] reads the answer of.
    ///
    /// # Errors
    /// [`BadCredentials`]: token or role cannot be sent.
    pub fn credentials_request(&self, token: &str, role: &str) -> Result<Request<Bytes>, BadCredentials> {
        let role = encode(role.trim().as_bytes(), b"");
        self.with_token(&format!("/latest/meta-data/iam/security-credentials/{role}"), token)
    }

    fn with_token(&self, path: &str, token: &str) -> Result<Request<Bytes>, BadCredentials> {
        let mut request = self.at(path)?;
        request.headers_mut().insert(IMDS_TOKEN, secret_header(token.trim(), "the instance's token")?);
        Ok(request)
    }

    fn at(&self, path: &str) -> Result<Request<Bytes>, BadCredentials> {
        let uri = format!("{}{path}", self.endpoint).parse();
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri.map_err(|_| BadCredentials::new(self.endpoint.clone(), "is no URL"))?;
        Ok(request)
    }
}

fn secret_header(text: &str, what: &str) -> Result<HeaderValue, BadCredentials> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| BadCredentials::new(what, "has characters that no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The credentials in the answer of a container's agent or of an instance.
///
/// # Errors
/// Why there are none, in the words of whoever answered; never with a secret.
pub fn read_json(body: &[u8]) -> Result<AwsCredentials, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        access_key_id: Option<String>,
        secret_access_key: Option<String>,
        token: Option<String>,
        expiration: Option<String>,
        code: Option<String>,
        message: Option<String>,
    }
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| "the answer is not credentials".to_owned())?;
    if let Some(code) = answer.code.filter(|code| code != "Success") {
        return Err(answer.message.map_or(code.clone(), |message| format!("{code}: {message}")));
    }
    credentials(answer.access_key_id, answer.secret_access_key, answer.token, answer.expiration)
}

/// The credentials in an answer of AWS's Security Token Service.
///
/// # Errors
/// As [`read_json`] says.
pub fn read_sts(body: &[u8]) -> Result<AwsCredentials, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the answer is not credentials".to_owned())?;
    if let Some(error) = element(text, "Error") {
        let part = |name| element(error, name).map(unescaped).unwrap_or_default();
        return Err(format!("{}: {}", part("Code"), part("Message")));
    }
    let within = element(text, "Credentials").ok_or("the answer is not credentials")?;
    let part = |name| element(within, name).map(unescaped);
    credentials(part("AccessKeyId"), part("SecretAccessKey"), part("SessionToken"), part("Expiration"))
}

fn credentials(
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
    expiration: Option<String>,
) -> Result<AwsCredentials, String> {
    let expires_at = expiration.map(|text| text.parse::<Timestamp>()).transpose();
    match (access_key_id, secret_access_key, expires_at) {
        (Some(access_key_id), Some(secret), Ok(expires_at)) => Ok(AwsCredentials {
            access_key_id,
            secret_access_key: Secret::new(secret),
            session_token: session_token.map(Secret::new),
            expires_at,
        }),
        (_, _, Err(_)) => Err("the answer's credentials end at a time that cannot be read".to_owned()),
        _ => Err("the answer has no credentials".to_owned()),
    }
}

/// What stands in the first element of that name. STS writes its elements without attributes.
fn element<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let (_, behind) = xml.split_once(&format!("<{name}>"))?;
    behind.split_once(&format!("</{name}>")).map(|(within, _)| within)
}

fn unescaped(text: &str) -> String {
    let mut text = text.trim().to_owned();
    for (entity, letter) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")]
    {
        text = text.replace(entity, letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_from_what_aws_answers() {
        let expected = AwsCredentials {
            access_key_id: "ASIA".to_owned(),
            secret_access_key: Secret::new("hush+/="),
            session_token: Some(Secret::new("hush&")),
            expires_at: "2026-11-28T22:00:00Z".parse().ok(),
        };
        let json = r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIA","SecretAccessKey":"hush+/=","Token":"hush&","Expiration":"2026-11-28T22:00:00Z"}"#;
        assert_eq!(read_json(json.as_bytes()), Ok(expected.clone()));
        let xml = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
            <AssumeRoleWithWebIdentityResult><Credentials><SessionToken> hush&amp; </SessionToken>\
            <SecretAccessKey>hush+/=</SecretAccessKey><Expiration>2026-11-28T22:00:00Z</Expiration>\
            <AccessKeyId>ASIA</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>\
            </AssumeRoleWithWebIdentityResponse>";
        assert_eq!(read_sts(xml.as_bytes()), Ok(expected.clone()));
        assert!(!format!("{expected:?}").contains("hush"), "{expected:?}");
    }

    #[test]
    fn a_refusal_is_told_with_its_reason_and_without_secrets() {
        for (body, expected) in [
            (r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"no"}"#, "AssumeRoleUnauthorizedAccess: no"),
            (r#"{"SecretAccessKey":"hush"}"#, "the answer has no credentials"),
            (r#"{"SecretAccessKey":["hush"]}"#, "the answer is not credentials"),
            (
                r#"{"AccessKeyId":"A","SecretAccessKey":"hush","Expiration":"soon"}"#,
                "the answer's credentials end at a time that cannot be read",
            ),
            ("hush", "the answer is not credentials"),
        ] {
            assert_eq!(read_json(body.as_bytes()), Err(expected.to_owned()), "{body}");
        }
        for (body, expected) in [
            (
                "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>no &quot;x&quot;</Message></Error></ErrorResponse>",
                "InvalidIdentityToken: no \"x\"",
            ),
            (
                "<Credentials><SecretAccessKey>hush</SecretAccessKey></Credentials>",
                "the answer has no credentials",
            ),
            ("<html>hush</html>", "the answer is not credentials"),
        ] {
            assert_eq!(read_sts(body.as_bytes()), Err(expected.to_owned()), "{body}");
        }
    }

    #[test]
    fn each_issuer_is_asked_in_its_own_way() {
        let web = WebIdentity {
            role_arn: "arn:aws:iam::1:role/r".to_owned(),
            session_name: "s".to_owned(),
            token_file: PathBuf::new(),
            endpoint: Uri::from_static("https://sts.eu-west-1.amazonaws.com/"),
        };
        let request = web.request("hush.1\n");
        assert_eq!(
            request.body(),
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=s&WebIdentityToken=hush.1"
        );
        let container =
            Container { url: Uri::from_static("http://169.254.170.2/v2"), token: ContainerToken::None };
        let request = container.request(Some("hush\n")).expect("a request");
        assert_eq!(request.headers()["authorization"], "hush");
        assert!(!format!("{:?}", request.headers()).contains("hush"));
        assert!(
            !container.request(Some("hush\n\u{7f}x")).expect_err("no header").to_string().contains("hush")
        );
        let instance = Instance { endpoint: "http://169.254.169.254".to_owned() };
        let request = instance.token_request().expect("a request");
        assert_eq!((request.method(), request.uri().path()), (&Method::PUT, "/latest/api/token"));
        let request = instance.credentials_request("hush", "my role\n").expect("a request");
        assert_eq!(request.uri().path(), "/latest/meta-data/iam/security-credentials/my%20role");
        assert_eq!(request.headers()[IMDS_TOKEN], "hush");
    }
}
