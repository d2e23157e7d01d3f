//! Why a keychain is of no help, in words that stand after "the login belongs into the keychain, but".

/// Why a keychain does not do what it is asked to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("there is no keychain here ({0})")]
    Absent(String),
    #[error("the keychain is locked")]
    Locked,
    #[error("the keychain does not have it any more")]
    Missing,
    #[error("the keychain does not answer")]
    Silent,
    #[error("the keychain has failed ({0})")]
    Failed(String),
}
