//! Bytes from an adversary against everything that reads them: the targets of `fuzz/`, and of the
//! tests that run them on mutations of good input. Each panics where the code under test breaks its
//! word.

use fusion_catalogue::{Keys, Steps};
use fusion_ir::verify::{explain, verify_executable};
use fusion_ir::{Function, Plan, text};
use sha2::{Digest, Sha256};

/// Any text is refused, or prints and parses back; whatever then passes the verifier has a cost or
/// is refused by name.
pub fn text(bytes: &[u8]) {
    let Ok(function) = text::parse(&String::from_utf8_lossy(bytes)) else { return };
    assert_eq!(text::parse(&function.to_string()).as_ref(), Ok(&function));
    examine(&function);
}

/// Any public section of a plan is refused or read, and what was read is written and read again.
pub fn plan(payload: &[u8]) {
    let file = sealed(payload);
    let read = Plan::from_bytes(&file);
    assert_eq!(
        Plan::scan(&file[..]).map(|(plan, weights)| (plan, weights.is_none())),
        read.clone().map(|plan| (plan, true))
    );
    if let Ok(plan) = read {
        assert_eq!(Plan::from_bytes(&plan.to_bytes()).as_ref(), Ok(&plan));
        examine(&plan.function);
    }
}

/// A plan file of one section with a checksum that is right.
pub fn sealed(payload: &[u8]) -> Vec<u8> {
    let mut file = b"FUSION\r\n".to_vec();
    file.extend(fusion_ir::plan::VERSION.to_le_bytes());
    file.push(1);
    file.extend((payload.len() as u64).to_le_bytes());
    file.extend(Sha256::digest(payload));
    file.extend(payload);
    file
}

/// The public section of a plan for `function`: good input to mutate.
pub fn public_section(function: Function) -> Vec<u8> {
    let plan = Plan {
        function,
        suggestion: Default::default(),
        provenance: Default::default(),
        schema: Default::default(),
        weights: None,
        demo: None,
    };
    plan.to_bytes().split_off(sealed(&[]).len())
}

fn examine(function: &Function) {
    /// Beyond this, costs take long and say nothing new.
    const MOST_ELEMENTS: usize = 1 << 14;
    match verify_executable(function) {
        Err(violations) => assert!(!explain(function, &violations).is_empty()),
        Ok(()) if function.values.iter().all(|value| value.ty.len() <= MOST_ELEMENTS) => match Steps::of(function) {
            Ok(steps) => assert_eq!(steps.costs(Keys::Position, 2).len(), 1 + function.values.len()),
            Err(unsupported) => assert!(unsupported.iter().all(|layer| !layer.to_string().is_empty())),
        },
        Ok(()) => {}
    }
}
