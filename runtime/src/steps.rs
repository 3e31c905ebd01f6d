//! A plan's function as its protocols see it.

use std::sync::Arc;

use fusion_catalogue::{Steps, Unsupported};
use fusion_ir::Function;

use crate::Error;

/// The steps of a plan's function, resolved once for all who read them.
///
/// # Errors
/// [`Error::Usage`] names every layer that its protocols cannot carry.
pub fn resolve(function: &Function) -> Result<Arc<Steps>, Error> {
    let named = |unsupported: Vec<Unsupported>| {
        let each: Vec<String> = unsupported.iter().map(|layer| format!("the plan's {layer}")).collect();
        Error::Usage(each.join("; "))
    };
    Steps::of(function).map(Arc::new).map_err(named)
}
