//! TLS of a server: the files that the configuration names become an acceptor.

use std::path::Path;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// The PEM files of a TLS server.
#[derive(Clone, Copy, Debug)]
pub struct Files<'f> {
    /// The prefix of the settings, for messages: `http.` or `cluster.`.
    pub section: &'f str,
    pub cert: &'f Path,
    pub key: &'f Path,
    /// If set, callers have to show a certificate that this authority has signed.
    pub client_ca: Option<&'f Path>,
}

/// Reads the files; `protocols` are offered in TLS, first choice first.
///
/// # Errors
/// The file that cannot be used, with the reason.
pub fn acceptor(files: Files<'_>, protocols: &[&[u8]]) -> Result<TlsAcceptor, String> {
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
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect)
}
