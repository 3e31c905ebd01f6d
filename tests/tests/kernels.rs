//! The forms of the inner loops as a person meets them: named, forced, refused, and mixed between
//! two parties.

use fusion_catalogue::cpu::{Form, VARIABLE};
use fusion_tests::desk::Desk;
use fusion_tests::party::Server;
use fusion_tests::{arg, run};

#[test]
fn the_version_names_the_kernels() {
    let desk = Desk::new();
    let best = Form::available().last().unwrap().name();
    let said = desk.succeed("fusion-run --version --verbose");
    assert!(said.contains(&format!("\nkernels: {best} (this processor can run portable")), "{said}");
    for form in Form::available() {
        let output = desk.command("fusion-run -V --verbose").env(VARIABLE, form.name()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(&format!("\nkernels: {} (", form.name())), "{said}");
    }
    assert_eq!(run("fusion-run", &["plan.bin", "--verbose"]).status.code(), Some(2));
}

#[test]
fn kernels_that_do_not_exist_or_that_the_processor_lacks_are_refused() {
    let desk = Desk::new();
    let lacking = Form::ALL.into_iter().filter(|form| !form.missing().is_empty()).map(|form| (form.name(), "has no"));
    for (name, phrase) in lacking.chain([("mmx", "there are no kernels \"mmx\"")]) {
        for line in ["fusion-run plan.bin", "fusion-run --version", "fusionc cost plan.bin"] {
            let output = desk.command(line).env(VARIABLE, name).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{line}: {said}");
            assert!(said.contains(&format!("{VARIABLE}: ")) && said.contains(phrase), "{line}: {said}");
        }
    }
}

#[test]
fn parties_with_different_kernels_agree() {
    let desk = Desk::new();
    let forms = Form::available();
    let expected = desk.succeed("fusionc eval plan.bin --input x.npy");
    // Each form once as the server, beside the next one as the client.
    for (i, server_form) in forms.iter().enumerate() {
        let client_form = forms[(i + 1) % forms.len()];
        let report = desk.path("server.json");
        let environment = [(VARIABLE, server_form.name())];
        let server = Server::start_with(&desk.path("plan.bin"), &["--report", arg(&report)], &environment);
        let line = format!(
            "fusion-run plan.client.bin --role client --connect {} --input x.npy --no-verify --no-ledger -o labels.csv \
             --report r.json",
            server.address
        );
        let client = desk.command(&line).env(VARIABLE, client_form.name()).output().unwrap();
        assert!(client.status.success(), "{}", String::from_utf8_lossy(&client.stderr));
        assert_eq!(server.finish().0, Some(0));
        assert_eq!(String::from_utf8(desk.read("labels.csv")).unwrap(), expected);
        assert_eq!(desk.json("server.json")["kernels"], server_form.name());
        assert_eq!(desk.json("r.json")["kernels"], client_form.name());
    }
}
