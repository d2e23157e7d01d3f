//! Signing in and out, and what every answer to a browser has.

use serde_json::json;

use super::{Browser, user};
use crate::harness::{Mock, Setup};
use crate::http::{ADMIN_PASSWORD, Plane};

#[tokio::test]
async fn somebody_signs_in_with_a_password_and_out_again() {
    let plane = Plane::start().await;
    let mut browser = Browser::at(&plane.url);
    assert_eq!(browser.get("/ui/").await.redirect(), "/ui/login");
    let page = browser.get("/ui/login").await.page(200);
    assert!(page.contains("name=\"password\""), "{page}");
    let shown = browser.sign_in("admin", ADMIN_PASSWORD).await;
    assert_eq!(shown.redirect(), "/ui/");
    let cookie = shown.header("set-cookie");
    assert!(cookie.starts_with("sproxy="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax"), "{cookie}");
    assert_eq!(browser.get("/ui").await.redirect(), "/ui/usage");
    let page = browser.get("/ui/usage").await.page(200);
    assert!(page.contains("admin"), "{page}");
    assert_eq!(browser.get("/ui/login").await.redirect(), "/ui/");
    let old = browser.cookie.clone();
    assert_eq!(browser.submit("/ui/logout", &[]).await.redirect(), "/ui/login?done=signed-out");
    assert_eq!(browser.cookie, None);
    browser.cookie = old;
    assert!(!browser.is_in().await);
}

#[tokio::test]
async fn who_is_refused_is_told_what_a_program_would_be() {
    let plane = Plane::start().await;
    user(&plane, "alice", "a long password").await;
    plane.patch("/admin/v1/users/alice", json!({"active": false})).await.expect(200);
    let mut browser = Browser::at(&plane.url);
    for name in ["nobody", "admin", "", "a/b", "<script>"] {
        let page = browser.sign_in(name, "wrong password").await.page(401);
        assert!(page.contains("wrong user name or password"), "{page}");
        assert!(!page.contains("<script>alert") && !page.contains("value=\"<"), "{page}");
    }
    assert!(browser.sign_in("alice", "a long password").await.page(403).contains("user alice is disabled"));
    for _ in 0..4 {
        browser.sign_in("admin", "wrong password").await.page(401);
    }
    let shown = browser.sign_in("admin", ADMIN_PASSWORD).await;
    assert_eq!(shown.header("retry-after"), "1");
    assert!(shown.page(429).contains("too many failed logins: try again in 1 s"));
    assert_eq!(plane.login("admin", ADMIN_PASSWORD).await.status, 429);
}

#[tokio::test]
async fn people_go_on_to_pages_of_ours_alone() {
    let plane = Plane::start().await;
    let mut browser = Browser::at(&plane.url);
    let login = browser.get("/ui/usage?from=2026-11-01").await.redirect().to_owned();
    assert_eq!(login, "/ui/login?next=%2Fui%2Fusage%3Ffrom%3D2026-11-01");
    let page = browser.get(&login).await.page(200);
    assert!(page.contains("name=\"next\" value=\"/ui/usage?from=2026-11-01\""), "{page}");
    for (next, expected) in [
        ("/ui/usage?from=2026-11-01", "/ui/usage?from=2026-11-01"),
        ("/device?user_code=WDJB-MJHT", "/device?user_code=WDJB-MJHT"),
        ("https://evil.example/ui/", "/ui/"),
        ("//evil.example/ui/", "/ui/"),
        ("/ui/../../admin/v1/users", "/ui/"),
        ("/ui\\@evil.example", "/ui/"),
        ("/ui/\r\nset-cookie: a=b", "/ui/"),
    ] {
        let mut browser = Browser::at(&plane.url);
        let fields = [("username", "admin"), ("password", ADMIN_PASSWORD), ("next", next)];
        assert_eq!(browser.submit("/ui/login", &fields).await.redirect(), expected);
        let path = format!("/ui/login?next={}", next.replace(['\r', '\n', ' '], ""));
        if !next.contains('\\') {
            browser.get(&path).await.redirect();
        }
    }
}

#[tokio::test]
async fn only_pages_of_ours_can_change_anything() {
    let plane = Plane::start().await;
    let mut browser = Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await;
    let host = plane.url.trim_start_matches("http://").to_owned();
    let (own, other_port) = (format!("http://{host}"), "http://127.0.0.1:1".to_owned());
    for headers in [
        vec![],
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("sec-fetch-site", "none")],
        vec![("sec-fetch-site", "cross-site"), ("origin", own.as_str())],
        vec![("origin", "https://evil.example")],
        vec![("origin", other_port.as_str())],
        vec![("origin", "null")],
    ] {
        let page = browser.submit_with("/ui/logout", &[], &headers).await.page(403);
        assert!(page.contains("from a page of this gateway"), "{headers:?} {page}");
    }
    assert!(browser.is_in().await);
    let shown = browser.submit_with("/ui/logout", &[], &[("origin", &own)]).await;
    assert_eq!(shown.redirect(), "/ui/login?done=signed-out");
}

#[tokio::test]
async fn a_cookie_is_for_pages_alone() {
    let plane = Plane::start().await;
    let mut browser = Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await;
    for path in ["/me", "/me/keys", "/admin/v1/users", "/admin/v1/stats"] {
        assert_eq!(browser.get(path).await.status, 401, "{path}");
    }
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    let mut browser = Browser::of(&node.url(""), "admin", "correct horse battery").await;
    let cookie = browser.cookie.clone().unwrap();
    let token = cookie.split_once('=').unwrap().1.to_owned();
    let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 5, "messages": []});
    for path in ["/v1/messages", "/v1/chat/completions", "/api/chat", "/ui/../v1/messages", "/v1/models"] {
        let request = node.http.post(node.url(path)).header("cookie", &cookie).json(&body);
        assert_eq!(request.send().await.unwrap().status(), 401, "{path}");
        let request = node.http.post(node.url(path)).bearer_auth(&token).json(&body);
        assert_eq!(request.send().await.unwrap().status(), 401, "{path}");
    }
    assert_eq!(browser.get("/admin/v1/users").await.status, 401);
    let bearer = node.http.get(node.url("/admin/v1/users")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(bearer.status(), 401);
    assert!(browser.is_in().await);
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let plane = Plane::start().await;
    let mut browser = Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await;
    for path in ["/ui/usage", "/ui/login", "/ui/", "/ui/nothing", "/ui/login/../x"] {
        let shown = browser.get(path).await;
        assert_eq!(
            shown.header("content-security-policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        );
        assert_eq!(shown.header("cache-control"), "no-store", "{path}");
        assert_eq!(shown.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(shown.header("referrer-policy"), "same-origin", "{path}");
    }
    assert!(browser.get("/ui/nothing").await.page(404).contains("There is no such page"));
    browser.submit("/ui/usage", &[]).await.page(405);
    let page = browser.get("/ui/usage").await.page(200);
    let assets: Vec<&str> = page.split('"').filter(|text| text.starts_with("/ui/assets/")).collect();
    assert_eq!(assets.len(), 3, "{page}");
    for asset in assets {
        let shown = Browser::at(&plane.url).get(asset).await;
        assert_eq!(
            (shown.status, shown.header("cache-control")),
            (200, "public, max-age=31536000, immutable")
        );
        let (stem, ending) = (asset.split('.').next().unwrap(), asset.split('.').next_back().unwrap());
        let shown = browser.get(&format!("{stem}.0123456789abcdef.{ending}")).await;
        assert_eq!((shown.status, shown.header("cache-control")), (200, "no-cache"), "of another version");
    }
    assert_eq!(browser.get("/ui/assets/other.js").await.status, 404);
}

#[tokio::test]
async fn over_plain_http_from_elsewhere_nobody_signs_in() {
    let plane = Plane::start().await;
    let client = reqwest::Client::new();
    let url = format!("{}/ui/login", plane.url);
    let page = client.get(&url).header("host", "llm.example").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("plain HTTP") && !page.contains("name=\"password\""), "{page}");
    let form = format!("username=admin&password={}", ADMIN_PASSWORD.replace(' ', "+"));
    let sent = |origin: &'static str, host: &'static str| {
        let request = client.post(&url).header("host", host).header("origin", origin).body(form.clone());
        request.header("content-type", "application/x-www-form-urlencoded").send()
    };
    let refused = sent("http://llm.example", "llm.example").await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers().get("set-cookie")), (403, None));
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = client.post(&url).header("host", "llm.example").header("origin", "https://llm.example");
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.clone());
    let answer = request.send().await.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-sproxy=") && cookie.ends_with("; Secure"), "{cookie}");
    // The plain cookie opens nothing there.
    let token = cookie.split(['=', ';']).nth(1).unwrap();
    for (name, expected) in [("__Host-sproxy", 200), ("sproxy", 303)] {
        let request = client.get(format!("{}/ui/usage", plane.url)).header("host", "llm.example");
        let answer = request.header("cookie", format!("{name}={token}")).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{name}");
    }
}

#[tokio::test]
async fn the_root_sends_people_to_the_pages_and_answers_probes() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let answer = client.get(node.url("/")).header("accept", accept).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (303, "/ui/"));
    for accept in ["*/*", "application/json"] {
        let answer = client.get(node.url("/")).header("accept", accept).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "sproxy\n"));
    }
    assert_eq!(client.head(node.url("/")).header("accept", accept).send().await.unwrap().status(), 200);
}
