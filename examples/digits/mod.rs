//! The digits model and its samples, as a program of one's own would have them: bytes and arrays.

use std::error::Error;

use fusion::npy::Npy;
use fusion::{Client, Compiler, Job, Plan, Policy};

/// Pixels of an image.
const PIXELS: usize = 64;

/// The bytes of a file of `models/digits`.
fn read(name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(std::fs::read(format!("{}/../models/digits/{name}", env!("CARGO_MANIFEST_DIR")))?)
}

/// The first `count` images of a file, one after the other.
pub fn images(name: &str, count: usize) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut elements = Npy::parse(&read(name)?)?.reals()?;
    elements.truncate(count * PIXELS);
    Ok(elements)
}

/// The first `count` labels of a file.
pub fn labels(name: &str, count: usize) -> Result<Vec<i64>, Box<dyn Error>> {
    let mut labels = Npy::parse(&read(name)?)?.integers()?;
    labels.truncate(count);
    Ok(labels)
}

/// The compiled model, weights inside: the server's.
pub fn plan() -> Result<Plan, Box<dyn Error>> {
    let compiler = Compiler::new().calibrate(&[64, 1, 8, 8], &images("calibrate.npy", 64)?);
    let compiled = compiler.compile(&read("digits.onnx")?[..])?;
    println!("{} layers, agreement: {}", compiled.summary.layers.len(), compiled.summary.agreement);
    Ok(compiled.plan)
}

/// A batch of two queries. It is small and proves little: a policy of one's own begins at
/// `Policy::default()`, with public samples that the server has never seen.
pub fn job(client: &Client) -> Result<Job, Box<dyn Error>> {
    let queries = client.samples(&images("queries.npy", 2)?)?.rows;
    let public = client.samples(&images("public.npy", 40)?)?.rows;
    let public = client.public(public, &labels("public_labels.npy", 40)?)?;
    let policy = Policy { lambda: 5.0, accuracy: 0.9, catch: Some(0.6), ..Policy::default() };
    Ok(client.verified(queries, public, Vec::new(), policy)?)
}
