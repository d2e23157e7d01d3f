//! A node as a process: how it starts, dies, and shares its machine.

mod backups;
mod crash;
mod one_process;
mod reload;
