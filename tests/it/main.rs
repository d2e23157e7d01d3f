//! Black-box tests: real nodes, real sockets, real databases.
mod metering;
