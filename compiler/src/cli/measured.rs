//! Where measurements of this machine are kept.

use std::path::PathBuf;

/// Where `fusionc calibrate` keeps this machine's profile: `fusion/machine.json` in
/// `$XDG_STATE_HOME`, or in `~/.local/state`.
pub(super) fn measured_here() -> Option<PathBuf> {
    let absolute = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("fusion").join("machine.json"))
}
