//! The servers side by side: the mock provider, nginx in front of it if it is installed, and two nodes.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server under load.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    /// Of a node's users.
    pub keys: Vec<String>,
    /// Resident memory when it was ready, KB.
    pub idle_kb: u64,
    pid: u32,
}

/// All of them; they end with this value.
pub struct Servers {
    pub all: Vec<Server>,
    children: Vec<Child>,
    directory: TempDir,
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
    /// Whatever starts here ends with the value, also when a later one does not start.
    ///
    /// `beside` is another build of sproxy, to be measured in the same rounds; `collector` an address for spans, with which
    /// nodes that tell less and more than by default are measured, too.
    pub fn start(beside: Option<&str>, collector: Option<SocketAddr>) -> Self {
        let mut servers =
            Self { all: Vec::new(), children: Vec::new(), directory: tempfile::tempdir().unwrap() };
        let mock = free_address();
        let pid = servers.spawn(Command::new(SPROXY).args(["mock-provider", "--listen", &mock.to_string()]));
        await_port(mock);
        servers.all.push(Server::new("direct", mock, pid));
        let nginx_runs = Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok();
        if nginx_runs {
            servers.nginx(mock);
        } else {
            println!("nginx is not installed: figures stand without a ratio");
        }
        for (name, durability) in [("sproxy committed", "committed"), ("sproxy buffered", "buffered")] {
            servers.node(SPROXY, name, durability, "", mock);
        }
        if let Some(collector) = collector {
            let more = format!("[telemetry]\notlp_endpoint = \"http://{collector}\"\n");
            let all = format!("{more}user_metrics = true\ngenai_metrics = true\n");
            servers.node(SPROXY, "without lines", "committed", "requests = false\n", mock);
            servers.node(SPROXY, "with spans", "committed", &more, mock);
            servers.node(SPROXY, "with all there is", "committed", &all, mock);
        }
        if let Some(binary) = beside {
            servers.node(binary, "other committed", "committed", "", mock);
            servers.node(binary, "other buffered", "buffered", "", mock);
        }
        servers
    }

    fn spawn(&mut self, command: &mut Command) -> u32 {
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("a process");
        let pid = child.id();
        self.children.push(child);
        pid
    }

    fn nginx(&mut self, mock: SocketAddr) {
        let address = free_address();
        let config = self.directory.path().join("nginx.conf");
        fs::write(&config, nginx_config(self.directory.path(), address, mock)).unwrap();
        let pid = self.spawn(Command::new("nginx").args(["-e", "/dev/null", "-c"]).arg(&config));
        await_port(address);
        self.all.push(Server::new("nginx", address, pid));
    }

    /// `more` is what its configuration has beside `log.level`, and behind it. A line of the log for each call is part of
    /// what is measured, as it is by default.
    fn node(&mut self, binary: &str, name: &'static str, durability: &str, more: &str, mock: SocketAddr) {
        let (http, grpc) = (free_address(), free_address());
        let data = self.directory.path().join(name);
        let config = self.directory.path().join(format!("{name}.toml"));
        let text = format!(
            "[node]\nid = \"sp-1\"\ndata_dir = \"{}\"\n[http]\nlisten = \"{http}\"\n[cluster]\nlisten = \"{grpc}\"\n\
             [usage]\ndurability = \"{durability}\"\n[log]\nlevel = \"info\"\n{more}\
             [[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"http://{mock}\"\napi_key = \"k\"\n\
             [[targets]]\nname = \"b\"\nprovider = \"anthropic\"\nurl = \"http://{mock}\"\napi_key = \"k\"\n\
             models = [\"claude-haiku-4-5\"]\ntier = 1\n\
             [[targets]]\nname = \"o\"\nprovider = \"openai\"\nurl = \"http://{mock}\"\napi_key = \"k\"\n\
             models = [\"gpt-*\"]\n",
            data.display()
        );
        fs::write(&config, text).unwrap();
        let mut serve = Command::new(binary);
        serve
            .args(["serve", "--config"])
            .arg(&config)
            .env("SPROXY_ADMIN_PASSWORD", "a password of the bench");
        let log = fs::File::create(self.directory.path().join(format!("{name}.log"))).unwrap();
        let child = serve.stdout(Stdio::null()).stderr(log).spawn().expect("a process");
        let pid = child.id();
        self.children.push(child);
        await_ready(http);
        let ready = Server::new(name, http, pid);
        let server = format!("http://{http}");
        let server = ["--server", &server, "--data-dir", data.to_str().expect("UTF-8"), "--json"];
        let sproxy = |arguments: &[&str]| {
            let done = Command::new(binary).args(arguments).args(server).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            serde_json::from_slice::<serde_json::Value>(&done.stdout).expect("JSON")
        };
        let key_of =
            |user: &str| sproxy(&["key", "create", "--user", user])["key"].as_str().map(str::to_owned);
        let users: Vec<_> = (1..=USERS).map(|number| format!("user-{number}")).collect();
        for user in &users {
            sproxy(&["user", "add", user]);
        }
        let keys = users.iter().filter_map(|user| key_of(user)).collect();
        self.all.push(Server { keys, ..ready });
    }
}

/// Of each node.
pub const USERS: usize = 10;

const SPROXY: &str = env!("CARGO_BIN_EXE_sproxy");

/// As a careful operator would have it: a listening socket per worker, connections to the upstream kept, answers handed
/// on as they come, and request bodies kept in memory. By default nginx writes a body above 16 KB to a file, and a
/// comparison with that is a comparison with a disk.
fn nginx_config(directory: &Path, listen: SocketAddr, mock: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "worker_processes 2; daemon off; pid {directory}/nginx.pid; error_log /dev/null;\n\
         events {{ worker_connections 16384; }}\n\
         http {{ access_log off; client_body_temp_path {directory}; proxy_temp_path {directory};\n\
         fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};\n\
         keepalive_requests 100000000; upstream mock {{ server {mock}; keepalive 256; keepalive_requests 100000000; }}\n\
         server {{ listen {listen} reuseport; client_max_body_size 64m; client_body_buffer_size 1m;\n\
         location / {{ proxy_pass http://mock; proxy_http_version 1.1;\n\
         proxy_set_header Connection ''; proxy_buffering off; }} }} }}\n"
    )
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

/// A node binds its socket before it has opened its database: it may be used once it says so.
fn await_ready(address: SocketAddr) {
    await_port(address);
    let mut answer = String::new();
    while !answer.starts_with("HTTP/1.1 200") {
        let mut socket = TcpStream::connect(address).expect("a connection");
        answer.clear();
        socket
            .write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")
            .expect("a request");
        socket.read_to_string(&mut answer).expect("an answer");
    }
}

impl Server {
    fn new(name: &'static str, address: SocketAddr, pid: u32) -> Self {
        let mut server = Self { name, address, keys: Vec::new(), idle_kb: 0, pid };
        server.idle_kb = server.rss_kb();
        server
    }

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
