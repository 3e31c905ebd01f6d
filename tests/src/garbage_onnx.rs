//! Bytes from an adversary as an ONNX file: a target of `fuzz/`, and of the test that runs it on
//! mutations of good input.

use fusion_compiler::{Error, import};

/// Any file is read, or refused with a reason; nothing panics, and nothing large is made on its
/// word.
pub fn onnx(bytes: &[u8]) {
    let path = std::env::temp_dir().join(format!("fusion-garbage-{}.onnx", std::process::id()));
    std::fs::write(&path, bytes).expect("the temporary folder is writable");
    let read = import::read(&path, None);
    // The file is only this process's, so it does not matter whether it goes.
    let _ = std::fs::remove_file(&path);
    match read {
        Ok(_) => {}
        Err(Error::Unsupported(nodes)) => assert!(!nodes.is_empty() && nodes.iter().all(|node| !node.why.is_empty())),
        Err(Error::Model { why, .. }) => assert!(!why.is_empty()),
        Err(error) => panic!("{error}"),
    }
}
