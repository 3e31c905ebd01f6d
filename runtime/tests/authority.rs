//! TLS between parties whose certificates an organisation's own authority issued: through the
//! library and through the program.

mod common;
mod desk;
mod office;

use std::path::{Path, PathBuf};
use std::time::Duration;

use desk::Desk;
use fusion_runtime::transport::tcp::{self, Peer, TcpOptions};
use fusion_runtime::transport::{Authority, Connection, Credentials, Tls, Trust};
use fusion_runtime::{Budget, Error, Identity};
use office::{BRANCH_SERIAL, Office, params};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SerialNumber, date_time_ymd};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;

type End = Result<(Connection, Peer), Error>;

/// Both ends of an attempt to connect.
fn meet(client: (&Credentials, &Trust), server: (&Credentials, &Trust)) -> (End, End) {
    let options = |(credentials, trust): (&Credentials, &Trust)| {
        let tls = Some(Tls::with(credentials, trust).unwrap());
        TcpOptions { timeout: Duration::from_secs(20), tls, allow_plaintext: false }
    };
    let (client, server) = (options(client), options(server));
    let listener = tcp::listen("127.0.0.1:0", &server).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        let served = scope.spawn(|| tcp::accept(&listener, &server));
        (tcp::connect(&address, &client), served.join().unwrap())
    })
}

fn refused(end: End) -> String {
    let error = end.err().expect("it fails");
    assert_eq!(error.exit_code(), 4, "{error}");
    error.to_string()
}

#[test]
fn parties_of_one_authority_know_each_other_by_name() {
    let office = Office::new("office");
    let (ann, bob) = (office.issue("ann.example.org", |_| ()), office.issue("bob.example.org", |_| ()));
    let lists = [office.list(&[], 4000)];
    for lists in [&lists[..], &[]] {
        let to_bob = office.trust(&["bob.example.org"], lists);
        let to_ann = office.trust(&["carl.example.org", "ann.example.org"], lists);
        let (client, server) = meet((&ann, &to_bob), (&bob, &to_ann));
        let ((_, to), (_, from)) = (client.unwrap(), server.unwrap());
        assert_eq!((to.name.as_deref(), from.name.as_deref()), (Some("bob.example.org"), Some("ann.example.org")));
        assert_eq!((to.fingerprint, from.fingerprint), (Some(bob.fingerprint()), Some(ann.fingerprint())));
        assert_eq!(Identity::of(&from).to_string(), "name ann.example.org");
    }
    // Whoever holds a later certificate of that name is the same client.
    let again = office.issue("ann.example.org", |_| ());
    let (_, server) =
        meet((&again, &office.trust(&["bob.example.org"], &[])), (&bob, &office.trust(&["ann.example.org"], &[])));
    assert_eq!(Identity::of(&server.unwrap().1).to_string(), "name ann.example.org");
}

#[test]
fn a_branch_is_shown_with_the_certificate_and_pinned_ones_stay_known_beside() {
    let office = Office::new("office");
    let branch = office.branch();
    let (ann, bob) = (branch.issue("ann.example.org", |_| ()), office.issue("bob.example.org", |_| ()));
    let (to_bob, to_ann) = (office.trust(&["bob.example.org"], &[]), office.trust(&["ann.example.org"], &[]));
    let (client, server) = meet((&ann, &to_bob), (&bob, &to_ann));
    assert!(client.is_ok() && server.is_ok());
    // Each issuer in the chain needs a list.
    let both = [office.list(&[], 4000), branch.list(&[], 4000)];
    let listed = |lists: &[PathBuf]| meet((&ann, &to_bob), (&bob, &office.trust(&["ann.example.org"], lists))).1;
    assert!(listed(&both).is_ok());
    assert!(refused(listed(&both[..1])).contains("no list of revoked certificates is responsible"));

    let path = office.folder.path().join("self.pem");
    Credentials::generate(&path).unwrap();
    let own = Credentials::read(&path).unwrap();
    let (client, server) =
        meet((&own, &to_bob), (&bob, &Trust { fingerprints: vec![own.fingerprint()], ..to_ann.clone() }));
    let peer = server.unwrap().1;
    assert!(client.is_ok() && peer.name.is_none());
    assert_eq!(Identity::of(&peer), Identity::certificate(own.fingerprint()));
}

#[test]
fn who_is_expired_revoked_misnamed_or_of_another_authority_is_refused_by_either_side() {
    let (office, other) = (Office::new("office"), Office::new("other"));
    let good = office.issue("good.example.org", |_| ());
    let fresh = office.list(&[], 4000);
    let name = "bad.example.org";
    type Change = fn(&mut CertificateParams);
    let nothing: Change = |_| ();
    // By serial number, in a file with another authority's list.
    let joined = office.folder.path().join("joined.crl");
    let both = [other.list(&[], 4000), office.list(&[name.len() as u64], 4000)];
    let both = both.map(|list| std::fs::read_to_string(list).unwrap());
    std::fs::write(&joined, both.concat()).unwrap();
    let cases: [(&Office, &str, Change, &[PathBuf], &str); 9] = [
        (&office, name, |params| params.not_after = date_time_ymd(2021, 1, 1), &[], "has expired"),
        (&office, name, |params| params.not_before = date_time_ymd(3000, 1, 1), &[], "not valid yet"),
        (&office, name, nothing, &[office.list(&[name.len() as u64], 4000)], "is revoked"),
        (&office, name, nothing, std::slice::from_ref(&joined), "is revoked"),
        (
            &office,
            "evil.example.org",
            nothing,
            &[],
            "none of the names that are expected here: it is for evil.example.org, and expected: bad.example.org",
        ),
        (&office, "xbad.example.org", nothing, &[], "none of the names"),
        (&other, name, nothing, &[], "not of the authority"),
        (&office, name, nothing, &[office.list(&[], 2021)], "has expired here"),
        (
            &office,
            name,
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning],
            &[],
            "purpose",
        ),
    ];
    for (issuer, holder, change, lists, why) in cases {
        let bad = issuer.issue(holder, change);
        let (to_good, to_bad) = (office.trust(&["good.example.org"], &[]), office.trust(&[name], lists));
        let (_, server) = meet((&bad, &to_good), (&good, &to_bad));
        let text = refused(server);
        assert!(text.contains(why), "the server of {why}: {text}");
        let (client, _) = meet((&good, &to_bad), (&bad, &to_good));
        let text = refused(client);
        assert!(text.contains(why), "the client of {why}: {text}");
    }
    // The good one has nothing to fear from lists.
    let trust = office.trust(&["good.example.org"], std::slice::from_ref(&fresh));
    let (client, server) = meet((&good, &trust), (&good, &trust));
    assert!(client.is_ok() && server.is_ok());
    // One authority's word is nothing without an expected name, and the other way round.
    let nobody = Trust { names: Vec::new(), ..trust.clone() };
    let names_only = Trust { authority: None, ..trust.clone() };
    for trust in [nobody, names_only, Trust::default()] {
        assert!(matches!(Tls::with(&good, &trust), Err(Error::Setting { .. })), "{trust:?}");
    }
    let odd = Trust { names: vec!["not a name".into()], ..trust };
    assert!(Tls::with(&good, &odd).unwrap_err().to_string().contains("no name of a certificate"));
}

#[test]
fn names_are_of_both_kinds_several_and_said_when_they_do_not_fit() {
    let office = Office::new("office");
    let sans = |names: &[&str]| {
        let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        params.unwrap().subject_alt_names
    };
    let good = office.issue("good.example.org", |_| ());
    let to_good = office.trust(&["good.example.org"], &[]);
    let knows = |names: &[&str], expected: &[&str]| {
        let several = office.issue("several", |params| params.subject_alt_names = sans(names));
        let trust = office.trust(expected, &[]);
        let (client, server) = meet((&several, &to_good), (&good, &trust));
        let (dialled, _) = meet((&good, &trust), (&several, &to_good));
        let name = |end: End| end.map(|(_, peer)| peer.name).map_err(|error| error.to_string());
        // A server hears it of its client, and a client of its server.
        let (server, dialled) = (name(server), name(dialled));
        assert!(client.is_ok() || server.is_err());
        match (server, dialled) {
            (Ok(one), Ok(other)) => {
                assert_eq!(one, other);
                Ok(one.unwrap())
            }
            (Err(one), Err(other)) => {
                let one = one.strip_prefix("the connection failed: ").unwrap();
                assert!(other.ends_with(one), "{one}, {other}");
                Err(one.to_owned())
            }
            other => panic!("{names:?}, {expected:?}: {other:?}"),
        }
    };
    let both = ["ann.example.org", "anna.example.org", "192.0.2.7", "2001:db8::7"];
    for (names, expected, found) in [
        (&both[..], &["bob.example.org", "anna.example.org"][..], "anna.example.org"),
        (&both, &["192.0.2.8", "192.0.2.7"], "192.0.2.7"),
        (&both, &["2001:db8::7"], "2001:db8::7"),
        (&["*.ann.example.org"], &["bob.ann.example.org"], "bob.ann.example.org"),
    ] {
        assert_eq!(knows(names, expected).as_deref(), Ok(found));
    }
    let many = ["a", "b", "c", "d", "e", "f", "g"].map(|name| format!("{name}.example.org"));
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (names, expected, said) in [
        (
            &both[..],
            &["192.0.2.8", "carl.example.org"][..],
            "it is for ann.example.org, anna.example.org, 192.0.2.7, 2001:db8::7, and expected: 192.0.2.8, \
             carl.example.org",
        ),
        (&[], &["ann.example.org"], "it is for no name at all, and expected: ann.example.org"),
        (
            &many,
            &["192.0.2.8"],
            "it is for a.example.org, b.example.org, c.example.org, d.example.org, e.example.org and 2 more, and \
             expected: 192.0.2.8",
        ),
    ] {
        let text = knows(names, expected).unwrap_err();
        assert!(text.ends_with(said), "{text}");
    }
}

#[test]
fn lists_are_read_in_der_too_and_reach_whoever_issues_certificates() {
    let office = Office::new("office");
    let branch = office.branch();
    let good = office.issue("good.example.org", |_| ());
    let to_good = office.trust(&["good.example.org"], &[]);
    let ann = branch.issue("ann.example.org", |_| ());
    let lets_in = |lists: &[PathBuf]| {
        let trust = office.trust(&["ann.example.org"], lists);
        let (_, server) = meet((&ann, &to_good), (&good, &trust));
        let (client, _) = meet((&good, &trust), (&ann, &to_good));
        assert_eq!(server.is_ok(), client.is_ok());
        server.map(drop).map_err(|error| error.to_string())
    };
    let der = |list: PathBuf| {
        let pem = std::fs::read(&list).unwrap();
        let path = list.with_extension("der");
        std::fs::write(&path, CertificateRevocationListDer::from_pem_slice(&pem).unwrap()).unwrap();
        path
    };
    let (own, of_branch) = (ann_serial(), BRANCH_SERIAL);
    let lists = [der(office.list(&[], 4000)), der(branch.list(&[], 4000))];
    assert_eq!(lets_in(&lists), Ok(()));
    let revoked = [lists[0].clone(), der(branch.list(&[own], 4000))];
    assert!(lets_in(&revoked).unwrap_err().contains("is revoked"));
    // Its own list is in order, its issuer's certificate is not any more.
    let revoked = [der(office.list(&[of_branch], 4000)), lists[1].clone()];
    assert!(lets_in(&revoked).unwrap_err().contains("is revoked"));
    // Half a list is none.
    let half = std::fs::read(&lists[0]).unwrap();
    std::fs::write(&lists[0], &half[..half.len() / 2]).unwrap();
    let said = Authority::read(&office.root, &lists).unwrap_err().to_string();
    assert!(said.contains("0-4000.der: it is no list of revoked certificates"), "{said}");
}

/// The serial number of a certificate for `ann.example.org`.
fn ann_serial() -> u64 {
    "ann.example.org".len() as u64
}

#[test]
fn files_of_an_authority_are_named_when_they_do_not_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.pem");
    let said = |path: &Path, lists: &[PathBuf]| Authority::read(path, lists).unwrap_err().to_string();
    assert!(said(&missing, &[]).contains("missing.pem: cannot be read"));
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "junk").unwrap();
    assert!(said(&empty, &[]).contains("empty.pem: it holds no certificate in PEM"));
    let office = Office::new("office");
    assert!(said(&office.root, &[missing]).contains("missing.pem: cannot be read"));
    assert!(said(&office.root, &[empty]).contains("empty.pem: it is no list of revoked certificates"));
    // Verification would look into one of them.
    let lists = [office.list(&[], 4000), office.list(&[7], 4000)];
    assert!(said(&office.root, &lists).contains("1-4000.crl: it has a second list of one issuer"));
}

#[test]
fn only_an_authoritys_root_that_is_valid_is_trusted() {
    let (folder, office) = (tempfile::tempdir().unwrap(), Office::new("office"));
    let path = folder.path().join("ca.pem");
    let said = |pem: String| {
        std::fs::write(&path, std::fs::read_to_string(&office.root).unwrap() + &pem).unwrap();
        Authority::read(&path, &[]).unwrap_err().to_string()
    };
    let own = |change: fn(&mut CertificateParams)| {
        let (mut params, key) = (params("own.example.org", true), KeyPair::generate().unwrap());
        change(&mut params);
        params.self_signed(&key).unwrap().pem()
    };
    let leaf = own(|params| params.is_ca = IsCa::NoCa);
    assert!(said(leaf).contains("ca.pem: certificate 2 is no authority's"));
    assert!(said(own(|params| params.not_after = date_time_ymd(2021, 1, 1))).contains("does not do today"));
    assert!(said(own(|params| params.not_before = date_time_ymd(3000, 1, 1))).contains("does not do today"));
    assert!(said(office.branch().between).contains("is not a root: another authority issued it"));
    std::fs::write(&path, std::fs::read_to_string(&office.root).unwrap() + &own(|_| ())).unwrap();
    Authority::read(&path, &[]).unwrap();
}

#[test]
fn a_certificate_for_one_part_does_not_do_for_the_other() {
    let office = Office::new("office");
    let good = office.issue("good.example.org", |_| ());
    let (to_good, to_one) = (office.trust(&["good.example.org"], &[]), office.trust(&["one.example.org"], &[]));
    for (purpose, may_serve) in
        [(ExtendedKeyUsagePurpose::ServerAuth, true), (ExtendedKeyUsagePurpose::ClientAuth, false)]
    {
        let one = office.issue("one.example.org", |params| params.extended_key_usages = vec![purpose]);
        let (client, _) = meet((&good, &to_one), (&one, &to_good));
        assert_eq!(client.is_ok(), may_serve);
        let (_, server) = meet((&one, &to_good), (&good, &to_one));
        assert_eq!(server.is_ok(), !may_serve);
    }
}

#[test]
fn programs_know_each_other_by_name_and_a_renewed_certificate_has_the_same_budget() {
    let (desk, office) = (Desk::new(), Office::new("office"));
    let copy = |from: &Path, to: &str| std::fs::copy(from, desk.path(to)).unwrap();
    copy(&office.root, "ca.pem");
    copy(&office.list(&[2, 3], 4000), "ca.crl");
    for (name, file) in [("server", "server.pem"), ("ann", "ann.pem"), ("ann", "renewed.pem"), ("eve", "revoked.pem")] {
        let revoked = file == "revoked.pem";
        office.issue(&format!("{name}.example.org"), |params| {
            params.serial_number = Some(SerialNumber::from(if revoked { 3u64 } else { 40 }));
        });
        copy(&office.folder.path().join(format!("{name}.example.org.pem")), file);
    }
    let trust = "--authority ca.pem --revoked ca.crl";
    let names = "--peer-name ann.example.org --peer-name eve.example.org";
    let flags = format!("--identity server.pem {trust} {names} --sessions 2 --budget 1000");
    let (server, address) = desk.server(&format!("plan.bin {flags}"));
    let run = |identity: &str, name: &str| {
        let flags = format!("--input x.npy --no-verify --identity {identity} {trust} --peer-name {name}");
        desk.run(&desk.client_line(&address, &flags))
    };
    let wrong = run("ann.pem", "other.example.org");
    assert!(wrong.code == 4 && wrong.stderr.contains("for none of the names"), "{wrong:?}");
    assert_eq!(run("revoked.pem", "server.example.org").code, 4);
    for identity in ["ann.pem", "renewed.pem"] {
        let served = run(identity, "server.example.org");
        assert_eq!(served.code, 0, "{served:?}");
    }
    let server = server.end();
    assert!(server.code == 0 && server.stderr.contains("the peer's certificate is revoked"), "{server:?}");
    let budget = Budget::open(&desk.path("state/fusion/budget.redb"), 1000).unwrap();
    assert_eq!(budget.left(&Identity::holder("ann.example.org")).unwrap(), 1000 - 2 * 3);

    for (flags, why) in [
        ("--identity ann.pem --authority ca.pem", "--peer-name"),
        ("--identity ann.pem --peer-name server.example.org", "--authority"),
        ("--identity ann.pem", "--peer"),
        ("--identity ann.pem --authority x.npy --peer-name server.example.org", "x.npy: it holds no certificate"),
    ] {
        let said = desk.refused(&format!("--input x.npy --no-verify {flags}"));
        assert!(said.contains(why), "{flags}: {said}");
    }
}
