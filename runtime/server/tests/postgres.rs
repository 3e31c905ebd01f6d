//! Budgets in PostgreSQL: replicas that share them, kills of either side, connections that break
//! between a statement and its answer. What was spent is asked of `psql`.

mod desk;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use desk::database::{Database, PASSWORD};
use desk::{Desk, Gate, PATIENCE, Server, Visit, accepted, get, until};
use fusion_runtime::transport::{Credentials, Tls, Trust};
use fusion_runtime::{Budget, Identity};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A replica that has not been started.
fn replica(database: &Database, positions: u64) -> Desk {
    let desk = Desk::new(&(database.config(positions) + "[log]\nlevel = \"debug\"\n"));
    std::fs::write(desk.path("password"), format!("{PASSWORD}\n")).unwrap();
    desk
}

fn start(replicas: &[Desk]) -> Vec<Server> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = replicas.iter().map(|desk| scope.spawn(|| desk.start().ready())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Positions spent, which what was noted of sessions must explain, each of them once.
fn spent(database: &Database, each: u64) -> u64 {
    let found = database.says(
        "SELECT coalesce(sum(spent), 0), coalesce(sum(admitted), 0), coalesce(sum(sessions), 0) FROM fusion.clients",
    );
    let numbers: Vec<u64> = found.split('|').map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers[0], numbers[1], "{found}");
    assert_eq!(numbers[0], numbers[2] * each, "{found}");
    numbers[0]
}

/// Exit code and text of a server that does not start, or only says something.
fn said(desk: &Desk, flags: &[&str]) -> (Option<i32>, String) {
    let child = desk.command().args(flags).stderr(Stdio::piped()).spawn().unwrap();
    let (id, (tell, told)) = (child.id(), mpsc::channel());
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    let Ok(output) = told.recv_timeout(PATIENCE) else {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        panic!("{flags:?}: it does not end");
    };
    let output = output.unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(!text.contains(PASSWORD), "{text}");
    (output.status.code(), text)
}

#[test]
fn replicas_share_a_budget_and_race_for_its_last_positions() {
    let Some(database) = Database::start() else { return };
    let each = Visit::default().positions();
    let replicas = [(); 2].map(|()| replica(&database, 6 * each - 1));
    // Both find no tables.
    let servers = start(&replicas);
    servers.iter().for_each(|server| accepted(Visit::default().run(&server.address)));
    let shown = said(&replicas[0], &["--show-budgets"]);
    let line = format!(",address 127.0.0.1,{},{}\n", 2 * each, 4 * each - 1);
    assert!(shown.0 == Some(0) && shown.1.ends_with(&line), "{shown:?}");

    let clients: Vec<_> = (0..6).map(|turn| Visit::default().spawn(&servers[turn % 2].address)).collect();
    let outcomes: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let (served, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((served.len(), spent(&database, each)), (3, 5 * each));
    for refused in refused {
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(&format!("only {} are left", each - 1)), "{text}");
    }

    let back = ["--refund", "address 127.0.0.1", "--positions", &each.to_string()];
    let refunded = said(&replicas[1], &back);
    assert!(refunded.0 == Some(0) && refunded.1.contains(&format!("{} are spent", 4 * each)), "{refunded:?}");
    let shown = database.says("SELECT spent, admitted, sessions FROM fusion.clients");
    assert_eq!(shown, format!("{0}|{0}|5", 4 * each));
    accepted(Visit::default().run(&servers[0].address));
    assert!(Visit::default().run(&servers[1].address).is_err());
    let too_many = said(&replicas[1], &["--refund", "address 127.0.0.1", "--positions", &(5 * each + 1).to_string()]);
    assert!(too_many.0 == Some(2) && too_many.1.contains("has spent"), "{too_many:?}");
    for mut server in servers {
        server.signal("TERM");
        assert_eq!(server.end(), Some(0));
        assert!(!server.log().contains(PASSWORD) && !server.log().contains("panic"), "{}", server.log());
    }
    assert!(!database.log().contains("PANIC"), "{}", database.log());
}

#[test]
fn replicas_that_are_killed_have_spent_a_sessions_budget_once() {
    let Some(database) = Database::start() else { return };
    let each = Visit::default().positions();
    let replicas = [(); 2].map(|()| replica(&database, 1_000_000));
    for turn in 0..8u64 {
        let (before, servers) = (spent_or_none(&database, each), start(&replicas));
        let clients: Vec<_> = servers.iter().map(|server| Visit::default().spawn(&server.address)).collect();
        std::thread::sleep(Duration::from_millis(turn * 40));
        servers[turn as usize % 2].signal("KILL");
        let served: Vec<bool> = clients.into_iter().map(|client| client.join().unwrap().is_ok()).collect();
        drop(servers);
        // The other one was served. Who had labels has paid, and nobody twice.
        assert!(served[(turn as usize + 1) % 2], "turn {turn}: {served:?}");
        let cost = spent(&database, each) - before;
        let answered = served.iter().filter(|served| **served).count() as u64;
        assert!((answered * each..=2 * each).contains(&cost), "turn {turn}: {cost}, {served:?}");
    }
}

/// As [`spent`], also before there are tables.
fn spent_or_none(database: &Database, each: u64) -> u64 {
    match database.says("SELECT to_regclass('fusion.clients') IS NULL").as_str() {
        "t" => 0,
        _ => spent(database, each),
    }
}

#[test]
fn a_database_that_goes_away_costs_sessions_that_would_start_and_nothing_else() {
    let Some(mut database) = Database::start() else { return };
    let each = Visit::default().positions();
    let desk = replica(&database, 1_000_000);
    database.stop();
    // It is not there yet.
    let checked = said(&desk, &["--check-config"]);
    assert!(checked.0 == Some(0) && checked.1.contains("no budgets at the moment"), "{checked:?}");
    assert_eq!(said(&desk, &["--show-budgets"]).0, Some(2));
    let mut server = desk.start();
    let http = server.http();
    let ready = |code: &str| until(code, || get(&http, "/ready").contains(code).then_some(()));
    ready("503");
    let refused = |server: &Server| {
        let text = Visit::default().run(&server.address).unwrap_err().to_string();
        assert!(text.contains("try again later") && !text.contains("127.0.0.1:"), "{text}");
    };
    refused(&server);
    database.begin(&[]);
    ready("200");
    accepted(Visit::default().run(&server.address));
    // One that runs while it goes ends well.
    let gate = Gate::default();
    let running = Visit { gate: Some(gate.clone()), ..Visit::default() }.spawn(&server.address);
    until("it has started", || (server.log().matches("session started").count() == 2).then_some(()));
    database.stop();
    refused(&server);
    ready("503");
    assert_eq!(server.metric("fusion_budgets_reachable"), 0.0);
    assert!(get(&http, "/live").contains("200 OK"));
    gate.open();
    accepted(running.join().unwrap());
    database.begin(&[]);
    ready("200");
    assert_eq!((server.metric("fusion_budgets_reachable"), spent(&database, each)), (1.0, 2 * each));
    // A new connection, not one that is known to be broken.
    accepted(Visit::default().run(&server.address));

    // One that neither answers nor hangs up, and that does later what nobody waits for any more.
    database.freeze(true);
    refused(&server);
    ready("503");
    database.freeze(false);
    ready("200");
    accepted(Visit::default().run(&server.address));
    until("only what was served is spent", || (spent(&database, each) == 4 * each).then_some(()));
    until("it is counted", || (server.metric("fusion_refused_total{reason=\"failed\"}") >= 3.0).then_some(()));
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
    let log = server.log();
    assert!(log.contains("no budgets: sessions are refused") && log.contains("there are budgets again"), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains("panic"), "{log}");
}

/// Stands between a server and its database, and knows the statements that change something.
struct Relay {
    port: u16,
    orders: Arc<(Mutex<Orders>, Condvar)>,
}

#[derive(Default)]
struct Orders {
    /// What is to become of the next such statement.
    trick: Option<Trick>,
    /// Whether statements are held that may go on.
    held: bool,
    /// Nobody gets through.
    shut: bool,
}

#[derive(Clone, Copy)]
enum Trick {
    /// It is passed on, its answer is not: the connection ends.
    Cut { shut: bool },
    /// It is kept, and arrives when the server waits for it no longer.
    Hold { shut: bool },
}

/// A part of each statement that changes something.
const CHANGES: [&[u8]; 2] =
    [b"INTO fusion.budgets AS b (client, spent)\n    SELECT $1, $2 WHERE", b"SET spent = spent - $2"];

impl Relay {
    fn before(database: &Database) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, behind) = (listener.local_addr().unwrap().port(), database.port);
        let relay = Relay { port, orders: Arc::default() };
        let orders = Arc::clone(&relay.orders);
        std::thread::spawn(move || {
            for near in listener.incoming().map(Result::unwrap) {
                if orders.0.lock().unwrap().shut {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", behind)) else { continue };
                let (answers, orders) = ((far.try_clone().unwrap(), near.try_clone().unwrap()), Arc::clone(&orders));
                std::thread::spawn(move || pass(near, far, &orders));
                std::thread::spawn(move || std::io::copy(&mut &answers.0, &mut &answers.1));
            }
        });
        relay
    }

    /// A server behind which it stands.
    fn desk(&self, database: &Database) -> Desk {
        let desk = replica(database, 1_000_000);
        let text = std::fs::read_to_string(desk.path("server.toml")).unwrap();
        let text = text.replace(&format!(":{}/", database.port), &format!(":{}/", self.port));
        std::fs::write(desk.path("server.toml"), text).unwrap();
        desk
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.0.lock().unwrap());
        self.orders.1.notify_all();
    }

    fn play(&self, trick: Trick) {
        self.order(|orders| orders.trick = Some(trick));
    }

    fn has_played(&self) -> bool {
        self.orders.0.lock().unwrap().trick.is_none()
    }
}

/// Passes on what a server says.
fn pass(mut near: TcpStream, mut far: TcpStream, orders: &(Mutex<Orders>, Condvar)) {
    let mut bytes = [0; 1 << 16];
    while let Ok(count @ 1..) = near.read(&mut bytes) {
        let bytes = &bytes[..count];
        let changes = CHANGES.iter().any(|part| bytes.windows(part.len()).any(|some| some == *part));
        let mut state = orders.0.lock().unwrap();
        let trick = state.trick.take_if(|_| changes);
        // At the same time, so that nobody gets in between.
        if let Some(Trick::Cut { shut } | Trick::Hold { shut }) = trick {
            state.shut |= shut;
            state.held = matches!(trick, Some(Trick::Hold { .. }));
            near.shutdown(Shutdown::Write).unwrap();
            drop(orders.1.wait_while(state, |state| state.held).unwrap());
            // The database does what has come, whether or not anybody waits for it.
            let _ = far.write_all(bytes);
            break;
        }
        if state.shut || far.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Write));
}

#[test]
fn an_answer_that_is_lost_is_found_out_or_given_back() {
    let Some(database) = Database::start() else { return };
    let (each, relay) = (Visit::default().positions(), Relay::before(&database));
    let desk = relay.desk(&database);
    let mut server = desk.start().ready();
    accepted(Visit::default().run(&server.address));
    relay.play(Trick::Cut { shut: false });
    accepted(Visit::default().run(&server.address));
    assert!(relay.has_played(), "no connection was cut");
    assert_eq!(spent(&database, each), 2 * each);

    // And then nobody can be asked.
    let lost = |server: &Server| {
        relay.play(Trick::Cut { shut: true });
        let text = Visit::default().run(&server.address).unwrap_err().to_string();
        assert!(text.contains("try again later") && relay.has_played(), "{text}");
    };
    lost(&server);
    until("it is done", || (spent(&database, each) == 3 * each).then_some(()));
    relay.order(|orders| orders.shut = false);
    until("it is given back", || (spent(&database, each) == 2 * each).then_some(()));
    until("it says so", || server.log().contains("given back what was spent").then_some(()));
    server.shows("/ready", "200 OK");
    accepted(Visit::default().run(&server.address));
    assert_eq!(spent(&database, each), 3 * each);

    // Who ends looks once more, and says what could not be done.
    lost(&server);
    until("it is done", || (spent(&database, each) == 4 * each).then_some(()));
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
    let log = server.log();
    assert!(log.contains("changes=1") && log.contains("what may be spent for refused sessions stays so"), "{log}");
    assert_eq!(spent(&database, each), 4 * each);
    relay.order(|orders| orders.shut = false);
    let mut server = desk.start().ready();
    lost(&server);
    until("it is done", || (spent(&database, each) == 5 * each).then_some(()));
    relay.order(|orders| orders.shut = false);
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
    assert_eq!(spent(&database, each), 4 * each);
}

#[test]
fn a_change_that_arrives_late_is_made_once_or_never() {
    let Some(database) = Database::start() else { return };
    let (each, relay) = (Visit::default().positions(), Relay::before(&database));
    let desk = relay.desk(&database);
    let mut server = desk.start().ready();
    let too_late = |count: usize| {
        relay.order(|orders| orders.held = false);
        let refused = || database.log().matches("duplicate key").count() == count;
        until("it arrives", || (refused() || spent(&database, each) != each).then_some(()));
        assert_eq!(spent(&database, each), each);
    };
    relay.play(Trick::Hold { shut: false });
    accepted(Visit::default().run(&server.address));
    assert!(relay.has_played());
    too_late(1);

    // What is to be undone is looked for before it is there, and the server has ended when it
    // comes.
    relay.play(Trick::Hold { shut: true });
    let text = Visit::default().run(&server.address).unwrap_err().to_string();
    assert!(text.contains("try again later") && relay.has_played(), "{text}");
    relay.order(|orders| orders.shut = false);
    server.shows("/ready", "200 OK");
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
    assert!(!server.log().contains("given back"), "{}", server.log());
    too_late(2);
}

#[test]
fn a_refund_that_may_have_been_made_says_so() {
    let Some(database) = Database::start() else { return };
    let (each, relay) = (Visit::default().positions(), Relay::before(&database));
    let desk = relay.desk(&database);
    accepted(Visit::default().run(&desk.start().ready().address));
    let refund = || said(&desk, &["--refund", "address 127.0.0.1", "--positions", "1"]);
    relay.play(Trick::Cut { shut: true });
    let (code, text) = refund();
    assert!(code == Some(2) && text.contains("it may have been given back"), "{code:?} {text}");
    let left = || database.says("SELECT spent FROM fusion.budgets");
    until("it is done", || (left() == (each - 1).to_string()).then_some(()));
    // One that was never sent was not made.
    let (code, text) = refund();
    assert!(code == Some(2) && !text.contains("given back"), "{code:?} {text}");
    relay.order(|orders| orders.shut = false);
    relay.play(Trick::Cut { shut: false });
    let (code, text) = refund();
    assert!(code == Some(0) && text.contains(&format!("{} are spent", each - 2)), "{code:?} {text}");
}

#[test]
fn hosts_that_are_silent_are_passed_over() {
    let Some(database) = Database::start() else { return };
    // The system takes connections for them, and nobody says a word.
    let silent = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [one, two] = silent.each_ref().map(|silent| silent.local_addr().unwrap());
    let desk = replica(&database, 1_000_000);
    let text = std::fs::read_to_string(desk.path("server.toml")).unwrap();
    let configure = |hosts: &str| {
        let text = text.replace(&format!("127.0.0.1:{}", database.port), hosts);
        std::fs::write(desk.path("server.toml"), text).unwrap();
    };
    configure(&format!("{one},{two},127.0.0.1:{}", database.port));
    let (code, text) = said(&desk, &["--check-config"]);
    assert!(code == Some(0) && !text.contains("no budgets"), "{code:?} {text}");
    accepted(Visit::default().run(&desk.start().ready().address));
    configure(&format!("{one},{two}"));
    let (code, text) = said(&desk, &["--check-config"]);
    let why = format!("{one}: no answer in time; {two}: no answer in time");
    assert!(code == Some(0) && text.contains(&why), "{code:?} {text}");
}

#[test]
fn a_row_that_is_held_stops_its_client_and_nobody_else() {
    let Some(database) = Database::start() else { return };
    let each = Visit::default().positions();
    let desk = replica(&database, 1_000_000);
    let [own, ann, bob] = ["own", "ann", "bob"].map(|name| {
        Credentials::generate(&desk.path(name)).unwrap();
        Credentials::read(&desk.path(name)).unwrap()
    });
    let text = std::fs::read_to_string(desk.path("server.toml")).unwrap();
    let clients = [("ann", &ann), ("bob", &bob)]
        .map(|(name, who)| format!("[clients.{name}]\nfingerprints = [\"{}\"]\n", who.fingerprint()));
    std::fs::write(desk.path("server.toml"), format!("identity = \"own\"\n{text}{}", clients.concat())).unwrap();
    let mut server = desk.start().ready();
    let trust = Trust { fingerprints: vec![own.fingerprint()], ..Trust::default() };
    let visit = |who: &Credentials| Visit { tls: Some(Tls::with(who, &trust).unwrap()), ..Visit::default() };
    accepted(visit(&ann).run(&server.address));
    let held = database.hold("SELECT FROM fusion.budgets WHERE client = 'client ann' FOR UPDATE");
    let waiting: Vec<_> = (0..12).map(|_| visit(&ann).spawn(&server.address)).collect();
    for _ in 0..3 {
        accepted(visit(&bob).run(&server.address));
    }
    for waiting in waiting {
        let text = waiting.join().unwrap().unwrap_err().to_string();
        assert!(text.contains("try again later"), "{text}");
    }
    assert!(get(&server.http(), "/ready").contains("200 OK"));
    drop(held);
    accepted(visit(&ann).run(&server.address));
    assert_eq!(spent(&database, each), 5 * each);
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
    assert!(!server.log().contains("no budgets"), "{}", server.log());
}

#[test]
fn whoever_makes_the_tables_may_take_long() {
    let Some(database) = Database::start() else { return };
    let desk = replica(&database, 1_000_000);
    let held = database.hold("SELECT pg_advisory_xact_lock(7347216590183921)");
    let (code, text) = std::thread::scope(|scope| {
        let checked = scope.spawn(|| said(&desk, &["--check-config"]));
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'";
        until("it waits for its turn", || (database.says(waits) == "1").then_some(()));
        // Longer than for another client's row.
        std::thread::sleep(Duration::from_secs(3));
        drop(held);
        checked.join().unwrap()
    });
    assert!(code == Some(0) && !text.contains("no budgets"), "{code:?} {text}");
}

#[test]
fn a_port_that_somebody_has_is_passed_over() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ports = [taken.local_addr().unwrap().port(), free];
    let Some(database) = Database::at_one_of(ports) else { return };
    assert_eq!((database.port, database.says("SELECT 1").as_str()), (free, "1"));
}

#[test]
fn a_database_that_will_not_do_is_named_when_the_server_starts() {
    let Some(mut database) = Database::start() else { return };
    let desk = replica(&database, 1_000_000);
    let refused = |desk: &Desk, why: &str| {
        let (code, text) = said(desk, &[]);
        let place = format!("cannot use PostgreSQL at 127.0.0.1:{}/fusion", database.port);
        assert!(code == Some(2) && text.contains(&place) && text.contains(why), "{why}: {code:?} {text}");
    };
    std::fs::write(desk.path("password"), "wrong\n").unwrap();
    refused(&desk, "password authentication failed");
    std::fs::remove_file(desk.path("password")).unwrap();
    refused(&desk, "password cannot be read");
    // The environment's does as well.
    let text = std::fs::read_to_string(desk.path("server.toml")).unwrap();
    std::fs::write(desk.path("server.toml"), text.replace("password_file = \"password\"\n", "")).unwrap();
    refused(&desk, "password");
    let checked = desk.command().arg("--check-config").env("PGPASSWORD", PASSWORD).output().unwrap();
    assert_eq!(checked.status.code(), Some(0));

    let other = replica(&database, 1_000_000);
    database.says("UPDATE fusion.version SET version = 99");
    refused(&other, "a newer server's: version 99");
    database.says("UPDATE fusion.version SET version = 1; ALTER SCHEMA fusion OWNER TO boss");
    database.says("ALTER TABLE fusion.budgets OWNER TO boss; REVOKE ALL ON fusion.budgets FROM fusion");
    refused(&other, "permission denied");
    // What docs/operating.md says is enough.
    database.says("GRANT USAGE ON SCHEMA fusion TO fusion; GRANT SELECT ON fusion.version TO fusion");
    database.says("GRANT SELECT, INSERT, UPDATE, DELETE ON fusion.budgets, fusion.admissions TO fusion");
    let (code, text) = said(&other, &["--check-config"]);
    assert!(code == Some(0) && !text.contains("no budgets"), "{code:?} {text}");

    // Under TLS, with an authority of its own.
    let (mut params, key) = (CertificateParams::new(Vec::new()).unwrap(), KeyPair::generate().unwrap());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(other.path("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let (params, key) = (Issuer::new(params, key), KeyPair::generate().unwrap());
    let certificate = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, &params).unwrap();
    let files = [("own.crt", certificate.pem()), ("own.key", key.serialize_pem())];
    let [certificate, key] = files.map(|(name, text)| database.keep(name, &text));
    let text = std::fs::read_to_string(other.path("server.toml")).unwrap();
    let secure = text.replace("password_file", "authority = \"ca.pem\"\npassword_file");
    std::fs::write(other.path("server.toml"), &secure).unwrap();
    refused(&other, "server does not support TLS");
    database.stop();
    let settings = ["ssl=on".to_owned(), format!("ssl_cert_file={certificate}"), format!("ssl_key_file={key}")];
    database.begin(&settings);
    let mut server = other.start().ready();
    let seen = "SELECT version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'fusion' AND ssl";
    assert_eq!(database.says(seen), "TLSv1.3");
    accepted(Visit::default().run(&server.address));
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
    let place = |name: &str| secure.replace("@127.0.0.1:", &format!("@{name}:"));
    std::fs::write(other.path("server.toml"), place("localhost")).unwrap();
    let (code, text) = said(&other, &[]);
    assert!(code == Some(2) && text.contains("not valid for name"), "{code:?} {text}");
    let stranger = CertificateParams::new(Vec::new()).unwrap();
    let stranger = stranger.self_signed(&KeyPair::generate().unwrap()).unwrap();
    std::fs::write(other.path("ca.pem"), stranger.pem()).unwrap();
    std::fs::write(other.path("server.toml"), &secure).unwrap();
    let (code, text) = said(&other, &[]);
    assert!(code == Some(2) && text.contains("invalid peer certificate"), "{code:?} {text}");
}

#[test]
fn what_a_client_spent_under_its_certificates_and_names_is_its_own() {
    let Some(database) = Database::start() else { return };
    let desk = replica(&database, 100);
    let (old, new) = ("11".repeat(32), "22".repeat(32));
    let text = std::fs::read_to_string(desk.path("server.toml")).unwrap();
    let clients = format!("[clients.ann]\nfingerprints = [\"{new}\", \"{old}\"]\n");
    std::fs::write(desk.path("server.toml"), format!("identity = \"s.pem\"\n{text}{clients}")).unwrap();
    assert_eq!(
        said(&desk, &["--show-budgets"]),
        (Some(0), "client,identity,spent,left\nann,client ann,0,100\n".into())
    );
    for (who, positions) in
        [("client ann", 1), ("certificate ", 20), ("certificate 2", 30), ("name bob.example.org", 4)]
    {
        let who = if who.ends_with(' ') { format!("{who}{old}") } else { who.replace("te 2", &format!("te {new}")) };
        database.says(&format!("INSERT INTO fusion.budgets VALUES ('{who}', {positions})"));
        let row = format!("(id, client, positions) VALUES (gen_random_uuid(), '{who}', {positions})");
        database.says(&format!("INSERT INTO fusion.admissions {row}"));
    }
    let shown = said(&desk, &["--show-budgets"]).1;
    assert!(shown.ends_with("\nann,client ann,51,49\n,name bob.example.org,4,96\n"), "{shown}");
    let (code, text) = said(&desk, &["--refund", "ann", "--positions", "2"]);
    assert!(code == Some(0) && text.contains("49 are spent"), "{text}");
    let rows = database.says("SELECT client, spent, admitted, sessions FROM fusion.clients ORDER BY client");
    assert_eq!(rows, "client ann|49|49|3\nname bob.example.org|4|4|1");
}

#[test]
fn a_file_moves_into_a_database_as_the_documentation_says() {
    let Some(database) = Database::start() else { return };
    let documentation = include_str!("../../../docs/operating.md");
    let mut scripts = documentation.split("```").filter_map(|block| block.strip_prefix("sql\n"));
    let script = scripts.find(|script| script.contains("\\copy")).unwrap();
    let (old, new) = (Desk::new("[budget]\npositions = 100\nfile = \"budget.redb\"\n"), replica(&database, 100));
    let named =
        "[clients.\"b,c\"]\nfingerprints = [\"1111111111111111111111111111111111111111111111111111111111111111\"]\n";
    for desk in [&old, &new] {
        let text = std::fs::read_to_string(desk.path("server.toml")).unwrap();
        std::fs::write(desk.path("server.toml"), format!("identity = \"s.pem\"\n{text}{named}")).unwrap();
    }
    let file = Budget::open(&old.path("budget.redb"), 100).unwrap();
    let certificate = Identity::certificate("11".repeat(32).parse().unwrap());
    file.spend(&certificate, 20).unwrap();
    file.spend(&Identity::named("b,c"), 3).unwrap();
    file.spend(&Identity::holder("bob.example.org"), 4).unwrap();
    let (code, shown) = said(&old, &["--show-budgets"]);
    assert_eq!(code, Some(0), "{shown}");
    std::fs::write(new.path("spent.csv"), &shown).unwrap();
    // Neither an identity nor a server is needed for the tables.
    Credentials::generate(&new.path("s.pem")).unwrap();
    let (code, text) = said(&new, &["--check-config"]);
    assert!(code == Some(0) && !text.contains("no budgets"), "{code:?} {text}");
    let (went_well, text) = database.script(new.0.path(), script);
    assert!(went_well, "{text}");
    assert_eq!(said(&new, &["--show-budgets"]), (Some(0), shown.clone()));
    assert_eq!(database.says("SELECT count(*) FROM fusion.clients WHERE spent <> admitted"), "0");

    // What another server's file says is added; what fails changes nothing.
    let broken = format!("{}many,client many,x,\n", shown);
    std::fs::write(new.path("spent.csv"), broken).unwrap();
    assert!(!database.script(new.0.path(), script).0);
    assert_eq!(said(&new, &["--show-budgets"]), (Some(0), shown.clone()));
    std::fs::write(new.path("spent.csv"), shown).unwrap();
    let (went_well, text) = database.script(new.0.path(), script);
    assert!(went_well, "{text}");
    let rows = database.says("SELECT client, spent, admitted, sessions FROM fusion.clients ORDER BY client");
    assert_eq!(rows, "client b,c|46|46|2\nname bob.example.org|8|8|2");
}
