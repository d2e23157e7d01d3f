//! Credentials are asked for as the clouds' own clients ask: at servers that check what they are asked with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use sproxy::cloud::aws_credentials::AwsCredentials;
use sproxy::cloud::gcp::{AccessToken, GcpCredentials};
use sproxy::cloud::machine::Machine;
use sproxy::cloud::{aws_discovery, percent};
use sproxy::domain::clock::{Clock, ManualClock, SystemClock, Timestamp};
use sproxy::domain::secret::Secret;
use sproxy::transport::Exchange;
use sproxy::upstream::credentials::{CredentialSource, aws_source, gcp_source};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::{ask, run};
use crate::harness::{python_with, until};

/// What an issuer was asked.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    form: BTreeMap<String, String>,
}

/// A server that gives out credentials.
struct Issuer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    serving: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Issuer {
    async fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
        let app = Router::new().fallback(move |request: Request| {
            let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
            async move {
                let (head, body) = request.into_parts();
                let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
                let decoded =
                    |text: &str| String::from_utf8(percent::decode(&text.replace('+', " "))).unwrap();
                let asked = Asked {
                    method: head.method.to_string(),
                    path: head.uri.path_and_query().unwrap().to_string(),
                    headers: head
                        .headers
                        .iter()
                        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                        .collect(),
                    form: body
                        .split('&')
                        .filter_map(|field| field.split_once('='))
                        .map(|(name, value)| (decoded(name), decoded(value)))
                        .collect(),
                };
                let (status, body) = answer(&asked);
                seen.lock().unwrap().push(asked);
                (StatusCode::from_u16(status).unwrap(), body)
            }
        });
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, asked, serving }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// A service account with a new key; the file's text, and the key that verifies.
fn service_account(token_uri: &str) -> (String, Vec<u8>) {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let lines: Vec<String> = STANDARD
        .encode(der.as_ref())
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    let file = json!({
        "type": "service_account", "project_id": "p-1", "private_key_id": "kid-1", "private_key": pem,
        "client_email": "robot@p-1.iam.gserviceaccount.com", "client_id": "1", "token_uri": token_uri,
        "universe_domain": "googleapis.com"
    });
    (file.to_string(), key.public_key().as_ref().to_vec())
}

fn gcp(text: &str, clock: Arc<dyn Clock>) -> CredentialSource<AccessToken> {
    let credentials = GcpCredentials::from_json("key.json", text).unwrap();
    gcp_source("vertex", credentials.into(), Exchange::default(), clock)
}

#[tokio::test]
async fn a_service_account_proves_itself_and_is_given_one_token_for_all_who_ask() {
    let verifying = Arc::new(Mutex::new(Vec::new()));
    let key = Arc::clone(&verifying);
    let issuer = Issuer::start(move |asked| {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&["https://oauth2.googleapis.com/token"]);
        let key = DecodingKey::from_rsa_der(&key.lock().unwrap());
        let grant = asked.form.get("grant_type").map(String::as_str);
        match jsonwebtoken::decode::<Value>(&asked.form["assertion"], &key, &validation) {
            Ok(token)
                if grant == Some("urn:ietf:params:oauth:grant-type:jwt-bearer")
                    && token.claims["iss"] == "robot@p-1.iam.gserviceaccount.com"
                    && token.claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
                    && token.header.kid.as_deref() == Some("kid-1") =>
            {
                (
                    200,
                    json!({ "access_token": "ya29.x", "expires_in": 3599, "token_type": "Bearer" })
                        .to_string(),
                )
            }
            other => (
                400,
                json!({ "error": "invalid_grant", "error_description": format!("{other:?}") }).to_string(),
            ),
        }
    })
    .await;
    let (file, public) = service_account(&format!("http://{}/token", issuer.address));
    *verifying.lock().unwrap() = public;
    let source = gcp(&file, Arc::new(SystemClock));
    for token in join_all((0..20).map(|_| source.get())).await {
        assert_eq!(token.unwrap().text, Secret::new("ya29.x"));
    }
    assert_eq!(issuer.asked().len(), 1);
    assert_eq!((issuer.asked()[0].method.as_str(), issuer.asked()[0].path.as_str()), ("POST", "/token"));

    // Another key than the one that is known there.
    let (file, _) = service_account(&format!("http://{}/token", issuer.address));
    let source = gcp(&file, Arc::new(SystemClock));
    let refused = source.get().await.unwrap_err().to_string();
    assert!(refused.contains("400 Bad Request: invalid_grant: Err(Error(InvalidSignature"), "{refused}");
    assert_eq!(source.status().failures, 1);
}

#[tokio::test]
async fn an_assertion_is_the_one_that_google_auth_makes() {
    let Some(python) = python_with("google.oauth2.service_account, cryptography").await else { return };
    let (file, _) = service_account("https://oauth2.googleapis.com/token");
    let at: Timestamp = "2026-11-28T21:09:06Z".parse().unwrap();
    let GcpCredentials::ServiceAccount(account) = GcpCredentials::from_json("key.json", &file).unwrap()
    else {
        panic!("a service account")
    };
    let ours = account.assertion(at).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let input = json!({ "file": file, "at": at.as_secs(), "verify": ours });
    let theirs = ask(&python, "gcp_assertion.py", &input).await;
    let part = |token: &str, at: usize| -> Value {
        let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap().trim_end_matches('=')).unwrap();
        serde_json::from_slice(&part).unwrap()
    };
    let made = theirs["assertion"].as_str().unwrap();
    assert_eq!((part(&ours, 0), part(&ours, 1)), (part(made, 0), part(made, 1)));
    assert_eq!(theirs["verified"], part(&ours, 1));
}

#[tokio::test]
async fn a_person_and_a_machine_are_given_tokens_that_are_exchanged_before_they_end() {
    let issuer = Issuer::start(|asked| {
        let given =
            |number: usize| json!({ "access_token": number.to_string(), "expires_in": 3600 }).to_string();
        match asked.path.as_str() {
            "/token" if asked.form["refresh_token"] == "r" && asked.form["client_secret"] == "s" => {
                (200, given(1))
            }
            "/computeMetadata/v1/instance/service-accounts/default/token"
                if asked.headers["metadata-flavor"] == "Google" =>
            {
                (200, given(2))
            }
            _ => (403, "no".to_owned()),
        }
    })
    .await;
    let clock = Arc::new(ManualClock::new("2026-11-28T21:00:00Z".parse().unwrap()));
    let file = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
        "token_uri": format!("http://{}/token", issuer.address)
    });
    let person = gcp(&file.to_string(), Arc::clone(&clock) as Arc<dyn Clock>);
    assert_eq!(person.get().await.unwrap().text, Secret::new("1"));
    let host = issuer.address.to_string();
    let variable = |name: &str| (name == "GCE_METADATA_HOST").then(|| host.clone());
    let none = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    let found = GcpCredentials::find(Machine { variable: &variable, file: &none }).unwrap();
    let machine =
        gcp_source("vertex", found.into(), Exchange::default(), Arc::clone(&clock) as Arc<dyn Clock>);
    assert_eq!(machine.get().await.unwrap().text, Secret::new("2"));
    assert_eq!(machine.status().expires_at, Some(clock.now().plus(Duration::from_hours(1))));
    clock.advance(Duration::from_mins(57));
    assert_eq!(machine.get().await.unwrap().text, Secret::new("2"));
    until("the token has been exchanged", async || (issuer.asked().len() == 3).then_some(())).await;
}

/// What AWS's issuers answer, each to what it is asked with.
fn aws_answer(asked: &Asked) -> (u16, String) {
    let expiration = "2099-01-01T00:00:00Z";
    let keys = |from: &str| {
        json!({
            "Code": "Success", "AccessKeyId": format!("ASIA-{from}"), "SecretAccessKey": "s/+=", "Token": "t",
            "Expiration": expiration, "RoleArn": "arn:aws:iam::1:role/r"
        })
        .to_string()
    };
    let header = |name: &str| asked.headers.get(name).map(String::as_str);
    let role_path = "/latest/meta-data/iam/security-credentials/";
    match (asked.method.as_str(), asked.path.as_str()) {
        ("PUT", "/latest/api/token") if header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
            (200, "imds-token".to_owned())
        }
        ("GET", path) if path == role_path && header("x-aws-ec2-metadata-token") == Some("imds-token") => {
            (200, "my-role".to_owned())
        }
        ("GET", path)
            if path == format!("{role_path}my-role")
                && header("x-aws-ec2-metadata-token") == Some("imds-token") =>
        {
            (200, keys("instance"))
        }
        ("GET", "/agent") if header("authorization") == Some("agent-token") => (200, keys("container")),
        ("POST", "/")
            if asked.form["Action"] == "AssumeRoleWithWebIdentity"
                && asked.form["WebIdentityToken"] == "web-token"
                && asked.form["RoleArn"] == "arn:aws:iam::1:role/r" =>
        {
            (
                200,
                format!(
                    "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>\
                     <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser><Credentials>\
                     <AccessKeyId>ASIA-web</AccessKeyId><SecretAccessKey>s/+=</SecretAccessKey><SessionToken>t</SessionToken>\
                     <Expiration>{expiration}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
                ),
            )
        }
        _ => (
            403,
            format!(
                "<ErrorResponse><Error><Code>Refused</Code><Message>{}</Message></Error></ErrorResponse>",
                asked.path
            ),
        ),
    }
}

/// Environments of a machine, and the key that is found there.
fn aws_machines(issuer: SocketAddr, directory: &Path) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let profiles = file(
        "credentials",
        "[default]\naws_access_key_id = AKIA-default\naws_secret_access_key = s/+=\n\n[work]\n# mine\n\
         aws_access_key_id=AKIA-work\naws_secret_access_key = s/+=\naws_session_token = t\n",
    );
    let shared = ("AWS_SHARED_CREDENTIALS_FILE", profiles);
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIA-env".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "s/+=".to_owned()),
        ("AWS_SESSION_TOKEN", "t".to_owned()),
    ];
    let web = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file("web", "web-token")),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r".to_owned()),
        ("AWS_ENDPOINT_URL_STS", format!("http://{issuer}")),
    ];
    let agent = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{issuer}/agent"));
    let agent_token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "agent-token".to_owned());
    let agent_file = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file("agent", "agent-token"));
    let instance = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{issuer}"));
    vec![
        ("AKIA-env", [&keys[..], &web, &[shared.clone(), agent.clone(), instance.clone()]].concat()),
        ("ASIA-web", [&web[..], &[agent.clone(), instance.clone()]].concat()),
        ("ASIA-web", [&web[..], std::slice::from_ref(&shared)].concat()),
        ("AKIA-default", vec![shared.clone(), agent.clone(), agent_token.clone(), instance.clone()]),
        ("AKIA-work", vec![shared, ("AWS_PROFILE", "work".to_owned()), instance.clone()]),
        ("ASIA-container", vec![agent.clone(), agent_token, instance.clone()]),
        ("ASIA-container", vec![agent, agent_file]),
        ("ASIA-instance", vec![instance]),
    ]
}

async fn aws_credentials(variables: &[(&str, String)]) -> Arc<AwsCredentials> {
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let file = |path: &Path| std::fs::read_to_string(path);
    let found = aws_discovery::find(Machine { variable: &variable, file: &file }, "eu-west-1").unwrap();
    aws_source("bedrock", found, Exchange::default(), Arc::new(SystemClock)).get().await.unwrap()
}

#[tokio::test]
async fn aws_credentials_are_found_where_a_machine_keeps_them() {
    let issuer = Issuer::start(aws_answer).await;
    let directory = TempDir::new().unwrap();
    for (key, variables) in aws_machines(issuer.address, directory.path()) {
        let ours = aws_credentials(&variables).await;
        assert_eq!((ours.access_key_id.as_str(), ours.secret_access_key.expose()), (key, "s/+="));
        assert_eq!(ours.expires_at.is_some(), key.starts_with("ASIA"), "{key}");
    }
}

#[tokio::test]
async fn aws_credentials_are_those_that_botocore_finds() {
    let Some(python) = python_with("botocore.session").await else { return };
    let issuer = Issuer::start(aws_answer).await;
    let directory = TempDir::new().unwrap();
    for (_, variables) in aws_machines(issuer.address, directory.path()) {
        let ours = aws_credentials(&variables).await;
        let mut command = Command::new(&python);
        command.env_clear().env("HOME", directory.path()).env("AWS_DEFAULT_REGION", "eu-west-1");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(variables.iter().map(|(name, value)| (*name, value)));
        let theirs = run(command, "aws_credentials.py", &Value::Null).await;
        let ours = json!([
            ours.access_key_id,
            ours.secret_access_key.expose(),
            ours.session_token.as_ref().map(Secret::expose)
        ]);
        assert_eq!(theirs, ours, "{variables:?}");
    }
}

#[tokio::test]
async fn an_issuer_that_refuses_is_told_with_its_words_and_no_secret() {
    let issuer = Issuer::start(|asked| match asked.path.as_str() {
        "/latest/api/token" => (200, "hush-token".to_owned()),
        "/latest/meta-data/iam/security-credentials/" => (404, "hush-token".to_owned()),
        "/agent" => (500, r#"{"Code":"Internal","Message":"not now"}"#.to_owned()),
        _ => (400, "<ErrorResponse><Error><Code>ExpiredToken</Code><Message>too late</Message></Error></ErrorResponse>".to_owned()),
    })
    .await;
    let directory = TempDir::new().unwrap();
    for (key, variables) in aws_machines(issuer.address, directory.path()) {
        let within = match key {
            "ASIA-web" => "127.0.0.1: answered 400 Bad Request: ExpiredToken: too late",
            "ASIA-container" => "127.0.0.1: answered 500 Internal Server Error: Internal: not now",
            "ASIA-instance" => "127.0.0.1 answered 404 Not Found",
            _ => continue,
        };
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let file = |path: &Path| std::fs::read_to_string(path);
        let found = aws_discovery::find(Machine { variable: &variable, file: &file }, "eu-west-1").unwrap();
        let source = aws_source("bedrock", found, Exchange::default(), Arc::new(SystemClock));
        let refused = source.get().await.unwrap_err().to_string();
        assert_eq!(refused, format!("no credentials for bedrock: {within}"));
        assert!(!format!("{:?}", source.status()).contains("hush"));
    }
}
