//! Many people at once, from a file.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Got, Plane};

impl Plane {
    async fn import(&self, query: &str, file: &str) -> Got {
        let url = format!("{}/admin/v1/users/import{query}", self.url);
        let request = reqwest::Client::new().post(url).bearer_auth(&self.admin);
        let answer =
            request.header("content-type", "text/csv").body(file.to_owned()).send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Got { status, headers, text: answer.text().await.expect("a body") }
    }

    async fn audited(&self) -> usize {
        self.get("/admin/v1/audit?limit=1000").await.expect(200)["items"].as_array().expect("rows").len()
    }
}

/// Line, name and outcome of each row.
fn outcomes(view: &Value) -> Vec<String> {
    let rows = view["rows"].as_array().expect("rows").iter();
    let said = |value: &Value| value.as_str().expect("a text").to_owned();
    rows.map(|row| format!("{} {} {}", row["line"], said(&row["name"]), said(&row["outcome"]))).collect()
}

#[tokio::test]
async fn a_file_makes_and_changes_people_at_once_and_nothing_the_second_time() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/groups", json!({"name": "devs"})).await.expect(201);
    plane.post("/admin/v1/users", json!({"name": "alice", "rpm": 5, "daily_tokens": 7})).await.expect(201);
    let file = "\u{feff}name;group;role;manages;rpm;monthly_usd;active\r\n\
                alice;devs;;;none;12,50;\r\n\
                mia;;manager;devs,labs;;;\r\n\
                ;;;;;;\r\n\
                leo;labs;;;9;;no\r\n";
    let before = plane.audited().await;
    let refused = plane.import("?dry_run=true", file).await.expect(200);
    assert_eq!(outcomes(&refused), ["2 alice changed", "3 mia refused", "5 leo refused"]);
    assert_eq!(refused["rows"][2]["reason"], "group: there is no group labs");
    let problem = plane.import("", file).await.problem(400, "invalid");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(
        detail.contains("2 of 3 rows are refused and nothing was changed") && detail.contains("line 5 (leo)")
    );
    let dry = plane.import("?dry_run=true&create_groups=true&keys=true", file).await.expect(200);
    assert_eq!(outcomes(&dry), ["2 alice changed", "3 mia created", "5 leo created"]);
    assert_eq!((&dry["groups_created"], &dry["dry_run"]), (&json!(["labs"]), &json!(true)));
    assert!(dry["rows"][1].get("key").is_none(), "there is none yet");
    assert_eq!(plane.audited().await, before, "nothing has happened");
    plane.get("/admin/v1/groups/labs").await.expect(404);

    let done = plane.import("?create_groups=true&keys=true&passwords=true", file).await.expect(200);
    assert_eq!(
        ["created", "changed", "unchanged", "refused"].map(|field| done[field].as_u64().expect("a count")),
        [2, 1, 0, 0]
    );
    assert_eq!(
        done["rows"][0]["before"],
        json!({"group": null, "group_id": null, "monthly_nanousd": null, "rpm": 5})
    );
    let alice = plane.get("/admin/v1/users/alice").await.expect(200);
    let shown = ["group", "rpm", "monthly_usd", "daily_tokens"].map(|field| alice[field].clone());
    assert_eq!(shown, [json!("devs"), Value::Null, json!(12.5), json!(7)]);
    let mia = plane.get("/admin/v1/users/mia").await.expect(200);
    assert_eq!((&mia["role"], &mia["manages"]), (&json!("manager"), &json!(["devs", "labs"])));
    let [key, password] =
        ["key", "password"].map(|made| done["rows"][1][made].as_str().expect("made").to_owned());
    assert_eq!(plane.call("GET", "/me", &key, None).await.expect(200)["name"], "mia");
    plane.login("mia", &password).await.expect(200);
    let leos = done["rows"][2]["key"].as_str().expect("a key");
    plane.call("GET", "/me", leos, None).await.problem(403, "forbidden");
    let audit = plane.get("/admin/v1/audit?limit=1000").await;
    assert!(!audit.text.contains(&key) && !audit.text.contains(&password));
    // A group, three people, two keys.
    assert_eq!(plane.audited().await, before + 6);

    let again = plane.import("?create_groups=true&keys=true&passwords=true", file).await.expect(200);
    assert_eq!((&again["unchanged"], &again["groups_created"]), (&json!(3), &json!([])));
    assert!(!serde_json::to_string(&again).expect("JSON").contains("\"key\""));
    assert_eq!(plane.audited().await, before + 6);
}

#[tokio::test]
async fn one_row_that_cannot_be_refuses_the_file_and_every_such_row_is_named() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/users", json!({"name": "root", "role": "admin"})).await.expect(201);
    let file = "name,role,rpm,models\n\
                alice,,1,\n\
                a/b,,,\n\
                alice,,2,\n\
                bob,user,1.5,\n\
                carol,,,[a\n\
                root,user,,\n\
                admin,user,,\n";
    let planned = plane.import("?dry_run=true", file).await.expect(200);
    let rows = planned["rows"].as_array().expect("rows");
    let reasons: Vec<&str> = rows.iter().map(|row| row["reason"].as_str().unwrap_or("-")).collect();
    for (said, expected) in
        reasons.iter().zip(["-", "slashes", "on line 2", "digits alone", "models", "-", "last active admin"])
    {
        assert!(said.contains(expected), "{said}: {expected}");
    }
    plane.import("", file).await.problem(400, "invalid");
    plane.get("/admin/v1/users/alice").await.problem(404, "not-found");
    assert_eq!(plane.get("/admin/v1/users/root").await.expect(200)["role"], "admin");

    for (file, status) in [
        ("name,grup\n", 400),
        ("", 400),
        (&format!("name\n{}", "x\n".repeat(2_001)), 413),
        (&"x".repeat((1 << 20) + 1), 413),
    ] {
        assert_eq!(plane.import("?dry_run=true", file).await.status, status);
    }
    let many = (0..101).fold("name\n".to_owned(), |mut file, number| {
        writeln!(file, "user-{number}").expect("written");
        file
    });
    plane.import("?passwords=true", &many).await.problem(400, "invalid");
    let many = plane.import("", &many).await.expect(200);
    assert_eq!(many["created"], 101);
}
