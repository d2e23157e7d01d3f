//! What a provider says of a person, and who that is here.

use serde_json::{Map, Value};

use super::Error;
use crate::accounts::ExternalPerson;
use crate::config::OidcConfig;
use crate::domain::user::Identity;

/// The longest subject (OpenID Connect Core 1.0, section 2).
const SUBJECT_MAX: usize = 255;

/// Whether all is there that is asked of a person.
pub(super) fn has_all(config: &OidcConfig, claims: &Map<String, Value>) -> bool {
    let needs_groups = config.mapping.is_used();
    let has_groups =
        !needs_groups || find(claims, &config.groups_claim).is_some() || has_too_many(config, claims);
    has_groups && find(claims, &config.username_claim).is_some()
}

/// Who somebody is.
pub(super) fn person(config: &OidcConfig, claims: &Map<String, Value>) -> Result<ExternalPerson, Error> {
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    if subject.is_empty() || subject.len() > SUBJECT_MAX {
        return Err(Error::Wrong("it does not say who somebody is (`sub`)".to_owned()));
    }
    let groups = groups(config, claims)?;
    let mapped = config.mapping.judge(&groups, |one, other| one == other).ok_or_else(|| {
        Error::NotAllowed(
            "you are in none of the groups that this gateway is for: ask whoever runs it".to_owned(),
        )
    })?;
    Ok(ExternalPerson {
        identity: Identity { issuer: config.issuer.clone(), subject: subject.to_owned() },
        name: name(config, claims)?,
        group: mapped.group,
        is_admin: mapped.is_admin,
    })
}

/// What a new user is called. An address that nobody has verified is whatever somebody typed.
fn name(config: &OidcConfig, claims: &Map<String, Value>) -> Result<String, Error> {
    let claim = config.username_claim.as_str();
    let is_verified = claims.get("email_verified").is_none_or(|verified| *verified == Value::Bool(true));
    let named = |claim: &str| {
        let name = find(claims, claim)?.as_str()?.trim();
        (!name.is_empty() && (claim != "email" || is_verified)).then(|| name.to_owned())
    };
    let name = named(claim).or_else(|| if is_verified { named("email") } else { None });
    name.ok_or_else(|| {
        let text = format!(
            "it says no name for you (`{claim}`, or a verified `email`): an admin has it say one, or sets auth.oidc.username_claim"
        );
        Error::Wrong(text)
    })
}

fn groups<'c>(config: &OidcConfig, claims: &'c Map<String, Value>) -> Result<Vec<&'c str>, Error> {
    match find(claims, &config.groups_claim) {
        Some(Value::Array(groups)) => Ok(groups.iter().filter_map(Value::as_str).collect()),
        Some(Value::String(group)) => Ok(vec![group]),
        // Taken for none, they would take away what somebody may do.
        None if has_too_many(config, claims) => Err(Error::Wrong(
            "it leaves out your groups, because there are too many: have it send those of this application alone".to_owned(),
        )),
        _ => Ok(Vec::new()),
    }
}

/// Whether groups are said to be elsewhere (OpenID Connect Core 1.0, section 5.6.2), as Entra ID does with many.
fn has_too_many(config: &OidcConfig, claims: &Map<String, Value>) -> bool {
    claims.get("_claim_names").is_some_and(|names| names.get(&config.groups_claim).is_some())
}

/// A claim by its name, or by the way to it through others: `realm_access.roles`.
fn find<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::config::WhenRefused;
    use crate::domain::group_mapping::GroupMapping;
    use crate::domain::secret::Secret;

    fn config() -> OidcConfig {
        OidcConfig {
            issuer: "https://login.example".to_owned(),
            client_id: "sproxy".to_owned(),
            client_secret: Secret::new("s"),
            name: "login".to_owned(),
            scopes: vec!["openid".to_owned()],
            username_claim: "preferred_username".to_owned(),
            groups_claim: "groups".to_owned(),
            mapping: GroupMapping::default(),
            create_users: true,
            link_by_name: false,
            when_refused: WhenRefused::SignOut,
            check_interval: Duration::from_mins(15),
            proxy: None,
            ca_file: None,
        }
    }

    fn claims(value: &Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn a_name_is_what_was_configured_or_a_verified_address() {
        let name =
            |config: &OidcConfig, value: Value| person(config, &claims(&value)).map(|person| person.name);
        let mut config = config();
        let alice = json!({"sub": "1", "preferred_username": " alice ", "email": "a@example.com"});
        assert_eq!(name(&config, alice.clone()).expect("a name"), "alice");
        let unnamed = json!({"sub": "1", "email": "a@example.com", "email_verified": true});
        assert_eq!(name(&config, unnamed).expect("a name"), "a@example.com");
        for none in [
            json!({"sub": "1"}),
            json!({"sub": "1", "email": "a@example.com", "email_verified": false}),
            json!({"sub": "1", "preferred_username": ""}),
            json!({"sub": "1", "preferred_username": 7}),
            json!({"sub": "", "preferred_username": "alice"}),
            json!({"sub": "x".repeat(256), "preferred_username": "alice"}),
            json!({"preferred_username": "alice"}),
        ] {
            assert!(matches!(name(&config, none.clone()), Err(Error::Wrong(_))), "{none}");
        }
        config.username_claim = "email".to_owned();
        assert_eq!(name(&config, alice).expect("a name"), "a@example.com");
        let unverified = json!({"sub": "1", "email": "a@example.com", "email_verified": false});
        assert!(name(&config, unverified).is_err());
    }

    #[test]
    fn groups_decide_what_they_were_told_to_and_nothing_else() {
        let mut config = config();
        let alice =
            |groups: Value| claims(&json!({"sub": "1", "preferred_username": "alice", "groups": groups}));
        let of = |config: &OidcConfig, groups: Value| {
            person(config, &alice(groups)).map(|person| (person.group, person.is_admin))
        };
        assert_eq!(of(&config, json!(["devs", "root"])).expect("let in"), (None, None));
        config.mapping.groups =
            BTreeMap::from(["b", "devs"].map(|name| (name.to_owned(), format!("our {name}"))));
        config.mapping.admin_groups = vec!["root".to_owned()];
        let ours = |name: &str| Some(Some(name.to_owned()));
        assert_eq!(of(&config, json!(["x", "devs", "b"])).expect("let in"), (ours("our b"), Some(false)));
        assert_eq!(of(&config, json!("devs")).expect("let in"), (ours("our devs"), Some(false)));
        assert_eq!(of(&config, json!(["root", 7])).expect("let in"), (Some(None), Some(true)));
        assert_eq!(of(&config, json!(null)).expect("let in"), (Some(None), Some(false)));
        config.mapping.allowed_groups = vec!["devs".to_owned()];
        assert!(of(&config, json!(["devs"])).is_ok());
        for groups in [json!([]), json!(["b"]), json!({"devs": true})] {
            assert!(matches!(of(&config, groups.clone()), Err(Error::NotAllowed(_))), "{groups}");
        }
        config.groups_claim = "realm_access.roles".to_owned();
        let nested = json!({"sub": "1", "preferred_username": "alice", "realm_access": {"roles": ["devs"]}});
        assert!(person(&config, &claims(&nested)).is_ok());
    }

    #[test]
    fn groups_that_are_left_out_because_there_are_many_are_not_taken_for_none() {
        let mut config = config();
        config.mapping.admin_groups = vec!["root".to_owned()];
        let many =
            claims(&json!({"sub": "1", "preferred_username": "alice", "_claim_names": {"groups": "src1"}}));
        assert!(has_all(&config, &many), "nobody else has them either");
        assert!(matches!(person(&config, &many), Err(Error::Wrong(_))));
        let none = claims(&json!({"sub": "1", "preferred_username": "alice"}));
        assert!(!has_all(&config, &none));
        config.mapping.admin_groups.clear();
        assert!(has_all(&config, &none));
    }
}
