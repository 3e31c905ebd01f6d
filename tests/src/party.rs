//! A server process and a client process over loopback.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::{arg, binary};

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl Server {
    /// Starts `fusion-run PLAN --role server` on a port of the system's choice.
    pub fn start(plan: &Path, more: &[&str]) -> Server {
        Server::start_with(plan, more, &[])
    }

    /// The same in an environment with these variables.
    pub fn start_with(plan: &Path, more: &[&str], environment: &[(&str, &str)]) -> Server {
        let mut child = Command::new(binary("fusion-run"))
            .envs(environment.iter().copied())
            .args([arg(plan), "--role", "server", "--listen", "127.0.0.1:0"])
            .env("XDG_STATE_HOME", plan.with_file_name("state"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("the server speaks");
        let address = line.trim().strip_prefix("listening on ").unwrap_or_default().to_owned();
        if address.is_empty() {
            let output = child.wait_with_output().expect("the server ends");
            panic!("the server said {line:?} and {}", String::from_utf8_lossy(&output.stderr));
        }
        Server { child, address }
    }

    /// Waits for its end; exit code and standard error.
    pub fn finish(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("the server ends");
        let mut error = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut error).expect("the server speaks UTF-8");
        }
        (status.code(), error)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has usually ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `fusion-run PLAN --role client` against a server at `address` to its end.
pub fn client(plan: &Path, address: &str, more: &[&str]) -> Output {
    Command::new(binary("fusion-run"))
        .args([arg(plan), "--role", "client", "--connect", address])
        .env("XDG_STATE_HOME", plan.with_file_name("state"))
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("the client runs")
}
