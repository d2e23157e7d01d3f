//! Passwords: argon2id (RFC 9106) on a few threads of their own.
//!
//! Hashing is made to be expensive, so it must not happen where requests are served: the threads are few, their
//! memory is `threads` × 19 MiB and only while they work, they yield to everything else (on Unix they run nicer),
//! and no more than a fixed number of jobs wait for them. What comes on top is refused at once.
//!
//! Addresses share the places and take turns: one that sends many passwords waits in a line of its own, so that another
//! one's password waits for those that are being checked, and not for those that wait.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use crate::domain::share::{COUNTED, Shares, client_prefix};

/// Niceness of the threads above the rest of the process: a tenth of a share, while others want the processor.
#[cfg(unix)]
const NICER: i32 = 10;

/// Checked in place of a hash that does not exist, so that an unknown user costs what a known one does. Made up: no
/// password is known to fit it.
const DECOY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdC4uLg$bm9ib2R5J3MgcGFzc3dvcmQgZml0cyB0aGlzIGhhc2g";

/// Why a password could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue of jobs is full.
    #[error("too many passwords wait to be checked")]
    Busy,
    /// No thread could be started, or it broke.
    #[error("no thread could hash the password")]
    Gone,
    /// The library refused.
    #[error("argon2: {0}")]
    Argon2(String),
}

/// Hashes and checks passwords. Clones share its limits.
#[derive(Clone, Debug)]
pub struct Hasher {
    /// Threads that may work at a time.
    threads: usize,
    /// A permit for each thread that may work.
    threads_free: Arc<Semaphore>,
    /// A slot for each job that may work or wait.
    slots: Arc<Shares<HashCaller>>,
    /// Of each address that has jobs, as many permits as there are threads, so that no more of its jobs are queued.
    per_caller: Arc<Mutex<HashMap<HashCaller, Weak<Semaphore>>>>,
    /// Called on a thread when its work is done.
    after: fn(),
}

/// The address that a job is for; `None` for jobs of operators.
type HashCaller = Option<IpAddr>;

/// The slot of a job that waits or works.
struct HashSlot {
    slots: Arc<Shares<HashCaller>>,
    caller: HashCaller,
}

impl Drop for HashSlot {
    fn drop(&mut self) {
        self.slots.give_back(self.caller, 1);
    }
}

impl Hasher {
    /// For `threads` threads at a time (at least one), for which at most `queue` jobs may wait. Each calls `after`
    /// when its work is done: what it used, 19 MiB, is free then and the thread still there to give it back.
    #[must_use]
    pub fn new(threads: usize, queue: usize, after: fn()) -> Self {
        let threads = threads.max(1);
        Self {
            threads,
            threads_free: Arc::new(Semaphore::new(threads)),
            slots: Arc::new(Shares::new(threads.saturating_add(queue), COUNTED)),
            per_caller: Arc::default(),
            after,
        }
    }

    /// The argon2id hash of a password, in PHC form, with a random salt.
    pub async fn hash(&self, password: String) -> Result<String, Error> {
        self.on_a_thread(None, move || hash(&password)).await
    }

    /// Whether a password that came `from` an address fits a hash. Without a hash the same work is done and the answer
    /// is no.
    pub async fn check(&self, password: String, hash: Option<String>, from: IpAddr) -> Result<bool, Error> {
        let exists = hash.is_some();
        let hash = hash.map_or(Cow::Borrowed(DECOY), Cow::Owned);
        let caller = Some(client_prefix(from));
        Ok(self.on_a_thread(caller, move || check(&password, &hash)).await? && exists)
    }

    /// Does the work on a thread that ends with it: one that stayed would keep the memory it had.
    async fn on_a_thread<T: Send + 'static>(
        &self,
        caller: HashCaller,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.slots.take(caller, 1).map_err(|_| Error::Busy)?;
        let slot = HashSlot { slots: Arc::clone(&self.slots), caller };
        // A caller that hangs up while it waits here costs nothing more.
        let own_permit = self.semaphore_of(caller).acquire_owned().await.map_err(|_| Error::Gone)?;
        let permit = Arc::clone(&self.threads_free).acquire_owned().await.map_err(|_| Error::Gone)?;
        let (done, result) = oneshot::channel();
        let after = self.after;
        let thread = std::thread::Builder::new().name("password".to_owned());
        thread
            .spawn(move || {
                // Linux has niceness per thread. Where it cannot be had, the small number of threads has to do.
                #[cfg(unix)]
                let _ = rustix::process::nice(NICER);
                let worked = work();
                after();
                drop((permit, own_permit, slot));
                let _ = done.send(worked);
            })
            .map_err(|_| Error::Gone)?;
        result.await.map_err(|_| Error::Gone)?
    }

    fn semaphore_of(&self, caller: HashCaller) -> Arc<Semaphore> {
        let mut per_caller = self.per_caller.lock();
        if let Some(semaphore) = per_caller.get(&caller).and_then(Weak::upgrade) {
            return semaphore;
        }
        // Lines of those who are gone; there are never more living ones than places.
        if per_caller.len() > 2 * self.slots.total() {
            per_caller.retain(|_, semaphore| semaphore.strong_count() > 0);
        }
        let semaphore = Arc::new(Semaphore::new(self.threads));
        per_caller.insert(caller, Arc::downgrade(&semaphore));
        semaphore
    }
}

/// The parameters are the library's defaults, OWASP's recommendation: 19 MiB, 2 passes, 1 lane.
fn hash(password: &str) -> Result<String, Error> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|reason| Error::Argon2(reason.to_string()))
}

fn check(password: &str, hash: &str) -> Result<bool, Error> {
    match Argon2::default().verify_password(password.as_bytes(), hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(reason) => Err(Error::Argon2(reason.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    fn from(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only_and_no_hash_at_all_fits_nothing() {
        let hasher = Hasher::new(1, 8, || ());
        let hash = hasher.hash("correct horse".to_owned()).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$"));
        assert!(
            hasher.check("correct horse".to_owned(), Some(hash.clone()), from(1)).await.expect("checked")
        );
        assert!(!hasher.check("wrong horse".to_owned(), Some(hash), from(1)).await.expect("checked"));
        assert!(!hasher.check("nobody's password".to_owned(), None, from(1)).await.expect("checked"));
    }

    #[test]
    fn the_decoy_costs_what_a_hash_of_today_costs() {
        let cost = |hash: &str| hash.rsplitn(3, '$').nth(2).map(ToOwned::to_owned);
        assert_eq!(cost(DECOY), cost(&hash("x").expect("hashed")));
        assert!(!check("nobody's password", DECOY).expect("a hash that can be checked"));
    }

    #[tokio::test]
    async fn more_jobs_than_may_wait_are_refused_at_once() {
        let hasher = Hasher::new(1, 8, || ());
        let all = (0..32).map(|number| hasher.check("x".to_owned(), None, from(number)));
        let results = futures_util::future::join_all(all).await;
        assert!(results.iter().any(|r| matches!(r, Err(Error::Busy))));
        assert!(results.iter().filter(|r| r.is_ok()).count() >= 8);
    }

    #[tokio::test]
    async fn an_address_with_many_jobs_leaves_places_and_turns_to_others() {
        let hasher = Hasher::new(1, 15, || ());
        let mut many: futures_util::stream::FuturesUnordered<_> =
            (0..40).map(|_| hasher.check("x".to_owned(), None, from(1))).collect();
        let refused = |result: Option<Result<bool, Error>>| matches!(result, Some(Err(Error::Busy)));
        for _ in 0..28 {
            assert!(refused(many.next().await), "three quarters of 16 places are 12");
        }
        let other = hasher.check("x".to_owned(), None, from(2));
        let waited = async {
            let mut waited = 0;
            while many.next().await.is_some() {
                waited += 1;
            }
            waited
        };
        tokio::pin!(waited, other);
        match futures_util::future::select(other, waited).await {
            futures_util::future::Either::Left((checked, _)) => assert!(!checked.expect("a place")),
            futures_util::future::Either::Right((waited, _)) => panic!("it came after {waited} others"),
        }
    }
}
