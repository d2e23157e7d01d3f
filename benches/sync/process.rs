//! A process of the bench, and what it takes of the machine.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A node: this program once more, that answers questions until its standard input ends.
pub struct Node {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Node {
    pub fn start(arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let questions = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, questions, answers }
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("readable");
        line.trim().to_owned()
    }

    pub fn ask(&mut self, question: &str) -> u64 {
        writeln!(self.questions, "{question}").expect("it lives");
        self.line().parse().expect("a number")
    }

    pub fn resident_megabytes(&self) -> u64 {
        self.megabytes("VmRSS:")
    }

    /// Time on the processors so far; Linux counts it in hundredths of a second.
    pub fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }

    /// The most that it ever had.
    pub fn peak_megabytes(&self) -> u64 {
        self.megabytes("VmHWM:")
    }

    fn megabytes(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1_024
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Time on the processors of a process so far; Linux counts it in hundredths of a second.
pub fn cpu_of(pid: u32) -> Duration {
    ticks(pid, &[USER, SYSTEM])
}

/// The same of a process, of those that it has started, and of those of them that have ended.
pub fn cpu_of_family(pid: u32) -> Duration {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let living = children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(cpu_of).sum::<Duration>();
    living + ticks(pid, &[USER, SYSTEM, USER_OF_ENDED, SYSTEM_OF_ENDED])
}

// Fields behind the name in /proc/PID/stat, proc_pid_stat(5).
const USER: usize = 11;
const SYSTEM: usize = 12;
const USER_OF_ENDED: usize = 13;
const SYSTEM_OF_ENDED: usize = 14;

fn ticks(pid: u32, fields: &[usize]) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind_the_name: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: &usize| behind_the_name.get(*at).and_then(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(fields.iter().filter_map(ticks).sum::<u64>() * 10)
}
