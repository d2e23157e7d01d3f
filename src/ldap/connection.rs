//! One connection to the directory.

use std::pin::pin;
use std::sync::Arc;

use ldap3::{Ldap as Handle, LdapConnAsync, LdapConnSettings, Scope, SearchEntry, SearchOptions};
use rustls::ClientConfig;

use super::entry::Entry;
use crate::config::LdapConfig;
use crate::domain::secret::Secret;

/// `invalidCredentials` (RFC 4511, appendix A).
const INVALID_CREDENTIALS: u32 = 49;
/// Of two that are found, neither is the one.
const FOUND_MAX: i32 = 2;
const SIZE_LIMIT_EXCEEDED: u32 = 4;

/// A connection on which whoever looks people up is signed in.
pub(super) struct Connection {
    handle: Handle,
}

/// Opens a connection, asks something, and closes it.
pub(super) async fn with<T>(
    config: &LdapConfig,
    tls: &Arc<ClientConfig>,
    question: impl AsyncFnOnce(&mut Connection) -> Result<T, String>,
) -> Result<T, String> {
    let settings = LdapConnSettings::new().set_starttls(config.start_tls).set_config(Arc::clone(tls));
    let (connection, handle) =
        LdapConnAsync::with_settings(settings, &config.url).await.map_err(|error| error.to_string())?;
    let asked = async {
        let mut connection = Connection { handle };
        connection.bind(config).await?;
        let answer = question(&mut connection).await;
        let _closed_anyhow = connection.handle.unbind().await;
        answer
    };
    // Whoever asks drives the connection: there is no task that outlives the question.
    let mut asked = pin!(asked);
    let ended = tokio::select! {
        biased;
        answer = &mut asked => return answer,
        ended = connection.drive() => ended,
    };
    // The answer may be there although the connection has ended since; and what still waits for one is told so.
    match (asked.await, ended) {
        (Err(_), Err(error)) => Err(error.to_string()),
        (answer, _) => answer,
    }
}

impl Connection {
    async fn bind(&mut self, config: &LdapConfig) -> Result<(), String> {
        if config.bind_dn.is_empty() {
            return Ok(());
        }
        let password = config.bind_password.as_ref().map_or("", Secret::expose);
        let bound = self.handle.simple_bind(&config.bind_dn, password).await.map_err(|e| e.to_string())?;
        match bound.rc {
            0 => Ok(()),
            INVALID_CREDENTIALS => Err("auth.ldap.bind_dn is refused: its password is wrong".to_owned()),
            _ => Err(format!("auth.ldap.bind_dn is refused: {bound}")),
        }
    }

    /// The one entry that a filter finds. `None`: there is none, or more than one.
    pub(super) async fn find(&mut self, config: &LdapConfig, filter: &str) -> Result<Option<Entry>, String> {
        let attributes =
            [&config.username_attribute, &config.id_attribute, &config.groups_attribute].map(String::as_str);
        let options = SearchOptions::new().sizelimit(FOUND_MAX);
        let handle = self.handle.with_search_options(options);
        let searched = handle.search(&config.base_dn, Scope::Subtree, filter, attributes).await;
        let searched = searched.map_err(|error| error.to_string())?;
        let (entries, result) = (searched.0, searched.1);
        if result.rc != 0 && result.rc != SIZE_LIMIT_EXCEEDED {
            return Err(format!("the search below {}: {result}", config.base_dn));
        }
        // Entries alone: what refers to other directories, or only informs, is none.
        let mut entries = entries.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate());
        match (entries.next(), entries.next()) {
            (Some(entry), None) => {
                // It panics at what is no entry.
                let read = std::panic::catch_unwind(|| SearchEntry::construct(entry));
                read.map(|entry| Some(entry.into())).map_err(|_| "an entry cannot be read".to_owned())
            }
            (Some(_), Some(_)) => {
                tracing::warn!(%filter, "more than one entry of the directory is meant: nobody is let in");
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Whether the directory lets somebody in with this password.
    pub(super) async fn lets_in(&mut self, dn: &str, password: &str) -> Result<bool, String> {
        let bound = self.handle.simple_bind(dn, password).await.map_err(|error| error.to_string())?;
        match bound.rc {
            0 => Ok(true),
            INVALID_CREDENTIALS => Ok(false),
            _ => Err(format!("somebody is neither let in nor refused: {bound}")),
        }
    }
}
