//! A file as an ONNX model.
#![no_main]

#[path = "../../tests/src/garbage_onnx.rs"]
#[allow(dead_code, reason = "each target uses one")]
mod garbage_onnx;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    garbage_onnx::onnx(bytes);
});
