//! People by commands: roles, files of people, keys in the place of others, and who has changed what.

use serde_json::{Value, json};

use super::{node_and_mock, on, on_with_input, plain};

#[tokio::test]
async fn roles_are_given_by_commands_and_a_refusal_says_which_is_needed() {
    let (node, _mock) = node_and_mock().await;
    on(&node, &["group", "add", "devs"]).await.done();
    on(&node, &["user", "add", "dora", "--group", "devs"]).await.done();
    on(&node, &["user", "create", "mia", "--role", "manager", "--manages", "devs"]).await.done();
    assert!(on(&node, &["user", "show", "mia"]).await.done().contains("manager"));
    let key = on(&node, &["key", "create", "--user", "mia"]).await.done();
    let as_mia = async |arguments: &[&str]| {
        let server = node.url("");
        plain(&[arguments, &["--server", &server, "--token", key.trim()]].concat()).await
    };
    let seen = as_mia(&["user", "list", "--json"]).await.json();
    assert_eq!((seen.as_array().unwrap().len(), &seen[0]["name"]), (1, &json!("dora")));
    let refused = as_mia(&["peer", "list"]).await.refused(1);
    assert!(refused.contains("needs the role admin or auditor; yours is manager"), "{refused}");
    on(&node, &["user", "set", "mia", "--manages", ""]).await.done();
    assert_eq!(on(&node, &["user", "show", "mia", "--json"]).await.json()["manages"], json!([]));
    on(&node, &["user", "set", "mia", "--role", "auditor"]).await.done();
    assert!(!as_mia(&["peer", "list"]).await.done().is_empty());
    let refused = on(&node, &["user", "set", "mia", "--role", "owner"]).await.refused(64);
    assert!(refused.contains("admin, auditor, manager or user"), "{refused}");
}

#[tokio::test]
async fn a_key_is_reissued_and_the_audit_log_tells_by_whom() {
    let (node, _mock) = node_and_mock().await;
    on(&node, &["user", "add", "alice"]).await.done();
    let old = on(&node, &["key", "create", "--user", "alice", "--name", "laptop"]).await.done();
    let id = on(&node, &["key", "list", "--json"]).await.json()[0]["id"].as_str().unwrap().to_owned();
    let ended = on(&node, &["key", "reissue", &id, "--overlap", "0"]).await;
    assert!(ended.err.contains("alice") && ended.err.contains("refused from"), "{}", ended.err);
    let new = ended.done();
    let me = async |key: &str| {
        node.http.get(node.url("/me")).bearer_auth(key.trim()).send().await.unwrap().status().as_u16()
    };
    assert_eq!((me(&old).await, me(&new).await), (401, 200));

    let listed = on(&node, &["audit", "--action", "key.*", "--from", "today", "--json"]).await.json();
    let actions: Vec<&Value> = listed.as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["key.reissue", "key.create"]);
    assert_eq!(
        (&listed[0]["actor"], &listed[0]["credential"]),
        (&json!("local-admin"), &json!("local_admin"))
    );
    let table = on(&node, &["audit", "--subject", "alice"]).await;
    assert!(table.out.contains("user.create") && table.out.contains("127.0.0.1"), "{}", table.out);
    assert!(!table.done().contains("key."));
    let cut = on(&node, &["audit", "--limit", "1"]).await;
    assert!(cut.err.contains("there are more"), "{}", cut.err);
    assert_eq!(on(&node, &["audit", "--actor", "nobody", "--json"]).await.json(), json!([]));
    let system = on(&node, &["audit", "--actor", "system", "--to", "now", "--json"]).await.json();
    assert_eq!(system[0]["subject"], "user admin");
}

#[tokio::test]
async fn a_file_of_people_is_tried_then_imported_and_the_second_time_changes_nothing() {
    let (node, _mock) = node_and_mock().await;
    let file = "name;group;monthly_usd\r\nalice;devs;12,50\r\nbob;devs;\r\n";
    let refused = on_with_input(&node, &["user", "import", "-"], file).await;
    assert!(refused.out.contains("there is no group devs") && refused.err.contains("nothing was changed"));
    refused.refused(1);
    let tried = on_with_input(&node, &["user", "import", "-", "--create-groups", "--dry-run"], file).await;
    assert!(
        tried.err.contains("2 new, 0 changed, 0 unchanged, 0 refused, 1 new groups; nothing was changed")
    );
    tried.done();
    on(&node, &["user", "show", "alice"]).await.refused(1);
    let done = on_with_input(&node, &["user", "import", "-", "--create-groups", "--keys"], file).await;
    let table = done.done();
    assert_eq!(table.matches("sk-sp-").count(), 2, "{table}");
    assert_eq!(on(&node, &["user", "show", "alice", "--json"]).await.json()["monthly_usd"], json!(12.5));
    let again = on_with_input(&node, &["user", "import", "-", "--keys", "--json"], file).await.json();
    assert_eq!((&again["unchanged"], &again["created"]), (&json!(2), &json!(0)));
    let missing = on(&node, &["user", "import", "nowhere.csv"]).await.refused(1);
    assert!(missing.contains("nowhere.csv"), "{missing}");
}
