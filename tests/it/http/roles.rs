//! Roles: which of them may ask what, over every route that there is; whom managers reach; and that nobody becomes more
//! than they were given.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Plane;

/// A credential of each role. `mia` manages `devs`, where she is a member herself, and `lab`; `dora` and `lars` are members;
/// `rita` is an admin in `devs`; `otto` and the group `ops` are nobody's business but the admins' and auditors'.
pub(super) struct Company {
    pub plane: Plane,
    pub admin: String,
    pub auditor: String,
    pub manager: String,
    pub user: String,
}

impl Company {
    pub async fn start() -> Self {
        let plane = Plane::start().await;
        for group in ["devs", "lab", "ops"] {
            let new = json!({"name": group, "daily_tokens": 1000, "rpm": 10});
            plane.post("/admin/v1/groups", new).await.expect(201);
        }
        for new in [
            json!({"name": "rita", "role": "admin", "group": "devs"}),
            json!({"name": "ada", "role": "auditor"}),
            json!({"name": "mia", "role": "manager", "manages": ["devs", "lab"], "group": "devs"}),
            json!({"name": "max", "role": "manager", "manages": ["ops"], "group": "devs"}),
            json!({"name": "dora", "group": "devs"}),
            json!({"name": "lars", "group": "lab"}),
            json!({"name": "otto", "group": "ops"}),
        ] {
            plane.post("/admin/v1/users", new).await.expect(201);
        }
        let [admin, auditor, manager, user] = ["rita", "ada", "mia", "dora"];
        let admin = plane.key_of(admin).await;
        let auditor = plane.key_of(auditor).await;
        let manager = plane.key_of(manager).await;
        let user = plane.key_of(user).await;
        Self { plane, admin, auditor, manager, user }
    }

    async fn as_manager(&self, method: &str, path: &str, body: Value) -> super::Got {
        self.plane.call(method, path, &self.manager, Some(body).filter(|body| !body.is_null())).await
    }

    /// A key's id.
    async fn key_id(&self, user: &str) -> String {
        let keys = self.plane.get(&format!("/admin/v1/keys?user={user}")).await.expect(200);
        keys["items"][0]["id"].as_str().expect("a key").to_owned()
    }
}

/// Who may: admins; also auditors; also managers; managers and no auditors.
const ADMIN: [bool; 4] = [true, false, false, false];
const CLUSTER: [bool; 4] = [true, true, false, false];
const PEOPLE: [bool; 4] = [true, true, true, false];
const MANAGE: [bool; 4] = [true, false, true, false];
const EVERYBODY: [bool; 4] = [true; 4];

/// Every operation of the control plane that needs a credential, and which of admin, auditor, manager and user may ask it. A
/// route that is not here fails the test: decide who may.
const ROUTES: [(&str, [bool; 4]); 53] = [
    ("get /me", EVERYBODY),
    ("get /me/usage", EVERYBODY),
    ("get /me/quota", EVERYBODY),
    ("get /me/nodes", EVERYBODY),
    ("get /me/models", EVERYBODY),
    ("get /me/keys", EVERYBODY),
    ("post /me/keys", EVERYBODY),
    ("delete /me/keys/{id}", EVERYBODY),
    ("post /me/keys/{id}/reissue", EVERYBODY),
    ("get /admin/v1/users", PEOPLE),
    ("post /admin/v1/users", MANAGE),
    ("post /admin/v1/users/import", ADMIN),
    ("get /admin/v1/users/{id}", PEOPLE),
    ("patch /admin/v1/users/{id}", MANAGE),
    ("delete /admin/v1/users/{id}", ADMIN),
    ("post /admin/v1/users/{id}/password", MANAGE),
    ("post /admin/v1/users/{id}/revoke", MANAGE),
    ("get /admin/v1/groups", PEOPLE),
    ("post /admin/v1/groups", ADMIN),
    ("get /admin/v1/groups/{id}", PEOPLE),
    ("patch /admin/v1/groups/{id}", ADMIN),
    ("delete /admin/v1/groups/{id}", ADMIN),
    ("get /admin/v1/keys", PEOPLE),
    ("post /admin/v1/keys", MANAGE),
    ("delete /admin/v1/keys/{id}", MANAGE),
    ("post /admin/v1/keys/{id}/reissue", MANAGE),
    ("get /admin/v1/signing-keys", CLUSTER),
    ("post /admin/v1/signing-keys/rotate", ADMIN),
    ("get /admin/v1/usage", PEOPLE),
    ("post /admin/v1/usage/retry-rejected", ADMIN),
    ("post /admin/v1/usage/dismiss-rejected", ADMIN),
    ("get /admin/v1/stats", PEOPLE),
    ("get /admin/v1/stats/users", PEOPLE),
    ("get /admin/v1/stats/groups", PEOPLE),
    ("get /admin/v1/stats/models", PEOPLE),
    ("get /admin/v1/stats/nodes", PEOPLE),
    ("get /admin/v1/stats/days", PEOPLE),
    ("get /admin/v1/peers", CLUSTER),
    ("delete /admin/v1/peers/{id}", ADMIN),
    ("post /admin/v1/peers/{id}/drain", ADMIN),
    ("post /admin/v1/peers/{id}/undrain", ADMIN),
    ("get /admin/v1/leadership", CLUSTER),
    ("post /admin/v1/promote", ADMIN),
    ("get /admin/v1/targets", CLUSTER),
    ("post /admin/v1/targets/{name}/drain", ADMIN),
    ("post /admin/v1/targets/{name}/undrain", ADMIN),
    ("get /admin/v1/alerts", CLUSTER),
    ("get /admin/v1/alerts/events", CLUSTER),
    ("post /admin/v1/alerts/test", ADMIN),
    ("post /admin/v1/reload", ADMIN),
    ("get /admin/v1/audit", CLUSTER),
    ("get /admin/v1/backup", ADMIN),
    // Without a credential: it says nothing that the source does not.
    ("get /admin/v1/openapi.json", EVERYBODY),
];

/// What is sent where a body is wanted; nothing of it can be done, so that roles alone decide.
fn body(operation: &str) -> Option<Value> {
    match operation {
        "post /admin/v1/users" => Some(json!({"name": "a/b", "group": "devs"})),
        "post /admin/v1/keys" => Some(json!({"user": "nobody"})),
        "post /admin/v1/users/{id}/password" => Some(json!({"password": "short"})),
        "patch /admin/v1/users/{id}" | "patch /admin/v1/groups/{id}" => Some(json!({"rpm": 5})),
        "post /admin/v1/groups" => Some(json!({"name": "a/b"})),
        "post /me/keys" => Some(json!({"expires_at": "2026-11-01"})),
        "post /admin/v1/alerts/test" => Some(json!({})),
        _ => None,
    }
}

#[tokio::test]
async fn every_route_lets_those_roles_ask_that_are_meant_to_and_tells_the_others_which() {
    let company = Company::start().await;
    let document = company.plane.call("GET", "/admin/v1/openapi.json", "", None).await.expect(200);
    let mut decided: BTreeMap<&str, [bool; 4]> = ROUTES.into_iter().collect();
    assert_eq!(decided.len(), ROUTES.len(), "each once");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        if path != "/me" && !["/me/", "/admin/"].iter().any(|start| path.starts_with(start)) {
            continue;
        }
        for method in methods.as_object().expect("methods").keys() {
            let operation = format!("{method} {path}");
            let may = decided.remove(operation.as_str()).unwrap_or_else(|| panic!("who may {operation}?"));
            let named =
                path.replace("users/{id}", "users/lars").replace("{id}", "nobody").replace("{name}", "none");
            let asked = [&company.admin, &company.auditor, &company.manager, &company.user];
            for ((credential, may), role) in
                asked.into_iter().zip(may).zip(["admin", "auditor", "manager", "user"])
            {
                let answer =
                    company.plane.call(&method.to_uppercase(), &named, credential, body(&operation)).await;
                if may {
                    assert!(![401, 403].contains(&answer.status), "{role}: {operation}: {}", answer.text);
                    continue;
                }
                let problem = answer.problem(403, "forbidden");
                let detail = problem["detail"].as_str().expect("a detail");
                assert!(detail.contains("needs the role admin"), "{operation}: {detail}");
                assert!(detail.ends_with(&format!("yours is {role}")), "{operation}: {detail}");
            }
            // Whoever was changed by those who may is as before for the next route.
            company.plane.post("/admin/v1/users", json!({"name": "lars", "group": "lab"})).await;
        }
    }
    assert!(decided.is_empty(), "no such routes: {decided:?}");
}

#[tokio::test]
async fn a_manager_sees_the_members_of_their_groups_and_nobody_else_on_any_page() {
    let company = Company::start().await;
    for number in 0..30 {
        let group = if number % 3 == 0 { "devs" } else { "ops" };
        let new = json!({"name": format!("user-{number:02}"), "group": group});
        company.plane.post("/admin/v1/users", new).await.expect(201);
        company.plane.key_of(&format!("user-{number:02}")).await;
    }
    let names = async |credential: &str, list: &str, field: &str| {
        let (mut names, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/admin/v1/{list}?limit=4&cursor={cursor}");
            let page = company.plane.call("GET", &path, credential, None).await.expect(200);
            let rows = page["items"].as_array().expect("rows");
            assert!(rows.len() == 4 || page["next_cursor"].is_null(), "pages are full: {page}");
            names.extend(rows.iter().map(|row| row[field].as_str().expect("a name").to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => return names,
            }
        }
    };
    let mut members: Vec<String> = (0..30).step_by(3).map(|number| format!("user-{number:02}")).collect();
    let keys = {
        let mut keys = members.clone();
        keys.extend(["dora", "mia", "rita"].map(str::to_owned));
        keys
    };
    members.extend(["dora", "lars", "max", "mia", "rita"].map(str::to_owned));
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(names(&company.manager, "users", "name").await), sorted(members));
    assert_eq!(sorted(names(&company.manager, "keys", "user").await), sorted(keys));
    assert_eq!(sorted(names(&company.manager, "groups", "name").await), ["devs", "lab"]);
    assert_eq!(names(&company.auditor, "users", "name").await.len(), 38);
    assert_eq!(names(&company.auditor, "groups", "name").await.len(), 3);

    // Whom they do not see is not there, whether or not there is one.
    for (there, not_there) in [
        ("/admin/v1/users/otto", "/admin/v1/users/nobody"),
        ("/admin/v1/groups/ops", "/admin/v1/groups/none"),
        ("/admin/v1/users?group=ops", "/admin/v1/users?group=none"),
        ("/admin/v1/keys?user=otto", "/admin/v1/keys?user=nobody"),
        ("/admin/v1/usage?user=otto", "/admin/v1/usage?user=nobody"),
        ("/admin/v1/usage?group=ops", "/admin/v1/usage?group=none"),
    ] {
        let [one, other] = [there, not_there].map(|path| company.as_manager("GET", path, Value::Null));
        let [one, other] = [one.await.problem(404, "not-found"), other.await.problem(404, "not-found")];
        let said =
            |problem: &Value| problem["detail"].as_str().expect("a detail").rsplit(' ').skip(1).count();
        assert_eq!(said(&one), said(&other), "{there}");
    }
    let me = company.as_manager("GET", "/me", Value::Null).await.expect(200);
    assert_eq!((&me["role"], &me["manages"]), (&json!("manager"), &json!(["devs", "lab"])));
}

#[tokio::test]
async fn a_manager_makes_changes_and_equips_members_of_their_groups() {
    let company = Company::start().await;
    let new = json!({"name": "new", "group": "devs", "daily_tokens": 1000, "monthly_tokens": 99});
    let made = company.as_manager("POST", "/admin/v1/users", new).await.expect(201);
    assert_eq!((&made["role"], &made["group"]), (&json!("user"), &json!("devs")));
    let changed = company.as_manager("PATCH", "/admin/v1/users/new", json!({"group": "lab", "rpm": 9}));
    assert_eq!(changed.await.expect(200)["group"], "lab");
    let key = company.as_manager("POST", "/admin/v1/keys", json!({"user": "new"})).await.expect(201);
    let text = key["key"].as_str().expect("a key");
    company.plane.call("GET", "/me", text, None).await.expect(200);
    let password = json!({"password": "a password of theirs"});
    company.as_manager("POST", "/admin/v1/users/new/password", password).await.expect(204);
    company.plane.login("new", "a password of theirs").await.expect(200);
    let ended = company.as_manager("POST", "/admin/v1/users/new/revoke", Value::Null).await.expect(200);
    assert_eq!(ended["sessions_ended"], 1);
    for (active, status) in [(false, 403), (true, 200)] {
        company.as_manager("PATCH", "/admin/v1/users/new", json!({"active": active})).await.expect(200);
        assert_eq!(company.plane.call("GET", "/me", text, None).await.status, status);
    }
    let path = format!("/admin/v1/keys/{}", key["id"].as_str().expect("an id"));
    company.as_manager("DELETE", &path, Value::Null).await.expect(204);
    company.plane.call("GET", "/me", text, None).await.expect(401);
    let entry = &company.plane.get("/admin/v1/audit?limit=1").await.expect(200)["items"][0];
    let who = ["actor", "credential", "address", "action"].map(|field| entry[field].clone());
    assert_eq!(who, ["user mia", "api_key", "127.0.0.1", "key.revoke"]);
}

/// What a manager tries, and what of it the refusal names.
#[tokio::test]
async fn a_manager_becomes_no_more_and_reaches_no_further() {
    let company = Company::start().await;
    let [admins_key, others_key] = [company.key_id("rita").await, {
        company.plane.key_of("otto").await;
        company.key_id("otto").await
    }];
    let forbidden: Vec<(&str, String, Value, &str)> = vec![
        // Roles, and groups to manage.
        ("PATCH", "users/dora".into(), json!({"role": "manager"}), "role admin"),
        ("PATCH", "users/dora".into(), json!({"role": "admin"}), "role admin"),
        ("PATCH", "users/mia".into(), json!({"role": "admin"}), "role admin"),
        ("POST", "users".into(), json!({"name": "x", "group": "devs", "role": "admin"}), "role admin"),
        ("POST", "users".into(), json!({"name": "x", "group": "devs", "role": "auditor"}), "role admin"),
        (
            "POST",
            "users".into(),
            json!({"name": "x", "group": "devs", "role": "manager", "manages": ["lab"]}),
            "role admin",
        ),
        // Those who are more than users, though they are members.
        ("PATCH", "users/rita".into(), json!({"active": false}), "rita, whose role is admin"),
        ("PATCH", "users/rita".into(), json!({"role": "user"}), "rita, whose role is admin"),
        ("PATCH", "users/max".into(), json!({"rpm": 1}), "max, whose role is manager"),
        ("POST", "users/rita/password".into(), json!({"password": "a password of mine"}), "rita"),
        ("POST", "users/rita/revoke".into(), Value::Null, "rita"),
        ("POST", "keys".into(), json!({"user": "rita"}), "rita"),
        ("POST", "keys".into(), json!({"user": "max"}), "max"),
        ("DELETE", format!("keys/{admins_key}"), Value::Null, "rita"),
        ("POST", format!("keys/{admins_key}/reissue"), Value::Null, "rita"),
        // Groups that are not theirs, there or not.
        ("POST", "users".into(), json!({"name": "x", "group": "ops"}), "ops, a group that you do not manage"),
        (
            "POST",
            "users".into(),
            json!({"name": "x", "group": "none"}),
            "none, a group that you do not manage",
        ),
        ("POST", "users".into(), json!({"name": "x"}), "in no group"),
        ("PATCH", "users/dora".into(), json!({"group": "ops"}), "ops, a group that you do not manage"),
        ("PATCH", "users/dora".into(), json!({"group": null}), "out of all groups"),
        // Limits above those of the group.
        (
            "PATCH",
            "users/dora".into(),
            json!({"daily_tokens": 1001}),
            "daily_tokens above that of the group devs",
        ),
        (
            "POST",
            "users".into(),
            json!({"name": "x", "group": "lab", "rpm": 11}),
            "rpm above that of the group lab",
        ),
        ("PATCH", "groups/devs".into(), json!({"daily_tokens": null}), "role admin"),
        ("DELETE", "users/dora".into(), Value::Null, "role admin"),
    ];
    for (method, path, body, says) in forbidden {
        let answer = company.as_manager(method, &format!("/admin/v1/{path}"), body.clone()).await;
        let problem = answer.problem(403, "forbidden");
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(
            detail.contains(says) && detail.ends_with("yours is manager"),
            "{method} {path} {body}: {detail}"
        );
    }
    for (method, path, body) in [
        ("PATCH", "users/otto", json!({"rpm": 1})),
        ("POST", "users/otto/password", json!({"password": "a password of mine"})),
        ("POST", "users/ada/revoke", Value::Null),
        ("POST", "keys", json!({"user": "otto"})),
        ("POST", "keys", json!({"user": "admin"})),
        ("DELETE", &format!("keys/{others_key}"), Value::Null),
        ("POST", &format!("keys/{others_key}/reissue"), Value::Null),
    ] {
        let answer = company.as_manager(method, &format!("/admin/v1/{path}"), body).await;
        answer.problem(404, "not-found");
    }
    company.plane.get("/admin/v1/users/x").await.problem(404, "not-found");
    let dora = company.plane.get("/admin/v1/users/dora").await.expect(200);
    assert_eq!(
        (&dora["role"], &dora["group"], &dora["daily_tokens"]),
        (&json!("user"), &json!("devs"), &Value::Null)
    );
}

#[tokio::test]
async fn a_limit_above_the_groups_that_an_admin_has_set_stays_until_it_is_changed() {
    let company = Company::start().await;
    company.plane.patch("/admin/v1/users/dora", json!({"daily_tokens": 5000})).await.expect(200);
    let changed = company.as_manager("PATCH", "/admin/v1/users/dora", json!({"rpm": 10})).await.expect(200);
    assert_eq!(changed["daily_tokens"], 5000);
    company.as_manager("PATCH", "/admin/v1/users/dora", json!({"daily_tokens": 4999})).await.expect(403);
    company.as_manager("PATCH", "/admin/v1/users/dora", json!({"group": "lab"})).await.expect(403);
    let both = json!({"group": "lab", "daily_tokens": 1000});
    assert_eq!(company.as_manager("PATCH", "/admin/v1/users/dora", both).await.expect(200)["group"], "lab");
}

#[tokio::test]
async fn what_a_role_gives_and_takes_holds_from_the_next_request_on() {
    let company = Company::start().await;
    let plane = &company.plane;
    plane.post("/admin/v1/users/mia/password", json!({"password": "mia's password"})).await.expect(204);
    let session = plane.login("mia", "mia's password").await.expect(200);
    let token = session["access_token"].as_str().expect("a token");
    let status = async |path: &str| plane.call("GET", path, token, None).await.status;
    assert_eq!((status("/admin/v1/users/dora").await, status("/admin/v1/users/lars").await), (200, 200));
    let fewer = plane.patch("/admin/v1/users/mia", json!({"manages": ["lab"]})).await.expect(200);
    assert_eq!(fewer["manages"], json!(["lab"]));
    assert_eq!((status("/admin/v1/users/dora").await, status("/admin/v1/users/lars").await), (404, 200));
    plane.delete("/admin/v1/groups/lab?force=true").await.expect(200);
    assert_eq!(plane.get("/admin/v1/users/mia").await.expect(200)["manages"], json!([]));
    let seen = plane.call("GET", "/admin/v1/users", token, None).await.expect(200);
    assert_eq!(seen["items"], json!([]), "a manager of nothing sees nobody");
    plane.patch("/admin/v1/users/mia", json!({"role": "auditor"})).await.expect(200);
    assert_eq!((status("/admin/v1/users/dora").await, status("/admin/v1/audit").await), (200, 200));
    plane.patch("/admin/v1/users/mia", json!({"role": "user"})).await.expect(200);
    assert_eq!((status("/admin/v1/users/dora").await, status("/me").await), (403, 200));
    let again = plane.patch("/admin/v1/users/mia", json!({"role": "manager"})).await.expect(200);
    assert_eq!(again["manages"], json!([]), "what was managed before another role does not come back");

    let refused = async |body: Value| plane.patch("/admin/v1/users/dora", body).await.problem(400, "invalid");
    refused(json!({"manages": ["devs"]})).await;
    refused(json!({"role": "admin", "manages": ["devs"]})).await;
    refused(json!({"role": "manager", "manages": ["none"]})).await;
    refused(json!({"role": "owner"})).await;
}
