//! TLS between parties who know each other's certificates, over loopback: through the library and
//! through the program.

mod common;
mod desk;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use desk::{Desk, PUBLIC};
use fusion_backends::Kind;
use fusion_runtime::transport::tcp::{self, Peer, TcpOptions};
use fusion_runtime::transport::{Connection, Credentials, Fingerprint, Lane, Link, Tls};
use fusion_runtime::{Error, Identity, Setting};

/// Someone with a certificate of their own.
fn someone() -> (Credentials, Fingerprint) {
    let folder = tempfile::tempdir().unwrap();
    let fingerprint = Credentials::generate(&folder.path().join("identity.pem")).unwrap();
    (Credentials::read(&folder.path().join("identity.pem")).unwrap(), fingerprint)
}

fn options(tls: Option<Tls>) -> TcpOptions {
    TcpOptions { timeout: Duration::from_secs(20), tls, allow_plaintext: false }
}

type End = Result<(Connection, Peer), Error>;

/// Both ends of an attempt to connect.
fn meet(client: &TcpOptions, server: &TcpOptions) -> (End, End) {
    let listener = tcp::listen("127.0.0.1:0", server).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        let served = scope.spawn(|| tcp::accept(&listener, server));
        (tcp::connect(&address, client), served.join().unwrap())
    })
}

fn text(end: End) -> String {
    let error = end.err().expect("it fails");
    assert_eq!(error.exit_code(), 4, "{error}");
    error.to_string()
}

#[test]
fn parties_who_know_each_other_exchange_messages_on_all_lanes() {
    let ((ann, ann_is), (bob, bob_is)) = (someone(), someone());
    let client = options(Some(Tls::new(&ann, &[bob_is]).unwrap()));
    let server = options(Some(Tls::new(&bob, &[someone().1, ann_is]).unwrap()));
    let (client, server) = meet(&client, &server);
    let ((mut client, to), (mut server, from)) = (client.unwrap(), server.unwrap());
    assert_eq!((to.fingerprint, from.fingerprint), (Some(bob_is), Some(ann_is)));
    assert_eq!(Identity::of(&from).to_string(), format!("certificate {ann_is}"));
    let lanes = [0, 1].map(Lane::layers);
    let ends = |connection: &mut Connection| lanes.map(|lane| connection.open(lane, 1 << 30).unwrap());
    let (mut here, mut there) = (ends(&mut client), ends(&mut server));
    // More than the sockets' buffers hold, on both lanes and both ways, before anything is
    // received.
    let payload = |seed: u8| -> Vec<u8> { (0..6 << 20).map(|i: u32| (i % 251) as u8 ^ seed).collect() };
    for (stream, (here, there)) in here.iter_mut().zip(&mut there).enumerate() {
        here.send(Kind::LinearUpload, payload(stream as u8)).unwrap();
        there.send(Kind::LinearDownload, payload(9 + stream as u8)).unwrap();
    }
    for (stream, (here, there)) in here.iter_mut().zip(&mut there).enumerate() {
        assert!(here.receive(Kind::LinearDownload, 6 << 20).unwrap() == payload(9 + stream as u8));
        assert!(there.receive(Kind::LinearUpload, 6 << 20).unwrap() == payload(stream as u8));
    }
    here[0].send(Kind::Reveal, b"last".to_vec()).unwrap();
    drop((client, here));
    assert_eq!(there[0].receive(Kind::Reveal, 4).unwrap(), b"last");
    assert_eq!(there[1].receive(Kind::Reveal, 4).unwrap_err().to_string(), "the connection failed: the peer hung up");
}

#[test]
fn a_handshake_that_comes_in_drops_ends_with_the_timeout() {
    let (ann, ann_is) = someone();
    let timeout = Duration::from_millis(300);
    let server = TcpOptions { timeout, ..options(Some(Tls::new(&ann, &[ann_is]).unwrap())) };
    let listener = tcp::listen("127.0.0.1:0", &server).unwrap();
    let mut raw = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let dribbling = std::thread::spawn(move || {
        // A record of a handshake message of 16,000 bytes, which takes minutes at this pace.
        let mut bytes = [&[22, 3, 1, 0x3e, 0x84, 1, 0, 0x3e, 0x80][..], &[0; 16_000]].concat().into_iter();
        while bytes.next().is_some_and(|byte| raw.write_all(&[byte]).is_ok()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        bytes.len()
    });
    assert_eq!(text(tcp::accept(&listener, &server)), "the connection failed: no data from the peer for 0.3 s");
    assert!(dribbling.join().unwrap() > 1000, "it was cut off");
}

#[test]
fn strangers_are_refused_by_name() {
    let ((ann, ann_is), (bob, bob_is), (eve, eve_is)) = (someone(), someone(), someone());
    let server = options(Some(Tls::new(&bob, &[ann_is]).unwrap()));
    // A client that the server does not know. Its own handshake is done before it hears of that.
    let (client, served) = meet(&options(Some(Tls::new(&eve, &[bob_is]).unwrap())), &server);
    let said = text(served);
    assert!(said.contains(&eve_is.to_string()) && said.contains("which is not the one to expect"), "{said}");
    let (mut connection, _) = client.unwrap();
    let mut control = connection.open(Lane::CONTROL, 0).unwrap();
    let said = control.receive(Kind::Hello, 4).unwrap_err().to_string();
    assert!(said.contains("it may not know this party's certificate") || said.contains("hung up"), "{said}");
    // A server that is not the one meant.
    let impostor = options(Some(Tls::new(&eve, &[ann_is]).unwrap()));
    let (client, served) = meet(&options(Some(Tls::new(&ann, &[bob_is]).unwrap())), &impostor);
    let said = text(client);
    assert!(said.contains(&eve_is.to_string()), "{said}");
    assert!(served.is_err());
}

#[test]
fn the_private_key_is_needed_not_just_the_certificate() {
    let (bob, bob_is) = someone();
    let folder = tempfile::tempdir().unwrap();
    let [own, stolen] = ["own.pem", "stolen.pem"].map(|name| folder.path().join(name));
    let ann_file = folder.path().join("ann.pem");
    let ann_is = Credentials::generate(&ann_file).unwrap();
    Credentials::generate(&own).unwrap();
    let part = |path, from: &str| {
        let text: String = std::fs::read_to_string(path).unwrap();
        let (certificate, key) = text.split_at(text.find("-----BEGIN PRIVATE").unwrap());
        if from == "certificate" { certificate.to_owned() } else { key.to_owned() }
    };
    std::fs::write(&stolen, part(&ann_file, "certificate") + &part(&own, "key")).unwrap();
    // TLS sees that they do not belong together, or the server does.
    let thief = Credentials::read(&stolen).and_then(|credentials| Tls::new(&credentials, &[bob_is]));
    if let Ok(thief) = thief {
        let server = options(Some(Tls::new(&bob, &[ann_is]).unwrap()));
        let (_, served) = meet(&options(Some(thief)), &server);
        assert!(text(served).contains("TLS"));
    }
}

#[test]
fn plaintext_and_tls_do_not_meet() {
    let ((ann, ann_is), (bob, bob_is)) = (someone(), someone());
    let listener = tcp::listen("127.0.0.1:0", &options(None)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = options(Some(Tls::new(&bob, &[ann_is]).unwrap()));
    std::thread::scope(|scope| {
        let served = scope.spawn(|| tcp::accept(&listener, &server));
        let mut plain = TcpStream::connect(address).unwrap();
        plain.write_all(&[88, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9]).unwrap();
        assert!(text(served.join().unwrap()).contains("the peer speaks no TLS"));
    });
    // A server that answers with no TLS, and one that hangs up.
    for answer in [&[74u8, 0, 0, 0, 1, 0, 0, 0][..], &[]] {
        let client = options(Some(Tls::new(&ann, &[bob_is]).unwrap()));
        let said = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut plain, _) = listener.accept().unwrap();
                plain.read_exact(&mut [0; 5]).unwrap();
                plain.write_all(answer).unwrap();
            });
            text(tcp::connect(&address.to_string(), &client))
        });
        assert!(said.contains("the peer speaks no TLS") || said.contains("hung up during the TLS handshake"), "{said}");
    }
}

#[test]
fn between_machines_tls_is_enough() {
    let ((ann, _), (_, bob_is)) = (someone(), someone());
    assert!(matches!(Tls::new(&ann, &[]), Err(Error::Setting { setting: Setting::Peers, .. })));
    let protected = options(Some(Tls::new(&ann, &[bob_is]).unwrap()));
    assert!(tcp::listen("0.0.0.0:0", &protected).is_ok());
    let refused = tcp::listen("0.0.0.0:0", &options(None)).unwrap_err();
    assert!(matches!(refused, Error::Setting { setting: Setting::Plaintext, .. }), "{refused}");
}

/// Makes credentials with the program; their fingerprint as it prints it.
fn keygen(desk: &Desk, name: &str) -> String {
    let made = desk.run(&format!("--keygen {name}"));
    assert_eq!((made.code, made.stderr.as_str()), (0, ""), "{made:?}");
    made.stdout.trim().to_owned()
}

#[test]
fn two_processes_run_a_verified_batch_under_tls_and_the_budget_is_the_certificates() {
    let desk = Desk::new();
    let [server_is, client_is, other_is] = ["server.pem", "client.pem", "other.pem"].map(|name| keygen(&desk, name));
    let again = desk.run("--keygen server.pem");
    assert!(again.code == 2 && again.stderr.contains("cannot write server.pem"), "{again:?}");
    let (server, address) = desk.server(&format!(
        "plan.bin --identity server.pem --peer {client_is} --peer {other_is} --sessions 2 --budget {PUBLIC}"
    ));
    let run = |who: &str, peer: &str| {
        let flags = format!("--input x.npy --no-verify --in-flight 2 --micro-batch 2 --identity {who} --peer {peer}");
        desk.run(&desk.client_line(&address, &flags))
    };
    let verified = desk.client(&address, &format!("--identity client.pem --peer {server_is} -o labels.csv"));
    assert_eq!((verified.code, verified.stderr.as_str()), (0, ""), "{verified:?}");
    // One who takes another server for the right one, and one who is not known.
    let wrong = run("client.pem", &other_is);
    assert!(wrong.code == 4 && wrong.stderr.contains(&server_is), "{wrong:?}");
    let unknown = keygen(&desk, "unknown.pem");
    let refused = run("unknown.pem", &server_is);
    assert_eq!(refused.code, 4, "{refused:?}");
    // Neither has cost a session.
    let other = run("other.pem", &server_is);
    assert_eq!(other.code, 0, "{other:?}");
    let server = server.end();
    assert!(server.code == 0 && server.stderr.contains(&unknown), "{server:?}");
    let spent = fusion_runtime::Budget::open(&desk.path("state/fusion/budget.redb"), 1000).unwrap();
    let left = |fingerprint: &str| {
        let address = "127.0.0.1:1".parse().unwrap();
        let peer = Peer { address, fingerprint: Some(fingerprint.parse().unwrap()), name: None, shown: None };
        spent.left(&Identity::of(&peer)).unwrap()
    };
    assert_eq!(left(&other_is), 1000 - 3);
    assert!(left(&client_is) < 1000 - 3);
    assert_eq!(left(&unknown), 1000);
}

#[test]
fn flags_of_tls_that_make_no_sense_are_refused() {
    let desk = Desk::new();
    let known = keygen(&desk, "me.pem");
    let [client, server] =
        ["plan.client.bin --role client --connect 127.0.0.1:1", "plan.bin --role server --listen 127.0.0.1:0"];
    for (line, why) in [
        (format!("{client} --input x.npy --identity me.pem"), "--peer"),
        (format!("{client} --input x.npy --peer {known}"), "--identity"),
        (format!("{client} --input x.npy --identity me.pem --peer 12"), "64 hexadecimal digits"),
        (format!("{server} --identity none.pem --peer {known}"), "none.pem: cannot be read"),
        (format!("{server} --identity x.npy --peer {known}"), "x.npy: it holds no certificate"),
        (format!("{server} --identity me.pem --peer {known} --allow-plaintext"), "cannot be used with"),
        (format!("plan.bin --identity me.pem --peer {known}"), "--role"),
        ("plan.bin --keygen k.pem".into(), "cannot be used with"),
        (String::new(), "<PLAN>"),
    ] {
        let ended = desk.run(&line);
        assert_eq!(ended.code, 2, "{line}: {ended:?}");
        assert!(ended.stderr.contains(why), "{line}: {}", ended.stderr);
    }
    assert!(!desk.path("k.pem").exists());
}
