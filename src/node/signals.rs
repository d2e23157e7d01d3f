//! Signals: the first SIGTERM or SIGINT asks the node to leave, the second means now; SIGHUP asks it to read its
//! configuration again, unless the kernel says by it that the node's terminal is closed, which asks it to leave.

use std::io;

use tokio::sync::watch;

/// How often the node was asked to leave, and how often to read its configuration again.
pub struct Signals {
    leave: watch::Receiver<u32>,
    reload: watch::Receiver<u32>,
}

impl Signals {
    /// Listens for SIGTERM, SIGINT and SIGHUP (elsewhere: Ctrl-C), from now on.
    ///
    /// # Errors
    /// When the system refuses to deliver signals.
    pub fn listen() -> io::Result<(Self, impl Future<Output = ()> + Send + 'static)> {
        let (sender, leave) = watch::channel(0);
        let (reload_sender, reload) = watch::channel(0);
        #[cfg(unix)]
        let work = {
            use tokio::signal::unix::{SignalKind, signal};
            let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            let mut hangup = signal(SignalKind::hangup())?;
            let had_terminal = has_terminal();
            async move {
                loop {
                    let asked = tokio::select! {
                        _ = term.recv() => &sender,
                        _ = int.recv() => &sender,
                        _ = hangup.recv() => {
                            // Whose terminal is closed has nobody to go on for.
                            if had_terminal && !has_terminal() { &sender } else { &reload_sender }
                        }
                    };
                    asked.send_modify(|count| *count += 1);
                }
            }
        };
        #[cfg(not(unix))]
        let work = async move {
            let _never_asked = reload_sender;
            while tokio::signal::ctrl_c().await.is_ok() {
                sender.send_modify(|count| *count += 1);
            }
        };
        Ok((Self { leave, reload }, work))
    }

    /// Changes whenever the node is asked to read its configuration again.
    pub fn reloads(&self) -> watch::Receiver<u32> {
        self.reload.clone()
    }

    /// Whether the node has been asked to leave.
    pub fn was_asked(&self) -> bool {
        *self.leave.borrow() > 0
    }

    /// Done when the node has been asked `times` times.
    pub fn asked(&self, times: u32) -> impl Future<Output = ()> + use<> {
        let mut count = self.leave.clone();
        async move {
            if count.wait_for(|count| *count >= times).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Whether this process has a terminal that controls it.
#[cfg(unix)]
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}
