//! The keychain of a Linux desktop: `org.freedesktop.secrets` on the session's bus (Secret Service API 0.2).

use std::collections::HashMap;

use zbus::wire::{DynamicDeserialize, DynamicType};
use zbus::{Connection, Error, OwnedObjectPath, OwnedVariant, Variant, fdo};

use super::failure::Failure;
use crate::domain::secret::Secret;

const NAME: &str = "org.freedesktop.secrets";
const SERVICE: &str = "org.freedesktop.Secret.Service";
const COLLECTION: &str = "org.freedesktop.Secret.Collection";
const ITEM: &str = "org.freedesktop.Secret.Item";
/// Where the service itself is.
const ROOT: &str = "/org/freedesktop/secrets";
/// What stands for no object, such as no question to the person.
const NOTHING: &str = "/";

/// A secret on its way: session, parameters of its encryption, the secret, its kind.
type Wrapped = (OwnedObjectPath, Vec<u8>, Vec<u8>, String);

/// A connection to the service.
pub(super) struct Store(Connection);

impl Store {
    pub(super) async fn open() -> Result<Self, Failure> {
        let connected = Connection::session().await;
        connected.map(Self).map_err(|reason| Failure::Absent(format!("no session bus: {reason}")))
    }

    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.collection().await.map(drop)
    }

    pub(super) async fn put(&self, owner: &str, id: &str, label: &str, secret: &str) -> Result<(), Failure> {
        let collection = self.collection().await?;
        let wrapped: Wrapped =
            (self.session().await?, Vec::new(), secret.as_bytes().to_vec(), "text/plain".to_owned());
        let properties = HashMap::from([
            ("org.freedesktop.Secret.Item.Label", Variant::from(label)),
            ("org.freedesktop.Secret.Item.Attributes", Variant::from(attributes(owner, Some(id)))),
        ]);
        let (_, question): (OwnedObjectPath, OwnedObjectPath) =
            self.call(&collection, COLLECTION, "CreateItem", &(properties, wrapped, false)).await?;
        unasked(&question)
    }

    pub(super) async fn get(&self, owner: &str, id: &str) -> Result<Secret, Failure> {
        let (unlocked, locked) = self.search(owner, Some(id)).await?;
        let Some(item) = unlocked.first() else {
            return Err(if locked.is_empty() { Failure::Missing } else { Failure::Locked });
        };
        let session = self.session().await?;
        let (_, _, secret, _): Wrapped = self.call(item, ITEM, "GetSecret", &(session,)).await?;
        let secret = String::from_utf8(secret).map_err(|reason| Failure::Failed(reason.to_string()))?;
        Ok(Secret::new(secret))
    }

    pub(super) async fn remove(&self, owner: &str, id: Option<&str>) -> Result<(), Failure> {
        let (unlocked, locked) = self.search(owner, id).await?;
        for item in unlocked {
            let question: OwnedObjectPath = self.call(&item, ITEM, "Delete", &()).await?;
            unasked(&question)?;
        }
        if locked.is_empty() { Ok(()) } else { Err(Failure::Locked) }
    }

    /// Items that can be read, and items that are locked.
    async fn search(
        &self,
        owner: &str,
        id: Option<&str>,
    ) -> Result<(Vec<OwnedObjectPath>, Vec<OwnedObjectPath>), Failure> {
        self.call(ROOT, SERVICE, "SearchItems", &(attributes(owner, id),)).await
    }

    /// Where new items go, if it is unlocked.
    async fn collection(&self) -> Result<OwnedObjectPath, Failure> {
        let path: OwnedObjectPath = self.call(ROOT, SERVICE, "ReadAlias", &("default",)).await?;
        if path.as_str() == NOTHING {
            return Err(Failure::Absent("no default keyring".to_owned()));
        }
        let asked = (COLLECTION, "Locked");
        let locked: OwnedVariant = self.call(&path, "org.freedesktop.DBus.Properties", "Get", &asked).await?;
        match bool::try_from(locked) {
            Ok(false) => Ok(path),
            Ok(true) => Err(Failure::Locked),
            Err(reason) => Err(Failure::Failed(reason.to_string())),
        }
    }

    /// Unencrypted: whoever can read on this socket may also ask for the secret.
    async fn session(&self) -> Result<OwnedObjectPath, Failure> {
        let (_, session): (OwnedVariant, OwnedObjectPath) =
            self.call(ROOT, SERVICE, "OpenSession", &("plain", Variant::from(""))).await?;
        Ok(session)
    }

    async fn call<B, R>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<R, Failure>
    where
        B: serde::Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        let called = self.0.call_method(Some(NAME), path, Some(interface), method, body).await;
        called.map_err(failure)?.body().deserialize().map_err(failure)
    }
}

/// What an item is found by: all that are the owner's, or one of them.
fn attributes<'a>(owner: &'a str, id: Option<&'a str>) -> HashMap<&'a str, &'a str> {
    let id = id.map(|id| ("id", id));
    [("application", "sproxy"), ("session", owner)].into_iter().chain(id).collect()
}

/// Done; or the service would rather ask the person, who may be elsewhere.
fn unasked(question: &OwnedObjectPath) -> Result<(), Failure> {
    if question.as_str() == NOTHING { Ok(()) } else { Err(Failure::Locked) }
}

fn failure(reason: Error) -> Failure {
    match reason {
        Error::FDO(reason)
            if matches!(*reason, fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_)) =>
        {
            Failure::Absent("nothing on the session bus keeps secrets".to_owned())
        }
        Error::MethodError(name, ..) if name.as_str() == "org.freedesktop.Secret.Error.IsLocked" => {
            Failure::Locked
        }
        reason => Failure::Failed(reason.to_string()),
    }
}
