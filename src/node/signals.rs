//! Signals: the first asks the node to leave, the second means now.

use std::io;

use tokio::sync::watch;

/// How often the node was asked to leave.
pub struct Signals(watch::Receiver<u32>);

impl Signals {
    /// Listens for SIGTERM, SIGINT and SIGHUP, a closed terminal's (elsewhere: Ctrl-C), from now on.
    ///
    /// # Errors
    /// When the system refuses to deliver signals.
    pub fn listen() -> io::Result<(Self, impl Future<Output = ()> + Send + 'static)> {
        let (sender, receiver) = watch::channel(0);
        #[cfg(unix)]
        let work = {
            use tokio::signal::unix::{SignalKind, signal};
            let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            let mut hangup = signal(SignalKind::hangup())?;
            async move {
                loop {
                    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {}, _ = hangup.recv() => {} }
                    sender.send_modify(|count| *count += 1);
                }
            }
        };
        #[cfg(not(unix))]
        let work = async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                sender.send_modify(|count| *count += 1);
            }
        };
        Ok((Self(receiver), work))
    }

    /// Done when the node has been asked `times` times.
    pub fn asked(&self, times: u32) -> impl Future<Output = ()> + use<> {
        let mut count = self.0.clone();
        async move {
            if count.wait_for(|count| *count >= times).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
