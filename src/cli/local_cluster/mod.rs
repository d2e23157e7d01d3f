//! What `demo`, `torture` and benches are made of: child processes of this program, a private PostgreSQL, calls whose cost is
//! known beforehand, and the comparison of the books with what callers received.

pub(super) mod books;
pub(super) mod directory;
pub mod error;
pub(super) mod plan;
#[cfg(unix)]
pub mod postgres;
pub mod process;
