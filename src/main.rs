//! The `sproxy` binary: everything is in the library.

use std::process::ExitCode;

/// Bodies come and go by the megabyte on every thread; the system's allocator keeps what it should give back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sproxy::cli::run()
}
