//! The start of a node's accounts: what is in the database comes into memory; what is missing at the very first start
//! is made.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::accounts::audit::Actor;
use crate::accounts::authenticate::Authenticator;
use crate::accounts::error::Error;
use crate::accounts::login_throttle::LoginThrottle;
use crate::accounts::users::NewUser;
use crate::accounts::{Accounts, Inner, Settings, private_file};
use crate::crypto::password::Hasher;
use crate::crypto::secret_text::{self, CHARS_FOR_256_BITS};
use crate::domain::clock::Clock;
use crate::domain::user::Role;
use crate::store::Store;

/// The file of the local admin token, in the data directory.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";
/// Characters of a generated password: 20 of base 62 carry 119 bits.
const PASSWORD_CHARS: usize = 20;

/// What the first start made.
#[derive(Clone)]
pub struct FirstStart {
    /// The password of the user `admin`, if it was generated: for its owner's eyes, once.
    pub generated_password: Option<String>,
}

impl fmt::Debug for FirstStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FirstStart(generated: {})", self.generated_password.is_some())
    }
}

impl Accounts {
    /// Reads users, groups and keys into memory, and starts the threads that hash passwords. A leader also needs a key to
    /// sign with ([`Accounts::open_signing_key`]).
    ///
    /// # Errors
    /// The database's.
    pub async fn open(store: Store, settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let state = store.accounts_state().await?;
        let authenticator = Authenticator::default();
        authenticator.adopt(&state);
        let inner = Inner {
            authenticator,
            store,
            clock,
            settings,
            hasher: Hasher::new(settings.login_threads, settings.login_queue, settings.after_hashing),
            password_directory: OnceLock::new(),
            login_throttle: Mutex::new(LoginThrottle::new(settings.login_throttle)),
            code_throttle: Mutex::new(LoginThrottle::new(settings.login_throttle)),
            signer: ArcSwapOption::empty(),
            signing: tokio::sync::Mutex::default(),
            changing: Arc::default(),
            version: watch::Sender::new(state.version),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Creates the user `admin` when there is no user at all. Without a password, one is generated and handed over
    /// for being shown once. Of several leaders that start on one fresh database one does so, and the others go on.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a password that is too short, and the database's.
    pub async fn first_start(&self, password: Option<String>) -> Result<Option<FirstStart>, Error> {
        if self.counts().0 > 0 {
            return Ok(None);
        }
        let generated = if password.is_none() { Some(secret_text::random(PASSWORD_CHARS)?) } else { None };
        let password = password.or_else(|| generated.clone());
        let admin = NewUser { name: "admin".to_owned(), password, role: Role::Admin, ..NewUser::default() };
        if self.create_first_user(&Actor::system(), admin).await?.is_some() {
            return Ok(Some(FirstStart { generated_password: generated }));
        }
        self.reload().await?;
        Ok(None)
    }

    /// Keeps a local admin token in `data_dir`, readable by its owner alone: the one that is there, or a new one.
    /// Whoever can read the file administers this node without a login.
    ///
    /// # Errors
    /// [`Error::File`] when it can neither be read nor written.
    pub fn keep_admin_token(&self, data_dir: &Path) -> Result<(), Error> {
        let path = data_dir.join(ADMIN_TOKEN_FILE);
        let failed = |reason| Error::File { path: path.display().to_string(), reason };
        let kept = match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().len() >= CHARS_FOR_256_BITS => text.trim().to_owned(),
            Ok(_) => String::new(),
            Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(reason) => return Err(failed(reason)),
        };
        let token = if kept.is_empty() {
            let token = format!("sp-admin-{}", secret_text::random(CHARS_FOR_256_BITS)?);
            private_file::write(&path, &format!("{token}\n")).map_err(failed)?;
            token
        } else {
            private_file::make_private(&path).map_err(failed)?;
            kept
        };
        self.inner.authenticator.set_local_admin(&token);
        Ok(())
    }
}
