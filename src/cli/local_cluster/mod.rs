//! What `demo` and `torture` are made of: child processes of this program, a private PostgreSQL, calls whose cost is
//! known beforehand, and the comparison of the books with what callers received.

pub(super) mod books;
pub(super) mod directory;
pub(super) mod error;
pub(super) mod plan;
#[cfg(unix)]
pub(super) mod postgres;
pub(super) mod process;
