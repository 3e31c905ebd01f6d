//! Who is let in, and who is no longer when the configuration is read again.

mod desk;
#[path = "../../tests/office/mod.rs"]
mod office;

use std::thread::JoinHandle;

use desk::{Desk, Gate, Server, Visit, accepted, until};
use fusion_runtime::transport::{Credentials, Tls, Trust};
use fusion_runtime::{ClientReport, Error};
use office::Office;

/// A desk with certificates of an authority.
struct Place {
    desk: Desk,
    office: Office,
    server: Credentials,
}

impl Place {
    fn new() -> Place {
        let (desk, office) = (Desk::new(""), Office::new("office"));
        let server = office.issue("server.example.org", |_| ());
        std::fs::copy(&office.root, desk.path("ca.pem")).unwrap();
        std::fs::copy(office.folder.path().join("server.example.org.pem"), desk.path("server.pem")).unwrap();
        Place { desk, office, server }
    }

    /// The list of revoked certificates, by their serial numbers: lengths of names.
    fn revoke(&self, serials: &[u64]) {
        std::fs::copy(self.office.list(serials, 4000), self.desk.path("ca.crl")).unwrap();
    }

    fn configure(&self, more: &str) {
        self.desk.configure(more);
        let text = std::fs::read_to_string(self.desk.path("server.toml")).unwrap();
        let top = "identity = \"server.pem\"\nauthority = \"ca.pem\"\nrevoked = [\"ca.crl\"]\n";
        std::fs::write(self.desk.path("server.toml"), format!("{top}{text}")).unwrap();
    }

    /// What a holder of credentials does there.
    fn visit(&self, who: &Credentials, gate: Option<&Gate>) -> Visit {
        let trust = Trust { fingerprints: vec![self.server.fingerprint()], ..Trust::default() };
        Visit { tls: Some(Tls::with(who, &trust).unwrap()), gate: gate.cloned(), ..Visit::default() }
    }
}

fn reload(server: &Server) {
    let before = server.log().matches("was read again").count();
    server.signal("HUP");
    until("it is read", || (server.log().matches("was read again").count() > before).then_some(()));
}

fn runs(server: &Server, sessions: f64) {
    until("so many run", || (server.metric("fusion_running_sessions") == sessions).then_some(()));
}

/// A client that is held up by a gate of its own.
type Held = (Gate, JoinHandle<Result<ClientReport, Error>>);

/// A session that was cut off.
fn ended((gate, client): Held) {
    gate.open();
    assert_eq!(client.join().unwrap().unwrap_err().exit_code(), 4);
}

#[test]
fn clients_that_are_let_in_no_longer_are_sent_away_and_others_stay() {
    let place = Place::new();
    let [ann, robert] = ["ann.example.org", "robert.example.org"].map(|name| place.office.issue(name, |_| ()));
    let own = place.desk.path("carl.pem");
    let fingerprint = Credentials::generate(&own).unwrap();
    let carl = Credentials::read(&own).unwrap();
    let clients = |robert: &str, more: &str| {
        let ann = "[clients.ann]\nnames = [\"ann.example.org\"]\n";
        format!("[limits]\nsessions = 3\n[log]\nlevel = \"debug\"\n{ann}[clients.robert]\nnames = [{robert}]\n{more}")
    };
    let with_carl = format!("[clients.carl]\nfingerprints = [\"{fingerprint}\"]\n");
    place.revoke(&[]);
    place.configure(&clients("\"robert.example.org\"", &with_carl));
    let mut server = place.desk.start();
    let address = server.address.clone();
    let spawn = |who: &Credentials| {
        let gate = Gate::default();
        (gate.clone(), place.visit(who, Some(&gate)).spawn(&address))
    };
    let [of_ann, of_robert, of_carl] = [&ann, &robert, &carl].map(spawn);
    runs(&server, 3.0);
    let waiting = spawn(&ann);
    until("she waits", || (server.metric("fusion_queue_length") == 1.0).then_some(()));

    // Nobody is sent away for what does not concern them: lists that are the same, an order.
    place.configure(&clients("\"bob.example.org\", \"robert.example.org\"", &with_carl));
    reload(&server);
    assert!(server.log().contains("cut_off=0") && server.metric("fusion_queue_length") == 1.0);
    runs(&server, 3.0);

    // A list that is read again: those who run, and those who wait.
    place.revoke(&["ann.example.org".len() as u64]);
    reload(&server);
    assert!(server.log().contains("cut_off=2"), "{}", server.log());
    runs(&server, 2.0);
    [of_ann, waiting].into_iter().for_each(ended);
    until("both are in the log", || (server.log().matches("not let in any more").count() == 2).then_some(()));
    assert!(place.visit(&ann, None).run(&server.address).is_err());
    until("it says why", || server.log().contains("certificate is revoked").then_some(()));

    // A client that is not in the configuration any more.
    place.configure(&clients("\"robert.example.org\"", ""));
    reload(&server);
    runs(&server, 1.0);
    ended(of_carl);
    // One whose certificate is another client's now.
    place.configure(&clients("\"bob.example.org\"", "[clients.rob]\nnames = [\"robert.example.org\"]\n"));
    reload(&server);
    runs(&server, 0.0);
    ended(of_robert);
    assert_eq!(server.log().matches("cut_off=1").count(), 2, "{}", server.log());
    accepted(place.visit(&robert, None).run(&server.address));
    server.signal("TERM");
    assert_eq!(server.end(), Some(0), "{}", server.log());
    assert!(!server.log().contains("panic"), "{}", server.log());
}

#[test]
fn a_configuration_with_a_list_that_does_not_do_sends_nobody_away() {
    let place = Place::new();
    let ann = place.office.issue("ann.example.org", |_| ());
    place.revoke(&[]);
    place.configure("[clients.ann]\nnames = [\"ann.example.org\"]\n");
    let mut server = place.desk.start();
    let gate = Gate::default();
    let client = place.visit(&ann, Some(&gate)).spawn(&server.address);
    runs(&server, 1.0);
    std::fs::write(place.desk.path("ca.crl"), "no list").unwrap();
    server.signal("HUP");
    until("it is refused", || server.log().contains("the old one stays").then_some(()));
    gate.open();
    accepted(client.join().unwrap());
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
}
