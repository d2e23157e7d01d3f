//! Cryptography, each use of it behind one small door: API keys, passwords, access tokens, signatures.

pub mod api_key;
pub mod assertion;
pub mod digest;
pub mod jwt;
pub mod mac;
pub mod password;
pub mod sealed;
pub mod secret_text;
pub mod token;
