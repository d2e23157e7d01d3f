//! People who sign in with the password that a directory knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sproxy::config::{LdapConfig, Secret, WhenRefused};
use sproxy::domain::clock::Clock as _;
use sproxy::domain::group_mapping::GroupMapping;
use sproxy::ldap::Ldap;

use super::{Directory, READER, READERS_PASSWORD};
use crate::harness::{Mock, Node, Setup};
use crate::http::{ADMIN_PASSWORD, Plane};

const INTERVAL: Duration = Duration::from_mins(15);

fn section(directory: &Directory, more: &str) -> String {
    let url = if more.contains("url =") { String::new() } else { format!("url = \"{}\"\n", directory.url()) };
    format!(
        "{url}bind_dn = \"{READER}\"\nbind_password = \"{READERS_PASSWORD}\"\nbase_dn = \"ou=people,dc=example,dc=com\"\n{more}"
    )
}

async fn node(directory: &Directory, mock: &Mock, more: &str) -> Node {
    Setup::with_targets_at(&mock.url()).section("auth.ldap", &section(directory, more)).start().await
}

/// Signs in as a program does: the status, and what was said.
async fn login(node: &Node, name: &str, password: &str) -> (u16, String) {
    let body = json!({"username": name, "password": password});
    let answer = reqwest::Client::new().post(node.url("/auth/login")).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn the_directorys_password_opens_and_makes_a_user_and_nothing_else_does() {
    let Some(directory) = Directory::start().await else { return };
    let mock = Mock::start().await;
    let groups = "groups = { \"CN=llm-devs, ou=groups,dc=example,dc=com\" = \"devs\" }";
    let node = node(&directory, &mock, groups).await;
    node.post("/admin/v1/groups", json!({"name": "devs"})).await;
    let (status, said) = login(&node, "alice", "alices password").await;
    assert_eq!(status, 200, "{said}");
    let alice = node.get("/admin/v1/users/alice").await;
    assert_eq!((&alice["group"], &alice["role"]), (&json!("devs"), &json!("user")), "{alice}");
    assert_eq!(login(&node, "bob", "bobs password").await.0, 200);
    assert_eq!(node.get("/admin/v1/users/bob").await["group"], json!(null));
    for (name, password) in [
        ("alice", "bobs password"),
        ("alice", ""),
        ("", ""),
        ("*", "alices password"),
        ("ali*", "alices password"),
        ("alice)(uid=*", "alices password"),
        ("uid=alice,ou=people,dc=example,dc=com", "alices password"),
        ("carol", "alices password"),
    ] {
        let (status, said) = login(&node, name, password).await;
        assert!([401, 429].contains(&status), "{name}: {status} {said}");
    }
    assert_eq!(node.get("/admin/v1/users").await["items"].as_array().unwrap().len(), 3);
    // Whoever has a password here is asked for that one, and a namesake elsewhere is somebody else.
    assert_eq!(login(&node, "admin", "the other admins").await.0, 401);
    assert_eq!(login(&node, "admin", ADMIN_PASSWORD).await.0, 200);
}

#[tokio::test]
async fn passwords_travel_under_tls_to_whoever_can_show_who_it_is() {
    let Some(directory) = Directory::start().await else { return };
    let mock = Mock::start().await;
    let ca = format!("ca_file = \"{}\"", directory.ca_file().display());
    let ldaps = format!("url = \"ldaps://127.0.0.1:{}\"", directory.tls_port);
    for more in [format!("{ldaps}\n{ca}"), format!("start_tls = true\n{ca}")] {
        let node = node(&directory, &mock, &more).await;
        let (status, said) = login(&node, "alice", "alices password").await;
        assert_eq!(status, 200, "{more}: {said}");
    }
    for more in [ldaps.as_str(), "start_tls = true"] {
        let node = node(&directory, &mock, more).await;
        let (status, said) = login(&node, "alice", "alices password").await;
        assert!(status == 503 && said.contains("cannot be reached"), "{more}: {status} {said}");
        assert_eq!(node.get("/admin/v1/users").await["items"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_directory_that_is_away_or_does_not_know_us_keeps_nobody_else_out() {
    let Some(mut directory) = Directory::start().await else { return };
    let mock = Mock::start().await;
    let node = node(&directory, &mock, "").await;
    directory.stop();
    let (status, said) = login(&node, "alice", "alices password").await;
    assert!(status == 503 && said.contains("the directory of passwords"), "{status} {said}");
    assert_eq!(login(&node, "admin", ADMIN_PASSWORD).await.0, 200);
    assert!(directory.resume().await);
    assert_eq!(login(&node, "alice", "alices password").await.0, 200);
    let wrong = section(&directory, "").replace(READERS_PASSWORD, "wrong");
    let node = Setup::with_targets_at(&mock.url()).section("auth.ldap", &wrong).start().await;
    assert_eq!(login(&node, "alice", "alices password").await.0, 503);
}

/// Alice has a session and a key.
struct Stage {
    directory: Directory,
    plane: Plane,
    ldap: Arc<Ldap>,
    token: String,
    key: String,
}

impl Stage {
    async fn start(when_refused: WhenRefused) -> Option<Self> {
        let directory = Directory::start().await?;
        let config = LdapConfig {
            url: directory.url(),
            start_tls: false,
            bind_dn: READER.to_owned(),
            bind_password: Some(Secret::new(READERS_PASSWORD)),
            base_dn: "ou=people,dc=example,dc=com".to_owned(),
            user_filter: "(&(objectClass=person)(uid={username}))".to_owned(),
            username_attribute: "uid".to_owned(),
            id_attribute: "entryUUID".to_owned(),
            groups_attribute: "memberOf".to_owned(),
            mapping: GroupMapping {
                groups: BTreeMap::from([(
                    "cn=llm-devs,ou=groups,dc=example,dc=com".to_owned(),
                    "devs".to_owned(),
                )]),
                ..GroupMapping::default()
            },
            create_users: true,
            link_by_name: false,
            when_refused,
            check_interval: INTERVAL,
            timeout: Duration::from_secs(30),
            ca_file: None,
        };
        let (plane, ldap) = Plane::with_directory(config).await;
        plane.post("/admin/v1/groups", json!({"name": "devs"})).await.expect(201);
        let body = json!({"username": "alice", "password": "alices password"});
        let session = plane.call("POST", "/auth/login", "", Some(body)).await.expect(200);
        let token = session["refresh_token"].as_str().unwrap().to_owned();
        let key = plane.post("/admin/v1/keys", json!({"user": "alice"})).await.expect(201);
        let key = key["key"].as_str().unwrap().to_owned();
        Some(Self { directory, plane, ldap, token, key })
    }

    async fn renew(&mut self) -> u16 {
        let body = json!({"refresh_token": self.token});
        let answer = self.plane.call("POST", "/auth/refresh", "", Some(body)).await;
        if answer.status == 200 {
            answer.json()["refresh_token"].as_str().unwrap().clone_into(&mut self.token);
        }
        answer.status
    }

    async fn alice(&self) -> Value {
        self.plane.get("/admin/v1/users/alice").await.expect(200)
    }

    async fn key_works(&self) -> bool {
        self.plane.call("GET", "/me", &self.key, None).await.status == 200
    }

    fn later(&self, by: Duration) {
        self.plane.clock.set(self.plane.clock.now().plus(by));
    }

    fn remove_alice(&self) {
        self.directory.change("ldapdelete", "uid=alice,ou=people,dc=example,dc=com\n");
    }
}

#[tokio::test]
async fn who_has_left_the_directory_is_signed_out_when_the_session_is_renewed() {
    let Some(mut stage) = Stage::start(WhenRefused::SignOut).await else { return };
    assert_eq!(stage.alice().await["group"], "devs");
    let out = "dn: cn=llm-devs,ou=groups,dc=example,dc=com\nchangetype: modify\nreplace: member\nmember: uid=bob,ou=people,dc=example,dc=com\n";
    stage.directory.change("ldapmodify", out);
    stage.later(Duration::from_mins(2));
    assert_eq!((stage.renew().await, &stage.alice().await["group"]), (200, &json!(null)));
    // Renamed, she is the same.
    let renamed = "dn: uid=alice,ou=people,dc=example,dc=com\nchangetype: modrdn\nnewrdn: uid=alice.smith\ndeleteoldrdn: 1\n";
    stage.directory.change("ldapmodify", renamed);
    stage.later(Duration::from_mins(2));
    assert_eq!(stage.renew().await, 200);
    let body = json!({"username": "alice.smith", "password": "alices password"});
    stage.plane.call("POST", "/auth/login", "", Some(body)).await.expect(200);
    assert_eq!(stage.plane.get("/admin/v1/users").await.expect(200)["items"].as_array().unwrap().len(), 2);
    stage.directory.change("ldapdelete", "uid=alice.smith,ou=people,dc=example,dc=com\n");
    assert_eq!(stage.renew().await, 200, "looked up a moment ago");
    stage.later(Duration::from_mins(2));
    assert_eq!(stage.renew().await, 401);
    assert!(stage.key_works().await && stage.alice().await["active"] == true);
}

#[tokio::test]
async fn where_that_is_wanted_keys_stop_too_and_while_the_directory_is_away_nobody_loses_anything() {
    let Some(mut stage) = Stage::start(WhenRefused::Disable).await else { return };
    stage.remove_alice();
    stage.directory.stop();
    stage.later(INTERVAL);
    stage.ldap.check_due(&stage.plane.accounts).await;
    assert!(stage.key_works().await);
    assert_eq!(stage.renew().await, 200);
    assert!(stage.directory.resume().await);
    stage.later(INTERVAL);
    stage.ldap.check_due(&stage.plane.accounts).await;
    assert!(!stage.key_works().await && stage.alice().await["active"] == false);
    assert_eq!(stage.renew().await, 401);
}
