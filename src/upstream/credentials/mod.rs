//! Credentials that end: they are asked for at whoever gives them, kept, and exchanged for new ones before they end.
//! What is asked for, and where, is [`cloud`](crate::cloud)'s.

mod aws;
mod gcp;
mod source;

pub use aws::aws_source;
pub use gcp::gcp_source;
pub use source::{CredentialSource, CredentialStatus, Lease, Unavailable};
