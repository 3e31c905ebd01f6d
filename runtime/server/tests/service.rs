//! The server as a process: many clients, those that are none, signals, and ends of all kinds.

mod desk;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use desk::common::{tiny_plan, tiny_plan_with};
use desk::{Desk, Gate, Visit, accepted, get, until};
use fusion_ir::plan::Plan;
use fusion_ir::{Weights, text};
use fusion_runtime::memory::PROCESS_BYTES;
use fusion_runtime::transport::{Credentials, Tls};
use fusion_runtime::{Budget, Identity};

/// A configuration with so much memory for sessions.
fn memory(bytes: u64) -> String {
    format!("[limits]\nmemory = \"{}MB\"\n", (bytes + PROCESS_BYTES) as f64 / 1e6)
}

#[test]
fn eight_at_once_are_served_among_strays_and_a_ninth_waits_for_memory() {
    let gate = Gate::default();
    let visit = Visit { gate: Some(gate.clone()), ..Visit::default() };
    let bytes = visit.memory_bytes();
    let desk = Desk::new(&memory(8 * bytes + bytes / 2));
    let mut server = desk.start();
    let eight: Vec<_> = (0..8).map(|_| visit.clone().spawn(&server.address)).collect();
    until("eight sessions run", || (server.metric("fusion_running_sessions") == 8.0).then_some(()));
    until("it is counted", || (server.metric("fusion_memory_forecast_bytes") == 8.0 * bytes as f64).then_some(()));
    let ninth = Visit::default().spawn(&server.address);
    until("the ninth waits", || (server.metric("fusion_queue_length") == 1.0).then_some(()));
    // Silent ones, garbage and probes, all of which stay for a while.
    let strays: Vec<TcpStream> = (0..60)
        .map(|turn| {
            let mut stray = TcpStream::connect(&server.address).unwrap();
            let bytes = [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", &[0xff; 40]][turn % 4];
            stray.write_all(bytes).unwrap();
            stray
        })
        .collect();
    gate.open();
    eight.into_iter().chain([ninth]).for_each(|client| accepted(client.join().unwrap()));
    drop(strays);
    until("strays are counted", || (server.metric("fusion_stray_connections_total") == 60.0).then_some(()));
    until("sessions are over", || (server.metric("fusion_running_sessions") == 0.0).then_some(()));
    until("it is counted", || {
        (server.metric("fusion_sessions_total{plan=\"tiny\",outcome=\"served\"}") == 9.0).then_some(())
    });
    until("it is counted", || {
        (server.metric("fusion_positions_total") == 9.0 * visit.positions() as f64).then_some(())
    });
    until("it is counted", || (server.metric("fusion_memory_forecast_bytes") == 0.0).then_some(()));
    let metrics = get(&server.http(), "/metrics");
    assert!(metrics.ends_with("# EOF\n") && metrics.contains("fusion_layer_seconds_total{operation=\"dense\"}"));
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
    let log = server.log();
    assert!(log.contains("waits for its turn") && !log.contains("panic"), "{log}");
    assert_eq!(log.matches("session ended").count(), 9, "{log}");
}

#[test]
fn who_waits_is_told_its_place_and_about_how_long() {
    let desk = Desk::new("[limits]\nsessions = 1\n");
    let mut server = desk.start();
    // How long a session takes is known when there was one.
    accepted(Visit::default().run(&server.address));
    until("it is counted", || (server.metric("fusion_running_sessions") == 0.0).then_some(()));
    let gate = Gate::default();
    let first = Visit { gate: Some(gate.clone()), ..Visit::default() }.spawn(&server.address);
    until("a session runs", || (server.metric("fusion_running_sessions") == 1.0).then_some(()));
    let visits = [Visit::default(), Visit::default()];
    let mut waiting = Vec::new();
    for (place, visit) in visits.iter().enumerate() {
        waiting.push(visit.clone().spawn(&server.address));
        until("it waits", || (server.metric("fusion_queue_length") == place as f64 + 1.0).then_some(()));
        let told = || visit.turns.lock().unwrap().first().copied();
        let turn = until("it is told", told);
        assert!(turn.before as usize == place && turn.wait.is_some(), "{turn:?}");
    }
    gate.open();
    [first].into_iter().chain(waiting).for_each(|client| accepted(client.join().unwrap()));
    assert!(visits[0].turns.lock().unwrap().iter().all(|turn| turn.before == 0));
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn who_cannot_be_served_is_told_why() {
    let visit = Visit::default();
    let other = tiny_plan_with([1, 1, 0, 1, -1, -1]);
    let desk = Desk::new(&format!(
        "micro_batch = 64\n{}[plans.other]\nfile = \"other.bin\"\n",
        memory(visit.memory_bytes() - 100_000)
    ));
    // The digest is of what clients see, so a plan with other weights is the same plan.
    std::fs::write(desk.path("other.bin"), other.to_bytes()).unwrap();
    let refused = desk.command().stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && text.contains("are one plan"), "{text}");
    let mut other = other;
    other.provenance.compiler = "another".into();
    std::fs::write(desk.path("other.bin"), other.to_bytes()).unwrap();

    let server = desk.start();
    let said = visit.run(&server.address).unwrap_err().to_string();
    assert!(said.contains("MB of this server's memory") && said.contains("ask for a smaller micro-batch"), "{said}");
    let mut unknown = tiny_plan().for_client();
    unknown.provenance.compiler = "a third".into();
    let said = Visit { plan: unknown, ..visit }.run(&server.address).unwrap_err().to_string();
    assert!(said.contains("two different compilations"), "{said}");
    until("it is counted", || (server.metric("fusion_refused_total{reason=\"memory\"}") == 1.0).then_some(()));
    until("it is counted", || (server.metric("fusion_refused_total{reason=\"incompatible\"}") == 1.0).then_some(()));
}

#[test]
fn a_client_has_an_hours_positions_at_once_and_no_more() {
    let visit = Visit::default();
    let desk = Desk::new(&format!("[client_defaults]\npositions_per_hour = {}\n", 2 * visit.positions() - 1));
    let server = desk.start();
    accepted(visit.run(&server.address));
    let said = visit.run(&server.address).unwrap_err().to_string();
    assert!(said.contains("may have in an hour") && said.contains("try again"), "{said}");
    until("it is counted", || (server.metric("fusion_refused_total{reason=\"rate\"}") == 1.0).then_some(()));
    until("it is counted", || (server.metric("fusion_positions_total") == visit.positions() as f64).then_some(()));
}

#[test]
fn a_service_that_is_told_to_end_lets_sessions_end() {
    let desk = Desk::new("[limits]\ndrain_s = 100\n");
    let mut server = desk.start();
    let gate = Gate::default();
    let client = Visit { gate: Some(gate.clone()), ..Visit::default() }.spawn(&server.address);
    until("a session runs", || (server.metric("fusion_running_sessions") == 1.0).then_some(()));
    let http = server.http();
    assert!(get(&http, "/ready").contains("200 OK") && get(&http, "/live").contains("200 OK"));
    server.signal("TERM");
    until("it is no longer ready", || get(&http, "/ready").contains("503").then_some(()));
    until("nobody is let in", || TcpStream::connect(&server.address).is_err().then_some(()));
    assert!(get(&http, "/live").contains("200 OK"));
    gate.open();
    accepted(client.join().unwrap());
    assert_eq!(server.end(), Some(0));
}

#[test]
fn sessions_that_take_too_long_are_cut_off_and_the_exit_code_says_so() {
    for (config, second) in [("[limits]\ndrain_s = 1\n", false), ("[limits]\ndrain_s = 100\n", true)] {
        let desk = Desk::new(config);
        let mut server = desk.start();
        let gate = Gate::default();
        let client = Visit { gate: Some(gate.clone()), ..Visit::default() }.spawn(&server.address);
        until("a session runs", || (server.metric("fusion_running_sessions") == 1.0).then_some(()));
        server.signal("INT");
        if second {
            until("it ends", || server.log().contains("about to end").then_some(()));
            server.signal("INT");
        }
        assert_eq!(server.end(), Some(5), "{}", server.log());
        gate.open();
        assert_eq!(client.join().unwrap().unwrap_err().exit_code(), 4);
        assert!(server.log().contains("the service ended before the session"), "{}", server.log());
    }
}

#[test]
fn what_is_reloaded_holds_for_the_next_client() {
    let desk = Desk::new("");
    let mut server = desk.start();
    accepted(Visit::default().run(&server.address));
    desk.configure("[client_defaults]\nmax_positions = 5\n");
    server.signal("HUP");
    until("it is read", || server.log().contains("was read again").then_some(()));
    let said = Visit::default().run(&server.address).unwrap_err().to_string();
    assert!(said.contains("this client may have 5 in a session"), "{said}");
    // What is wrong changes nothing.
    for broken in ["[limits]\nsessions = 0\n", "[nonsense]\n", "[log]\nformat = \"json\"\n"] {
        let before = server.log().matches("the old one stays").count();
        desk.configure(broken);
        server.signal("HUP");
        until("it is refused", || (server.log().matches("the old one stays").count() > before).then_some(()));
    }
    assert!(Visit::default().run(&server.address).is_err());
    desk.configure("");
    server.signal("HUP");
    until("it is read", || (server.log().matches("was read again").count() == 2).then_some(()));
    accepted(Visit::default().run(&server.address));
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_server_that_is_killed_has_spent_a_sessions_budget_once() {
    let config = "[budget]\npositions = 100000\nfile = \"budget.redb\"\n[limits]\nsessions = 1\n";
    let desk = Desk::new(config);
    let positions = Visit::default().positions();
    let client = Identity::address("127.0.0.1".parse().unwrap());
    let spent = || 100_000 - Budget::open(&desk.path("budget.redb"), 100_000).unwrap().left(&client).unwrap();
    // In the middle of a session.
    let server = desk.start();
    let gate = Gate::default();
    let running = Visit { gate: Some(gate.clone()), ..Visit::default() }.spawn(&server.address);
    until("a session runs", || (server.metric("fusion_running_sessions") == 1.0).then_some(()));
    let waiting = Visit::default().spawn(&server.address);
    until("another waits", || (server.metric("fusion_queue_length") == 1.0).then_some(()));
    server.signal("KILL");
    gate.open();
    assert!(running.join().unwrap().is_err() && waiting.join().unwrap().is_err());
    drop(server);
    assert_eq!(spent(), positions);
    // At any moment: what was answered is spent, and no session is spent twice.
    let mut answered = 1;
    for turn in 0..12u64 {
        let (before, server) = (spent(), desk.start());
        let client = Visit::default().spawn(&server.address);
        std::thread::sleep(Duration::from_millis(turn * 40));
        server.signal("KILL");
        let served = client.join().unwrap().is_ok();
        drop(server);
        let cost = spent() - before;
        assert!(cost == positions || cost == 0 && !served, "turn {turn}: {cost}");
        answered += u64::from(cost > 0);
    }
    let mut server = desk.start();
    accepted(Visit::default().run(&server.address));
    assert_eq!(spent(), (answered + 1) * positions);
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn output_that_goes_nowhere_changes_nothing() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let desk = Desk::new("");
    let text = std::fs::read_to_string(desk.path("server.toml")).unwrap();
    let text = text.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1) + "[log]\nlevel = \"debug\"\n";
    std::fs::write(desk.path("server.toml"), text).unwrap();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for closed in [false, true] {
        let mut command = desk.command();
        match closed {
            false => command.stdout(full()).stderr(full()),
            true => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        };
        let mut child = command.spawn().unwrap();
        // Nobody reads these any more.
        drop((child.stdout.take(), child.stderr.take()));
        let address = format!("127.0.0.1:{port}");
        let mut stray = until("it listens", || TcpStream::connect(&address).ok());
        stray.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let _ = stray.read_to_end(&mut Vec::new());
        for _ in 0..2 {
            accepted(Visit::default().run(&address));
        }
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert_eq!(until("it ends", || child.try_wait().unwrap()).code(), Some(0));
    }
}

#[test]
fn silent_connections_are_hung_up_on_in_time() {
    let desk = Desk::new("[limits]\nhello_timeout_s = 1\n[log]\nlevel = \"debug\"\n");
    let server = desk.start();
    let mut silent = TcpStream::connect(&server.address).unwrap();
    // One that sends the beginning of a frame, byte by byte.
    let mut slow = TcpStream::connect(&server.address).unwrap();
    let began = Instant::now();
    let dripping = std::thread::spawn(move || {
        let mut frame = [&[88, 0, 0, 0, 1, 0, 0, 0][..], &[0; 88]].concat().into_iter();
        while frame.next().is_some_and(|byte| slow.write_all(&[byte]).is_ok()) {
            std::thread::sleep(Duration::from_millis(300));
        }
        frame.len()
    });
    accepted(Visit::default().run(&server.address));
    let _ = silent.read_to_end(&mut Vec::new());
    assert!(dripping.join().unwrap() > 0, "it was cut off");
    assert!(began.elapsed() < Duration::from_secs(8));
    until("both are in the log", || (server.log().matches("no hello within 1 s").count() == 2).then_some(()));
}

/// A query; in fixed point its numbers are 16 times as large, which nothing else in a log is.
const SECRET: (i64, i64) = (61_728, -52_417);

/// A plan for larger numbers than the others, and how its weights would be written as a list.
fn planted() -> (Plan, String) {
    let function = text::parse(
        "function \"planted\"\nweight @w0 \"w\" : i12.4[3,2]\n\
         v0 = input : i30.4~20[2] by local \"x\"\n\
         v1 = fusion.mix v0 queries=1 copies=1 public=0 : i30.4~20[2] by local \"x\"\n\
         v2 = dense v1, @w0 : i30.8~27[3] by cheetah \"scores\"\n\
         v3 = argmax v2 : i3.0~2+[1] by cheetah \"label\"\n\
         v4 = fusion.reveal v3 what=label : i3.0~2+[1] by cheetah \"label\"\n\
         v5 = fusion.check v4 : i3.0~2+[1] by local \"label\"\n",
    );
    // Near those of the other plans, so that all labels are the same.
    let weights = vec![17, 0, 0, 17, -17, -17];
    let written = format!("{weights:?}").trim_matches(['[', ']']).to_owned();
    (Plan { function: function.unwrap(), weights: Some(Weights(vec![weights])), ..tiny_plan() }, written)
}

/// Without padding.
fn base64(bytes: &[u8]) -> String {
    let digits: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect::<Vec<u8>>();
    let digit = |bits: &[u8]| digits[bits.iter().fold(0, |sum, bit| 2 * sum + usize::from(*bit))];
    bits.chunks_exact(6).map(digit).collect()
}

#[test]
fn logs_hold_no_secret_and_name_clients() {
    let (plan, weights) = planted();
    let desk = Desk::new("");
    std::fs::write(desk.path("plan.bin"), plan.to_bytes()).unwrap();
    let identity = |name: &str| {
        let path = desk.path(name);
        let fingerprint = Credentials::generate(&path).unwrap();
        (Credentials::read(&path).unwrap(), fingerprint)
    };
    let ((_, server_is), (ann, ann_is), (eve, eve_is)) =
        (identity("server.pem"), identity("ann.pem"), identity("eve.pem"));
    let text = std::fs::read_to_string(desk.path("server.toml")).unwrap();
    let more = format!(
        "[clients.ann]\nfingerprints = [\"{ann_is}\"]\n[log]\nlevel = \"debug\"\nformat = \"json\"\n\
         [reports]\ndirectory = \"reports\"\n"
    );
    std::fs::write(desk.path("server.toml"), format!("identity = \"server.pem\"\n{text}{more}")).unwrap();
    let mut server = desk.start();
    let tls = |who: &Credentials| Some(Tls::new(who, &[server_is]).unwrap());
    let visit = Visit { plan: plan.for_client(), queries: vec![SECRET, (-SECRET.0, -SECRET.1)], ..Visit::default() };
    let served = Visit { tls: tls(&ann), ..visit.clone() }.run(&server.address).unwrap();
    assert_eq!(served.labels.unwrap(), [0, 1]);
    assert!(Visit { tls: tls(&eve), ..visit }.run(&server.address).is_err());
    until("the stranger is in the log", || server.log().contains(&eve_is.to_string()).then_some(()));
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));

    let log = server.log();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    assert!(log.contains("\"client\":\"ann\"") && log.contains("\"outcome\":\"served\""), "{log}");
    let reports = std::fs::read_dir(desk.path("reports")).unwrap();
    let reports: Vec<String> = reports.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    assert_eq!(reports.len(), 1);
    let everything = log + &reports[0];
    let mut secrets: Vec<String> = Vec::new();
    for value in [SECRET.0, SECRET.1].map(|value| 16 * value) {
        for value in [value, -value] {
            let bytes = value.to_le_bytes();
            secrets.extend([value.to_string(), format!("{value:016x}"), base64(&bytes)]);
            secrets.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        }
    }
    secrets.push(weights);
    for file in ["server.pem", "ann.pem"] {
        let pem = std::fs::read_to_string(desk.path(file)).unwrap();
        let key = pem.split("-----BEGIN PRIVATE KEY-----").nth(1).unwrap();
        let lines = key.lines().filter(|line| line.len() > 20 && !line.starts_with('-'));
        // The middle of a line is enough of it.
        secrets.extend(lines.map(|line| line[4..line.len() - 4].to_owned()));
    }
    assert!(secrets.len() > 20);
    for secret in secrets {
        assert!(!everything.contains(&secret), "{secret} is in the logs");
    }
}

#[test]
fn a_configuration_is_checked_without_serving() {
    let desk = Desk::new("");
    let good = desk.command().arg("--check-config").output().unwrap();
    assert_eq!(good.status.code(), Some(0));
    assert!(String::from_utf8(good.stdout).unwrap().contains("server.toml will do: 1 plans"));
    for (config, why) in [
        ("[plans.none]\nfile = \"none.bin\"\n", "none.bin: cannot be read"),
        ("[limits]\nmemory = \"1MB\"\n", "limits.memory"),
        ("[budget]\npositions = 1\nfile = \"plan.bin\"\n", "cannot use"),
        ("[what]\n", "unknown field `what`"),
    ] {
        desk.configure(config);
        let bad = desk.command().arg("--check-config").stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(bad.stderr).unwrap();
        assert!(bad.status.code() == Some(2) && text.contains(why), "{why}: {text}");
    }
}
