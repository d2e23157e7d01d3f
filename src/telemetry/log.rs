//! The log: to standard error, as lines for people or JSON for programs.
//!
//! Nobody waits for it and nobody fails by it. Lines go to a thread that writes them; what cannot be written, because
//! the disk is full, the reader of a pipe is gone or takes nothing, is dropped and counted.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::UtcTime;

use super::scrape;

/// The target of the lines that calls have when they are over.
pub const CALLS: &str = "sproxy::call";
/// Bytes that may wait to be written.
const WAITING_MAX: usize = 8 << 20;
/// How long lines wait for more that have the time.
const GATHER: Duration = Duration::from_millis(20);
/// How long the end of the process waits for what is still to be written.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Lines that could not be written.
static FAILURES: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// One object a line, for programs.
    Json,
}

/// The log of this process; its drop waits, not for long, until what was said is written.
#[must_use = "what is said last is written when it is dropped"]
pub struct Log(Arc<Lines>, Filter);

/// What is logged, which may change while the process runs.
#[derive(Clone)]
pub struct Filter(Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

impl Filter {
    /// For a process whose log is set up elsewhere.
    #[must_use]
    pub fn fixed() -> Self {
        Self(Arc::new(|_| Ok(())))
    }

    /// Logs by another level, or filter per module, from now on; `requests` is whether each call has a line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn set(&self, level: &str, requests: bool) -> Result<(), String> {
        (self.0)(filter(level, requests)?)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    #[must_use]
    pub fn filter(&self) -> Filter {
        self.1.clone()
    }
}

/// Reads a level or a filter per module.
///
/// # Errors
/// When it cannot be read.
pub fn check(level: &str) -> Result<(), String> {
    filter(level, true).map(drop)
}

fn filter(level: &str, requests: bool) -> Result<EnvFilter, String> {
    let mut directives = vec![level.to_owned()];
    // In which of the two crates a module is, an operator need not know.
    let modules = level.split(',').filter_map(|directive| directive.trim().strip_prefix("sproxy::"));
    directives.extend(modules.map(|module| format!("{}::{module}", env!("CARGO_CRATE_NAME"))));
    directives.extend((!requests).then(|| format!("{CALLS}=off")));
    EnvFilter::try_new(directives.join(",")).map_err(|e| format!("log.level `{level}`: {e}"))
}

/// Sets the log up for the whole process. `level` is a level (`info`), or a filter per module
/// (`info,sproxy::cluster=debug`); `requests` is whether each call has a line when it is over.
///
/// # Errors
/// When it has been set up before, the filter cannot be read, or the system gives no thread.
pub fn set_up(level: &str, requests: bool, format: Format) -> Result<Log, String> {
    let filter = filter(level, requests)?;
    let lines = Lines::written_to(io::stderr()).map_err(|e| format!("the log has no thread: {e}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Writer(Arc::clone(&lines)))
        .with_timer(UtcTime::rfc_3339());
    let (set, reload) = match format {
        Format::Json => {
            let log = log.json().with_filter_reloading();
            let handle = log.reload_handle();
            (log.try_init(), reloading(move |filter| handle.reload(filter)))
        }
        Format::Text => {
            let log = log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).with_filter_reloading();
            let handle = log.reload_handle();
            (log.try_init(), reloading(move |filter| handle.reload(filter)))
        }
    };
    set.map_err(|e| e.to_string())?;
    let _set_up_once = LINES.set((Arc::clone(&lines), format));
    Ok(Log(lines, reload))
}

fn reloading(
    reload: impl Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send + Sync + 'static,
) -> Filter {
    Filter(Arc::new(move |filter| reload(filter).map_err(|error| error.to_string())))
}

/// The log's part of a node's metrics.
#[derive(Debug)]
pub struct LogMetrics;

impl Collector for LogMetrics {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let failures = FAILURES.load(Ordering::Relaxed);
        scrape::counter(
            &mut to,
            "sproxy_log_failures",
            "Lines of the log that could not be written.",
            failures,
        )
    }
}

/// Where lines go that are written as they are, and how they look; none before the log is set up.
static LINES: OnceLock<(Arc<Lines>, Format)> = OnceLock::new();

/// Writes a line that is made by hand, where a line for each call would cost too much to be made by `tracing`. It is given
/// the format, and what it writes is a whole line. It may wait a moment for others to be written along with.
pub(super) fn write_line(line: impl FnOnce(Format, &mut Vec<u8>)) {
    let Some((lines, format)) = LINES.get() else { return };
    lines.add_in_place(|bytes| line(*format, bytes));
}

/// Lines on their way to the thread that writes them.
#[derive(Debug, Default)]
struct Lines {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    /// The thread is writing what it took.
    is_writing: bool,
    /// There is something that does not wait for more.
    is_urgent: bool,
}

impl Lines {
    /// Starts the thread, which goes with the process.
    fn written_to(to: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let lines = Arc::new(Self::default());
        let taken = Arc::clone(&lines);
        thread::Builder::new().name("log".to_owned()).spawn(move || taken.write(to))?;
        Ok(lines)
    }

    fn add(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.bytes.len() + line.len() > WAITING_MAX {
            FAILURES.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        waiting.is_urgent = true;
        if !waiting.is_writing {
            self.changed.notify_all();
        }
    }

    /// Adds a line that may wait for others: waking a thread costs more than the line.
    fn add_in_place(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = self.waiting.lock();
        if waiting.bytes.len() > WAITING_MAX {
            FAILURES.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = waiting.bytes.is_empty();
        line(&mut waiting.bytes);
        waiting.lines += 1;
        if is_first && !waiting.is_writing {
            self.changed.notify_all();
        }
    }

    fn write(&self, mut to: impl Write) {
        let mut bytes = Vec::new();
        loop {
            let lines = {
                let mut waiting = self.waiting.lock();
                waiting.is_writing = false;
                while waiting.bytes.is_empty() {
                    self.changed.notify_all();
                    self.changed.wait(&mut waiting);
                }
                let is_patient = |waiting: &mut Waiting| !waiting.is_urgent;
                self.changed.wait_while_for(&mut waiting, is_patient, GATHER);
                (waiting.is_writing, waiting.is_urgent) = (true, false);
                std::mem::swap(&mut waiting.bytes, &mut bytes);
                std::mem::take(&mut waiting.lines)
            };
            if to.write_all(&bytes).is_err() {
                FAILURES.fetch_add(lines, Ordering::Relaxed);
            }
            bytes.clear();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock();
        waiting.is_urgent = true;
        self.0.changed.notify_all();
        let unwritten = |waiting: &mut Waiting| waiting.is_writing || !waiting.bytes.is_empty();
        self.0.changed.wait_while_for(&mut waiting, unwritten, LAST_WAIT);
    }
}

/// Hands on what `tracing_subscriber` writes, a line at a time. It never fails: on a failure that would print.
#[derive(Clone)]
struct Writer(Arc<Lines>);

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_by_name() {
        let refused = set_up("info,sproxy=loud", true, Format::Json).expect_err("no level");
        assert!(refused.starts_with("log.level `info,sproxy=loud`: "), "{refused}");
    }

    #[test]
    fn a_module_is_filtered_by_one_name_whichever_crate_it_is_in() {
        let filter = filter("warn,sproxy::telemetry=debug,sproxy::call=off", true).unwrap();
        let _set =
            tracing::subscriber::set_default(tracing_subscriber::fmt().with_env_filter(filter).finish());
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert!(!tracing::enabled!(target: "sproxy::cluster", tracing::Level::INFO));
        assert!(!tracing::enabled!(target: CALLS, tracing::Level::WARN));
    }

    /// Blocks until it is released.
    struct Stuck(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _let_go = self.0.recv();
            self.1.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_holds_nobody_up() {
        let (let_go, held) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let lines = Lines::written_to(Stuck(held, Arc::clone(&written))).unwrap();
        let before = FAILURES.load(Ordering::Relaxed);
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            lines.add(&line);
        }
        assert!(FAILURES.load(Ordering::Relaxed) >= before + 3, "what is too much is counted");
        drop(let_go);
        drop(Log(lines, Filter::fixed()));
        assert!(written.lock().len() >= 8 << 20, "the rest is written in the end");
    }
}
