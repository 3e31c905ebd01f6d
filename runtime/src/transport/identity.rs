//! Who a party is on the network: a self-signed certificate, known to its peers by its fingerprint.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use crate::{Error, Setting};

/// SHA-256 of a certificate: what the parties tell each other, by a way they trust, before they
/// meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    /// 64 hexadecimal digits; colons between them, as `openssl x509 -fingerprint -sha256` prints,
    /// do not matter.
    fn from_str(text: &str) -> Result<Fingerprint, String> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let wrong = || "a fingerprint is SHA-256 of a certificate, 64 hexadecimal digits".to_owned();
        let (pairs, rest) = digits.as_chunks::<2>();
        let value = |pair: &[u8; 2]| {
            let text = std::str::from_utf8(pair).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
            u8::from_str_radix(text?, 16).ok()
        };
        let bytes: Option<Vec<u8>> = pairs.iter().map(value).collect();
        let bytes = bytes.filter(|_| rest.is_empty()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Fingerprint).ok_or_else(wrong)
    }
}

/// A certificate with its private key, from a file that holds both in PEM, and after the
/// certificate those of its issuers, if it is an authority's and others do not know them.
pub struct Credentials {
    /// Its own first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Credentials {
    /// Reads them.
    ///
    /// # Errors
    /// [`Error::Usage`] or [`Error::Setting`] names the file and what is missing in it.
    pub fn read(path: &Path) -> Result<Credentials, Error> {
        let refuse = |why: String| Error::Usage(format!("{}: {why}", path.display()));
        let lacks = |what: &str| Error::setting(Setting::Credentials, format!("{}: {what}", path.display()));
        let pem = std::fs::read(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| lacks("it holds no certificate in PEM"))?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| lacks("it holds no private key in PEM"))?;
        Ok(Credentials { chain, key })
    }

    /// Makes new ones and writes them to `path`, which must not exist, for nobody else to read.
    ///
    /// # Errors
    /// [`Error::Output`] if the file cannot be written, [`Error::Bug`] if no key can be made.
    pub fn generate(path: &Path) -> Result<Fingerprint, Error> {
        let bug = |error: rcgen::Error| Error::Bug(format!("no certificate could be made: {error}"));
        let made = rcgen::generate_simple_self_signed(vec!["fusion".to_owned()]).map_err(bug)?;
        let text = made.cert.pem() + &made.signing_key.serialize_pem();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()).and(file.sync_all()));
        written.map_err(|error| Error::output(path, error))?;
        Ok(Fingerprint::of(made.cert.der()))
    }

    /// What peers know this party by.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.chain[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_openssl() {
        // SHA-256 of "abc".
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let found = Fingerprint::of(b"abc");
        assert_eq!(found.to_string(), text);
        assert_eq!(text.parse(), Ok(found));
        let colons: Vec<String> =
            text.to_uppercase().as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into()).collect();
        assert_eq!(colons.join(":").parse(), Ok(found));
        for wrong in
            ["", &text[2..], &text[1..], &format!("{text}00"), &text.replace("ba", "+a"), &text.replace("ba", "xx")]
        {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn credentials_are_kept_in_one_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("me.pem");
        let fingerprint = Credentials::generate(&path).unwrap();
        assert_eq!(Credentials::read(&path).unwrap().fingerprint(), fingerprint);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(Credentials::generate(&path), Err(Error::Output { .. })), "a key is not overwritten");
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let half = String::from_utf8(before).unwrap().split("-----BEGIN PRIVATE").next().unwrap().to_owned();
        for (text, why) in [("", "no certificate"), ("junk", "no certificate"), (&half, "no private key")] {
            std::fs::write(&path, text).unwrap();
            let error = Credentials::read(&path).err().unwrap();
            assert!(error.exit_code() == 2 && error.to_string().contains(why), "{error}");
        }
    }
}
