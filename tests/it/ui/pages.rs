//! What pages show, and what their forms do.

use serde_json::{Value, json};

use super::{Browser, user};
use crate::harness::{Mock, Node, Receiver, Reply, Setup, until};
use crate::http::{ADMIN_PASSWORD, Plane};

const SCRIPT: &str = "<script>alert(1)<b>";

/// A node with some calls of two users in its books.
async fn used() -> (Mock, Node) {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    node.post("/admin/v1/groups", json!({"name": SCRIPT})).await;
    let users =
        [json!({"name": "alice", "password": "a long password"}), json!({"name": SCRIPT, "group": SCRIPT})];
    for user in users {
        node.post("/admin/v1/users", user).await;
    }
    let keys = [node.key_of("alice").await, node.key_of(SCRIPT).await];
    for key in &keys {
        for model in ["claude-sonnet-4-5", SCRIPT] {
            let body =
                json!({"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]});
            let headers =
                [("x-claude-code-session-id", SCRIPT), ("x-request-id", SCRIPT), ("mock-cache-read", "100")];
            node.ask(key, "/v1/messages", &headers, &body).await;
            node.ask(key, "/v1/messages", &[("mock-status", "500")], &body).await;
        }
    }
    until("all calls are booked", async || {
        (node.get("/admin/v1/stats").await["request_count"] == json!(8)).then_some(())
    })
    .await;
    (mock, node)
}

/// The exact value of a figure on a page.
fn figure(page: &str, id: &str) -> String {
    let at = page.find(&format!("id=\"total-{id}\"")).unwrap_or_else(|| panic!("no {id}: {page}"));
    page[at..].split("data value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_are_those_of_the_api_and_names_are_text() {
    let (_mock, node) = used().await;
    let mut admin = Browser::of(&node.url(""), "admin", "correct horse battery").await;
    let mut alice = Browser::of(&node.url(""), "alice", "a long password").await;
    let stats = node.get("/admin/v1/stats").await;
    let of_alice = node.get("/admin/v1/usage?user=alice").await;
    let sum = |field: &str| {
        of_alice["items"].as_array().unwrap().iter().map(|row| row[field].as_u64().unwrap()).sum::<u64>()
    };
    for path in ["/ui/overview", "/ui/all-usage", "/ui/all-usage?by=model", "/ui/all-usage?by=day"] {
        let page = admin.get(path).await.page(200);
        for (id, field) in [
            ("cost", "cost_nanousd"),
            ("tokens", "total_tokens"),
            ("requests", "request_count"),
            ("errors", "error_count"),
        ] {
            assert_eq!(figure(&page, id), stats[field].to_string(), "{path} {field}");
        }
        assert!(page.contains("Complete through"), "{page}");
    }
    let page = alice.get("/ui/usage").await.page(200);
    assert_eq!(figure(&page, "tokens"), sum("total_tokens").to_string());
    assert_eq!(figure(&page, "cost"), sum("cost_nanousd").to_string());
    assert_eq!(figure(&page, "requests"), "4");
    for (query, requests) in [
        ("user=alice", 4),
        ("model=claude-*", 4),
        ("status=errors", 4),
        ("status=errors&user=alice", 2),
        ("node=sp-1", 8),
        ("node=sp-7", 0),
        ("from=2020-01-01&to=2020-02-01", 0),
    ] {
        let rows = node.get(&format!("/admin/v1/usage?{query}")).await;
        let rows = rows["items"].as_array().unwrap();
        let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum::<u64>().to_string();
        for by in ["", "&by=user", "&by=group", "&by=model", "&by=node", "&by=day"] {
            let page = admin.get(&format!("/ui/all-usage?{query}{by}")).await.page(200);
            assert_eq!(figure(&page, "requests"), requests.to_string(), "{query}{by}");
            assert_eq!(figure(&page, "tokens"), sum("total_tokens"), "{query}{by}");
            assert_eq!(figure(&page, "cost"), sum("cost_nanousd"), "{query}{by}");
            assert!(!page.contains("could not be read"), "{query}{by}: {page}");
            // Days are made up of models, or of what else they are asked by.
            let key = page.split("class=\"key\"").nth(1).unwrap_or_default();
            let has_models = by != "&by=day" || requests == 0 || key.contains("claude-sonnet-4-5");
            assert!(has_models || query.contains("errors"), "{query}{by}: {page}");
            let links = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
            for link in links.filter(|link| link.starts_with("/ui/all-usage?") && by == "&by=user") {
                let shown = admin.get(&link.replace("&amp;", "&")).await;
                assert_eq!(shown.status, 200, "{link}: {}", shown.text);
            }
        }
    }
    let call = of_alice["items"][0]["request_id"].as_str().unwrap().to_owned();
    let others = node.get("/admin/v1/usage").await;
    let others =
        others["items"].as_array().unwrap().iter().find(|row| row["user"] == SCRIPT).unwrap()["request_id"]
            .clone();
    alice.get(&format!("/ui/usage/calls/{call}")).await.page(200);
    alice.get(&format!("/ui/usage/calls/{}", others.as_str().unwrap())).await.page(404);
    let users = node.get("/admin/v1/users").await;
    let id =
        users["items"].as_array().unwrap().iter().find(|row| row["name"] == SCRIPT).unwrap()["id"].clone();
    let paths = [
        "/ui/overview",
        "/ui/all-usage",
        "/ui/all-usage?by=user",
        "/ui/all-usage?by=group",
        "/ui/users",
        "/ui/groups",
        "/ui/all-keys",
        "/ui/models",
        "/ui/targets",
        "/ui/peers",
        "/ui/alerts",
        "/ui/audit",
        "/ui/usage",
        "/ui/keys",
        "/ui/limits",
        "/ui/connect",
        "/ui/all-usage?user=%3Cscript%3Ealert(1)%3Cb%3E&model=%22%3E%3Cscript%3E",
        "/ui/users?name=%3Cscript%3E",
    ];
    for path in paths.map(str::to_owned).into_iter().chain([
        format!("/ui/users/{}", id.as_str().unwrap()),
        format!("/ui/calls/{}", others.as_str().unwrap()),
    ]) {
        let page = admin.get(&path).await.text;
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{path}: {page}");
    }
    let export = admin.get("/ui/export?format=csv&status=errors").await;
    assert_eq!((export.status, export.text.lines().count()), (200, 5), "{}", export.text);
}

#[tokio::test]
async fn pages_for_admins_are_for_admins() {
    let plane = Plane::start().await;
    user(&plane, "alice", "a long password").await;
    let mut alice = Browser::of(&plane.url, "alice", "a long password").await;
    assert!(!alice.get("/ui/usage").await.page(200).contains("/ui/users"));
    for path in [
        "/ui/overview",
        "/ui/all-usage",
        "/ui/export",
        "/ui/users",
        "/ui/groups",
        "/ui/all-keys",
        "/ui/models",
        "/ui/targets",
        "/ui/peers",
        "/ui/alerts",
        "/ui/audit",
        "/ui/users/admin",
        "/ui/calls/x",
    ] {
        assert!(alice.get(path).await.page(403).contains("admin"), "{path}");
    }
    for path in [
        "/ui/users",
        "/ui/users/admin",
        "/ui/users/admin/disable",
        "/ui/groups",
        "/ui/users/admin/keys",
        "/ui/peers/sp-1/forget",
    ] {
        alice.submit(path, &[("name", "x")]).await.page(403);
    }
    assert_eq!(plane.get("/admin/v1/users").await.expect(200)["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_key_of_ones_own_is_shown_once_and_revoked() {
    let plane = Plane::start().await;
    user(&plane, "alice", "a long password").await;
    let mut alice = Browser::of(&plane.url, "alice", "a long password").await;
    let page = alice.submit("/ui/keys", &[("name", "laptop"), ("expires", "30")]).await.page(200);
    let key = page.split("sk-sp-").nth(1).unwrap().split('<').next().unwrap();
    let key = format!("sk-sp-{key}");
    assert!(page.contains(&format!("ANTHROPIC_BASE_URL={} ANTHROPIC_API_KEY={key}", plane.url)), "{page}");
    assert_eq!(plane.call("GET", "/me", &key, None).await.expect(200)["name"], "alice");
    let page = alice.get("/ui/keys").await.page(200);
    assert!(!page.contains(&key) && page.contains("laptop") && page.contains("2026-12-22"), "{page}");
    let id = plane.get("/admin/v1/keys?user=alice").await.expect(200)["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut admin = Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await;
    admin.submit(&format!("/ui/keys/{id}/revoke"), &[]).await.page(404);
    assert_eq!(
        alice.submit(&format!("/ui/keys/{id}/revoke"), &[]).await.redirect(),
        "/ui/keys?done=key-revoked"
    );
    assert!(alice.get("/ui/keys?done=key-revoked").await.page(200).contains("The key is revoked"));
    assert!(!alice.get("/ui/keys?done=%3Cb%3Ehello").await.page(200).contains("hello"));
    plane.call("GET", "/me", &key, None).await.problem(401, "unauthenticated");
    let page = alice.submit("/ui/keys", &[("name", "x"), ("expires", "1000")]).await.page(400);
    assert!(page.contains("is no time to expire") && page.contains("value=\"x\""), "{page}");
}

#[tokio::test]
async fn admins_change_people_by_forms_and_the_audit_says_who() {
    let plane = Plane::start().await;
    let mut admin = Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await;
    let group =
        [("name", "devs"), ("monthly_usd", "200"), ("daily_tokens", "2M"), ("models", "claude-*, gpt-5*")];
    let to = admin.submit("/ui/groups", &group).await.redirect().to_owned();
    assert!(to.ends_with("?done=group-created"), "{to}");
    let devs = plane.get("/admin/v1/groups/devs").await.expect(200);
    assert_eq!(
        (&devs["monthly_usd"], &devs["daily_tokens"], &devs["models"]),
        (&json!(200.0), &json!(2_000_000), &json!(["claude-*", "gpt-5*"]))
    );
    let page = admin.submit("/ui/groups", &[("name", "devs")]).await.page(409);
    assert!(page.contains("Nothing was changed."), "{page}");
    let fields = [
        ("name", "alice"),
        ("password", "a long password"),
        ("group", "devs"),
        ("role", "user"),
        ("rpm", "60"),
    ];
    let to = admin.submit("/ui/users", &fields).await.redirect().to_owned();
    let path = to.split('?').next().unwrap().to_owned();
    assert!(admin.get(&to).await.page(200).contains("The user is created"));
    let page = admin.submit("/ui/users", &[("name", "bob"), ("rpm", "many")]).await.page(400);
    assert!(page.contains("rpm: `many` is no number") && page.contains("value=\"bob\""), "{page}");
    let changed = [("name", "alice"), ("group", ""), ("role", "user"), ("monthly_usd", "49.50"), ("rpm", "")];
    assert!(admin.submit(&path, &changed).await.redirect().ends_with("?done=saved"));
    let alice = plane.get("/admin/v1/users/alice").await.expect(200);
    assert_eq!(
        (&alice["group"], &alice["monthly_usd"], &alice["rpm"]),
        (&Value::Null, &json!(49.5), &Value::Null)
    );
    let page = admin.submit(&format!("{path}/keys"), &[("name", "laptop")]).await.page(200);
    assert!(page.contains("sk-sp-"), "{page}");
    let mut browser = Browser::of(&plane.url, "alice", "a long password").await;
    assert!(admin.submit(&format!("{path}/disable"), &[]).await.redirect().ends_with("?done=user-disabled"));
    assert!(!browser.is_in().await);
    assert!(admin.submit(&format!("{path}/enable"), &[]).await.redirect().ends_with("?done=user-enabled"));
    admin.submit(&format!("{path}/password"), &[("password", "short")]).await.page(400);
    assert!(
        admin
            .submit(&format!("{path}/password"), &[("password", "another password")])
            .await
            .redirect()
            .ends_with("?done=password-set")
    );
    assert!(admin.submit(&format!("{path}/revoke"), &[]).await.redirect().ends_with("?done=user-signed-out"));
    admin.submit(&format!("{path}/explode"), &[]).await.page(404);
    assert_eq!(admin.submit(&format!("{path}/remove"), &[]).await.redirect(), "/ui/users?done=user-removed");
    let admins = plane.get("/admin/v1/users/admin").await.expect(200)["id"].as_str().unwrap().to_owned();
    let page = admin.submit(&format!("/ui/users/{admins}/disable"), &[]).await.page(409);
    assert!(page.contains("last active admin"), "{page}");
    let audit = plane.get("/admin/v1/audit?limit=100").await.expect(200);
    let entries: Vec<(&str, &str)> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["actor"].as_str().unwrap(), entry["action"].as_str().unwrap()))
        .collect();
    for action in [
        "group.create",
        "user.create",
        "user.change",
        "key.create",
        "user.disable",
        "user.enable",
        "user.password",
        "user.revoke",
        "user.remove",
    ] {
        assert!(entries.contains(&("user admin", action)), "{action}: {entries:?}");
    }
    let page = admin.get("/ui/audit").await.page(200);
    assert!(page.contains("user.remove") && !page.contains("a long password"), "{page}");
}

#[tokio::test]
async fn limits_are_shown_with_what_is_used_and_when_they_begin_anew() {
    let plane = Plane::start().await;
    user(&plane, "alice", "a long password").await;
    let mut alice = Browser::of(&plane.url, "alice", "a long password").await;
    assert!(alice.get("/ui/limits").await.page(200).contains("No limits"));
    plane
        .patch(
            "/admin/v1/users/alice",
            json!({"monthly_usd": 50, "daily_tokens": 1000, "models": ["claude-*"]}),
        )
        .await
        .expect(200);
    let page = alice.get("/ui/limits").await.page(200);
    for text in ["$0.00 of $50.00", "0 of 1,000", "in 14 h", "2026-11-23 00:00", "in 8 days", "claude-*"] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[tokio::test]
async fn auditors_are_offered_nothing_that_they_may_not_do_and_admins_try_alerts_by_a_button() {
    let (mock, receiver) = (Mock::start().await, Receiver::start().await);
    let file = format!("[[alerts]]\nname = \"hook\"\nurl = \"{}\"\n", receiver.url());
    let node = Setup::with_targets_at(&mock.url()).and_file(&file).start().await;
    let body = json!({"name": "ada", "password": "a long password", "role": "auditor"});
    node.post("/admin/v1/users", body).await;
    let mut ada = Browser::of(&node.url(""), "ada", "a long password").await;
    let mut admin = Browser::of(&node.url(""), "admin", ADMIN_PASSWORD).await;
    for path in [
        "/ui/targets",
        "/ui/peers",
        "/ui/alerts",
        "/ui/users",
        "/ui/groups",
        "/ui/all-keys",
        "/ui/users/admin",
    ] {
        let (hers, theirs) = (ada.get(path).await.page(200), admin.get(path).await.page(200));
        // Signing out, and the filters of lists.
        let changes = |page: &str| page.matches("method=\"post\"").count() - 1;
        assert_eq!(changes(&hers), 0, "{path}: {hers}");
        assert!(changes(&theirs) > 0 || path == "/ui/all-keys", "{path}: {theirs}");
    }
    ada.submit("/ui/alerts/test", &[]).await.page(403);
    assert!(receiver.deliveries().is_empty());
    let page = admin.submit("/ui/alerts/test", &[]).await.page(200);
    assert!(page.contains("hook has taken the test event"), "{page}");
    assert_eq!(receiver.deliveries().len(), 1);
    receiver.reply([Reply::Status(500)]);
    let page = admin.submit("/ui/alerts/test", &[]).await.page(200);
    assert!(page.contains("hook has not taken the test event") && page.contains("500"), "{page}");
}
