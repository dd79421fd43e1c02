//! Which certificate authorities are believed.
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// Where Debian, Ubuntu and Alpine, and Fedora and its kin, keep their bundle.
const SYSTEM_BUNDLES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// A file of certificate authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// It cannot be read.
    #[error("cannot read the certificate authorities in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Nothing in it is a certificate.
    #[error("there is no certificate in PEM form in {path}")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Mozilla's authorities, the system's, and those of one more file.
///
/// A system without a bundle is normal in a container; a file that was named must be there.
pub(super) fn load(system: Option<&Path>, extra: Option<&Path>) -> Result<RootCerts, RootsError> {
    let mut ders: BTreeSet<Vec<u8>> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|certificate| certificate.to_vec())
        .collect();
    match system {
        Some(path) => ders.extend(read(path)?),
        None => {
            if let Some(bundle) = SYSTEM_BUNDLES
                .iter()
                .find_map(|path| read(Path::new(path)).ok())
            {
                ders.extend(bundle);
            }
        }
    }
    if let Some(path) = extra {
        ders.extend(read(path)?);
    }
    Ok(ders
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect::<Vec<_>>()
        .into())
}

fn read(path: &Path) -> Result<Vec<Vec<u8>>, RootsError> {
    let pem = std::fs::read(path).map_err(|source| RootsError::Read {
        path: path.to_owned(),
        source,
    })?;
    // Keys and damaged blocks in a bundle are no reason to distrust the rest.
    let ders: Vec<Vec<u8>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate.der().to_vec()),
            _ => None,
        })
        .collect();
    if ders.is_empty() {
        Err(RootsError::Empty {
            path: path.to_owned(),
        })
    } else {
        Ok(ders)
    }
}
