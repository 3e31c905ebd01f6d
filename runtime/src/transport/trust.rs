//! Whom a party lets in: holders of certificates that it knows by their fingerprints, or that an
//! authority which it trusts gave to a name that it expects.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::verify_server_name,
};

use webpki::{BorrowedCertRevocationList, CertRevocationList, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::Fingerprint;
use crate::{Error, Setting};

/// An organisation's own authority: its certificates, and what it has revoked.
#[derive(Clone, Debug)]
pub struct Authority {
    roots: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl Authority {
    /// Reads its root certificates from a file in PEM, and its lists of revoked certificates from
    /// others, in PEM or one in DER. With lists, the issuer of every certificate in a chain must
    /// have one that has not expired; without, nothing is known of revocation.
    ///
    /// A root is taken at its word for ever after, so one must be an authority's, issued by itself,
    /// and valid now: what it vouches for, holders show. Of an issuer there may be one list, since
    /// verification looks into one.
    ///
    /// # Errors
    /// [`Error::Usage`] names the file and what is wrong with it.
    pub fn read(path: &Path, revoked: &[PathBuf]) -> Result<Authority, Error> {
        let refuse = |path: &Path, why: String| Error::Usage(format!("{}: {why}", path.display()));
        let read = |path: &Path| std::fs::read(path).map_err(|error| refuse(path, format!("cannot be read: {error}")));
        let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
        let roots = roots.ok().filter(|roots| !roots.is_empty());
        let roots = roots.ok_or_else(|| refuse(path, "it holds no certificate in PEM".into()))?;
        for (number, root) in (1..).zip(&roots) {
            is_root(root).map_err(|why| refuse(path, format!("certificate {number} {why}")))?;
        }
        let (mut lists, mut issuers) = (Vec::new(), Vec::new());
        for path in revoked {
            let bytes = read(path)?;
            let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
            let found = found.map_err(|error| refuse(path, format!("its PEM is damaged: {error}")))?;
            for list in if found.is_empty() { vec![bytes.into()] } else { found } {
                let read = BorrowedCertRevocationList::from_der(&list);
                let read =
                    read.map_err(|error| refuse(path, format!("it is no list of revoked certificates: {error}")))?;
                let issuer = CertRevocationList::from(read).issuer().to_vec();
                if issuers.contains(&issuer) {
                    return Err(refuse(path, "it has a second list of one issuer: give the newest only".into()));
                }
                issuers.push(issuer);
                lists.push(list);
            }
        }
        Ok(Authority { roots, revoked: lists })
    }
}

/// Whether a certificate may vouch for others without anybody's vouching for it.
fn is_root(certificate: &CertificateDer<'_>) -> Result<(), String> {
    let damaged = |error: webpki::Error| format!("cannot be read: {error}");
    let parsed = EndEntityCert::try_from(certificate).map_err(damaged)?;
    if parsed.issuer() != parsed.subject() {
        return Err("is not a root: another authority issued it, and whose root is what to trust".into());
    }
    let anchors = [anchor_from_trusted_cert(certificate).map_err(damaged)?];
    let (algorithms, now) = (ring::default_provider().signature_verification_algorithms.all, UnixTime::now());
    // As a party's own it is refused because it is an authority's, if its times are right.
    match parsed.verify_for_usage(algorithms, &anchors, &[], now, KeyUsage::client_auth(), None, None) {
        Err(webpki::Error::CaUsedAsEndEntity) => Ok(()),
        Err(error @ (webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. })) => {
            Err(format!("does not do today: {error}"))
        }
        _ => Err("is no authority's: it may not vouch for others".into()),
    }
}

/// Whom a party lets in. Either way of knowing a peer is enough.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Certificates by their fingerprints: neither expiry nor revocation matters.
    pub fingerprints: Vec<Fingerprint>,
    /// Who vouches for others.
    pub authority: Option<Authority>,
    /// The names of those others who are let in, as the certificates have them: of DNS, or IP
    /// addresses.
    pub names: Vec<String>,
}

/// What a peer has shown of itself, and when: whether that still does can be asked later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its own first.
    chain: Vec<CertificateDer<'static>>,
    at: UnixTime,
}

impl Shown {
    /// Now.
    pub(super) fn now(chain: &[CertificateDer<'_>]) -> Shown {
        Shown { chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(), at: UnixTime::now() }
    }
}

/// What a peer is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// The name that the authority vouches for, of those that are expected; `None` if the
    /// fingerprint itself was.
    pub name: Option<String>,
    /// All of what it has shown.
    pub shown: Shown,
}

/// Decides.
#[derive(Debug)]
pub(super) struct Verifier {
    fingerprints: Vec<Fingerprint>,
    names: Vec<(String, ServerName<'static>)>,
    by_authority: Option<(Arc<WebPkiServerVerifier>, Arc<dyn ClientCertVerifier>)>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// # Errors
    /// [`Error::Setting`] if nobody would be let in, [`Error::Usage`] if the authority's files do
    /// not do, or a name is none.
    pub fn new(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Verifier, Error> {
        let Trust { fingerprints, authority, names } = trust;
        if fingerprints.is_empty() && authority.is_none() {
            let why = "the fingerprint of the other party's certificate is missing";
            return Err(Error::setting(Setting::Peers, why));
        }
        if authority.is_some() == names.is_empty() {
            let why = "an authority and the names that it vouches for go together, and one of them is missing";
            return Err(Error::setting(Setting::Peers, why));
        }
        let parse = |name: &String| match ServerName::try_from(name.clone()) {
            Ok(parsed) => Ok((name.clone(), parsed)),
            Err(_) => Err(Error::Usage(format!("{name:?} is no name of a certificate, as ann.example.org is"))),
        };
        let by_authority = authority.as_ref().map(|authority| verifiers(authority, provider)).transpose()?;
        Ok(Verifier {
            fingerprints: fingerprints.clone(),
            names: names.iter().map(parse).collect::<Result<_, Error>>()?,
            by_authority,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// What a peer that was let in is known by; `None` if it has shown nothing.
    pub fn known(&self, shown: Shown) -> Option<Known> {
        let certificate = shown.chain.first()?;
        let fingerprint = Fingerprint::of(certificate);
        let name = match self.fingerprints.contains(&fingerprint) {
            true => None,
            false => self.expected_name(certificate),
        };
        Some(Known { fingerprint, name, shown })
    }

    /// What a client would be known by that had come when it did, if all had been known that is
    /// known now. That time has passed since is no reason to send it away.
    ///
    /// # Errors
    /// Why it would not have been let in.
    pub fn again(&self, shown: &Shown) -> Result<Known, rustls::Error> {
        let (own, others) = shown.chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.verify_client_cert(own, others, shown.at)?;
        self.known(shown.clone()).ok_or(rustls::Error::NoCertificatesPresented)
    }

    /// The first of the expected names that a certificate is for.
    fn expected_name(&self, certificate: &CertificateDer<'_>) -> Option<String> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        let is_for = |(_, name): &&(String, ServerName<'static>)| verify_server_name(&parsed, name).is_ok();
        self.names.iter().find(is_for).map(|(name, _)| name.clone())
    }

    /// Whether the holder may come in; `vouched` says whether the authority is responsible.
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        vouched: impl FnOnce(&WebPkiServerVerifier, &dyn ClientCertVerifier) -> Result<(), rustls::Error>,
    ) -> Result<(), rustls::Error> {
        let found = Fingerprint::of(certificate);
        if self.fingerprints.contains(&found) {
            return Ok(());
        }
        let Some((server, client)) = &self.by_authority else {
            return Err(rustls::Error::General(format!(
                "the peer's certificate has the fingerprint {found}, which is not the one to expect"
            )));
        };
        vouched(server, &**client).map_err(explain)?;
        match self.expected_name(certificate) {
            Some(_) => Ok(()),
            None => Err(self.misnamed(certificate)),
        }
    }

    /// That the authority gave a certificate to somebody who is not expected.
    fn misnamed(&self, certificate: &CertificateDer<'_>) -> rustls::Error {
        let parsed = ParsedCertificate::try_from(certificate).ok();
        let compared = parsed.zip(self.names.first()).map(|(parsed, (_, name))| verify_server_name(&parsed, name));
        let found = match compared {
            Some(Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                presented,
                ..
            }))) => presented.iter().map(|name| plain(name)).collect(),
            _ => Vec::new(),
        };
        let found = if found.is_empty() { "no name at all".to_owned() } else { some(&found) };
        let expected: Vec<&str> = self.names.iter().map(|(name, _)| name.as_str()).collect();
        rustls::Error::General(format!(
            "the peer's certificate is of the authority, but for none of the names that are expected here: it is for \
             {found}, and expected: {}",
            some(&expected)
        ))
    }
}

/// A name as it was found in a certificate, without what says of which kind it is.
fn plain(name: &str) -> String {
    let inner = ["DnsName(\"", "IpAddress("].iter().find_map(|kind| name.strip_prefix(kind));
    let inner = inner.map_or(name, |inner| inner.trim_end_matches(')').trim_end_matches('"'));
    inner.chars().take(255).flat_map(char::escape_debug).collect()
}

/// Some of the names, and how many more there are.
fn some(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(SHOWN);
    shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// Those of the authority, for servers and for clients: both look at chain, times, purpose and
/// revocation.
fn verifiers(
    authority: &Authority,
    provider: &Arc<CryptoProvider>,
) -> Result<(Arc<WebPkiServerVerifier>, Arc<dyn ClientCertVerifier>), Error> {
    // What is wrong with a file was said when it was read.
    let refuse = |why: String| Error::Usage(format!("this authority does not do: {why}"));
    let mut roots = RootCertStore::empty();
    for root in &authority.roots {
        roots.add(root.clone()).map_err(|error| refuse(error.to_string()))?;
    }
    let (roots, lists) = (Arc::new(roots), authority.revoked.clone());
    let mut server = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
    let mut client = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    if !lists.is_empty() {
        server = server.with_crls(lists.clone()).enforce_revocation_expiration();
        client = client.with_crls(lists).enforce_revocation_expiration();
    }
    let server = server.build().map_err(|error| refuse(error.to_string()))?;
    Ok((server, client.build().map_err(|error| refuse(error.to_string()))?))
}

/// Why a certificate does not do, in words for people.
fn explain(error: rustls::Error) -> rustls::Error {
    use CertificateError as Why;
    let rustls::Error::InvalidCertificate(why) = &error else { return error };
    let text = match why {
        Why::Expired | Why::ExpiredContext { .. } => "the peer's certificate has expired",
        Why::NotValidYet | Why::NotValidYetContext { .. } => "the peer's certificate is not valid yet",
        Why::Revoked => "the peer's certificate is revoked",
        Why::UnknownIssuer | Why::BadSignature => "the peer's certificate is not of the authority that is trusted here",
        Why::UnknownRevocationStatus => {
            "no list of revoked certificates is responsible for the peer's certificate: one of its issuer's is missing"
        }
        Why::ExpiredRevocationList | Why::ExpiredRevocationListContext { .. } => {
            "the list of revoked certificates has expired here: the authority has a new one"
        }
        Why::InvalidPurpose | Why::InvalidPurposeContext { .. } => "the peer's certificate is for another purpose",
        other => return rustls::Error::General(format!("the peer's certificate does not do: {other}")),
    };
    rustls::Error::General(text.into())
}

/// What rustls asks of verifiers of servers and of clients alike: signatures of TLS 1.3.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("TLS 1.2 was never offered".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, certificate, signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let vouched = |server: &WebPkiServerVerifier, _: &dyn ClientCertVerifier| {
            let Some((_, name)) = self.names.first() else { return Err(CertificateError::NotValidForName.into()) };
            match server.verify_server_cert(certificate, intermediates, name, stapled, now) {
                Ok(_) => Ok(()),
                // It is looked at last, and which name it is does not matter yet.
                Err(rustls::Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => Ok(()),
                Err(error) => Err(error),
            }
        };
        self.check(certificate, vouched).map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let vouched = |_: &WebPkiServerVerifier, client: &dyn ClientCertVerifier| {
            client.verify_client_cert(certificate, intermediates, now).map(|_| ())
        };
        self.check(certificate, vouched).map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}
