//! A script that takes `--help` for the name of a folder writes into it.

use std::process::{Command, Stdio};

use fusion_tests::skipped;

use crate::{files, read};

#[test]
fn python_scripts_explain_themselves_and_do_nothing_else() {
    let mut untried = 0;
    for script in files("py") {
        let text = read(&script);
        if !text.contains("__main__") {
            continue;
        }
        let name = script.display();
        assert!(text.contains("argparse.ArgumentParser("), "{name} does not read its arguments");
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("python3");
        command.arg(&script).arg("--help").current_dir(folder.path()).stdin(Stdio::null());
        let Ok(ended) = command.env("PYTHONDONTWRITEBYTECODE", "1").output() else {
            skipped("no python3, so the scripts' --help was not tried");
            return;
        };
        let [out, err] = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if err.contains("ModuleNotFoundError") {
            untried += 1;
            continue;
        }
        assert!(ended.status.success() && out.starts_with("usage: "), "{name} --help: {out}{err}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{name} --help leaves files");
    }
    if untried > 0 {
        skipped(&format!("--help of {untried} scripts that need packages which are not installed"));
    }
}
