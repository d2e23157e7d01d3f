//! The `sproxy` binary: everything is in the library.

fn main() {}
