//! From a credential to a principal: in memory, without waiting for anything.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use subtle::ConstantTimeEq;

use crate::accounts::directory::Directory;
use crate::accounts::error::Error;
use crate::crypto::api_key;
use crate::crypto::secret_text::sha256;
use crate::crypto::token::{self, Claims, PublicKey, Verifier};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{Jti, UserId};
use crate::domain::principal::{Credential, Principal};
use crate::domain::quota::Allowance;
use crate::domain::user::Role;
use crate::store::{AccountsState, EndedSession};

/// Size of the cache of verified tokens. Verifying a signature costs more than the rest of a request.
const REMEMBERED_TOKENS: usize = 8_192;
/// Longer than any token of ours; what is longer is refused unread.
const CREDENTIAL_MAX: usize = 2_048;

/// Everything a credential is checked against.
#[derive(Default)]
pub struct Authenticator {
    pub directory: Directory,
    verifier: ArcSwap<Verifier>,
    /// Claims of verified tokens, by their SHA-256. Revocation is checked every time.
    verified: RwLock<HashMap<[u8; 32], Claims, foldhash::fast::RandomState>>,
    /// Sessions that ended before their access tokens expired, and when the last of those expires.
    ended: RwLock<HashMap<Jti, Timestamp>>,
    /// SHA-256 of the token in `DATA_DIR/admin.token`.
    local_admin: ArcSwap<Option<[u8; 32]>>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("counts", &self.directory.counts()).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Authenticates a caller by API key or access token.
    ///
    /// # Errors
    /// Whatever is wrong with the credential; see [`Error`].
    pub fn authenticate(&self, credential: &str, now: Timestamp) -> Result<Principal, Error> {
        if credential.len() > CREDENTIAL_MAX {
            return Err(Error::UnknownCredential);
        }
        if api_key::looks_like(credential) {
            let digest = api_key::digest(credential).ok_or(Error::UnknownCredential)?;
            return self.directory.by_key(&digest, now);
        }
        let claims = self.claims(credential, now)?;
        if self.ended.read().contains_key(&claims.session) {
            return Err(Error::Revoked);
        }
        self.directory.by_user(claims.user, Credential::AccessToken(claims.jti), claims.issued_at)
    }

    /// Like [`Authenticator::authenticate`], but accepts the local admin token, too. For the control plane only: that
    /// token belongs to no user, so nothing can be booked on it.
    ///
    /// # Errors
    /// Whatever is wrong with the credential; see [`Error`].
    pub fn authenticate_operator(&self, credential: &str, now: Timestamp) -> Result<Principal, Error> {
        if credential.len() <= CREDENTIAL_MAX && self.is_local_admin(credential) {
            return Ok(local_admin());
        }
        self.authenticate(credential, now)
    }

    /// The public keys that access tokens are verified with.
    #[must_use]
    pub fn public_keys(&self) -> Vec<PublicKey> {
        self.verifier.load().keys().collect()
    }

    /// Makes all of this what a database holds.
    pub fn adopt(&self, state: &AccountsState) {
        self.directory.replace(&state.users, &state.groups, &state.keys);
        let keys: Vec<_> = state.token_keys.iter().map(|key| PublicKey(key.public)).collect();
        self.set_public_keys(&keys);
        self.end_sessions(&state.ended_sessions);
    }

    /// Replaces the public keys. Tokens of keys that are gone are refused from now on.
    pub fn set_public_keys(&self, keys: &[PublicKey]) {
        if self.public_keys() == keys {
            return;
        }
        self.verifier.store(Verifier::new(keys).into());
        self.verified.write().clear();
    }

    /// Refuses the access tokens of sessions. What has ended stays so.
    pub fn end_sessions(&self, sessions: &[EndedSession]) {
        if !sessions.is_empty() {
            self.ended.write().extend(sessions.iter().map(|ended| (ended.session, ended.until)));
        }
    }

    /// Forgets ended sessions whose access tokens have all expired.
    pub fn forget_ended(&self, now: Timestamp) {
        self.ended.write().retain(|_, until| now < *until);
    }

    pub fn set_local_admin(&self, token: &str) {
        self.local_admin.store(Some(sha256(token.as_bytes())).into());
    }

    fn is_local_admin(&self, credential: &str) -> bool {
        let expected = self.local_admin.load();
        expected.as_ref().is_some_and(|expected| expected.ct_eq(&sha256(credential.as_bytes())).into())
    }

    fn claims(&self, token: &str, now: Timestamp) -> Result<Claims, Error> {
        let digest = sha256(token.as_bytes());
        let known = self.verified.read().get(&digest).copied();
        let claims = match known {
            Some(claims) if now < claims.expires_at => claims,
            Some(claims) => return Err(Error::Expired { what: "access token", at: claims.expires_at }),
            None => {
                let claims = self.verifier.load().verify(token, now).map_err(|error| match error {
                    token::Error::Expired(at) => Error::Expired { what: "access token", at },
                    token::Error::NotValid | token::Error::Key(_) => Error::UnknownCredential,
                })?;
                self.remember(digest, claims, now);
                claims
            }
        };
        Ok(claims)
    }

    fn remember(&self, digest: [u8; 32], claims: Claims, now: Timestamp) {
        let mut verified = self.verified.write();
        if verified.len() >= REMEMBERED_TOKENS {
            verified.retain(|_, claims| now < claims.expires_at);
        }
        if verified.len() >= REMEMBERED_TOKENS {
            verified.clear();
        }
        verified.insert(digest, claims);
    }
}

/// The principal of the local admin token: an admin who is no user.
fn local_admin() -> Principal {
    Principal {
        user_id: UserId(uuid::Uuid::nil()),
        user: "local-admin".into(),
        group: None,
        allowance: Allowance::default().into(),
        group_allowance: None,
        role: Role::Admin,
        manages: Arc::new([]),
        credential: Credential::LocalAdmin,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::crypto::token::Signer;
    use crate::domain::group::{Group, Limits};
    use crate::domain::ids::{GroupId, Jti, KeyId};
    use crate::domain::user::{ApiKey, User};
    use crate::store::AccountsChange;

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().expect("a time")
    }

    fn user(name: &str) -> User {
        User {
            id: UserId::new(),
            name: name.to_owned(),
            group_id: None,
            role: Role::User,
            manages: BTreeSet::new(),
            active: true,
            password_hash: None,
            limits: Limits::default(),
            tokens_valid_from: Timestamp::default(),
            created_at: now(),
            updated_at: now(),
            last_login_at: None,
            identity: None,
            external_id: None,
        }
    }

    fn key_of(user: &User, expires_at: Option<Timestamp>) -> (String, ApiKey) {
        let new = api_key::generate().expect("randomness");
        let (digest, prefix) = (new.digest, new.prefix);
        let key = ApiKey {
            id: KeyId::new(),
            user_id: user.id,
            name: "laptop".to_owned(),
            prefix,
            digest,
            created_at: now(),
            last_used_at: None,
            expires_at,
        };
        (new.text, key)
    }

    #[test]
    fn a_key_is_its_users_until_it_expires_or_is_removed_or_the_user_is_disabled() {
        let accounts = Authenticator::default();
        let directory = &accounts.directory;
        let (mut alice, expiry) = (user("alice"), now().plus(Duration::from_hours(1)));
        let (text, key) = key_of(&alice, Some(expiry));
        assert!(matches!(accounts.authenticate(&text, now()), Err(Error::UnknownCredential)));
        directory.put_user(&alice);
        directory.put_key(&key);
        assert_eq!(&*accounts.authenticate(&text, now()).expect("known").user, "alice");
        assert!(matches!(accounts.authenticate(&text, expiry), Err(Error::Expired { .. })));
        alice.active = false;
        directory.put_user(&alice);
        assert!(matches!(accounts.authenticate(&text, now()), Err(Error::Disabled(name)) if name == "alice"));
        alice.active = true;
        directory.put_user(&alice);
        directory.remove_key(key.id);
        assert!(matches!(accounts.authenticate(&text, now()), Err(Error::UnknownCredential)));
    }

    #[test]
    fn removing_a_user_removes_the_keys_and_a_changed_group_holds_at_once() {
        let accounts = Authenticator::default();
        let (mut alice, bob) = (user("alice"), user("bob"));
        let limits = Limits { rpm: Some(7), ..Limits::default() };
        let group =
            Group { id: GroupId::new(), name: "g".into(), limits, created_at: now(), updated_at: now() };
        alice.group_id = Some(group.id);
        let ((alices, a), (bobs, b)) = (key_of(&alice, None), key_of(&bob, None));
        accounts.directory.replace(&[alice.clone(), bob], std::slice::from_ref(&group), &[a, b]);
        let limit = |accounts: &Authenticator| {
            let principal = accounts.authenticate(&alices, now()).expect("known");
            principal.group_allowance.expect("a group").limits().rpm
        };
        assert_eq!(limit(&accounts), Some(7));
        accounts.directory.put_group(&Group { limits: Limits::default(), ..group });
        assert_eq!(limit(&accounts), None);
        accounts.directory.remove_user(alice.id);
        assert!(accounts.authenticate(&alices, now()).is_err());
        assert!(accounts.authenticate(&bobs, now()).is_ok());
        assert_eq!(accounts.directory.counts(), (1, 1, 1));
    }

    #[test]
    fn a_step_brings_what_is_new_or_different_and_takes_what_is_gone() {
        let accounts = Authenticator::default();
        let (mut alice, bob, carol) = (user("alice"), user("bob"), user("carol"));
        let ((alices, a), (bobs, b), (carols, c)) =
            (key_of(&alice, None), key_of(&bob, None), key_of(&carol, None));
        let (renewed, mut after) = key_of(&alice, None);
        accounts.directory.replace(&[alice.clone(), bob.clone()], &[], &[a.clone(), b]);
        let limits = Limits { rpm: Some(7), ..Limits::default() };
        let group =
            Group { id: GroupId::new(), name: "g".into(), limits, created_at: now(), updated_at: now() };
        alice.group_id = Some(group.id);
        after.id = a.id;
        accounts.directory.step(&AccountsChange {
            users: vec![alice, carol],
            groups: vec![group.clone()],
            keys: vec![after, c],
            removed_users: vec![bob.id],
            ..AccountsChange::default()
        });
        assert!(accounts.authenticate(&bobs, now()).is_err(), "gone with its owner");
        assert!(accounts.authenticate(&alices, now()).is_err(), "another key has its place");
        assert_eq!(&*accounts.authenticate(&carols, now()).expect("new").user, "carol");
        let alice = accounts.authenticate(&renewed, now()).expect("changed");
        assert_eq!(alice.group_allowance.expect("a group").limits().rpm, Some(7));
        assert_eq!(accounts.directory.counts(), (2, 1, 2));
        let gone = AccountsChange { removed_groups: vec![group.id], ..AccountsChange::default() };
        accounts.directory.step(&AccountsChange { removed_keys: vec![a.id], ..gone });
        assert!(accounts.authenticate(&renewed, now()).is_err());
        assert_eq!(accounts.directory.counts(), (2, 0, 1));
    }

    #[test]
    fn an_access_token_holds_until_it_expires_or_the_users_tokens_are_revoked() {
        let accounts = Authenticator::default();
        let signer = Signer::new(&token::new_private_key().expect("a key")).expect("a signer");
        accounts.set_public_keys(&[signer.public()]);
        let mut alice = user("alice");
        accounts.directory.put_user(&alice);
        let expires_at = now().plus(Duration::from_hours(1));
        let claims =
            Claims { user: alice.id, jti: Jti::new(), session: Jti::new(), issued_at: now(), expires_at };
        let token = signer.sign(&claims).expect("signed");
        for _ in 0..2 {
            let principal = accounts.authenticate(&token, now()).expect("valid");
            assert_eq!(principal.credential, Credential::AccessToken(claims.jti));
        }
        assert!(matches!(accounts.authenticate(&token, expires_at), Err(Error::Expired { .. })));
        alice.tokens_valid_from = now().plus(Duration::from_micros(1));
        accounts.directory.put_user(&alice);
        assert!(matches!(accounts.authenticate(&token, now()), Err(Error::Revoked)));
        alice.tokens_valid_from = now();
        accounts.directory.put_user(&alice);
        accounts.set_public_keys(&[]);
        assert!(matches!(accounts.authenticate(&token, now()), Err(Error::UnknownCredential)));
    }

    #[test]
    fn the_local_admin_token_opens_the_control_plane_only() {
        let accounts = Authenticator::default();
        assert!(accounts.authenticate_operator("", now()).is_err());
        accounts.set_local_admin("sp-admin-secret");
        assert_eq!(
            accounts.authenticate_operator("sp-admin-secret", now()).expect("admin").role,
            Role::Admin
        );
        assert!(accounts.authenticate("sp-admin-secret", now()).is_err());
        assert!(accounts.authenticate_operator("sp-admin-secreT", now()).is_err());
    }

    #[test]
    fn the_last_use_of_a_key_is_noted_once_a_minute() {
        let accounts = Authenticator::default();
        let alice = user("alice");
        let (text, key) = key_of(&alice, None);
        accounts.directory.replace(&[alice], &[], std::slice::from_ref(&key));
        for seconds in 0..120 {
            accounts.authenticate(&text, now().plus(Duration::from_secs(seconds))).expect("known");
        }
        let noted = [(key.id, now()), (key.id, now().plus(Duration::from_mins(1)))];
        assert_eq!(accounts.directory.take_used(usize::MAX), noted);
        assert!(accounts.directory.take_used(usize::MAX).is_empty());
    }

    #[test]
    fn a_use_that_another_node_saw_counts_if_it_is_later_than_what_is_known() {
        let accounts = Authenticator::default();
        let alice = user("alice");
        let (text, key) = key_of(&alice, None);
        accounts.directory.replace(&[alice], &[], std::slice::from_ref(&key));
        accounts.authenticate(&text, now()).expect("known");
        let (before, after) = (now().minus(Duration::from_secs(1)), now().plus(Duration::from_secs(1)));
        accounts.directory.note_used(&[
            (key.id, before),
            (KeyId::new(), after),
            (key.id, after),
            (key.id, after),
        ]);
        assert_eq!(accounts.directory.take_used(1), [(key.id, now())]);
        assert_eq!(accounts.directory.take_used(9), [(key.id, after)]);
    }
}
