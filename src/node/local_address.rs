//! Where the node of a data directory answers on its own machine, written beside its admin token: so that commands find
//! the node, and so that the token goes to it and nowhere else.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use http::Uri;
use serde::{Deserialize, Serialize};

const FILE: &str = "admin.address";

/// How a process on the same machine reaches a node's HTTP side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAddress {
    /// Where it listens; port 0 and "every address" are not in it any more.
    address: SocketAddr,
    /// The PEM file of its certificate, where it speaks TLS.
    pub tls_cert: Option<PathBuf>,
}

impl LocalAddress {
    /// For a node that is bound to `bound`.
    #[must_use]
    pub fn new(bound: SocketAddr, tls_cert: Option<&Path>) -> Self {
        let ip = match bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        // Commands run in other directories.
        let tls_cert = tls_cert.map(|path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
        Self { address: SocketAddr::new(ip, bound.port()), tls_cert }
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.address)
    }

    fn scheme(&self) -> &'static str {
        if self.tls_cert.is_some() { "https" } else { "http" }
    }

    /// Whether a URL certainly names this node: its own address, or any name of the loopback where it listens there.
    #[must_use]
    pub fn is(&self, url: &str) -> bool {
        let Ok(uri) = url.parse::<Uri>() else { return false };
        let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']');
        let same_host = match host.parse::<IpAddr>() {
            Ok(ip) => ip == self.address.ip() || (ip.is_loopback() && self.address.ip().is_loopback()),
            Err(_) => host == "localhost" && self.address.ip().is_loopback(),
        };
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        uri.scheme_str() == Some(self.scheme()) && same_host && port == self.address.port()
    }

    /// Writes it into the node's data directory.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        // A reader finds the old one or the new one, never a half.
        let (path, new) = (data_dir.join(FILE), data_dir.join("admin.address.new"));
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, path)
    }

    /// What the last node on a data directory wrote; `None` if there is nothing readable.
    #[must_use]
    pub fn read(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(data_dir.join(FILE)).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_node_or_another_one() {
        let at = |bound: &str| LocalAddress::new(bound.parse().expect("an address"), None);
        for (bound, url, is) in [
            ("127.0.0.1:9000", "http://127.0.0.1:9000", true),
            ("127.0.0.1:9000", "http://localhost:9000/", true),
            ("0.0.0.0:9000", "http://[::1]:9000", true),
            ("0.0.0.0:80", "http://localhost", true),
            ("10.0.0.5:9000", "http://10.0.0.5:9000", true),
            ("127.0.0.1:9000", "http://127.0.0.1:9001", false),
            ("127.0.0.1:9000", "https://127.0.0.1:9000", false),
            ("127.0.0.1:9000", "http://localhost.example.com:9000", false),
            ("127.0.0.1:9000", "http://127.0.0.1:9000@example.com", false),
            ("10.0.0.5:9000", "http://127.0.0.1:9000", false),
            ("0.0.0.0:9000", "http://sp-1:9000", false),
            ("127.0.0.1:9000", "nonsense", false),
        ] {
            assert_eq!(at(bound).is(url), is, "{bound} {url}");
        }
        assert_eq!(at("[::]:9000").url(), "http://[::1]:9000");
    }
}
