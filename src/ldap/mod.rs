//! Passwords of a company's directory (LDAP, RFC 4511): somebody is looked up, and is who they say if the directory lets
//! them in with their password. Nothing of it is kept here.
//!
//! Whoever has signed in so is looked up again when a session is renewed and now and then: who is not found any more has
//! left. While the directory cannot be reached, whoever is signed in stays so.

mod connection;
mod entry;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ldap3::ldap_escape;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::accounts::{Accounts, ExternalPerson, ExternalRules, PasswordDirectory};
use crate::config::LdapConfig;
use crate::domain::clock::Clock;
use crate::domain::ids::UserId;
use crate::store::ProviderSession;
use crate::transport::tls_config;
use connection::Connection;
use entry::Entry;

/// Questions at a time. Whoever comes beyond them waits, and no longer than one of them may take.
const AT_ONCE: usize = 8;
/// A person is not looked up more often than this.
const ASKED_LATELY: Duration = Duration::from_mins(1);
/// People who are looked up in one round.
const ROUND: u64 = 50;
/// In a filter for one who is known already: by whatever name.
const ANY_NAME: &str = "*";

/// A directory.
pub struct Ldap {
    config: LdapConfig,
    tls: Arc<ClientConfig>,
    places: Semaphore,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Ldap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ldap").field("url", &self.config.url).finish_non_exhaustive()
    }
}

impl Ldap {
    /// Nothing is asked of the directory before somebody signs in.
    ///
    /// # Errors
    /// In words: a file of authorities that cannot be read.
    pub fn new(config: LdapConfig, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let tls = Arc::new(tls_config(config.ca_file.as_deref())?);
        Ok(Self { config, tls, places: Semaphore::new(AT_ONCE), clock })
    }

    /// Looks up a user again, unless that was done a moment ago: before a session of theirs is renewed.
    pub async fn check(&self, accounts: &Accounts, user: UserId) {
        match accounts.provider_session(user).await {
            Ok(Some(session)) if session.tokens.is_empty() => {
                if session.asked_at.plus(ASKED_LATELY) <= self.clock.now() {
                    self.look_up_again(accounts, &session).await;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "when a user of the directory was looked up last cannot be read");
            }
        }
    }

    /// Looks up those who were not for long; a few at a time. The caller ticks it.
    pub async fn check_due(&self, accounts: &Accounts) {
        let before = self.clock.now().minus(self.config.check_interval);
        match accounts.provider_sessions_due(before, ROUND, false).await {
            Ok(due) => {
                for session in due {
                    self.look_up_again(accounts, &session).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "when users of the directory were looked up last cannot be read");
            }
        }
    }

    async fn look_up_again(&self, accounts: &Accounts, session: &ProviderSession) {
        let user = session.user_id;
        if let Err(error) = self.confirm(accounts, session).await {
            // It may be down; who is signed in stays so until the session ends.
            tracing::warn!(%user, %error, "a user was looked up in the directory in vain");
        }
    }

    async fn confirm(&self, accounts: &Accounts, session: &ProviderSession) -> Result<(), String> {
        let text = |error: crate::accounts::Error| error.to_string();
        if !accounts.begin_asking(session).await.map_err(text)? {
            return Ok(());
        }
        let user = accounts.user(&session.user_id.to_string()).await.map_err(text)?;
        let identity = user.identity.filter(|identity| identity.issuer == entry::ISSUER);
        let Some(identity) = identity else { return Ok(()) };
        let id = entry::filter_of(&self.config.id_attribute, &identity.subject);
        let filter = format!("(&{id}{})", self.config.filter_for(ANY_NAME));
        let found = self.ask(async |connection| connection.find(&self.config, &filter).await).await?;
        let refusal = match found {
            None => "the directory does not have them any more, or does not let them in",
            Some(entry) => match entry.person(&self.config)? {
                Some(person) => return accounts.update_external_user(user.id, &person).await.map_err(text),
                None => "they are in none of the groups that may sign in",
            },
        };
        let refused = self.config.when_refused.into();
        accounts.external_user_refused(user.id, refused, refusal).await.map_err(text)
    }

    /// Asks over a connection of its own, within the time that a question may take.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut Connection) -> Result<T, String>,
    ) -> Result<T, String> {
        let asked = async {
            let _place = self.places.acquire().await.map_err(|error| error.to_string())?;
            connection::with(&self.config, &self.tls, question).await
        };
        let limit = self.config.timeout;
        let late = |_| Err(format!("no answer within {}", humantime::format_duration(limit)));
        timeout(limit, asked).await.unwrap_or_else(late)
    }

    async fn let_in(&self, name: &str, password: &str) -> Result<Option<ExternalPerson>, String> {
        // A directory lets in whoever gives no password at all, as nobody (RFC 4513, section 5.1.2).
        if name.is_empty() || password.is_empty() {
            return Ok(None);
        }
        let filter = self.config.filter_for(&ldap_escape(name));
        let entry = self
            .ask(async |connection| {
                let Some(entry) = connection.find(&self.config, &filter).await? else { return Ok(None) };
                Ok(connection.lets_in(&entry.dn, password).await?.then_some(entry))
            })
            .await?;
        entry.map_or(Ok(None), |entry: Entry| entry.person(&self.config))
    }
}

impl PasswordDirectory for Ldap {
    fn check<'a>(
        &'a self,
        name: &'a str,
        password: &'a str,
    ) -> BoxFuture<'a, Result<Option<ExternalPerson>, String>> {
        Box::pin(self.let_in(name, password))
    }

    fn rules(&self) -> ExternalRules {
        ExternalRules { create: self.config.create_users, link_by_name: self.config.link_by_name }
    }
}
