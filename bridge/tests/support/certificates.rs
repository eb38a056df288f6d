//! Certificates that are made in the tests.

use std::path::{Path, PathBuf};

use bridge::net::Args;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// An authority, with the files of all certificates that it signed.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// Returns the path of the authority's own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Adds options with a certificate for this name, with the common name `name`.
    pub fn identify(&self, args: Args, name: &str) -> Args {
        self.identify_until(args, name, 2100)
    }

    /// Adds options with a certificate that expires when `year` begins.
    pub fn identify_until(&self, args: Args, name: &str, year: i32) -> Args {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |extension: &str, text: String| -> PathBuf {
            let path: &Path = self.folder.path();
            let path = path.join(format!("{name}-{year}.{extension}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        Args {
            tls_cert: Some(write("pem", certificate.pem())),
            tls_key: Some(write("key", key.serialize_pem())),
            ..args
        }
    }
}
