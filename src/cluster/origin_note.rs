//! Where the replicated state comes from, as a database remembers it beside its version.

use serde::{Deserialize, Serialize};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cluster::adoption::Standing;
use crate::cluster::state::{Origin, State};
use crate::crypto::token::PublicKey;
use crate::domain::failure::{Failure, Kind};
use crate::domain::ids::LedgerId;
use crate::store::{AccountsState, MetaKey, MetaRepo, Store};

/// The note: whatever of [`Standing`] is not a row of its own. JSON in `meta`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    lineage: Vec<LedgerId>,
    blank: bool,
    adopted: Option<(LedgerId, u64)>,
    untouched: u64,
}

/// Reads what a leader's state goes back to. `version` is the state's. A database that was a follower's before goes
/// back to the leader it followed: its followers take it for that leader's successor.
///
/// # Errors
/// What the database says, or a note that cannot be read.
pub(super) async fn standing(store: &Store, version: u64) -> Result<Standing, Failure> {
    let meta = MetaRepo::on(store);
    let ledger = meta.ledger_id().await?;
    let note = note(store).await?;
    let mut lineage = note.lineage;
    let followed = meta.get(MetaKey::StateLedgerId).await?;
    if let Some(followed) = followed.map(|text| read_ledger(&text)).transpose()?.filter(|id| *id != ledger) {
        lineage.retain(|known| *known != followed);
        lineage.push(followed);
    }
    let blank = lineage.is_empty() && version == note.untouched;
    let origin = Origin { ledger, version, lineage, blank };
    Ok(Standing { origin, untouched: note.untouched, adopted: note.adopted })
}

/// Notes the version at which nobody has worked on a leader's database yet, when there is no note at all.
///
/// # Errors
/// What the database says.
pub(super) async fn note_beginning(store: &Store) -> Result<(), Failure> {
    let meta = MetaRepo::on(store);
    if meta.get(MetaKey::StateOrigin).await?.is_none() && meta.get(MetaKey::StateLedgerId).await?.is_none() {
        let beginning = Note { untouched: meta.state_version().await?, ..Note::default() };
        meta.set(MetaKey::StateOrigin, &text(&beginning)).await?;
    }
    Ok(())
}

/// Reads whose state a follower holds; none: nothing yet. A leader's database that follows now holds its own.
///
/// # Errors
/// What the database says, or a note that cannot be read.
pub(super) async fn held(store: &Store) -> Result<Option<Origin>, Failure> {
    let meta = MetaRepo::on(store);
    let version = meta.state_version().await?;
    let note = note(store).await?;
    let followed = meta.get(MetaKey::StateLedgerId).await?.map(|text| read_ledger(&text)).transpose()?;
    let ledger = match (followed, version) {
        (Some(ledger), _) => ledger,
        (None, 0) => return Ok(None),
        (None, _) => meta.ledger_id().await?,
    };
    let blank = note.blank || (followed.is_none() && version == note.untouched && note.lineage.is_empty());
    Ok(Some(Origin { ledger, version, lineage: note.lineage, blank }))
}

/// The notes of a leader that takes a follower's state.
pub(super) fn notes_of_leader(standing: &Standing, state: &State) -> Vec<(MetaKey, String)> {
    let note = Note {
        lineage: standing.origin.lineage.clone(),
        blank: false,
        adopted: standing.adopted,
        untouched: standing.untouched,
    };
    vec![(MetaKey::StateOrigin, text(&note)), (MetaKey::TokenKeys, keys_as_text(state.token_keys.iter()))]
}

/// The notes of a follower that takes its leader's state.
pub(super) fn notes_of_follower<'k>(
    origin: &Origin,
    keys: impl Iterator<Item = &'k [u8; 32]>,
) -> Vec<(MetaKey, String)> {
    let note = Note { lineage: origin.lineage.clone(), blank: origin.blank, ..Note::default() };
    vec![
        (MetaKey::StateLedgerId, origin.ledger.to_string()),
        (MetaKey::StateOrigin, text(&note)),
        (MetaKey::TokenKeys, keys_as_text(keys)),
    ]
}

/// The public keys that were noted.
///
/// # Errors
/// What the database says.
pub(super) async fn token_keys(store: &Store) -> Result<Vec<PublicKey>, Failure> {
    let text = MetaRepo::on(store).get(MetaKey::TokenKeys).await?.unwrap_or_default();
    let keys = text.split(',').filter_map(|key| STANDARD.decode(key).ok()?.try_into().ok().map(PublicKey));
    Ok(keys.collect())
}

/// The state in the maps of replication.
pub(super) fn as_state(accounts: AccountsState, keys: &[PublicKey]) -> State {
    State {
        users: accounts.users.into_iter().map(|user| (user.id, user)).collect(),
        groups: accounts.groups.into_iter().map(|group| (group.id, group)).collect(),
        keys: accounts.keys.into_iter().map(|key| (key.id, key)).collect(),
        token_keys: keys.iter().map(|key| key.0).collect(),
    }
}

/// The state in the lists of the database.
pub(super) fn as_accounts(version: u64, state: State) -> AccountsState {
    AccountsState {
        version,
        users: state.users.into_values().collect(),
        groups: state.groups.into_values().collect(),
        keys: state.keys.into_values().collect(),
    }
}

async fn note(store: &Store) -> Result<Note, Failure> {
    match MetaRepo::on(store).get(MetaKey::StateOrigin).await? {
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

fn keys_as_text<'k>(keys: impl Iterator<Item = &'k [u8; 32]>) -> String {
    keys.map(|key| STANDARD.encode(key)).collect::<Vec<_>>().join(",")
}

fn read_ledger(text: &str) -> Result<LedgerId, Failure> {
    text.parse().map_err(|_| Failure::new(Kind::Internal, "meta.state_ledger_id is no id"))
}
