//! What callers have to prove themselves with, if anything: keys in headers, and AWS's signatures.

use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::cloud::aws_credentials::AwsCredentials;
use crate::cloud::sigv4::{Signer, UnsignedRequest};
use crate::crypto::digest::sha256_hex;
use crate::domain::clock::Timestamp;
use crate::domain::provider::Provider;
use crate::domain::secret::Secret;
use crate::mock::api::Api;
use crate::mock::errors::ErrorSpec;

/// How far a signature's date may be from the time.
const SKEW_MAX_SECS: u64 = 300;
/// What stands for the hash of a body that is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The credentials that are accepted. Without any, everybody is.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    headers: Vec<(HeaderName, Secret)>,
    aws: Vec<AwsCredentials>,
    /// The region that has to be signed for.
    aws_region: Option<String>,
}

/// What is wrong with a caller's credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    Missing,
    /// It is none that is accepted.
    Unknown,
    /// An AWS key that is not known, or not with that session token.
    AwsKey,
    /// An AWS signature that is not the request's.
    Signature(String),
}

impl Credentials {
    /// Accepts `header`, written as `name: value`.
    ///
    /// # Errors
    /// Why it is no header.
    pub fn add_header(&mut self, header: &str) -> Result<(), String> {
        let (name, value) = header.split_once(':').ok_or("write it as `name: value`")?;
        let name: HeaderName = name.trim().parse().map_err(|_| format!("`{name}` is no header's name"))?;
        self.headers.push((name, Secret::new(value.trim())));
        Ok(())
    }

    /// Accepts what an AWS key has signed, written as `id:secret` or `id:secret:session token`.
    ///
    /// # Errors
    /// That it is not written so.
    pub fn add_aws(&mut self, key: &str) -> Result<(), String> {
        let (id, rest) = key.split_once(':').ok_or("write it as `id:secret` or `id:secret:session-token`")?;
        let (secret, token) =
            rest.split_once(':').map_or((rest, None), |(secret, token)| (secret, Some(token)));
        self.aws.push(AwsCredentials {
            access_key_id: id.to_owned(),
            secret_access_key: Secret::new(secret),
            session_token: token.map(Secret::new),
            expires_at: None,
        });
        Ok(())
    }

    /// Accepts signatures for this region only.
    pub fn only_region(&mut self, region: &str) {
        self.aws_region = Some(region.to_owned());
    }

    /// Checks a request.
    ///
    /// # Errors
    /// What is wrong with its credential.
    pub fn check(&self, parts: &Parts, body: &[u8], now: Timestamp) -> Result<(), Wrong> {
        if self.headers.is_empty() && self.aws.is_empty() {
            return Ok(());
        }
        if let Some(scheme) = text(&parts.headers, AUTHORIZATION.as_str()).and_then(Signature::read)
            && !self.aws.is_empty()
        {
            return self.check_signature(&scheme, parts, body, now);
        }
        let in_query = parts.uri.query().and_then(|query| {
            query.split('&').find_map(|pair| pair.strip_prefix("key=")).filter(|key| !key.is_empty())
        });
        let is_accepted = self.headers.iter().any(|(name, value)| {
            let mut sent = parts.headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
            sent.any(|sent| sent == value.expose().as_bytes())
                || name == GEMINI_KEY && in_query == Some(value.expose())
        });
        if is_accepted {
            return Ok(());
        }
        Err(if presented(parts).is_empty() { Wrong::Missing } else { Wrong::Unknown })
    }

    fn check_signature(
        &self,
        signature: &Signature<'_>,
        parts: &Parts,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), Wrong> {
        let token = text(&parts.headers, "x-amz-security-token");
        let key = self.aws.iter().find(|key| {
            key.access_key_id == signature.key_id && key.session_token.as_ref().map(Secret::expose) == token
        });
        let credentials = key.ok_or(Wrong::AwsKey)?;
        let wrong = |what: &str| Err(Wrong::Signature(what.to_owned()));
        if self.aws_region.as_ref().is_some_and(|region| *region != signature.region) {
            return wrong("Credential should be scoped to a valid region.");
        }
        if !matches!(signature.service, "bedrock" | "bedrock-mantle") {
            return wrong("Credential should be scoped to correct service: 'bedrock'.");
        }
        let Some(time) = text(&parts.headers, "x-amz-date") else { return wrong("x-amz-date is missing") };
        let Some(at) = moment(time) else { return wrong("x-amz-date is no date") };
        if now.since(at).as_secs().max(at.since(now).as_secs()) > SKEW_MAX_SECS {
            return Err(Wrong::Signature(format!("Signature expired: {time} is not about {now}")));
        }
        if !time.starts_with(signature.day) {
            return wrong("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date");
        }
        let actual = sha256_hex(body);
        let body_hash = text(&parts.headers, "x-amz-content-sha256").unwrap_or(&actual);
        if body_hash != actual && body_hash != UNSIGNED {
            return wrong("The provided 'x-amz-content-sha256' header does not match what was computed");
        }
        let host = host(parts);
        let names: Vec<&str> = signature.signed_headers.split(';').collect();
        // Without these it could be sent to anybody at any time.
        if !names.contains(&HOST.as_str()) || !names.contains(&"x-amz-date") {
            return wrong("'Host' and 'X-Amz-Date' must be signed headers");
        }
        let mut headers: Vec<(&str, &[u8])> = Vec::new();
        for name in names {
            if name == HOST.as_str() {
                headers.push((name, host.as_bytes()));
            } else {
                headers.extend(parts.headers.get_all(name).iter().map(|value| (name, value.as_bytes())));
            }
        }
        let request = UnsignedRequest {
            method: &parts.method,
            host,
            path: parts.uri.path(),
            query: parts.uri.query(),
            headers: &HeaderMap::new(),
            body,
        };
        let signer = Signer { credentials, region: signature.region, service: signature.service };
        let expected = signer.authorization(&request, &headers, body_hash, time);
        let expected = Signature::read(&expected).map(|expected| expected.digest.to_owned());
        if expected.as_deref() != Some(signature.digest) {
            return wrong(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method. Consult the service documentation for details.",
            );
        }
        Ok(())
    }
}

const GEMINI_KEY: &str = "x-goog-api-key";

/// The credentials that a request brings: keys, tokens, and the id of the AWS key that has signed it.
pub fn presented(parts: &Parts) -> Vec<&str> {
    let headers = ["x-api-key", GEMINI_KEY, "api-key"].iter().filter_map(|name| text(&parts.headers, name));
    let authorization = text(&parts.headers, AUTHORIZATION.as_str()).map(|value| {
        let bearer = value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer "));
        bearer.or_else(|| Some(Signature::read(value)?.key_id)).unwrap_or(value)
    });
    let query = parts.uri.query().unwrap_or_default();
    let in_query = query.split('&').filter_map(|pair| pair.strip_prefix("key="));
    headers.chain(authorization).chain(in_query).collect()
}

fn text<'p>(headers: &'p HeaderMap, name: &str) -> Option<&'p str> {
    headers.get(name)?.to_str().ok()
}

/// HTTP/2 has it in the URI.
fn host(parts: &Parts) -> &str {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    text(&parts.headers, HOST.as_str()).or(authority).unwrap_or_default()
}

/// `20261128T210906Z`
fn moment(text: &str) -> Option<Timestamp> {
    let part = |from: usize, to: usize| text.get(from..to);
    let (day, time) = ((part(0, 4)?, part(4, 6)?, part(6, 8)?), (part(9, 11)?, part(11, 13)?, part(13, 15)?));
    format!("{}-{}-{}T{}:{}:{}Z", day.0, day.1, day.2, time.0, time.1, time.2).parse().ok()
}

/// What an `authorization` of AWS's says.
struct Signature<'a> {
    key_id: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    digest: &'a str,
}

impl<'a> Signature<'a> {
    fn read(value: &'a str) -> Option<Self> {
        let parts = value.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let part =
            |name: &str| parts.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        let mut scope = part("Credential")?.split('/');
        Some(Self {
            key_id: scope.next()?,
            day: scope.next()?,
            region: scope.next()?,
            service: scope.next()?,
            signed_headers: part("SignedHeaders")?,
            digest: part("Signature")?,
        })
    }
}

/// The refusal of a caller, in the words of the API; of signatures AWS says it before anybody else is asked.
pub fn refusal(api: Api, wrong: &Wrong) -> (Api, ErrorSpec) {
    let api = if matches!(wrong, Wrong::AwsKey | Wrong::Signature(_)) { Api::Bedrock } else { api };
    let (status, name, message) = match (api, wrong) {
        (Api::Bedrock, Wrong::Missing) => {
            (403, Some("MissingAuthenticationTokenException"), "Missing Authentication Token")
        }
        (Api::Bedrock, Wrong::Unknown) => {
            (403, None, "Authentication failed: Please make sure your API Key is valid.")
        }
        (_, Wrong::AwsKey) => (
            403,
            Some("UnrecognizedClientException"),
            "The security token included in the request is invalid.",
        ),
        (_, Wrong::Signature(message)) => (403, Some("InvalidSignatureException"), message.as_str()),
        (Api::Own(Provider::Anthropic), _) => (401, None, "invalid x-api-key"),
        (Api::Own(Provider::Openai), Wrong::Missing) => (
            401,
            None,
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth",
        ),
        (Api::Own(Provider::Openai), _) => (401, None, "Incorrect API key provided."),
        (Api::Own(Provider::Gemini), Wrong::Missing) => (
            403,
            None,
            "Method doesn't allow unregistered callers. Please use API Key or other form of API consumer identity to \
             call this API.",
        ),
        (Api::Own(Provider::Gemini), _) => (400, None, "API key not valid. Please pass a valid API key."),
        (Api::Own(Provider::Ollama), _) => (401, None, "unauthorized"),
        (Api::Vertex, _) => (
            401,
            None,
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
             authentication credential.",
        ),
    };
    let error = ErrorSpec::new(status, message);
    (api, ErrorSpec { name: name.map(Into::into), ..error })
}
