//! SCIM: what Entra ID and Okta send, with the words that they send it in, and what comes of it for people.

use serde_json::{Value, json};
use sproxy::accounts::{Error, ExternalPerson, ExternalRules, Refused};
use sproxy::domain::user::Identity;

use super::{ADMIN_PASSWORD, Got, Plane, SCIM_TOKEN};

const USERS: &str = "/scim/v2/Users";
const GROUPS: &str = "/scim/v2/Groups";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

impl Plane {
    async fn scim(&self, method: &str, path: &str, body: Value) -> Got {
        self.call(method, path, SCIM_TOKEN, Some(body).filter(|body| !body.is_null())).await
    }

    /// The ids of what meets a filter.
    async fn found(&self, endpoint: &str, filter: &str) -> Vec<String> {
        let url = reqwest::Url::parse_with_params("http://x/", [("filter", filter)]).expect("a URL");
        let path = format!("{endpoint}?{}", url.query().expect("a query"));
        let list = self.scim("GET", &path, Value::Null).await.expect(200);
        let found = list["Resources"].as_array().expect("a list");
        assert_eq!(list["totalResults"], found.len());
        found.iter().map(id).collect()
    }

    async fn provisioned(&self, name: &str) -> String {
        id(&self
            .scim("POST", USERS, json!({"userName": name, "externalId": format!("x-{name}")}))
            .await
            .expect(201))
    }

    async fn patched(&self, path: &str, operations: Value) -> Got {
        self.scim("PATCH", path, json!({"schemas": [PATCH], "Operations": operations})).await
    }

    /// The group of a user, by name.
    async fn group_of(&self, user: &str) -> Value {
        self.get(&format!("/admin/v1/users/{user}")).await.expect(200)["group"].clone()
    }

    /// The audit log's rows of SCIM, oldest first.
    async fn said_by_scim(&self) -> Vec<(String, String)> {
        let audit = self.get("/admin/v1/audit?limit=200").await.expect(200);
        let mut rows: Vec<_> = audit["items"].as_array().expect("rows").clone();
        rows.retain(|row| row["actor"] == "scim");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        rows.iter().rev().map(|row| (text(&row["action"]), text(&row["subject"]))).collect()
    }
}

impl Got {
    /// The error of an answer that has to be one; a kind of `""` is none.
    #[track_caller]
    fn scim_error(self, status: u16, kind: &str) -> Value {
        assert_eq!(self.headers["content-type"], "application/scim+json", "{}", self.text);
        let error = self.expect(status);
        assert_eq!(error["schemas"], json!([ERROR]), "{error}");
        assert_eq!(error["status"], status.to_string(), "{error}");
        assert_eq!(error["scimType"].as_str().unwrap_or_default(), kind, "{error}");
        assert!(!error["detail"].as_str().expect("a detail").is_empty(), "{error}");
        error
    }
}

fn id(resource: &Value) -> String {
    resource["id"].as_str().expect("an id").to_owned()
}

/// A user as Entra ID describes one.
fn of_entra(name: &str) -> Value {
    json!({
        "schemas": [
            "urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
        ],
        "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef",
        "userName": name,
        "active": true,
        "displayName": "Alice Example",
        "emails": [{"primary": true, "type": "work", "value": name}],
        "meta": {"resourceType": "User"},
        "name": {"formatted": "Alice Example", "familyName": "Example", "givenName": "Alice"},
        "roles": [],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Research"}
    })
}

#[tokio::test]
async fn entra_makes_a_user_disables_them_and_they_are_refused_at_once() {
    let plane = Plane::start().await;
    let name = "alice@example.com";
    let by_name = format!("userName eq \"{name}\"");
    assert!(plane.found(USERS, &by_name).await.is_empty());
    let made = plane.scim("POST", USERS, of_entra(name)).await;
    assert_eq!(made.headers["content-type"], "application/scim+json");
    let location = made.headers["location"].to_str().expect("a location").to_owned();
    let user = made.expect(201);
    let path = format!("{USERS}/{}", id(&user));
    assert_eq!(location, format!("{}{path}", plane.url));
    assert_eq!(user["meta"]["location"], location);
    assert_eq!(user["meta"]["resourceType"], "User");
    assert_eq!((&user["userName"], &user["active"]), (&json!(name), &json!(true)));
    assert_eq!(user["externalId"], "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef");
    for filter in [
        by_name.as_str(),
        "externalId eq \"0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef\"",
        &format!("id eq \"{}\" and active eq true", id(&user)),
    ] {
        assert_eq!(plane.found(USERS, filter).await, [id(&user)], "{filter}");
    }
    let key = plane.key_of(name).await;
    plane
        .post(&format!("/admin/v1/users/{name}/password"), json!({"password": "a long password"}))
        .await
        .expect(204);
    let session = plane.login(name, "a long password").await.expect(200);
    let refresh = json!({"refresh_token": session["refresh_token"]});
    let access = session["access_token"].as_str().expect("a token");

    // As Entra ID writes it: the operation in capitals, the value a text; and what it maps besides.
    let off = json!([
        {"op": "Replace", "path": "active", "value": "False"},
        {"op": "Replace", "path": "name.familyName", "value": "Other"},
        {"op": "Add", "path": "emails[type eq \"work\"].value", "value": "other@example.com"},
        {"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "X"}
    ]);
    let after = plane.patched(&path, off).await.expect(200);
    assert_eq!(after["active"], false);
    for credential in [&key, access] {
        assert_eq!(plane.call("GET", "/me", credential, None).await.status, 403);
    }
    plane.call("POST", "/auth/refresh", "", Some(refresh.clone())).await.expect(401);
    plane.login(name, "a long password").await.expect(403);

    // Enabled again, the key works, and the session of before stays ended.
    plane.patched(&path, json!([{"op": "Replace", "value": {"active": "True"}}])).await.expect(200);
    plane.call("GET", "/me", &key, None).await.expect(200);
    plane.call("GET", "/me", access, None).await.expect(401);
    plane.call("POST", "/auth/refresh", "", Some(refresh)).await.expect(401);
    let subject = format!("user {name}");
    let rows = plane.said_by_scim().await;
    let expected =
        ["user.create", "user.disable", "user.enable"].map(|action| (action.to_owned(), subject.clone()));
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn okta_replaces_a_user_and_pushes_a_group() {
    let plane = Plane::start().await;
    let new = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "bob@example.com",
        "name": {"givenName": "Bob", "familyName": "Example"},
        "emails": [{"primary": true, "value": "bob@example.com", "type": "work"}],
        "displayName": "Bob Example",
        "locale": "en-US",
        "externalId": "00ujl29u0le5T6Aj10h7",
        "groups": [],
        "password": "canary-password-of-okta",
        "active": true
    });
    let user = plane.scim("POST", USERS, new.clone()).await.expect(201);
    let path = format!("{USERS}/{}", id(&user));
    let key = plane.key_of("bob@example.com").await;

    let mut whole = new;
    whole["id"] = user["id"].clone();
    whole["userName"] = json!("bob@example.org");
    whole["active"] = json!(false);
    let replaced = plane.scim("PUT", &path, whole).await.expect(200);
    assert_eq!((&replaced["userName"], &replaced["active"]), (&json!("bob@example.org"), &json!(false)));
    assert_eq!(plane.call("GET", "/me", &key, None).await.status, 403);
    plane.patched(&path, json!([{"op": "replace", "value": {"active": true}}])).await.expect(200);
    plane.call("GET", "/me", &key, None).await.expect(200);
    // A password of theirs is none here.
    plane.login("bob@example.org", "canary-password-of-okta").await.expect(401);

    let schemas = json!(["urn:ietf:params:scim:schemas:core:2.0:Group"]);
    let members = json!([{"value": user["id"], "display": "bob@example.org"}]);
    let group = json!({"schemas": schemas, "displayName": "devs", "members": members});
    let group = plane.scim("POST", GROUPS, group).await.expect(201);
    let at = format!("{GROUPS}/{}", id(&group));
    assert_eq!(plane.group_of("bob@example.org").await, "devs");
    let rename = json!([{"op": "replace", "value": {"id": group["id"], "displayName": "developers"}}]);
    let renamed = plane.patched(&at, rename).await;
    assert_eq!((renamed.status, renamed.text.as_str()), (204, ""));
    assert_eq!(plane.group_of("bob@example.org").await, "developers");
    let out = json!([{"op": "remove", "path": format!("members[value eq \"{}\"]", id(&user))}]);
    plane.patched(&at, out).await.expect(204);
    assert_eq!(plane.group_of("bob@example.org").await, Value::Null);
    plane
        .patched(&at, json!([{"op": "add", "path": "members", "value": [{"value": user["id"]}]}]))
        .await
        .expect(204);
    let whole = plane.scim("GET", &at, Value::Null).await.expect(200);
    assert_eq!(whole["members"][0]["value"], user["id"]);
    assert_eq!(plane.found(GROUPS, "displayName eq \"developers\"").await, [id(&group)]);
    let of_bob = format!("id eq \"{}\" and members eq \"{}\"", id(&group), id(&user));
    assert_eq!(plane.found(GROUPS, &of_bob).await, [id(&group)]);
    plane.scim("DELETE", &at, Value::Null).await.expect(204);
    plane.scim("GET", &at, Value::Null).await.scim_error(404, "");
    assert_eq!(plane.group_of("bob@example.org").await, Value::Null);
}

#[tokio::test]
async fn a_user_is_in_one_group_and_is_moved() {
    let plane = Plane::start().await;
    let [a, b, c] =
        [plane.provisioned("a").await, plane.provisioned("b").await, plane.provisioned("c").await];
    let with = |name: &str, ids: &[&String]| {
        let members: Vec<_> = ids.iter().map(|id| json!({"value": id})).collect();
        json!({"displayName": name, "externalId": format!("x-{name}"), "members": members})
    };
    let red = id(&plane.scim("POST", GROUPS, with("red", &[&a, &b])).await.expect(201));
    let blue = id(&plane.scim("POST", GROUPS, with("blue", &[&b])).await.expect(201));
    let groups = async || [plane.group_of("a").await, plane.group_of("b").await, plane.group_of("c").await];
    assert_eq!(groups().await, [json!("red"), json!("blue"), Value::Null]);
    // Removed from one that they are not in: nothing changes.
    let before = plane.said_by_scim().await.len();
    let remove = json!([{"op": "Remove", "path": "members", "value": [{"$ref": null, "value": b}]}]);
    plane.patched(&format!("{GROUPS}/{red}"), remove).await.expect(204);
    assert_eq!(groups().await, [json!("red"), json!("blue"), Value::Null]);
    assert_eq!(plane.said_by_scim().await.len(), before);
    // Several operations are one change.
    let operations = json!([
        {"op": "add", "path": "members", "value": [{"value": b}, {"value": c}]},
        {"op": "remove", "path": format!("members[value eq \"{a}\"]")},
        {"op": "replace", "path": "displayName", "value": "scarlet"}
    ]);
    plane.patched(&format!("{GROUPS}/{red}"), operations).await.expect(204);
    assert_eq!(groups().await, [Value::Null, json!("scarlet"), json!("scarlet")]);
    // One that cannot be made changes nothing at all.
    let wrong = json!([
        {"op": "add", "path": "members", "value": [{"value": a}]},
        {"op": "add", "path": "members", "value": [{"value": "0192d1c0-0000-7000-8000-000000000000"}]}
    ]);
    plane.patched(&format!("{GROUPS}/{blue}"), wrong).await.scim_error(400, "invalidValue");
    assert_eq!(groups().await, [Value::Null, json!("scarlet"), json!("scarlet")]);
    // A replacement that says nothing of members leaves them; one that does, replaces them.
    let path = format!("{GROUPS}/{red}");
    plane.scim("PUT", &path, json!({"displayName": "scarlet"})).await.expect(200);
    assert_eq!(groups().await, [Value::Null, json!("scarlet"), json!("scarlet")]);
    let replaced = plane.scim("PUT", &path, with("red", &[&a])).await.expect(200);
    assert_eq!(replaced["members"].as_array().map(Vec::len), Some(1));
    assert_eq!(groups().await, [json!("red"), Value::Null, Value::Null]);
    let few = plane.scim("GET", &format!("{path}?excludedAttributes=members"), Value::Null).await.expect(200);
    assert_eq!((&few["members"], &few["displayName"]), (&Value::Null, &json!("red")));
    assert_eq!(plane.found(GROUPS, "externalId eq \"x-red\"").await, [red]);
}

#[tokio::test]
async fn whom_the_directory_removes_is_disabled_and_is_the_same_user_when_it_makes_them_again() {
    let plane = Plane::start().await;
    let alice = plane.provisioned("alice").await;
    let key = plane.key_of("alice").await;
    plane.patch("/admin/v1/users/alice", json!({"daily_tokens": 7, "role": "auditor"})).await.expect(200);
    let path = format!("{USERS}/{alice}");
    let gone = plane.scim("DELETE", &path, Value::Null).await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    assert_eq!(plane.call("GET", "/me", &key, None).await.status, 403);
    for (method, body) in [
        ("GET", Value::Null),
        ("PUT", json!({"userName": "alice"})),
        ("PATCH", json!({"Operations": [{"op": "replace", "path": "active", "value": true}]})),
        ("DELETE", Value::Null),
    ] {
        plane.scim(method, &path, body).await.scim_error(404, "");
    }
    assert!(plane.found(USERS, "userName eq \"alice\"").await.is_empty());
    assert!(plane.found(USERS, "externalId eq \"x-alice\"").await.is_empty());
    let kept = plane.get("/admin/v1/users/alice").await.expect(200);
    assert_eq!((&kept["active"], &kept["daily_tokens"]), (&json!(false), &json!(7)));

    let again = json!({"userName": "alice", "externalId": "another"});
    let again = plane.scim("POST", USERS, again).await.expect(201);
    assert_eq!(
        (id(&again), &again["externalId"], &again["active"]),
        (alice, &json!("another"), &json!(true))
    );
    plane.call("GET", "/me", &key, None).await.expect(200);
    let kept = plane.get("/admin/v1/users/alice").await.expect(200);
    assert_eq!((&kept["role"], &kept["daily_tokens"]), (&json!("auditor"), &json!(7)));
    plane.scim("POST", USERS, json!({"userName": "alice"})).await.scim_error(409, "uniqueness");

    // An admin lets somebody in whom the directory has removed: they are there for it again.
    plane.scim("DELETE", &path, Value::Null).await.expect(204);
    plane.patch("/admin/v1/users/alice", json!({"active": true})).await.expect(200);
    assert_eq!(plane.found(USERS, "userName eq \"alice\"").await.len(), 1);
    plane.patch("/admin/v1/users/alice", json!({"active": false})).await.expect(200);
    assert_eq!(plane.found(USERS, "active eq false").await.len(), 1);
    plane.scim("POST", USERS, json!({"userName": "alice"})).await.scim_error(409, "uniqueness");
    let actions: Vec<_> = plane.said_by_scim().await.into_iter().map(|(action, _)| action).collect();
    let expected = [
        "user.create",
        "user.deprovision",
        "user.disable",
        "user.provision",
        "user.enable",
        "user.deprovision",
        "user.disable",
    ];
    assert_eq!(actions, expected);
}

#[tokio::test]
async fn users_who_were_here_before_are_linked_by_their_id_alone() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/users", json!({"name": "carol", "password": "a long password"})).await.expect(201);
    let error = plane.scim("POST", USERS, json!({"userName": "carol", "externalId": "x"})).await;
    let error = error.scim_error(409, "uniqueness");
    assert!(error["detail"].as_str().expect("a detail").contains("carol"), "{error}");
    let found = plane.found(USERS, "userName eq \"carol\"").await;
    let path = format!("{USERS}/{}", found[0]);
    let link = json!([{"op": "Add", "path": "externalId", "value": "x-carol"}]);
    let linked = plane.patched(&path, link).await.expect(200);
    assert_eq!(linked["externalId"], "x-carol");
    plane.login("carol", "a long password").await.expect(200);
    let unlinked = plane.patched(&path, json!([{"op": "remove", "path": "externalId"}])).await.expect(200);
    assert_eq!(unlinked["externalId"], Value::Null);
    // The same once more is no change, and no row.
    let rows = plane.said_by_scim().await.len();
    plane.patched(&path, json!([{"op": "remove", "path": "externalId"}])).await.expect(200);
    plane.patched(&path, json!([{"op": "replace", "path": "active", "value": true}])).await.expect(200);
    assert_eq!(plane.said_by_scim().await.len(), rows);
}

#[tokio::test]
async fn the_last_admin_stays_whatever_the_directory_says() {
    let plane = Plane::start().await;
    let admin = plane.found(USERS, "userName eq \"admin\"").await.remove(0);
    let path = format!("{USERS}/{admin}");
    let off = json!([{"op": "Replace", "path": "active", "value": "False"}]);
    for refused in [
        plane.patched(&path, off.clone()).await,
        plane.scim("PUT", &path, json!({"userName": "admin", "active": false})).await,
        plane.scim("DELETE", &path, Value::Null).await,
    ] {
        let error = refused.scim_error(409, "");
        assert!(error["detail"].as_str().expect("a detail").contains("last active admin"), "{error}");
    }
    plane.login("admin", ADMIN_PASSWORD).await.expect(200);
    assert!(plane.said_by_scim().await.is_empty());
    plane.post("/admin/v1/users", json!({"name": "rita", "role": "admin"})).await.expect(201);
    plane.patched(&path, off).await.expect(200);
    plane.login("admin", ADMIN_PASSWORD).await.expect(403);
    assert_eq!(plane.get("/admin/v1/users/admin").await.expect(200)["role"], "admin");
}

#[tokio::test]
async fn an_identity_provider_lets_nobody_in_whom_the_directory_refuses() {
    let plane = Plane::start().await;
    let path = format!("{USERS}/{}", plane.provisioned("alice").await);
    let identity = Identity { issuer: "https://login.example".to_owned(), subject: "1".to_owned() };
    let person = ExternalPerson { identity, name: "alice".to_owned(), group: None, is_admin: None };
    let rules = ExternalRules { create: true, link_by_name: false };
    // Who was provisioned is whoever has that name at the provider.
    let alice = plane.accounts.external_user(&person, rules).await.expect("linked");
    assert_eq!(format!("{USERS}/{}", alice.id), path);
    plane.accounts.external_user_refused(alice.id, Refused::Disable, "gone").await.expect("disabled");
    assert!(plane.accounts.external_user(&person, rules).await.expect("let in again").active);
    plane.accounts.external_user_refused(alice.id, Refused::Disable, "gone").await.expect("disabled");
    plane.patched(&path, json!([{"op": "replace", "path": "active", "value": false}])).await.expect(200);
    let refused = plane.accounts.external_user(&person, rules).await;
    assert!(matches!(refused, Err(Error::Disabled(_))), "{refused:?}");
    plane.scim("DELETE", &path, Value::Null).await.expect(204);
    let refused = plane.accounts.external_user(&person, rules).await;
    assert!(matches!(refused, Err(Error::Disabled(_))), "{refused:?}");
}

#[tokio::test]
async fn its_token_opens_scim_alone_and_nothing_else_opens_scim() {
    let plane = Plane::start().await;
    let key = plane.user_with_key("alice").await;
    plane.patch("/admin/v1/users/alice", json!({"role": "admin"})).await.expect(200);
    let session = plane.login("admin", ADMIN_PASSWORD).await.expect(200);
    let access = session["access_token"].as_str().expect("a token");
    let almost = format!("{SCIM_TOKEN}4");
    for credential in ["", &key, access, &plane.admin, &almost, &SCIM_TOKEN[1..]] {
        for path in ["/scim/v2/Users", "/scim/v2/ServiceProviderConfig", "/scim/v2/nothing"] {
            let refused = plane.call("GET", path, credential, None).await;
            assert_eq!(refused.headers["www-authenticate"], "Bearer");
            refused.scim_error(401, "");
        }
        plane.call("POST", USERS, credential, Some(of_entra("x"))).await.scim_error(401, "");
        plane.call("PUT", "/scim/v2/Schemas", credential, None).await.scim_error(401, "");
    }
    for path in ["/me", "/admin/v1/users", "/admin/v1/audit"] {
        plane.call("GET", path, SCIM_TOKEN, None).await.problem(401, "unauthenticated");
    }
    assert!(plane.said_by_scim().await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_the_protocols_words() {
    let plane = Plane::start().await;
    let alice = plane.provisioned("alice").await;
    plane.provisioned("bob").await;
    let path = format!("{USERS}/{alice}");
    for name in ["", "a/b", " a", "0192d1c0-0000-7000-8000-000000000000", "a\u{7}"] {
        plane.scim("POST", USERS, json!({"userName": name})).await.scim_error(400, "invalidValue");
        plane.scim("POST", GROUPS, json!({"displayName": name})).await.scim_error(400, "invalidValue");
        plane.scim("PUT", &path, json!({"userName": name})).await.scim_error(400, "invalidValue");
    }
    plane.scim("POST", USERS, json!({"externalId": "x"})).await.scim_error(400, "invalidValue");
    plane.scim("POST", USERS, json!({"userName": 5})).await.scim_error(400, "invalidValue");
    plane
        .scim("POST", USERS, json!({"userName": "x", "active": "yes"}))
        .await
        .scim_error(400, "invalidValue");
    let long = json!({"userName": "x", "externalId": "x".repeat(257)});
    plane.scim("POST", USERS, long).await.scim_error(400, "invalidValue");
    plane.scim("POST", USERS, json!([1])).await.scim_error(400, "invalidSyntax");
    plane.scim("PUT", &path, json!({"userName": "bob"})).await.scim_error(409, "uniqueness");
    plane.scim("POST", GROUPS, json!({"displayName": "devs"})).await.expect(201);
    plane.scim("POST", GROUPS, json!({"displayName": "devs"})).await.scim_error(409, "uniqueness");
    for (operation, kind) in [
        (json!({"op": "remove", "path": "userName"}), "mutability"),
        (json!({"op": "remove", "path": "active"}), "mutability"),
        (json!({"op": "replace", "path": "id", "value": "x"}), "mutability"),
        (json!({"op": "replace", "path": "groups", "value": []}), "mutability"),
        (json!({"op": "replace", "path": "usrName", "value": "x"}), "invalidPath"),
        (json!({"op": "replace", "path": "userName.x", "value": "x"}), "invalidPath"),
        (json!({"op": "replace", "path": "emails[type pr]", "value": "x"}), "invalidFilter"),
        (json!({"op": "replace", "path": "active", "value": "maybe"}), "invalidValue"),
        (json!({"op": "remove"}), "noTarget"),
        (json!({"op": "copy", "path": "active"}), "invalidSyntax"),
    ] {
        plane.patched(&path, json!([operation])).await.scim_error(400, kind);
    }
    for filter in ["userName%20co%20%22a%22", "displayName%20eq%20%22a%22", "x", "userName%20pr"] {
        let refused = plane.scim("GET", &format!("{USERS}?filter={filter}"), Value::Null).await;
        refused.scim_error(400, "invalidFilter");
    }
    for path in
        ["/scim/v2/Users/x", "/scim/v2/Groups/x", "/scim/v2/nothing", "/scim/v2/Schemas/x", "/scim/v2/Me"]
    {
        plane.scim("GET", path, Value::Null).await.scim_error(404, "");
    }
    plane.scim("DELETE", USERS, Value::Null).await.scim_error(405, "");
    plane.scim("POST", "/scim/v2/.search", json!({})).await.scim_error(501, "");
    assert_eq!(plane.get("/admin/v1/users/alice").await.expect(200)["active"], true);
}

#[tokio::test]
async fn a_list_is_told_window_by_window() {
    let plane = Plane::start().await;
    for name in ["a", "b", "c", "d"] {
        plane.provisioned(name).await;
    }
    let page = async |query: &str| {
        let list = plane.scim("GET", &format!("{USERS}?{query}"), Value::Null).await.expect(200);
        let names = list["Resources"].as_array().expect("a list").iter();
        let names =
            names.map(|user| user["userName"].as_str().expect("a name").to_owned()).collect::<Vec<_>>();
        (
            list["totalResults"].as_u64(),
            list["startIndex"].as_u64(),
            list["itemsPerPage"].as_u64(),
            names.join(" "),
        )
    };
    let told = |start, count, names: &str| (Some(5), Some(start), Some(count), names.to_owned());
    assert_eq!(page("startIndex=1&count=2").await, told(1, 2, "admin a"));
    assert_eq!(page("startIndex=4&count=2").await, told(4, 2, "c d"));
    assert_eq!(page("startIndex=6&count=2").await, told(6, 0, ""));
    assert_eq!(page("count=0").await, told(1, 0, ""));
    assert_eq!(page("startIndex=0&sortBy=userName").await, told(1, 5, "admin a b c d"));
    plane.scim("GET", &format!("{USERS}?count=many"), Value::Null).await.scim_error(400, "");
}
