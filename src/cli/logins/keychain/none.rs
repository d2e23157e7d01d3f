//! No keychain: systems whose own sproxy does not know.

use super::failure::Failure;
use crate::domain::secret::Secret;

/// There is none to open.
pub(super) enum Store {}

#[allow(clippy::unused_async, reason = "other systems' keychains wait")]
impl Store {
    pub(super) async fn open() -> Result<Self, Failure> {
        Err(Failure::Absent("sproxy knows none on this system".to_owned()))
    }

    pub(super) async fn check(&self) -> Result<(), Failure> {
        match *self {}
    }

    pub(super) async fn put(&self, _: &str, _: &str, _: &str, _: &str) -> Result<(), Failure> {
        match *self {}
    }

    pub(super) async fn get(&self, _: &str, _: &str) -> Result<Secret, Failure> {
        match *self {}
    }

    pub(super) async fn remove(&self, _: &str, _: Option<&str>) -> Result<(), Failure> {
        match *self {}
    }
}
