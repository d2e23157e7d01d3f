//! Secrets that are planted come up nowhere: not in the database, the audit log, an answer or a log line.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::{Plane, SCIM_TOKEN};

/// A log that a test can read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_in_a_log_an_error_an_audit_row_or_a_database_file() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());

    let plane = Plane::start().await;
    let mut said = String::new();
    let password = "canary-password-7f3a";
    said += &plane.post("/admin/v1/users", json!({"name": "alice", "password": password})).await.text;
    let created = plane.post("/admin/v1/keys", json!({"user": "alice"})).await.expect(201);
    let key = created["key"].as_str().expect("a key").to_owned();
    let session = plane.login("alice", password).await.expect(200);
    let (access, refresh) = (session["access_token"].as_str(), session["refresh_token"].as_str());
    let (access, refresh) = (access.expect("a token").to_owned(), refresh.expect("a token").to_owned());
    let wrong = "canary-wrong-password-91cc";
    said += &plane.login("alice", wrong).await.text;
    said += &plane
        .call("POST", "/auth/login", "", Some(json!({"username": "alice", "passwd": wrong})))
        .await
        .text;
    said +=
        &plane.call("POST", "/auth/login", "", Some(json!({"username": 5, "password": wrong}))).await.text;
    said += &plane.call("GET", "/me", &key, None).await.text;
    said += &plane.call("GET", "/me", &key[..key.len() - 1], None).await.text;
    said += &plane.call("GET", "/admin/v1/users", &access, None).await.text;
    said += &plane
        .call("POST", "/auth/refresh", "", Some(json!({"refresh_token": format!("{refresh}x")})))
        .await
        .text;
    said += &plane.call("POST", "/auth/logout", "", Some(json!({"refresh_token": refresh}))).await.text;
    said += &plane
        .post("/admin/v1/users/alice/password", json!({"password": "canary-second-password-2b"}))
        .await
        .text;
    let provisioned = json!({"userName": "bob", "password": "canary-scim-password-5d"});
    said += &plane.call("POST", "/scim/v2/Users", SCIM_TOKEN, Some(provisioned.clone())).await.text;
    said += &plane.call("POST", "/scim/v2/Users", &SCIM_TOKEN[1..], Some(provisioned)).await.text;
    for path in ["/admin/v1/users", "/admin/v1/keys", "/admin/v1/audit", "/admin/v1/users/alice", "/me/quota"]
    {
        said += &plane.get(path).await.text;
    }
    let debug = format!("{:?}", plane.accounts);
    said.push_str(&debug);
    let logged = String::from_utf8_lossy(&lines.0.lock().expect("a lock")).into_owned();
    plane.store.close().await;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(plane.dir.path()).expect("a directory").filter_map(Result::ok) {
        if entry.file_name() != "admin.token" {
            files.extend(std::fs::read(entry.path()).expect("a file"));
        }
    }
    let files = String::from_utf8_lossy(&files).into_owned();
    let signature = access.rsplit('.').next().expect("a signature").to_owned();
    let scim = &SCIM_TOKEN[1..];
    let hidden = [
        password,
        wrong,
        scim,
        "canary-scim-password-5d",
        "canary-second-password-2b",
        &key,
        &key[15..],
        &refresh,
        &signature,
        &plane.admin,
    ];
    for secret in hidden {
        let shown = &secret[..6.min(secret.len())];
        assert!(!said.contains(secret), "an answer tells {shown}…");
        assert!(!logged.contains(secret), "a log line tells {shown}…");
        assert!(!files.contains(secret), "a database file tells {shown}…");
    }
    assert!(!said.contains("$argon2"), "an answer tells a password hash");
    assert!(!logged.contains("$argon2"), "a log line tells a password hash");
}

#[cfg(unix)]
#[tokio::test]
async fn the_admin_token_and_the_database_are_readable_by_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let plane = Plane::start().await;
    for name in ["admin.token", "sproxy.db"] {
        let mode = std::fs::metadata(plane.dir.path().join(name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
