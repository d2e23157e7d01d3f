//! What this process takes of its machine, by the names that Prometheus' own clients use. On Linux; elsewhere nothing is
//! told.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

/// Collects `process_*`.
#[derive(Debug)]
pub struct ProcessMetrics;

impl Collector for ProcessMetrics {
    #[cfg(target_os = "linux")]
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        // A machine that does not say has no such lines.
        linux::encode(&mut to).unwrap_or(Ok(()))
    }

    #[cfg(not(target_os = "linux"))]
    fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt;

    use procfs::process::{LimitValue, Process};
    use procfs::{ProcResult, WithCurrentSystemInfo};
    use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
    use prometheus_client::metrics::MetricType;

    use crate::telemetry::scrape::gauge;

    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) fn encode(to: &mut DescriptorEncoder<'_>) -> ProcResult<fmt::Result> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let ticks_per_second = procfs::ticks_per_second() as f64;
        let cpu = (stat.utime + stat.stime) as f64 / ticks_per_second;
        let booted = procfs::boot_time_secs()? as f64;
        let started = booted + stat.starttime as f64 / ticks_per_second;
        let resident = stat.rss_bytes().get();
        let open = process.fd_count()? as u64;
        let most = match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(most) => most as f64,
            LimitValue::Unlimited => f64::INFINITY,
        };
        let mut said = || -> fmt::Result {
            let help = "Processor time of the process, user and system.";
            to.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&cpu, None)?;
            gauge(to, "process_resident_memory_bytes", "Memory of the process that is in RAM.", resident)?;
            gauge(to, "process_virtual_memory_bytes", "Address space of the process.", stat.vsize)?;
            gauge(to, "process_open_fds", "Open file descriptors.", open)?;
            gauge(to, "process_max_fds", "File descriptors that may be open.", most)?;
            gauge(to, "process_threads", "Threads.", stat.num_threads)?;
            let help = "When the process started, Unix time.";
            gauge(to, "process_start_time_seconds", help, started)
        };
        Ok(said())
    }
}
