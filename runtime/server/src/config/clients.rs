//! Clients: how they are known, and what one may have.

use fusion_runtime::service::{Profile, Quota};
use fusion_runtime::transport::Fingerprint;
use fusion_runtime::transport::tcp::Peer;
use fusion_runtime::{Error, Identity};
use serde::Deserialize;

use super::{Config, Size};

/// What one client may have.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientLimits {
    /// Most sessions at once; by default as many as there are.
    pub sessions: Option<usize>,
    /// Most that wait for their turn; by default as many as there may.
    pub waiting: Option<usize>,
    /// Most positions of a session; by default the plan's.
    pub max_positions: Option<u64>,
    /// Most bytes of a session, both ways; by default any number.
    pub max_bytes: Option<Size>,
    /// Positions at once, and as many again in each hour that passes, as far as this process knows;
    /// by default any number.
    pub positions_per_hour: Option<u64>,
}

/// A client.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its certificates. Its budget is kept under the first one, so a new one is added behind.
    #[serde(default)]
    pub fingerprints: Vec<String>,
    /// Its names in certificates of the authority. Without fingerprints its budget is kept under
    /// the first one, whatever its certificate.
    #[serde(default)]
    pub names: Vec<String>,
    /// As in [`ClientLimits`].
    pub sessions: Option<usize>,
    /// As in [`ClientLimits`].
    pub waiting: Option<usize>,
    /// As in [`ClientLimits`].
    pub max_positions: Option<u64>,
    /// As in [`ClientLimits`].
    pub max_bytes: Option<Size>,
    /// As in [`ClientLimits`].
    pub positions_per_hour: Option<u64>,
}

/// What a client is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Fingerprint(Fingerprint),
    Name(String),
}

impl Key {
    /// Whether it is this peer's.
    pub fn is_of(&self, peer: &Peer) -> bool {
        match self {
            Key::Fingerprint(fingerprint) => peer.fingerprint == Some(*fingerprint),
            Key::Name(name) => peer.name.as_ref() == Some(name),
        }
    }
}

impl ClientLimits {
    /// What admission goes by, with defaults for what is not said.
    pub(super) fn quota(&self, defaults: &ClientLimits) -> Quota {
        Quota {
            sessions: self.sessions.or(defaults.sessions).unwrap_or(usize::MAX),
            waiting: self.waiting.or(defaults.waiting).unwrap_or(usize::MAX),
            positions: self.max_positions.or(defaults.max_positions).unwrap_or(u64::MAX),
            bytes: self.max_bytes.or(defaults.max_bytes).map_or(u64::MAX, |size| size.0),
            hourly: self.positions_per_hour.or(defaults.positions_per_hour).unwrap_or(u64::MAX),
        }
    }
}

impl Config {
    /// The clients by their certificates, or by the names in them.
    pub(super) fn known(&self) -> Result<Vec<(Key, Profile)>, Error> {
        let mut known: Vec<(Key, Profile)> = Vec::new();
        for (name, client) in &self.clients {
            let parse = |text: &String| {
                text.parse::<Fingerprint>().map_err(|why| Error::Usage(format!("clients.{name}: {text:?}: {why}")))
            };
            let fingerprints = client.fingerprints.iter().map(parse).collect::<Result<Vec<_>, Error>>()?;
            let identity = match (fingerprints.first(), client.names.first()) {
                (Some(first), _) => Identity::certificate(*first),
                (None, Some(first)) => Identity::holder(first),
                (None, None) => {
                    let why = "it has neither fingerprints nor names: this client cannot come in";
                    return Err(Error::Usage(format!("clients.{name}: {why}")));
                }
            };
            let Client { sessions, waiting, max_positions, max_bytes, positions_per_hour, .. } = *client;
            let own = ClientLimits { sessions, waiting, max_positions, max_bytes, positions_per_hour };
            let profile = Profile { name: name.clone(), identity, quota: own.quota(&self.client_defaults) };
            let names = client.names.iter().map(|name| Key::Name(name.to_ascii_lowercase()));
            for key in fingerprints.into_iter().map(Key::Fingerprint).chain(names) {
                if let Some((_, other)) = known.iter().find(|(other, _)| *other == key) {
                    let what = if matches!(key, Key::Name(_)) { "name" } else { "certificate" };
                    let text = format!("clients.{name} and clients.{} have one {what}", other.name);
                    return Err(Error::Usage(text));
                }
                known.push((key, profile.clone()));
            }
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{LEAST, read};

    #[test]
    fn clients_are_known_by_names_of_an_authority_and_counted_under_the_first_unless_pinned() {
        let pinned = "11".repeat(32);
        let tls = format!("identity = \"s.pem\"\nauthority = \"ca.pem\"\nrevoked = [\"ca.crl\"]\n{LEAST}");
        let clients = format!(
            "[clients.ann]\nnames = [\"Ann.example.org\", \"anna.example.org\"]\n\
             [clients.bob]\nfingerprints = [\"{pinned}\"]\nnames = [\"bob.example.org\"]\n"
        );
        let config = read(&format!("{tls}{clients}")).unwrap();
        assert!([&config.authority.clone().unwrap(), &config.revoked[0]].iter().all(|path| path.is_absolute()));
        let known = config.known().unwrap();
        let name = |name: &str| Key::Name(name.into());
        let keys: Vec<&Key> = known.iter().map(|(key, _)| key).collect();
        let bob = Key::Fingerprint(pinned.parse().unwrap());
        let expected = [name("ann.example.org"), name("anna.example.org"), bob, name("bob.example.org")];
        assert_eq!(keys, expected.iter().collect::<Vec<_>>());
        let ann = Identity::holder("ann.example.org");
        let bob = Identity::certificate(pinned.parse().unwrap());
        let identities: Vec<&Identity> = known.iter().map(|(_, profile)| &profile.identity).collect();
        assert_eq!(identities, [&ann, &ann, &bob, &bob]);

        let peer = |fingerprint: &str, name: Option<&str>| Peer {
            address: "192.0.2.1:9".parse().unwrap(),
            fingerprint: Some(fingerprint.repeat(32).parse().unwrap()),
            name: name.map(str::to_owned),
        };
        let of = |peer: Peer| known.iter().find(|(key, _)| key.is_of(&peer)).map(|(_, profile)| profile.name.clone());
        assert_eq!(of(peer("33", Some("anna.example.org"))).as_deref(), Some("ann"));
        assert_eq!(of(peer("11", None)).as_deref(), Some("bob"));
        assert_eq!(of(peer("33", Some("carl.example.org"))), None);
        let twice = "[clients.carl]\nnames = [\"ANN.example.org\"]\n";
        let error = read(&format!("{tls}{clients}{twice}")).unwrap().known().unwrap_err().to_string();
        assert!(error.contains("clients.carl and clients.ann have one name"), "{error}");
        for neither in ["", "fingerprints = []\nnames = []\n"] {
            let error = read(&format!("{tls}{clients}[clients.dan]\n{neither}")).unwrap().known().unwrap_err();
            assert!(error.to_string().contains("neither fingerprints nor names"), "{error}");
        }
    }

    #[test]
    fn clients_are_known_by_any_of_their_certificates_and_counted_under_the_first() {
        let [old, new, other] = ["11", "22", "33"].map(|pair| pair.repeat(32));
        let clients = format!("[clients.ann]\nfingerprints = [\"{old}\", \"{new}\"]\nsessions = 2\n");
        let tls = format!("identity = \"s.pem\"\n{LEAST}");
        let config = read(&format!("{tls}{clients}[client_defaults]\nwaiting = 3\nsessions = 5")).unwrap();
        let known = config.known().unwrap();
        assert_eq!(known.len(), 2);
        for (_, profile) in &known {
            assert_eq!(profile.identity, Identity::certificate(old.parse().unwrap()));
            assert_eq!((profile.quota.sessions, profile.quota.waiting), (2, 3));
        }
        let budget = "[budget]\npositions = 10\nfile = \"b.redb\"\n[clients.\"b,c\"]\n";
        let config = read(&format!("{tls}{clients}{budget}fingerprints = [\"{other}\"]")).unwrap();
        let folder = config.budget.as_ref().unwrap().file.as_ref().unwrap().parent().unwrap().to_owned();
        let budget = config.budget(config.kept().unwrap().as_ref()).unwrap();
        budget.spend(&Identity::certificate(old.parse().unwrap()), 4).unwrap();
        budget.spend(&Identity::named("x"), 1).unwrap();
        let expected = format!("\"b,c\",certificate {other},0,10\nann,certificate {old},4,6\n,client x,1,9\n");
        assert_eq!(config.budgets().unwrap(), format!("client,identity,spent,left\n{expected}"));
        assert!(config.refund("ann", 3).unwrap().contains("1 are spent"));
        assert!(config.refund("client x", 2).unwrap_err().to_string().contains("client x has spent 1 positions"));
        // The test's own folder is gone when the configuration has been read, so this made it anew.
        std::fs::remove_dir_all(folder).unwrap();
        for (more, why) in [
            (format!("[clients.bob]\nfingerprints = [\"{other}\", \"{new}\"]"), "have one certificate"),
            ("[clients.bob]\nfingerprints = [\"12\"]".into(), "64 hexadecimal digits"),
            ("[clients.bob]\nfingerprints = []".into(), "cannot come in"),
        ] {
            let error = read(&format!("{tls}{clients}{more}")).unwrap().known().unwrap_err().to_string();
            assert!(error.contains("clients.bob") && error.contains(why), "{error}");
        }
    }
}
