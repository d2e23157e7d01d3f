//! Who somebody is, and who may try how often.

mod logins;
mod two_processes;
