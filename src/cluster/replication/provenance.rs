//! Where the replicated state comes from, as a database remembers it beside its version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::replication::adoption::Provenance;
use crate::cluster::replication::state::{Ancestor, State, StateVersion};
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::{Jti, LedgerId};
use crate::store::{AccountsState, EndedSession, Executor, MetaKey, MetaRepo, Store, TokenKey};

/// The note: whatever of [`Provenance`] is not a row of its own. JSON in `meta`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    lineage: Vec<LedgerId>,
    /// How far the state goes back to each of these. Shorter: not known of the rest.
    versions: Vec<Option<u64>>,
    pristine: bool,
    adopted: Option<(LedgerId, u64)>,
    pristine_version: u64,
}

impl Note {
    fn new(lineage: &[Ancestor]) -> Self {
        Self {
            lineage: lineage.iter().map(|ancestor| ancestor.ledger).collect(),
            versions: lineage.iter().map(|ancestor| ancestor.version).collect(),
            ..Self::default()
        }
    }

    fn lineage(&self) -> Vec<Ancestor> {
        let versions = self.versions.iter().copied().chain(std::iter::repeat(None));
        self.lineage
            .iter()
            .zip(versions)
            .map(|(ledger, version)| Ancestor { ledger: *ledger, version })
            .collect()
    }
}

/// Reads what a leader's state goes back to. `version` is the state's.
///
/// # Errors
/// What the database says, or a note that cannot be read.
pub(in crate::cluster) async fn load_provenance(store: &Store, version: u64) -> Result<Provenance, Failure> {
    let ledger = MetaRepo::on(store).ledger_id().await?;
    let note = note(store).await?;
    let mut lineage = note.lineage();
    let untouched = MetaRepo::on(store).accounts_version().await? == note.pristine_version;
    if let Some((adopted, reached)) = note.adopted.filter(|_| untouched) {
        // A note of an older sproxy: a copy that nobody has worked on reaches as far as what it is a copy of.
        let it =
            lineage.iter_mut().filter(|ancestor| ancestor.ledger == adopted && ancestor.version.is_none());
        it.for_each(|ancestor| ancestor.version = Some(reached));
    }
    let pristine = lineage.is_empty() && untouched;
    let origin = StateVersion { ledger, version, lineage, pristine };
    // To sign in and out is no work on it.
    let pristine_version = if untouched { version } else { note.pristine_version };
    Ok(Provenance { origin, pristine_version, adopted: note.adopted })
}

/// Notes what a leader's database begins with: a fresh one with a version at which nobody has worked on it yet. One that
/// was a follower's before goes back to the leader it followed, as far as it had come: the other followers of that leader
/// take it for its successor.
///
/// # Errors
/// What the database says, or a note that cannot be read.
pub(in crate::cluster) async fn note_origin(store: &Store) -> Result<(), Failure> {
    let ledger = MetaRepo::on(store).ledger_id().await?;
    // Of leaders that start at once on a database that they share, one notes it.
    let (tx, version) = store.begin_locked().await?;
    let meta = MetaRepo::on(&tx);
    let followed = meta.get(MetaKey::StateLedgerId).await?.map(|text| read_ledger(&text)).transpose()?;
    let beginning = match followed {
        None if meta.get(MetaKey::StateOrigin).await?.is_none() => {
            Note { pristine_version: meta.accounts_version().await?, ..Note::default() }
        }
        Some(followed) if followed != ledger => {
            let lineage = note(&tx).await?.lineage();
            let held = StateVersion { ledger: followed, version, lineage, pristine: false };
            let own = StateVersion { ledger, version, lineage: Vec::new(), pristine: false };
            Note::new(&own.lineage_with(&held))
        }
        _ => return Ok(()),
    };
    meta.set(MetaKey::StateOrigin, &text(&beginning)).await?;
    if followed.is_some() {
        meta.set(MetaKey::StateLedgerId, &ledger.to_string()).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Reads whose state a follower holds; none: nothing yet. A leader's database that follows now holds its own.
///
/// # Errors
/// What the database says, or a note that cannot be read.
pub(in crate::cluster) async fn held_version(store: &Store) -> Result<Option<StateVersion>, Failure> {
    let meta = MetaRepo::on(store);
    let version = meta.state_version().await?;
    let note = note(store).await?;
    let lineage = note.lineage();
    let followed = meta.get(MetaKey::StateLedgerId).await?.map(|text| read_ledger(&text)).transpose()?;
    let ledger = match (followed, version) {
        (Some(ledger), _) => ledger,
        (None, 0) => return Ok(None),
        (None, _) => meta.ledger_id().await?,
    };
    let untouched = meta.accounts_version().await? == note.pristine_version;
    let pristine = note.pristine || (followed.is_none() && untouched && lineage.is_empty());
    Ok(Some(StateVersion { ledger, version, lineage, pristine }))
}

/// The notes of a leader that takes a follower's state.
pub(in crate::cluster) fn notes_of_leader(provenance: &Provenance) -> Vec<(MetaKey, String)> {
    let note = Note {
        adopted: provenance.adopted,
        pristine_version: provenance.pristine_version,
        ..Note::new(&provenance.origin.lineage)
    };
    vec![(MetaKey::StateOrigin, text(&note))]
}

/// The notes of a follower that takes its leader's state.
pub(in crate::cluster) fn notes_of_follower(origin: &StateVersion) -> Vec<(MetaKey, String)> {
    let note = Note { pristine: origin.pristine, ..Note::new(&origin.lineage) };
    vec![(MetaKey::StateLedgerId, origin.ledger.to_string()), (MetaKey::StateOrigin, text(&note))]
}

/// The state in the maps of replication.
pub(in crate::cluster) fn as_state(accounts: AccountsState) -> State {
    State {
        users: accounts.users.into_iter().map(|user| (user.id, user)).collect(),
        groups: accounts.groups.into_iter().map(|group| (group.id, group)).collect(),
        keys: accounts.keys.into_iter().map(|key| (key.id, key)).collect(),
        token_keys: accounts.token_keys.iter().map(|key| key.public).collect(),
        ended_sessions: accounts.ended_sessions.iter().map(|ended| (ended.session, ended.until)).collect(),
        removed: accounts.removed,
    }
}

/// The state in the lists of the database.
pub(in crate::cluster) fn as_accounts(version: u64, state: State) -> AccountsState {
    AccountsState {
        version,
        users: state.users.into_values().collect(),
        groups: state.groups.into_values().collect(),
        keys: state.keys.into_values().collect(),
        token_keys: state.token_keys.into_iter().map(TokenKey::of_another).collect(),
        ended_sessions: as_ended(state.ended_sessions),
        removed: state.removed,
    }
}

/// Ended sessions in the list of the database.
pub(in crate::cluster) fn as_ended(sessions: BTreeMap<Jti, Timestamp>) -> Vec<EndedSession> {
    sessions.into_iter().map(|(session, until)| EndedSession { session, until }).collect()
}

async fn note<G: Executor>(executor: &G) -> Result<Note, Failure> {
    match MetaRepo::on(executor).get(MetaKey::StateOrigin).await? {
        None => Ok(Note::default()),
        Some(text) => serde_json::from_str(&text).map_err(|error| {
            Failure::new(Kind::Internal, format!("meta.state_origin cannot be read: {error}"))
        }),
    }
}

fn text(note: &Note) -> String {
    // Ids and numbers: there is nothing in it that has no JSON.
    serde_json::to_string(note).unwrap_or_default()
}

fn read_ledger(text: &str) -> Result<LedgerId, Failure> {
    text.parse().map_err(|_| Failure::new(Kind::Internal, "meta.state_ledger_id is no id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::group::{Group, Limits};
    use crate::domain::ids::{GroupId, UserId};
    use crate::store::{EndedSessionRepo, GroupRepo, Location, Synchronous, TokenKeyRepo};

    async fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let location =
            Location::Sqlite { path: directory.path().join("sproxy.db"), synchronous: Synchronous::Normal };
        (directory, Store::open(&location).await.expect("a database"))
    }

    fn ancestor(ledger: LedgerId, version: Option<u64>) -> Ancestor {
        Ancestor { ledger, version }
    }

    #[tokio::test]
    async fn a_follower_that_becomes_a_leader_goes_back_as_far_as_it_had_come() {
        let (_directory, store) = store().await;
        let (followed, before) = (LedgerId::new(), LedgerId::new());
        let lineage = vec![ancestor(before, Some(3))];
        let held_then =
            StateVersion { ledger: followed, version: 7, lineage: lineage.clone(), pristine: true };
        let accounts = as_accounts(7, State::default());
        store.replace_accounts(&accounts, &notes_of_follower(&held_then)).await.expect("replaced");
        assert_eq!(held_version(&store).await.expect("a note"), Some(held_then));
        for _start in 0..2 {
            note_origin(&store).await.expect("noted");
            store.reach_state_version(9).await.expect("an admin works");
        }
        let own = MetaRepo::on(&store).ledger_id().await.expect("an id");
        let provenance = load_provenance(&store, 9).await.expect("a note");
        let lineage = [lineage, vec![ancestor(followed, Some(7))]].concat();
        let origin = StateVersion { ledger: own, version: 9, lineage, pristine: false };
        assert_eq!(provenance, Provenance { origin: origin.clone(), pristine_version: 0, adopted: None });
        assert_eq!(held_version(&store).await.expect("a note"), Some(origin), "also when it follows again");
    }

    /// A leader with an empty disk takes what followers hold, also after somebody has signed in there and out.
    #[tokio::test]
    async fn to_sign_out_is_no_work_on_a_state() {
        let (_directory, store) = store().await;
        let key = async |seed: u8| {
            let tx = store.begin().await.expect("a transaction");
            TokenKeyRepo::on(&tx).add_of_another([seed; 32]).await.expect("added");
            tx.commit().await.expect("committed")
        };
        assert_eq!(key(1).await, 1);
        let tx = store.begin().await.expect("a transaction");
        let at = Timestamp::from_micros(1);
        let limits = Limits::default();
        let group =
            Group { id: GroupId::new(), name: "g".to_owned(), limits, created_at: at, updated_at: at };
        GroupRepo::on(&tx).create(&group).await.expect("created");
        assert_eq!(tx.commit().await.expect("committed"), 2);
        assert_eq!(key(2).await, 3, "of another leader on this database");
        note_origin(&store).await.expect("noted");
        let tx = store.begin().await.expect("a transaction");
        let ended = EndedSession { session: Jti::new(), until: at };
        EndedSessionRepo::on(&tx).add(ended, UserId::new()).await.expect("added");
        assert_eq!(tx.commit().await.expect("committed"), 4);
        let provenance = load_provenance(&store, 4).await.expect("a note");
        assert!(provenance.origin.pristine && provenance.pristine_version == 4, "{provenance:?}");
        assert!(
            held_version(&store)
                .await
                .expect("a note")
                .is_some_and(|held| held.pristine && held.version == 4)
        );
        let tx = store.begin().await.expect("a transaction");
        GroupRepo::on(&tx).delete(group.id, false).await.expect("deleted");
        assert_eq!(tx.commit().await.expect("committed"), 5);
        assert!(!load_provenance(&store, 5).await.expect("a note").origin.pristine);
    }

    #[tokio::test]
    async fn a_note_of_an_older_version_says_how_far_an_untouched_copy_reaches_and_no_more() {
        let (_directory, store) = store().await;
        let (adopted, before) = (LedgerId::new(), LedgerId::new());
        let older = format!(
            r#"{{"lineage":["{before}","{adopted}"],"pristine":false,"adopted":["{adopted}",7],"pristine_version":8}}"#
        );
        MetaRepo::on(&store).set(MetaKey::StateOrigin, &older).await.expect("set");
        note_origin(&store).await.expect("nothing to note");
        for (version, reached) in [(8, Some(7)), (9, None)] {
            store.reach_state_version(version).await.expect("raised");
            let lineage = load_provenance(&store, version).await.expect("a note").origin.lineage;
            assert_eq!(lineage, [ancestor(before, None), ancestor(adopted, reached)]);
        }
    }
}
