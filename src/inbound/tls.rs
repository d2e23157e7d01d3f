//! TLS of a server: the files that the configuration names become an acceptor.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// The PEM files of a TLS server.
#[derive(Clone, Copy, Debug)]
pub struct Files<'f> {
    /// The prefix of the settings, for messages: `http.` or `cluster.`.
    pub section: &'static str,
    pub cert: &'f Path,
    pub key: &'f Path,
    /// If set, callers have to show a certificate that this authority has signed.
    pub client_ca: Option<&'f Path>,
}

/// TLS of a server whose files may be read again while it runs.
pub struct Tls {
    section: &'static str,
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    /// Offered in TLS, first choice first.
    protocols: &'static [&'static [u8]],
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files; `protocols` are offered in TLS, first choice first.
    ///
    /// # Errors
    /// The file that cannot be used, with the reason.
    pub fn read(files: Files<'_>, protocols: &'static [&'static [u8]]) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self {
            section: files.section,
            cert: files.cert.to_owned(),
            key: files.key.to_owned(),
            client_ca: files.client_ca.map(Path::to_owned),
            protocols,
            config: ArcSwap::new(Arc::new(config(files, protocols)?)),
        }))
    }

    /// Reads the files again, for connections that come later. It is in effect once [`NewTls::take_effect`] is called.
    ///
    /// # Errors
    /// The file that cannot be used, with the reason; what was in effect stays.
    pub fn read_again(self: &Arc<Self>) -> Result<NewTls, String> {
        let files = Files {
            section: self.section,
            cert: &self.cert,
            key: &self.key,
            client_ca: self.client_ca.as_deref(),
        };
        Ok(NewTls { tls: Arc::clone(self), config: Arc::new(config(files, self.protocols)?) })
    }

    /// Accepts by what is in effect now.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("cert", &self.cert).finish_non_exhaustive()
    }
}

/// Files of a TLS server that were read again.
#[must_use = "it is not in effect yet"]
pub struct NewTls {
    tls: Arc<Tls>,
    config: Arc<ServerConfig>,
}

impl NewTls {
    pub fn take_effect(self) {
        self.tls.config.store(self.config);
    }
}

fn config(files: Files<'_>, protocols: &[&[u8]]) -> Result<ServerConfig, String> {
    let Files { section, cert, key, client_ca } = files;
    let chain = certificates(cert).map_err(|e| format!("{section}tls_cert {}: {e}", cert.display()))?;
    let key_der =
        PrivateKeyDer::from_pem_file(key).map_err(|e| format!("{section}tls_key {}: {e}", key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let config = match client_ca {
        None => config.with_no_client_auth(),
        Some(ca) => {
            let named = |e: &dyn std::fmt::Display| format!("{section}tls_ca {}: {e}", ca.display());
            let mut roots = RootCertStore::empty();
            for authority in certificates(ca).map_err(|e| named(&e))? {
                roots.add(authority).map_err(|e| named(&e))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().map_err(|e| named(&e))?)
        }
    };
    let mut config = config.with_single_cert(chain, key_der).map_err(|e| {
        format!("{section}tls_cert {} and {section}tls_key {}: {e}", cert.display(), key.display())
    })?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect)
}
