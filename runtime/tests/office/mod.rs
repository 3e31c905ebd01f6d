//! An organisation's authority, which gives certificates and revokes them.

#![allow(dead_code, reason = "each test uses some of it")]

use std::path::PathBuf;

use fusion_runtime::transport::{Authority, Credentials, Trust};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

/// The serial number of a branch's certificate.
pub const BRANCH_SERIAL: u64 = 77;

/// An authority with its files.
pub struct Office {
    pub folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    /// What others know it by, and what a holder shows before it.
    pub root: PathBuf,
    pub between: String,
}

/// Of a certificate for `name`.
pub fn params(name: &str, authority: bool) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    }
    params
}

impl Office {
    /// One of its own.
    pub fn new(name: &str) -> Office {
        let folder = tempfile::tempdir().unwrap();
        let (params, key) = (params(name, true), KeyPair::generate().unwrap());
        let root = folder.path().join("ca.pem");
        std::fs::write(&root, params.self_signed(&key).unwrap().pem()).unwrap();
        Office { folder, issuer: Issuer::new(params, key), root, between: String::new() }
    }

    /// One that this one vouches for.
    pub fn branch(&self) -> Office {
        let folder = tempfile::tempdir().unwrap();
        let (mut params, key) = (params("branch", true), KeyPair::generate().unwrap());
        params.serial_number = Some(SerialNumber::from(BRANCH_SERIAL));
        let between = params.signed_by(&key, &self.issuer).unwrap().pem();
        Office { folder, issuer: Issuer::new(params, key), root: self.root.clone(), between }
    }

    /// Credentials for `name`, changed before they are signed.
    pub fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Credentials {
        let (mut params, key) = (params(name, false), KeyPair::generate().unwrap());
        params.serial_number = Some(SerialNumber::from(name.len() as u64));
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = self.folder.path().join(format!("{name}.pem"));
        std::fs::write(&path, certificate.pem() + &self.between + &key.serialize_pem()).unwrap();
        Credentials::read(&path).unwrap()
    }

    /// A list of revoked certificates, good until the year `until`.
    pub fn list(&self, revoked: &[u64], until: i32) -> PathBuf {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.folder.path().join(format!("{}-{until}.crl", revoked.len()));
        std::fs::write(&path, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
    }

    /// Trust in holders of these names.
    pub fn trust(&self, names: &[&str], revoked: &[PathBuf]) -> Trust {
        let authority = Some(Authority::read(&self.root, revoked).unwrap());
        Trust { authority, names: names.iter().map(|name| (*name).to_owned()).collect(), ..Trust::default() }
    }
}
