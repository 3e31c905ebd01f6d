//! Clients: how they are known, and what one may have.

use fusion_runtime::service::{Profile, Quota};
use fusion_runtime::transport::Fingerprint;
use fusion_runtime::transport::tcp::Peer;
use fusion_runtime::{Error, Identity};
use serde::Deserialize;

use super::{Config, Size};

/// Most bytes of a client's name.
const NAME: usize = 200;

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
    /// Its certificates. Its budget is kept under its name in the configuration, whichever of them
    /// it shows.
    #[serde(default)]
    pub fingerprints: Vec<String>,
    /// Its names in certificates of the authority.
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
    /// Who somebody is who is known by it alone.
    pub fn identity(&self) -> Identity {
        match self {
            Key::Fingerprint(fingerprint) => Identity::certificate(*fingerprint),
            Key::Name(name) => Identity::holder(name),
        }
    }

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
            if !(1..=NAME).contains(&name.len()) || name.chars().any(char::is_control) {
                let why = format!("a name has 1 to {NAME} bytes, and no control characters");
                return Err(Error::Usage(format!("clients.{}: {why}", name.escape_debug())));
            }
            let parse = |text: &String| {
                text.parse::<Fingerprint>().map_err(|why| Error::Usage(format!("clients.{name}: {text:?}: {why}")))
            };
            let fingerprints = client.fingerprints.iter().map(parse).collect::<Result<Vec<_>, Error>>()?;
            if fingerprints.is_empty() && client.names.is_empty() {
                let why = "it has neither fingerprints nor names: this client cannot come in";
                return Err(Error::Usage(format!("clients.{name}: {why}")));
            }
            let identity = Identity::named(name);
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

/// Who clients were before their budgets were kept under their names in the configuration, or are
/// to a program that has none.
pub(super) fn former(known: &[(Key, Profile)]) -> Vec<(Identity, Vec<Identity>)> {
    let mut all: Vec<(Identity, Vec<Identity>)> = Vec::new();
    for (key, profile) in known {
        match all.iter_mut().find(|(client, _)| *client == profile.identity) {
            Some((_, former)) => former.push(key.identity()),
            None => all.push((profile.identity.clone(), vec![key.identity()])),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use fusion_runtime::Budget;

    use super::*;
    use crate::config::tests::{LEAST, read};

    #[test]
    fn clients_are_known_by_names_of_an_authority_and_counted_under_their_own() {
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
        let (ann, bob) = (Identity::named("ann"), Identity::named("bob"));
        let identities: Vec<&Identity> = known.iter().map(|(_, profile)| &profile.identity).collect();
        assert_eq!(identities, [&ann, &ann, &bob, &bob]);

        let peer = |fingerprint: &str, name: Option<&str>| Peer {
            address: "192.0.2.1:9".parse().unwrap(),
            fingerprint: Some(fingerprint.repeat(32).parse().unwrap()),
            name: name.map(str::to_owned),
            shown: None,
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
    fn clients_are_known_by_any_of_their_certificates_and_counted_under_their_names() {
        let [old, new, other] = ["11", "22", "33"].map(|pair| pair.repeat(32));
        let clients = format!("[clients.ann]\nfingerprints = [\"{old}\", \"{new}\"]\nsessions = 2\n");
        let tls = format!("identity = \"s.pem\"\n{LEAST}");
        let config = read(&format!("{tls}{clients}[client_defaults]\nwaiting = 3\nsessions = 5")).unwrap();
        let known = config.known().unwrap();
        assert_eq!(known.len(), 2);
        for (_, profile) in &known {
            assert_eq!(profile.identity, Identity::named("ann"));
            assert_eq!((profile.quota.sessions, profile.quota.waiting), (2, 3));
        }
        let budget = "[budget]\npositions = 10\nfile = \"b.redb\"\n[clients.\"b,c\"]\n";
        let config = read(&format!("{tls}{clients}{budget}fingerprints = [\"{other}\"]")).unwrap();
        let folder = config.budget.as_ref().unwrap().file.as_ref().unwrap().parent().unwrap().to_owned();
        // As earlier versions did it, or fusion-run does, and in whatever order they are listed.
        let kept = config.kept().unwrap();
        let earlier = Budget::open(&folder.join("b.redb"), 10).unwrap();
        earlier.spend(&Identity::certificate(new.parse().unwrap()), 4).unwrap();
        earlier.spend(&Identity::named("x"), 1).unwrap();
        let expected = "ann,client ann,4,6\n\"b,c\",\"client b,c\",0,10\n,client x,1,9\n";
        assert_eq!(config.budgets().unwrap(), format!("client,identity,spent,left\n{expected}"));
        assert_eq!(earlier.spent().unwrap()[0].0, format!("certificate {new}"), "it only shows");
        let budget = config.budget(kept.as_ref()).unwrap().unwrap();
        assert!(budget.spend(&Identity::named("ann"), 7).is_err());
        budget.spend(&Identity::named("ann"), 6).unwrap();
        let expected = "ann,client ann,10,0\n\"b,c\",\"client b,c\",0,10\n,client x,1,9\n";
        assert_eq!(config.budgets().unwrap(), format!("client,identity,spent,left\n{expected}"));
        assert!(config.refund("ann", 9).unwrap().contains("1 are spent"));
        assert!(config.refund("client x", 2).unwrap_err().to_string().contains("client x has spent 1 positions"));
        // The test's own folder is gone when the configuration has been read, so this made it anew.
        std::fs::remove_dir_all(folder).unwrap();
        for (more, why) in [
            (format!("[clients.bob]\nfingerprints = [\"{other}\", \"{new}\"]"), "have one certificate"),
            ("[clients.bob]\nfingerprints = [\"12\"]".into(), "64 hexadecimal digits"),
            ("[clients.bob]\nfingerprints = []".into(), "cannot come in"),
            ("[clients.\"bob\\n\"]\nfingerprints = []".into(), "bob\\n: a name has"),
        ] {
            let error = read(&format!("{tls}{clients}{more}")).unwrap().known().unwrap_err().to_string();
            assert!(error.contains("clients.") && error.contains("bob") && error.contains(why), "{error}");
        }
    }
}
