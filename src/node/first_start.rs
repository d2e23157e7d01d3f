//! The node's accounts, and what is made when a leader starts for the first time.

use std::io::Write;
use std::sync::Arc;

use super::allocator;
use super::error::Error;
use crate::accounts::{self, Accounts};
use crate::config::Config;
use crate::domain::clock::Clock;
use crate::domain::ids::NodeId;
use crate::store::Store;

/// Opens the accounts; of a leader, with its signing key, and with the user `admin` when nobody is there yet.
pub(super) async fn open_accounts(
    config: &Config,
    id: &NodeId,
    store: &Store,
    is_leader: bool,
    clock: &Arc<dyn Clock>,
) -> Result<Accounts, Error> {
    let settings = accounts::Settings {
        after_hashing: allocator::give_back,
        ..accounts::Settings::new(&config.auth, is_leader)
    };
    let accounts = Accounts::open(store.clone(), settings, Arc::clone(clock)).await?;
    accounts.keep_admin_token(&config.node.data_dir)?;
    if is_leader {
        accounts.open_signing_key(&config.node.data_dir, id).await?;
        let password = std::env::var("SPROXY_ADMIN_PASSWORD").ok().filter(|password| !password.is_empty());
        let first = accounts.first_start(password).await?;
        if let Some(password) = first.and_then(|first| first.generated_password) {
            show_once(&password);
        }
    }
    Ok(accounts)
}

/// Not through the log: logs are kept and shipped, and a password has no place there. For the one person who starts the
/// node for the first time.
fn show_once(password: &str) {
    let text = format!("first start: the password of the user `admin` is {password} (shown only now)\n");
    if std::io::stderr().write_all(text.as_bytes()).is_err() {
        tracing::warn!(
            "the password of the user `admin` could not be shown: give it one with `sproxy user passwd admin`"
        );
    }
}
