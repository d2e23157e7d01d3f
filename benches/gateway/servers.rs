//! The servers side by side: the mock provider, nginx in front of it if it is installed, and two nodes.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server under load.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    pub key: Option<String>,
    pid: u32,
}

/// All of them; they end with this value.
pub struct Servers {
    pub all: Vec<Server>,
    children: Vec<Child>,
    _directory: TempDir,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // nginx's workers go with their master only if it is asked to leave.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
}

impl Servers {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mock = free_address();
        let mut children =
            vec![spawn(Command::new(SPROXY).args(["mock-provider", "--listen", &mock.to_string()]))];
        await_port(mock);
        let mut all = vec![Server { name: "direct", address: mock, key: None, pid: children[0].id() }];
        let nginx = free_address();
        let config = directory.path().join("nginx.conf");
        fs::write(&config, nginx_config(directory.path(), nginx, mock)).unwrap();
        let nginx_runs = Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok();
        if nginx_runs {
            children.push(spawn(Command::new("nginx").args(["-e", "/dev/null", "-c"]).arg(&config)));
            await_port(nginx);
            all.push(Server { name: "nginx", address: nginx, key: None, pid: children[1].id() });
        } else {
            println!("nginx is not installed: figures stand without a ratio");
        }
        for (name, durability) in [("sproxy committed", "committed"), ("sproxy buffered", "buffered")] {
            let (child, server) = node(directory.path(), name, durability, mock);
            children.push(child);
            all.push(server);
        }
        Self { all, children, _directory: directory }
    }
}

const SPROXY: &str = env!("CARGO_BIN_EXE_sproxy");

fn node(directory: &Path, name: &'static str, durability: &str, mock: SocketAddr) -> (Child, Server) {
    let (http, grpc) = (free_address(), free_address());
    let data = directory.join(durability);
    let config = directory.join(format!("{durability}.toml"));
    let text = format!(
        "[node]\nid = \"sp-1\"\ndata_dir = \"{}\"\n[http]\nlisten = \"{http}\"\n[cluster]\nlisten = \"{grpc}\"\n\
         [usage]\ndurability = \"{durability}\"\n[log]\nlevel = \"warn\"\n\
         [[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"http://{mock}\"\napi_key = \"k\"\n\
         [[targets]]\nname = \"o\"\nprovider = \"openai\"\nurl = \"http://{mock}\"\napi_key = \"k\"\n",
        data.display()
    );
    fs::write(&config, text).unwrap();
    let child = spawn(
        Command::new(SPROXY)
            .args(["serve", "--config"])
            .arg(&config)
            .env("SPROXY_ADMIN_PASSWORD", "a password of the bench"),
    );
    await_port(http);
    let created = Command::new(SPROXY)
        .args([
            "key",
            "create",
            "--user",
            "admin",
            "--json",
            "--server",
            &format!("http://{http}"),
            "--data-dir",
        ])
        .arg(&data)
        .output()
        .unwrap();
    let created: serde_json::Value = serde_json::from_slice(&created.stdout).expect("a key");
    let key = created["key"].as_str().map(str::to_owned);
    let pid = child.id();
    (child, Server { name, address: http, key, pid })
}

fn nginx_config(directory: &Path, listen: SocketAddr, mock: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "worker_processes 2; daemon off; pid {directory}/nginx.pid; error_log /dev/null;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {directory}; proxy_temp_path {directory};\n\
         fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};\n\
         keepalive_requests 100000000; upstream mock {{ server {mock}; keepalive 256; keepalive_requests 100000000; }}\n\
         server {{ listen {listen}; client_max_body_size 64m; location / {{ proxy_pass http://mock; proxy_http_version 1.1;\n\
         proxy_set_header Connection ''; proxy_buffering off; }} }} }}\n"
    )
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("a process")
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn await_port(address: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on {address}");
        std::thread::yield_now();
    }
}

impl Server {
    /// User and system time so far of the process and its children, microseconds.
    pub fn cpu_us(&self) -> f64 {
        processes(self.pid).iter().map(|pid| ticks(*pid)).sum::<f64>() * 10_000.0
    }

    /// Resident memory, KB.
    pub fn rss_kb(&self) -> u64 {
        processes(self.pid).iter().map(|pid| status_kb(*pid, "VmRSS:")).sum()
    }
}

fn processes(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    std::iter::once(pid).chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect()
}

/// Clock ticks (100 per second on Linux) in user and system mode.
fn ticks(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    field(11) + field(12)
}

fn status_kb(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
