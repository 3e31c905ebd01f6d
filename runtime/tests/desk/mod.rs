//! The program with the files of a client and a server, and its sessions between processes.

#![allow(dead_code, reason = "each test uses some of it")]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use fusion_ir::plan::Plan;
use ndarray::{Array1, Array2};
use ndarray_npy::write_npy;

use crate::common::{demo_plan, labelled_points, tiny_plan};

/// A directory with the files of a client and a server.
pub struct Desk(pub tempfile::TempDir);

/// The client's queries.
pub const QUERIES: [(i64, i64); 3] = [(3, 1), (-2, 5), (-4, -4)];
pub const PUBLIC: usize = 60;

impl Desk {
    pub fn new() -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        desk.plan("plan.bin", &demo_plan(60));
        desk.plan("plan.client.bin", &tiny_plan().for_client());
        let flat: Vec<f32> = QUERIES.iter().flat_map(|(x, y)| [*x as f32, *y as f32]).collect();
        write_npy(desk.path("x.npy"), &Array2::from_shape_vec((3, 2), flat).unwrap()).unwrap();
        let (inputs, labels): (Vec<_>, Vec<i64>) = labelled_points(PUBLIC).into_iter().unzip();
        let flat: Vec<f32> = inputs.into_iter().flatten().map(|element| element as f32 / 16.0).collect();
        write_npy(desk.path("px.npy"), &Array2::from_shape_vec((PUBLIC, 2), flat).unwrap()).unwrap();
        write_npy(desk.path("py.npy"), &Array1::from_vec(labels)).unwrap();
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn plan(&self, name: &str, plan: &Plan) {
        std::fs::write(self.path(name), plan.to_bytes()).unwrap();
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fusion-run"));
        command.args(line.split_whitespace()).current_dir(self.0.path());
        command.env("XDG_STATE_HOME", self.path("state"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    pub fn run(&self, line: &str) -> Ended {
        Ended::from(self.command(line).output().unwrap())
    }

    /// Starts a server and returns it with the address it prints.
    pub fn server(&self, flags: &str) -> (Server, String) {
        let mut child = self.command(&format!("{flags} --role server --listen 127.0.0.1:0")).spawn().unwrap();
        let mut first = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on ").expect("the first line says where").to_owned();
        (Server { child, stdout }, address)
    }

    /// Runs a client with `flags` against `address`.
    pub fn client(&self, address: &str, flags: &str) -> Ended {
        let files = "--input x.npy --public-inputs px.npy --public-labels py.npy --lambda 8";
        self.run(&self.client_line(address, &format!("{files} {flags}")))
    }

    /// The command line of a client with nothing but `flags`.
    pub fn client_line(&self, address: &str, flags: &str) -> String {
        format!("plan.client.bin --role client --connect {address} {flags}")
    }

    /// Runs a client that must fail before it connects.
    pub fn refused(&self, line: &str) -> String {
        let ended = self.run(&format!("plan.client.bin --role client --connect {} {line}", unreachable_address()));
        assert_eq!(ended.code, 2, "{ended:?}");
        ended.stderr
    }
}

#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

pub struct Server {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Server {
    pub fn end(mut self) -> Ended {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ended { code: self.child.wait().unwrap().code().unwrap(), stdout, stderr }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended is not killed again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A refusal that comes too late would be a failure to connect, with exit code 4.
fn unreachable_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("{} --timeout 1", listener.local_addr().unwrap())
}

pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
