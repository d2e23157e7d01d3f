//! What clouds want, held against the clients that the clouds' vendors have written.

mod conversion;
mod credentials;
mod event_stream;
mod sigv4;
mod targets;

use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs `script` of `tests/sdk`, gives it `input` and reads what it prints.
async fn ask(python: &str, script: &str, input: &Value) -> Value {
    run(Command::new(python), script, input).await
}

async fn run(mut python: Command, script: &str, input: &Value) -> Value {
    let path = format!("{}/tests/sdk/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut child =
        python.arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = serde_json::to_vec(input).unwrap();
    let write = async move {
        stdin.write_all(&text).await.unwrap();
    };
    let (ran, ()) = tokio::join!(child.wait_with_output(), write);
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// Reproducible numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Up to `length_max` of these letters.
    fn text(&mut self, letters: &str, length_max: usize) -> String {
        let letters: Vec<char> = letters.chars().collect();
        (0..self.below(length_max + 1)).map(|_| self.one_of(&letters)).collect()
    }
}
