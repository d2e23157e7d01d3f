//! What every request of Messages that is made of another API's is made of: the conversation's order, what may be sent
//! with what, where caches end, pictures and files, schemas.

mod caching;
mod conversation;
mod media;
mod schema;
mod settings;
mod thinking;

pub use caching::mark;
pub use conversation::{Conversation, text, thinks_in_turn};
pub use media::{document, image};
pub use schema::{input_schema, output_format};
pub use settings::{Choice, Settings, max_tokens};
pub use thinking::{pack_redacted, pack_thinking, unpack};
