//! What is sent and not taken: a caller that does not read must not hold what its answer holds.

use std::io;
use std::time::Duration;

#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::SockRef;
use tokio::net::TcpStream;

/// Has the system close a connection whose other side takes nothing of what is sent for `limit`: its window stays shut,
/// or it does not answer at all (RFC 5482). A slow reader opens its window now and then. Only Linux offers this; elsewhere
/// such a connection stays, and the share of its address is the only limit.
///
/// # Errors
/// What the system says.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn limit(socket: &TcpStream, limit: Duration) -> io::Result<()> {
    SockRef::from(socket).set_tcp_user_timeout(Some(limit))
}

/// See above.
///
/// # Errors
/// None.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn limit(_: &TcpStream, _: Duration) -> io::Result<()> {
    Ok(())
}
