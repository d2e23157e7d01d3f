//! What every request of Messages that is made of another API's is made of: the conversation's order, what may be sent
//! with what, where caches end, pictures and files, schemas; and how its answers are read.

mod caching;
mod conversation;
mod converter;
mod document;
mod media;
mod schema;
mod settings;
mod stream;
mod thinking;
mod web_search;
mod writer;

pub use caching::mark;
pub use conversation::{Conversation, text, thinks_in_turn};
pub use converter::Converter;
pub use media::{document, image};
pub use schema::{input_schema, output_format};
pub use settings::{Choice, Settings, max_tokens};
pub use thinking::unpack;
pub use web_search::{WEB_SEARCH, web_search};
pub use writer::Writer;
