//! `OLLAMA_HOST`, read as Ollama itself reads it: <https://github.com/ollama/ollama/blob/main/envconfig/config.go>.

/// The URL that `host` stands for. Scheme and port may be missing: no scheme means port 11434, one without a port means
/// that scheme's. An address to listen on is reached on loopback.
pub(super) fn url(host: &str) -> String {
    let host = host.trim().trim_matches(['"', '\'']);
    let (scheme, rest, default_port) = match host.split_once("://") {
        None => ("http", host, "11434"),
        Some(("http", rest)) => ("http", rest, "80"),
        Some(("https", rest)) => ("https", rest, "443"),
        Some((other, rest)) => (other, rest, "11434"),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, port) = split(authority);
    let port = port.filter(|port| port.parse::<u16>().is_ok()).unwrap_or(default_port);
    let name = match name.trim_matches(['[', ']']) {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        bare if bare.contains(':') => format!("[{bare}]"),
        bare => bare.to_owned(),
    };
    let path = path.trim_end_matches('/');
    let slash = if path.is_empty() { "" } else { "/" };
    format!("{scheme}://{name}:{port}{slash}{path}")
}

/// Host and port. The colons of an IPv6 address are no port.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_host_means_what_it_means_to_ollama() {
        for (host, url) in [
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("http://0.0.0.0:8080/", "http://127.0.0.1:8080"),
            ("localhost", "http://localhost:11434"),
            (" gpu.example:9999 ", "http://gpu.example:9999"),
            (":9999", "http://127.0.0.1:9999"),
            ("http://gpu.example", "http://gpu.example:80"),
            ("https://gpu.example", "https://gpu.example:443"),
            ("https://gpu.example:8443/ollama", "https://gpu.example:8443/ollama"),
            ("::1", "http://[::1]:11434"),
            ("[::1]:9999", "http://[::1]:9999"),
            ("[::]", "http://[::1]:11434"),
            ("gpu.example:none", "http://gpu.example:11434"),
        ] {
            assert_eq!(super::url(host), url, "{host}");
        }
    }
}
