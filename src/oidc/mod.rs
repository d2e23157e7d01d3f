//! Sign-in at an identity provider (OpenID Connect Core 1.0): the code flow with PKCE (RFC 7636), state and nonce.
//!
//! A person goes to the provider with a link ([`Oidc::begin`]) and comes back with a code; `provider` turns that into tokens,
//! `claims` what they say into a person, and accounts the person into a user. What the provider gives to ask about them again
//! is kept encrypted, and used when a session is renewed and now and then ([`Oidc::check_due`]): who may not sign in there
//! any more may not here. While the provider cannot be reached, whoever is signed in stays so.

mod begun;
mod claims;
mod error;
mod provider;
mod tokens;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

pub use begun::Begun;
pub use error::Error;

use crate::accounts::{Accounts, Actor, ExternalRules, NewBrowserSession, SignIn};
use crate::config::OidcConfig;
use crate::domain::clock::Clock;
use crate::domain::ids::UserId;
use crate::domain::user::Identity;
use crate::store::ProviderSession;
use provider::{Granted, Provider};
use tokens::Tokens;

/// A person is not asked about more often than this.
const ASKED_LATELY: Duration = Duration::from_mins(1);
/// People who are asked about in one round.
const ROUND: u64 = 50;
/// What a logout token says that it is (OpenID Connect Back-Channel Logout 1.0, section 2.4).
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Sign-in at one provider.
pub struct Oidc {
    config: OidcConfig,
    provider: Provider,
    accounts: Accounts,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").field("issuer", &self.config.issuer).finish_non_exhaustive()
    }
}

impl Oidc {
    /// Nothing is asked of the provider before somebody signs in.
    ///
    /// # Errors
    /// In words: a proxy that cannot be used.
    pub fn new(config: OidcConfig, accounts: Accounts, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let provider = Provider::new(&config, Arc::clone(&clock))?;
        Ok(Self { config, provider, accounts, clock })
    }

    /// What people call the provider.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Where a browser goes to sign in, and what has to be known when it comes back to `redirect_uri`.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Wrong`], [`Error::Accounts`] without randomness.
    pub async fn begin(&self, redirect_uri: &str) -> Result<(String, Begun), Error> {
        let begun = Begun::new()?;
        let metadata = self.provider.metadata().await?;
        let url = provider::with_query(
            &metadata.authorization_endpoint,
            &[
                ("response_type", "code"),
                ("client_id", &self.config.client_id),
                ("redirect_uri", redirect_uri),
                ("scope", &self.config.scopes.join(" ")),
                ("state", &begun.state),
                ("nonce", &begun.nonce),
                ("code_challenge", &begun.challenge()),
                ("code_challenge_method", "S256"),
            ],
        );
        Ok((url, begun))
    }

    /// Signs in whoever came back from the provider with `answer`, the query's fields.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn finish(
        &self,
        begun: &Begun,
        answer: &HashMap<String, String>,
        redirect_uri: &str,
        from: IpAddr,
    ) -> Result<NewBrowserSession, Error> {
        let field = |name: &str| answer.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if !field("state").is_some_and(|state| begun.is_state(state)) {
            return Err(Error::Stale);
        }
        let metadata = self.provider.metadata().await?;
        // RFC 9207: an answer that another provider has sent, by way of this browser.
        let issuer = field("iss");
        if issuer.is_some_and(|issuer| issuer != self.config.issuer)
            || issuer.is_none() && metadata.names_itself
        {
            return Err(Error::Wrong("its answer does not say that it is its own".to_owned()));
        }
        if let Some(error) = field("error") {
            return Err(Error::refused(error, field("error_description")));
        }
        let code = field("code").ok_or_else(|| Error::Wrong("its answer has no code".to_owned()))?;
        let granted = self.provider.redeem_code(code, redirect_uri, &begun.verifier).await?;
        let id_token = granted.id_token.as_deref();
        let id_token = id_token.ok_or_else(|| Error::Wrong("it gave no ID token".to_owned()))?;
        let id_claims = self.provider.id_claims(id_token, Some(&begun.nonce)).await?;
        let claims = self.claims(id_claims, &granted).await?;
        let person = claims::person(&self.config, &claims)?;
        let rules =
            ExternalRules { create: self.config.create_users, link_by_name: self.config.link_by_name };
        let user = self.accounts.external_user(&person, rules).await?;
        self.keep(user.id, granted.into()).await?;
        Ok(self.accounts.begin_browser_session(user.id, SignIn::Oidc, from).await?)
    }

    /// Where a browser goes to sign out at the provider, too, if that has such a place.
    pub async fn logout_url(&self, user: UserId, back_to: &str) -> Option<String> {
        let metadata = self.provider.metadata().await.ok()?;
        let endpoint = metadata.end_session_endpoint.as_deref()?;
        let kept = self.accounts.provider_session(user).await.ok().flatten();
        let tokens = kept.and_then(|session| self.open(&session));
        let mut fields =
            vec![("client_id", self.config.client_id.as_str()), ("post_logout_redirect_uri", back_to)];
        if let Some(id_token) = tokens.as_ref().and_then(|tokens| tokens.id_token.as_deref()) {
            fields.push(("id_token_hint", id_token));
        }
        Some(provider::with_query(endpoint, &fields))
    }

    /// The provider says that somebody has signed out there; every session of theirs ends here.
    ///
    /// # Errors
    /// [`Error::Wrong`] for a token that is none of the provider's.
    pub async fn logged_out(&self, logout_token: &str) -> Result<(), Error> {
        let claims = self.provider.claims(logout_token).await?;
        self.provider.demand_unexpired(&claims)?;
        let is_event = claims.get("events").is_some_and(|events| events.get(LOGOUT_EVENT).is_some());
        if !is_event || claims.contains_key("nonce") {
            return Err(Error::Wrong("this is no logout token".to_owned()));
        }
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject.ok_or_else(|| {
            Error::Wrong("the logout token names nobody: have the provider send `sub`".to_owned())
        })?;
        let identity = Identity { issuer: self.config.issuer.clone(), subject: subject.to_owned() };
        if let Some(user) = self.accounts.user_of(&identity).await? {
            self.accounts.revoke_sessions(&Actor::provider(), &user.id.to_string()).await?;
        }
        Ok(())
    }

    /// Asks the provider about a user, unless that was done a moment ago: before a session of theirs is renewed.
    pub async fn check(&self, user: UserId) {
        match self.accounts.provider_session(user).await {
            Ok(Some(session)) if session.asked_at.plus(ASKED_LATELY) <= self.clock.now() => {
                self.ask(session).await;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a user's session at the identity provider cannot be read"),
        }
    }

    /// Asks the provider about those about whom it was not asked for long; a few at a time. The caller ticks it.
    pub async fn check_due(&self) {
        let before = self.clock.now().minus(self.config.check_interval);
        match self.accounts.provider_sessions_due(before, ROUND, true).await {
            Ok(due) => {
                for session in due {
                    self.ask(session).await;
                }
            }
            Err(error) => tracing::warn!(%error, "users' sessions at the identity provider cannot be read"),
        }
    }

    /// Asks about one user; whoever else is about to leaves it to this.
    async fn ask(&self, session: ProviderSession) {
        let user = session.user_id;
        match self.accounts.begin_asking(&session).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, "a user's session at the identity provider cannot be noted");
                return;
            }
        }
        // Without a token for it there is nothing to ask before the person signs in again.
        let Some(Tokens { refresh_token: Some(refresh_token), id_token }) = self.open(&session) else {
            return;
        };
        let outcome = match self.provider.refresh(&refresh_token).await {
            Ok(granted) => {
                self.confirmed(user, granted, Tokens { refresh_token: Some(refresh_token), id_token }).await
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {}
            Err(error) if error.is_refusal() => self.refuse(user, &error).await,
            // It may be down; who is signed in stays so until the session ends.
            Err(error) => {
                tracing::warn!(%user, %error, "the identity provider was asked about a user in vain");
            }
        }
    }

    async fn confirmed(&self, user: UserId, granted: Granted, before: Tokens) -> Result<(), Error> {
        let id_claims = match &granted.id_token {
            Some(id_token) => self.provider.id_claims(id_token, None).await?,
            None => Map::new(),
        };
        // First of all: the token before may be good for nothing any more.
        let tokens = Tokens::from(granted.clone()).or(before);
        self.keep(user, tokens).await?;
        let claims = self.claims(id_claims, &granted).await?;
        let person = claims::person(&self.config, &claims)?;
        Ok(self.accounts.update_external_user(user, &person).await?)
    }

    async fn refuse(&self, user: UserId, error: &Error) {
        let refused = self.config.when_refused.into();
        let done = self.accounts.external_user_refused(user, refused, &error.to_string()).await;
        if let Err(error) = done {
            tracing::warn!(%user, %error, "the identity provider does not let a user in any more, and that could not be noted");
        }
    }

    /// What the ID token says, and where that is not all that is needed, what the provider says when it is asked.
    async fn claims(
        &self,
        id_claims: Map<String, Value>,
        granted: &Granted,
    ) -> Result<Map<String, Value>, Error> {
        if !id_claims.is_empty() && claims::has_all(&self.config, &id_claims) {
            return Ok(id_claims);
        }
        let Some(mut claims) = self.provider.userinfo(&granted.access_token).await? else {
            return Ok(id_claims);
        };
        let subject = id_claims.get("sub");
        if subject.is_some() && subject != claims.get("sub") {
            return Err(Error::Wrong("it says who somebody else is".to_owned()));
        }
        claims.extend(id_claims);
        Ok(claims)
    }

    async fn keep(&self, user: UserId, tokens: Tokens) -> Result<(), Error> {
        let sealed =
            tokens.seal(&self.config.client_secret).map_err(|error| Error::Wrong(error.to_string()))?;
        Ok(self.accounts.keep_provider_session(user, sealed).await?)
    }

    /// None: they were kept under another secret, so nobody is asked about the user before they sign in again.
    fn open(&self, session: &ProviderSession) -> Option<Tokens> {
        Tokens::open(&self.config.client_secret, &session.tokens)
    }
}
