//! What the clouds that host a provider's models want otherwise than the provider itself: AWS Bedrock and Google's
//! Vertex AI. Signatures, paths, bodies, framing and credentials. Nothing here opens a connection, reads a file or asks
//! for the time: all of that is an argument.

pub mod aws_credentials;
pub mod aws_discovery;
pub mod bedrock;
pub mod bedrock_errors;
pub mod bedrock_events;
pub mod credentials;
pub mod event_stream;
pub mod gcp;
pub mod hosting;
pub mod machine;
pub mod percent;
pub mod sigv4;
pub mod vertex;
