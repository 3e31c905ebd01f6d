//! One batch over several servers: one secret order, one entry in the ledger, one verdict.

mod common;
mod desk;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{labelled_points, point, tiny_label, tiny_plan, wrong_plan};
use desk::{Desk, json};
use fusion_ir::Plan;
use fusion_ir::op::Reveal;
use fusion_ir::soundness::Policy;
use fusion_runtime::fusion::{Probe, PublicSample};
use fusion_runtime::ledger::Outcome;
use fusion_runtime::transport::{Met, in_process};
use fusion_runtime::{Answered, Client, ClientReport, Error, Flow, Job, Ledger, Server, ServerReport, Shard};

const QUERIES: [(i64, i64); 3] = [(3, 1), (-2, 5), (-4, -4)];

fn job(client: &Client) -> Job {
    let queries = QUERIES.iter().map(|(x, y)| point(*x, *y).into()).collect();
    let sample = |(input, label): (Vec<i64>, i64)| PublicSample { row: input.into(), known: vec![label].into() };
    let public = labelled_points(40).into_iter().map(sample).collect();
    client.verified(queries, public, Vec::new(), Policy { lambda: 8.0, ..Policy::default() }).unwrap()
}

fn client() -> Client {
    Client::without_ledger(tiny_plan().for_client(), Reveal::Label).unwrap()
}

fn labels() -> Vec<i64> {
    QUERIES.map(|(x, y)| tiny_label(x, y)).to_vec()
}

/// What `run` gives with the client's ends of connections to servers with these plans, and what
/// became of the servers.
fn with_servers<T>(plans: &[Plan], run: impl FnOnce(Vec<Met>) -> T) -> (T, Vec<Result<ServerReport, Error>>) {
    std::thread::scope(|scope| {
        let serve = |plan: &Plan| {
            let [to_server, to_client] = in_process().unwrap();
            let server = Server::of_plan(plan.clone(), Flow::default()).unwrap();
            (to_server, scope.spawn(move || server.serve_peer(to_client, &mut |_| ()).map(|served| served.report)))
        };
        let (met, serving): (Vec<Met>, Vec<_>) = plans.iter().map(serve).unzip();
        let ran = run(met);
        (ran, serving.into_iter().map(|server| server.join().unwrap()).collect())
    })
}

/// A batch over servers with these plans, in three steps whose results travel as bytes.
fn in_steps(client: &Client, plans: &[Plan]) -> (Result<ClientReport, Error>, Vec<Result<ServerReport, Error>>) {
    with_servers(plans, |met| {
        let (begun, shards) = client.begin(job(client), met.len(), &["somewhere"], &mut |_| ()).unwrap();
        let answer = |(shard, met): (Shard, Met)| {
            let shard = Shard::from_bytes(client.plan(), &shard.to_bytes(client.plan())).unwrap();
            let answered = client.answer(shard, met, &mut |_| ())?.to_bytes(client.plan())?;
            Answered::from_bytes(client.plan(), &answered)
        };
        // In any order.
        let answered = shards.into_iter().zip(met).rev().map(answer).collect::<Result<_, _>>()?;
        client.conclude(begun, answered, &mut |_| ())
    })
}

#[test]
fn parts_of_one_batch_add_up_to_one_verdict() {
    let client = client();
    let whole = with_servers(&[tiny_plan()], |mut met| client.run(job(&client), met.remove(0), &mut |_| ()).unwrap()).0;
    assert_eq!((whole.labels, whole.shards.len()), (Some(labels()), 0));
    for servers in [2, 3, 5] {
        let (report, served) = in_steps(&client, &vec![tiny_plan(); servers]);
        let report = report.unwrap();
        assert!(report.verdict.accepted);
        assert_eq!(report.labels, Some(labels()));
        let sizes: Vec<u64> = report.shards.iter().map(|shard| shard.positions).collect();
        assert_eq!((sizes.len(), sizes.iter().sum::<u64>()), (servers, report.batch.positions));
        assert!(sizes[0] - sizes[servers - 1] <= 1 && sizes.is_sorted_by(|one, next| one >= next), "{sizes:?}");
        assert_eq!(report.batch.positions, whole.batch.positions);
        // Every server ran an ordinary session, of which it knows its own positions.
        let found: Vec<u64> = served.iter().map(|report| report.as_ref().unwrap().batch.positions).collect();
        assert_eq!(found, sizes);
        let sum = |of: fn(&fusion_runtime::report::ShardRun) -> u64| report.shards.iter().map(of).sum::<u64>();
        assert_eq!(sum(|shard| shard.client_to_server), report.run.bytes.client_to_server);
        assert_eq!(sum(|shard| shard.server_to_client), report.run.bytes.server_to_client);
        assert_eq!(sum(|shard| shard.rounds), report.run.rounds);
        assert_eq!(report.run.bytes.client_to_server, report.run.predicted.client_to_server);
        assert_eq!(report.run.bytes.server_to_client, report.run.predicted.server_to_client);
        assert_eq!(report.run.rounds, report.run.predicted.rounds);
    }
}

#[test]
fn the_wrong_model_at_one_server_is_rejected_and_the_others_notice_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&directory.path().join("ledger.redb")).unwrap();
    let client = client().with_ledger(ledger.clone());
    let (report, served) = in_steps(&client, &[tiny_plan(), wrong_plan(), tiny_plan()]);
    let report = report.unwrap();
    assert!(report.verdict.verified && !report.verdict.accepted);
    assert_eq!(report.labels, None);
    assert!(served.iter().all(Result::is_ok));
    let sessions = ledger.sessions().unwrap();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].1.outcome, Outcome::Rejected);
}

#[test]
fn a_verdict_needs_every_shard_once_and_of_this_plan() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&directory.path().join("ledger.redb")).unwrap();
    let client = client().with_ledger(ledger.clone());
    let refused = |pick: fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>| {
        let ran = with_servers(&[tiny_plan(), tiny_plan()], |met| {
            let (begun, shards) = client.begin(job(&client), 2, &["a", "b"], &mut |_| ()).unwrap();
            let answer = |(shard, met): (Shard, Met)| {
                client.answer(shard, met, &mut |_| ()).unwrap().to_bytes(client.plan()).unwrap()
            };
            let answered = pick(shards.into_iter().zip(met).map(answer).collect());
            let answered = answered.iter().map(|bytes| Answered::from_bytes(client.plan(), bytes).unwrap()).collect();
            client.conclude(begun, answered, &mut |_| ())
        });
        let error = ran.0.unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    };
    assert!(refused(|mut all| all.drain(..1).collect()).contains("2 shards needs its own answers of each once, not"));
    assert!(refused(|all| vec![all[0].clone(), all[0].clone()]).contains("not those of [1, 1]"));
    assert!(refused(|all| [&all[..], &all[..1]].concat()).contains("each once"));
    let outcomes: Vec<_> = ledger.sessions().unwrap().into_iter().map(|(_, record)| record.outcome).collect();
    assert!(outcomes.len() == 3 && outcomes.iter().all(|outcome| matches!(outcome, Outcome::Failed(_))));

    let (begun, _) = client.begin(job(&client), 2, &["a", "b"], &mut |_| ()).unwrap();
    client.abandon(begun, "b (shard 2 of 2): it is gone", &mut |_| ());
    let (_, last) = ledger.sessions().unwrap().remove(3);
    assert_eq!((last.server.as_str(), last.outcome), ("a, b", Outcome::Failed("b (shard 2 of 2): it is gone".into())));
    for bytes in [&b"{}"[..], b"", b"{\"format\":1}"] {
        let refused = Answered::from_bytes(&tiny_plan(), bytes).unwrap_err();
        assert!(refused.to_string().starts_with("these bytes are no shard's answers"), "{refused}");
    }

    let (_, shards) = client.begin(job(&client), 2, &[], &mut |_| ()).unwrap();
    let bytes = shards[1].to_bytes(client.plan());
    let mut other = tiny_plan();
    other.function.name = "other".into();
    assert!(Shard::from_bytes(&tiny_plan(), &bytes).is_ok());
    for (plan, bytes) in [
        (&tiny_plan(), &bytes[..bytes.len() - 1]),
        (&tiny_plan(), &bytes[..20]),
        (&tiny_plan(), &bytes[1..]),
        (&tiny_plan(), &bytes[..88]),
        (&other, &bytes[..]),
    ] {
        let refused = Shard::from_bytes(plan, bytes).unwrap_err();
        assert!(refused.to_string().starts_with("these bytes are no shard"), "{refused}");
    }
    let mut beyond = bytes.clone();
    beyond[80] = 2;
    assert!(Shard::from_bytes(&tiny_plan(), &beyond).unwrap_err().to_string().contains("of this number"));
    assert_eq!(ledger.sessions().unwrap().last().unwrap().1.outcome, Outcome::Started, "it counts for ever");
    let many = job(&client).batch().positions() as usize + 1;
    for shards in [0, many] {
        assert_eq!(client.begin(job(&client), shards, &[], &mut |_| ()).unwrap_err().exit_code(), 2);
    }
}

#[test]
fn answers_of_another_batch_are_not_this_ones() {
    let client = client();
    let ran = with_servers(&[tiny_plan(), tiny_plan()], |met| {
        let (one, mut its) = client.begin(job(&client), 1, &[], &mut |_| ()).unwrap();
        let (other, mut others) = client.begin(job(&client), 1, &[], &mut |_| ()).unwrap();
        let answer = |(shard, met): (Shard, Met)| client.answer(shard, met, &mut |_| ()).unwrap();
        let mut met = met.into_iter();
        let first = answer((its.remove(0), met.next().unwrap()));
        let second = answer((others.remove(0), met.next().unwrap()));
        let crossed = client.conclude(one, vec![second], &mut |_| ()).unwrap_err();
        assert!(crossed.to_string().contains("its own answers"), "{crossed}");
        client.conclude(other, vec![first], &mut |_| ())
    });
    assert_eq!(ran.0.unwrap_err().exit_code(), 2);
}

#[test]
fn what_answers_take_as_bytes_does_not_depend_on_them() {
    let client = client();
    let mut sizes = Vec::new();
    for plan in [tiny_plan(), wrong_plan()] {
        with_servers(&[plan], |mut met| {
            let (_, mut shards) = client.begin(job(&client), 1, &[], &mut |_| ()).unwrap();
            let positions = shards[0].positions();
            let answered = client.answer(shards.remove(0), met.remove(0), &mut |_| ()).unwrap();
            let bytes = answered.to_bytes(client.plan()).unwrap();
            let figures = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(bytes.len() - 8 - figures, 8 * positions);
            // Of the rest, which is figures, nothing is an answer.
            let figures: serde_json::Value = serde_json::from_slice(&bytes[8..8 + figures]).unwrap();
            sizes.push((figures["predicted"].clone(), figures["control"].clone(), figures["lanes"].clone()));
        });
    }
    assert_eq!(sizes[0], sizes[1]);
}

#[test]
fn micro_batches_streams_and_probes_are_as_in_one_session() {
    for (micro_batch, streams) in [(1, 1), (4, 2), (7, 4)] {
        let flow = Flow { micro_batch: Some(micro_batch), streams: Some(streams), ..Flow::default() };
        let client = client().flow(flow);
        let probed = |label: i64| {
            let queries = QUERIES.iter().map(|(x, y)| point(*x, *y).into()).collect();
            let sample = |(row, label): (Vec<i64>, i64)| PublicSample { row: row.into(), known: vec![label].into() };
            let public = labelled_points(40).into_iter().map(sample).collect();
            let probe = Probe { row: point(-7, 2).into(), answer: vec![label] };
            client.verified(queries, public, vec![probe], Policy { lambda: 8.0, ..Policy::default() }).unwrap()
        };
        for (label, accepted) in [(tiny_label(-7, 2), true), ((tiny_label(-7, 2) + 1) % 3, false)] {
            let (report, _) = with_servers(&[tiny_plan(), tiny_plan()], |met| {
                let (begun, shards) = client.begin(probed(label), 2, &[], &mut |_| ()).unwrap();
                let answer = |(shard, met): (Shard, Met)| client.answer(shard, met, &mut |_| ()).unwrap();
                let answered = shards.into_iter().zip(met).map(answer).collect();
                client.conclude(begun, answered, &mut |_| ()).unwrap()
            });
            assert_eq!((report.verdict.accepted, report.labels.is_some()), (accepted, accepted));
            assert_eq!(report.verdict.probes_total, 1);
            for shard in &report.shards {
                let most = shard.positions.div_ceil(micro_batch.into()).min(streams.into());
                assert_eq!((shard.micro_batch, u64::from(shard.streams)), (micro_batch, most));
            }
        }
    }
}

#[test]
fn everything_that_is_revealed_comes_back_from_another_process() {
    let function = fusion_ir::text::parse(
        "function \"tiny\"\nweight @w0 \"w\" : i12.4[3,2]\n\
         v0 = input : i20.4~9[2] by local \"x\"\n\
         v1 = fusion.mix v0 queries=1 copies=1 public=0 : i20.4~9[2] by local \"x\"\n\
         v2 = dense v1, @w0 : i20.8~18[3] by cheetah \"scores\"\n\
         v3 = fusion.reveal v2 what=logits : i20.8~18[3] by cheetah \"scores\"\n\
         v4 = fusion.check v3 : i20.8~18[3] by local \"scores\"\n",
    );
    let plan = Plan { function: function.unwrap(), ..tiny_plan() };
    let client = Client::without_ledger(plan.for_client(), Reveal::Logits).unwrap();
    let (report, _) = in_steps(&client, &[plan.clone(), plan]);
    let report = report.unwrap();
    let logits = |(x, y): (i64, i64)| [x, y, -x - y].map(|score| 256 * score).to_vec();
    assert_eq!(report.answers, Some(QUERIES.map(logits).to_vec()));
    assert_eq!(report.labels, Some(labels()));
}

#[test]
fn secrets_have_no_debug_form() {
    let client = client();
    let (begun, shards) = client.begin(job(&client), 2, &[], &mut |_| ()).unwrap();
    assert_eq!(format!("{shards:?}"), "[Shard { number: 0, of: 2, .. }, Shard { number: 1, of: 2, .. }]");
    assert!(format!("{begun:?}").starts_with("Begun { spread: Spread { sizes: ["));
    assert!(format!("{begun:?}").len() < 80, "{begun:?}");
}

/// Two servers as processes, and a client's flags that name both.
fn pair(desk: &Desk, plans: [&str; 2]) -> ([desk::Server; 2], String) {
    let [(one, first), (other, second)] = plans.map(|plan| desk.server(plan));
    ([one, other], format!("{first},{second}"))
}

#[test]
fn the_program_takes_several_addresses() {
    let desk = Desk::new();
    let (servers, both) = pair(&desk, ["plan.bin --report s0.json", "plan.bin --report s1.json"]);
    let ended = desk.client(&both, "-o labels.csv --report r.json --html r.html --ledger l.redb");
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert!(servers.into_iter().all(|server| server.end().code == 0));
    assert!(ended.stdout.contains("one of the 2 servers errs up to 2 times as often on its part"), "{ended:?}");
    let report = json(&desk.path("r.json"));
    let of = |name: &str| json(&desk.path(name))["batch"]["positions"].as_u64().unwrap();
    let shards: Vec<u64> =
        report["shards"].as_array().unwrap().iter().map(|shard| shard["positions"].as_u64().unwrap()).collect();
    assert_eq!(shards, [of("s0.json"), of("s1.json")]);
    assert_eq!(report["batch"]["positions"].as_u64().unwrap(), shards.iter().sum::<u64>());
    assert!(std::fs::read_to_string(desk.path("r.html")).unwrap().contains("<h2>Servers</h2>"));
    let sessions = Ledger::open(&desk.path("l.redb")).unwrap().sessions().unwrap();
    assert_eq!((sessions.len(), sessions[0].1.server.replace(", ", ",")), (1, both));
    assert_eq!(sessions[0].1.outcome, Outcome::Accepted);
}

/// A server in front of `server` that lets one connection through, and cuts the next one when its
/// first bytes have come; how many there were.
fn cutting(server: String) -> (String, std::thread::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (from, upstream) = (listener.accept().unwrap().0, TcpStream::connect(server).unwrap());
        let copy = |mut from: TcpStream, mut into: TcpStream| {
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut into);
                let _ = into.shutdown(std::net::Shutdown::Write);
            })
        };
        let there = copy(from.try_clone().unwrap(), upstream.try_clone().unwrap());
        copy(upstream, from).join().unwrap();
        there.join().unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        socket.read_exact(&mut [0; 40]).unwrap();
        // Other sessions are under way by then.
        std::thread::sleep(Duration::from_millis(300));
        drop(socket);
        listener.set_nonblocking(true).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        2 + std::iter::from_fn(|| listener.accept().ok()).count()
    });
    (address, thread)
}

#[test]
fn one_server_that_stops_ends_the_batch_which_counts_once_and_is_not_tried_again() {
    let desk = Desk::new();
    let (server, good) = desk.server("plan.bin --sessions 2");
    let (behind, hidden) = desk.server("plan.bin");
    let (bad, cut) = cutting(hidden.clone());
    let ended = desk.client(&format!("{good},{bad}"), "-o labels.csv --ledger l.redb");
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.stderr.contains(&format!("{bad} (shard 2 of 2): the connection failed")), "{ended:?}");
    assert!(!desk.path("labels.csv").exists());
    // Asked whether it would serve, then one session: nothing was tried again.
    assert_eq!(cut.join().unwrap(), 2);
    let sessions = Ledger::open(&desk.path("l.redb")).unwrap().sessions().unwrap();
    assert_eq!(sessions.len(), 1);
    assert!(matches!(&sessions[0].1.outcome, Outcome::Failed(why) if why.contains(&bad)), "{sessions:?}");
    // The other server's session was one, and it serves the next batch.
    assert_eq!(desk.client(&good, "--ledger l.redb").code, 0);
    server.end();
    assert_eq!(Ledger::open(&desk.path("l.redb")).unwrap().sessions().unwrap().len(), 2);
    assert_eq!(desk.client(&hidden, "--no-ledger").code, 0);
    behind.end();
}

#[test]
fn servers_of_another_plan_and_missing_addresses_are_refused() {
    let desk = Desk::new();
    let mut other = tiny_plan();
    other.function.name = "other".into();
    assert_ne!(other.digest(), tiny_plan().digest());
    desk.plan("other.bin", &other);
    let (servers, both) = pair(&desk, ["plan.bin", "other.bin"]);
    let addresses: Vec<&str> = both.split(',').collect();
    let ended = desk.client(&both, "--ledger l.redb");
    assert_eq!(ended.code, 4, "{ended:?}");
    let why = format!("{}: it refused: the plans come from two different compilations", addresses[1]);
    assert!(ended.stderr.contains(&why), "{ended:?}");
    // Nothing was begun, so nothing counts, and the other server is free.
    assert!(Ledger::open(&desk.path("l.redb")).unwrap().sessions().unwrap().is_empty());
    let [good, other] = servers;
    assert_eq!(desk.client(addresses[0], "").code, 0);
    assert_eq!(good.end().code, 0);
    drop(other);
    let refused = |addresses: &str| {
        let ended = desk.run(&desk.client_line(addresses, "--input x.npy --no-verify --timeout 1"));
        assert_eq!(ended.code, 2, "{ended:?}");
        ended.stderr
    };
    assert!(refused("127.0.0.1:1,").contains("--connect is missing"));
    assert!(refused("127.0.0.1:1,127.0.0.1:2,127.0.0.1:1").contains("names 127.0.0.1:1 twice"));
    let line = "--input x.npy --no-verify --memory";
    let stderr = desk.refused(&format!("{line} 1MB"));
    assert!(!stderr.contains("at the same time") && stderr.contains("--memory"), "{stderr}");
    // Enough for a server by itself, but not for two sessions of one client.
    let several = desk.run(&desk.client_line("127.0.0.1:1,127.0.0.1:2", &format!("{line} 24MB")));
    assert!(several.code == 2 && several.stderr.contains("with 2 sessions at the same time"), "{several:?}");
}

#[test]
fn a_server_that_waits_too_long_for_another_is_dialled_again() {
    let (client, dials) = (client(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let dial = |number: usize| {
            let (scope, dials) = (&scope, &dials);
            move || -> Result<Met, Error> {
                if number == 1 {
                    std::thread::sleep(Duration::from_secs(3));
                }
                dials.fetch_add(1, Ordering::Relaxed);
                let [to_server, to_client] = in_process()?;
                let server = Server::of_plan(tiny_plan(), Flow::default())?;
                // Of one that is dialled twice the first connection ends without a hello.
                scope.spawn(move || server.serve_peer(to_client, &mut |_| ()).map(drop));
                Ok(to_server)
            }
        };
        let report = client.run_on(job(&client), &[dial(0), dial(1)], &mut |_| ()).unwrap();
        assert_eq!(report.labels, Some(labels()));
    });
    // Each is asked first; then the one that waited is dialled twice.
    assert_eq!(dials.load(Ordering::Relaxed), 5);
}
